//! What the owner of a tail and those who use a collection share: the state, its age, its health,
//! and the room in its queue.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Origin;
use crate::bucket::Failure;
use crate::checkpoint::{Bell, Install, Schedule};
use crate::error::{Error, Result};
use crate::key::{Seq, Timestamp};
use crate::meters::Meters;
use crate::pins::Pins;
use crate::publish::Publication;
use crate::state::State;
use crate::store::Options;

/// What the owner of a tail shows to everyone else.
pub(crate) struct Shared {
    pub(super) state: ArcSwap<State>,
    /// States that downloads hold.
    pub(super) pins: Arc<Pins>,
    origin: Instant,
    /// When the probe began that last proved the state current, in milliseconds since `origin`.
    checked_ms: AtomicU64,
    pub(super) used_ms: AtomicU64,
    pub(super) stopped_by: OnceLock<Error>,
    pub(super) stopped: watch::Sender<bool>,
    pub(super) trouble: Mutex<Option<Arc<str>>>,
    closing: AtomicBool,
    close: Notify,
    pub(crate) meters: Arc<Meters>,
    pub(super) queued_groups: AtomicUsize,
    pub(super) queued_ops: AtomicUsize,
    pub(super) queued_bytes: AtomicUsize,
    queue_groups_max: usize,
    queue_bytes_max: usize,
    /// Tells the checkpointer.
    pub(crate) bell: Bell,
    checkpoint: Mutex<CheckpointStatus>,
    /// How often the checkpointer has tried.
    checkpoint_runs: watch::Sender<u64>,
    publication: Mutex<Publication>,
}

/// How a collection stands with checkpoints.
#[derive(Clone, Debug, Default)]
pub struct CheckpointStatus {
    /// The newest one that this replica knows; `None` before the first.
    pub seq: Option<Seq>,
    /// When this replica last ended a run well: it wrote one, or found that another had.
    pub at: Option<Timestamp>,
    /// Why the last try to write one failed, if it did. The log goes on, and earlier ones stand.
    pub trouble: Option<Arc<str>>,
    /// Those that could not be read when files were looked for that nobody needs, in words. What
    /// they name is not known, so no file goes until they are restored or moved away.
    pub damaged: Vec<Arc<str>>,
}

impl Shared {
    pub(super) fn new(origin: &Origin, options: &Options, meters: &Arc<Meters>) -> Self {
        let Origin { state, current_at, checkpoint, replayed_bytes, met_damage, .. } = origin;
        let mut schedule = Schedule::new(options.checkpoints.clone());
        let replayed = Install {
            at: *current_at,
            bytes: *replayed_bytes,
            state_bytes: state.movies().wire_bytes(),
            // Damage calls for another checkpoint as a change does.
            changes: state.version().0 > *checkpoint || *met_damage,
            is_ours: false,
        };
        schedule.replayed(state.seq().0 - checkpoint.0, &replayed);
        let known = Some(*checkpoint).filter(|seq| *seq > Seq::ZERO);
        let (state, current_at) = (Arc::clone(state), *current_at);
        Self {
            state: ArcSwap::new(state),
            pins: Arc::new(Pins::new(options.pinned_bytes_max)),
            origin: current_at,
            checked_ms: AtomicU64::new(0),
            used_ms: AtomicU64::new(0),
            stopped_by: OnceLock::new(),
            stopped: watch::Sender::new(false),
            trouble: Mutex::default(),
            closing: AtomicBool::new(false),
            close: Notify::new(),
            meters: Arc::clone(meters),
            queued_groups: AtomicUsize::new(0),
            queued_ops: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            queue_groups_max: options.queue_groups_max,
            queue_bytes_max: options.queue_bytes_max,
            bell: Bell::new(schedule),
            checkpoint: Mutex::new(CheckpointStatus { seq: known, ..CheckpointStatus::default() }),
            checkpoint_runs: watch::Sender::new(0),
            publication: Mutex::default(),
        }
    }

    /// The state in memory.
    pub(crate) fn latest(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(super) fn checkpoint(&self) -> MutexGuard<'_, CheckpointStatus> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publication(&self) -> MutexGuard<'_, Publication> {
        self.publication.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a checkpoint after commit `seq`; gives the newest one known before.
    pub(crate) fn checkpointed(&self, seq: Seq) -> Seq {
        let mut status = self.checkpoint();
        let known = status.seq.unwrap_or_default();
        status.seq = Some(known.max(seq));
        known
    }

    /// The last run ended well.
    pub(crate) fn checkpoint_done(&self, at: Timestamp) {
        let mut status = self.checkpoint();
        status.trouble = None;
        status.at = Some(at);
    }

    /// The last run failed.
    pub(crate) fn checkpoint_failed(&self, trouble: Arc<str>) {
        self.checkpoint().trouble = Some(trouble);
        self.meters.checkpoint_failures.increase();
    }

    pub(crate) fn checkpoint_run_ended(&self) {
        self.checkpoint_runs.send_modify(|runs| *runs += 1);
    }

    pub(super) fn checkpoint_runs(&self) -> watch::Receiver<u64> {
        self.checkpoint_runs.subscribe()
    }

    /// The checkpoints that cannot be read now; gives those that were not known to be so.
    pub(crate) fn checkpoints_damaged(&self, damaged: Vec<Arc<str>>) -> Vec<Arc<str>> {
        let mut status = self.checkpoint();
        let known = std::mem::replace(&mut status.damaged, damaged.clone());
        damaged.into_iter().filter(|found| !known.contains(found)).collect()
    }

    pub(crate) fn publish(&self, state: &Arc<State>) {
        self.state.store(Arc::clone(state));
        self.pins.enforce(state);
    }

    /// The state was current when a request of that moment was under way.
    pub(crate) fn checked(&self, began: Instant) {
        self.checked_ms.fetch_max(self.ms(began), Ordering::AcqRel);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn failed_request(&self, failure: &Failure) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::clone(&failure.reason));
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        // One more, as both moments are rounded down.
        Duration::from_millis(
            (self.ms(now) + 1).saturating_sub(self.checked_ms.load(Ordering::Acquire)),
        )
    }

    pub(super) fn used(&self, now: Instant) {
        self.used_ms.store(self.ms(now), Ordering::Relaxed);
    }

    pub(super) fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn instant(&self, ms: u64) -> Instant {
        self.origin + Duration::from_millis(ms)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.stopped_by.get() {
            Some(error) => Err(error.clone()),
            None if self.is_closing() => Err(Error::Closing),
            None => Ok(()),
        }
    }

    pub(super) fn why_stopped(&self) -> Error {
        self.stopped_by.get().cloned().unwrap_or(Error::Closing)
    }

    pub(crate) fn stop(&self, error: Error) {
        // The first reason stays.
        let _ = self.stopped_by.set(error);
        self.stopped.send_replace(true);
        self.bell.close();
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.close.notify_one();
        self.bell.close();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Ends when the collection begins to close. Cancel safe.
    pub(crate) async fn closing(&self) {
        self.close.notified().await;
    }

    pub(super) fn enter_queue(&self, ops: usize, bytes: usize) -> bool {
        self.queued_ops.fetch_add(ops, Ordering::Relaxed);
        let groups = self.queued_groups.fetch_add(1, Ordering::AcqRel);
        let before = self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = groups < self.queue_groups_max && before + bytes <= self.queue_bytes_max;
        if !fits {
            self.left_queue(ops, bytes);
        }
        fits
    }

    pub(crate) fn left_queue(&self, ops: usize, bytes: usize) {
        self.queued_ops.fetch_sub(ops, Ordering::Relaxed);
        self.queued_groups.fetch_sub(1, Ordering::AcqRel);
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}
