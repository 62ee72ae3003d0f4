//! One open collection: submit a group, read a state.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::apply;
use crate::checkpoint::Checkpointer;
use crate::commit::{
    Action, COMMIT_OPS_MAX, Code, Commit, GROUP_BYTES_MAX, GROUP_OPS_MAX, Group, Outcome,
};
use crate::committer::{
    Claim, Committer, Forwarding, GUESTS_MAX, Guests, Pending, Recent, Submission, Verdict,
};
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::follower::{Follower, ProbeWaiter};
use crate::gzip::Compressor;
use crate::key::{BatchId, CollectionName, Seq};
use crate::log::Log;
use crate::meters::Meters;
use crate::publish::{Publication, Publisher};
use crate::spans;
use crate::state::State;
use crate::store::Options;

mod carrying;
mod figures;
mod reading;
mod shared;
mod upkeep;

pub use figures::Figures;
pub use reading::{Freshness, Reading};
pub use shared::CheckpointStatus;
pub(crate) use shared::Shared;

/// The most readers that may wait for a probe.
const PROBE_WAITERS_MAX: usize = 100_000;
/// Groups over this are not judged in advance.
const FORESEEN_OPS_MAX: usize = 100;

/// What became of a submitted group.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// A state that contains the group's effect.
    pub state: Arc<State>,
    /// One for each op, in order; for a replay those of the first request.
    pub results: Vec<OpResult>,
    /// The commit in which it was judged; `None` where it needed none (identical content, or a
    /// precondition that fails already). For a replay the first request's.
    pub seq: Option<Seq>,
    /// Whether the idempotency key had been used by the same request before.
    pub replayed: bool,
    /// How long it waited until the committer took it.
    pub queued: Duration,
}

/// What became of one op.
#[derive(Clone, Debug)]
pub struct OpResult {
    /// The outcome; [`Code::KeyReused`] on every op where the key belongs to another request.
    pub outcome: Outcome,
    /// The movie that a put stored.
    pub movie: Option<Bytes>,
}

/// What a collection comes up with.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The state, caught up with the log.
    pub(crate) state: Arc<State>,
    /// When it surely was current.
    pub(crate) current_at: Instant,
    /// The checkpoint that it was read from; zero where the whole log was.
    pub(crate) checkpoint: Seq,
    /// The length of the commits since.
    pub(crate) replayed_bytes: u64,
    /// Whether a newer checkpoint could not be used: the next one must reuse no file of it.
    pub(crate) met_damage: bool,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// One open collection. Cheap to clone.
#[derive(Clone)]
pub struct Collection {
    inner: Arc<Inner>,
}

/// A handle that keeps nothing open.
#[derive(Clone)]
pub(crate) struct WeakCollection {
    inner: Weak<Inner>,
}

impl WeakCollection {
    /// The collection, while it is open.
    pub(crate) fn upgrade(&self) -> Option<Collection> {
        self.inner.upgrade().map(|inner| Collection { inner })
    }
}

struct Inner {
    log: Log,
    shared: Arc<Shared>,
    submissions: mpsc::Sender<Submission>,
    probes: mpsc::Sender<ProbeWaiter>,
    guests: mpsc::Sender<Pending>,
    read_only: bool,
    max_staleness: Duration,
    serve_stale: Option<Duration>,
    read_deadline: Duration,
    notes: Vec<String>,
}

impl Collection {
    /// Starts the owner of the tail, and the task that writes checkpoints.
    pub(crate) fn start(
        log: Log,
        origin: Origin,
        options: &Options,
        compressor: Compressor,
        meters: &Arc<Meters>,
    ) -> Self {
        let shared = Arc::new(Shared::new(&origin, options, meters));
        let Origin { state, notes, met_damage, .. } = origin;
        let (submissions, submitted) = mpsc::channel(options.queue_groups_max.max(1));
        let (probes, arrivals) = mpsc::channel(PROBE_WAITERS_MAX);
        let (guests, arriving) = mpsc::channel(GUESTS_MAX);
        let max_staleness = options.max_staleness.unwrap_or_default();
        let poll = match options.max_staleness {
            Some(bound) => options.poll.min(bound / 2).max(Duration::from_millis(1)),
            None => options.poll,
        };
        let committer = Committer {
            follower: Follower::new(arrivals, poll, &log),
            log: log.clone(),
            shared: Arc::clone(&shared),
            compressor,
            state,
            submissions: submitted,
            writer: options.replica.as_str().into(),
            batch_ops_max: options.batch_ops_max.clamp(1, COMMIT_OPS_MAX),
            queue: std::collections::VecDeque::new(),
            offer: None,
            ahead: None,
            creating: None,
            create_began: None,
            last_is_ours: false,
            forwarding: Forwarding::new(options.peers.clone().filter(|_| !options.read_only)),
            guests: Guests::new(arriving),
            recent: Recent::default(),
            gap_looks: 0,
        };
        log.env().spawn(committer.run());
        let inner = Inner {
            log: log.clone(),
            shared: Arc::clone(&shared),
            submissions,
            probes,
            guests,
            read_only: options.read_only,
            max_staleness,
            serve_stale: options.serve_stale,
            read_deadline: options.read_deadline,
            notes,
        };
        let collection = Self { inner: Arc::new(inner) };
        if !options.read_only {
            let publisher = Publisher::new(log.clone(), collection.downgrade(), options);
            let env = log.env().clone();
            let checkpointer = Checkpointer {
                log,
                shared,
                publisher,
                writer: options.replica.as_str().into(),
                options: options.checkpoints.clone(),
                base: None,
                distrusts: met_damage,
                sweep_not_before: None,
                listed: Vec::new(),
            };
            env.spawn(checkpointer.run());
        }
        collection
    }

    fn downgrade(&self) -> WeakCollection {
        WeakCollection { inner: Arc::downgrade(&self.inner) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &CollectionName {
        self.inner.log.name()
    }

    /// The state in memory, however old.
    #[must_use]
    pub fn latest(&self) -> Arc<State> {
        self.inner.shared.state.load_full()
    }

    /// Why it serves nothing any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.inner.shared.stopped_by.get().cloned()
    }

    /// What the bucket said last, if that was trouble.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.inner.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long ago the probe began that proved the state current, at most.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.inner.shared.age(self.inner.log.env().instant())
    }

    pub(crate) fn set_publication(&self, publication: Publication) {
        *self.inner.shared.publication() = publication;
    }

    /// What its genesis left out, if this process saw it, and which checkpoints could not be used.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// Submits one request and waits until it is judged, at most `deadline`.
    ///
    /// Once accepted it is committed even when this future is dropped.
    ///
    /// # Errors
    /// `OutcomeUnknown` when the time is up and it may still be committed; `Overloaded`,
    /// `Unavailable`, `ReadOnly` and `Closing` when nothing happened; the error that stopped the
    /// collection.
    pub async fn submit(&self, group: Group, deadline: Duration) -> Result<Judgement> {
        let Inner { log, shared, .. } = &*self.inner;
        if self.inner.read_only {
            return Err(Error::ReadOnly);
        }
        shared.check()?;
        let began = log.env().instant();
        shared.used(began);
        let left = || deadline.saturating_sub(log.env().instant() - began);
        if group.key.is_none() {
            let judged = log.env().timeout(deadline, self.judge_without_commit(&group)).await;
            if let Some(judgement) = judged.unwrap_or_else(|| Err(self.too_slow()))? {
                return Ok(judgement);
            }
        }
        let movies = stored_movies(&group);
        let (claim, answer) = self.enqueue(group)?;
        match log.env().timeout(left(), answer).await {
            Some(Ok(verdict)) => {
                let batch = claim.withdraw().ok_or(Error::Closing)?;
                let judged = self.judgement(verdict?, batch, movies);
                // It is judged, but what the first request got cannot be read again in time.
                let judged = log.env().timeout(left(), judged).await;
                let judgement = judged.unwrap_or(Err(Error::OutcomeUnknown { batch }))?;
                let queued = claim.offered_at().map(|at| at - began).unwrap_or_default();
                Ok(Judgement { queued, ..judgement })
            }
            Some(Err(_)) => Err(claim
                .withdraw()
                .map_or_else(|| shared.why_stopped(), |batch| Error::OutcomeUnknown { batch })),
            None => Err(match claim.withdraw() {
                Some(batch) => Error::OutcomeUnknown { batch },
                None => self.too_slow(),
            }),
        }
    }

    /// The time is up and nothing happened.
    fn too_slow(&self) -> Error {
        let reason = self.trouble().unwrap_or_else(|| "it did not answer in time".into());
        Error::unavailable("write to", self.name().as_str(), reason)
    }

    /// A request that changes nothing on a state that is proved current needs no commit.
    async fn judge_without_commit(&self, group: &Group) -> Result<Option<Judgement>> {
        if group.ops.len() > FORESEEN_OPS_MAX {
            return Ok(None);
        }
        let mutant = self.inner.log.env().mutant();
        let idle = |state: &State| {
            let outcomes = apply::foresee(state, group, mutant);
            let changes = |outcome: &Outcome| {
                matches!(outcome.code, Code::Created | Code::Replaced | Code::Deleted)
            };
            (!outcomes.iter().any(changes)).then_some(outcomes)
        };
        if idle(&self.latest()).is_none() {
            return Ok(None);
        }
        let state = if self.inner.log.env().has(Mutant::ForeseeFromMemory) {
            self.latest()
        } else {
            self.read(Freshness::AtMost(Duration::ZERO)).await?.state
        };
        Ok(idle(&state).map(|outcomes| {
            let results = outcomes.into_iter().zip(stored_movies(group));
            let results = results.map(|(outcome, movie)| OpResult { outcome, movie });
            Judgement {
                state,
                results: results.collect(),
                seq: None,
                replayed: false,
                queued: Duration::ZERO,
            }
        }))
    }

    fn enqueue(&self, group: Group) -> Result<(Arc<Claim>, oneshot::Receiver<Result<Verdict>>)> {
        let shared = &self.inner.shared;
        let (bytes, ops) = (group.encoded_len(), group.ops.len());
        if !(1..=GROUP_OPS_MAX).contains(&ops) || bytes > GROUP_BYTES_MAX {
            return Err(Error::Unprocessable {
                object: self.name().to_string(),
                reason: format!(
                    "one request may carry 1 to {GROUP_OPS_MAX} changes and {GROUP_BYTES_MAX} bytes; \
                     send it in parts"
                )
                .into(),
            });
        }
        if !shared.enter_queue(ops, bytes) {
            shared.meters.queue_refused.increase();
            return Err(Error::Overloaded { what: "the write queue" });
        }
        let (reply, answer) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        let wait = spans::wait("queue");
        let submission = Submission { group, bytes, claim: Arc::clone(&claim), wait, reply };
        match self.inner.submissions.try_send(submission) {
            Ok(()) => Ok((claim, answer)),
            Err(error) => {
                shared.left_queue(ops, bytes);
                Err(match error {
                    mpsc::error::TrySendError::Full(_) => {
                        shared.meters.queue_refused.increase();
                        Error::Overloaded { what: "the write queue" }
                    }
                    mpsc::error::TrySendError::Closed(_) => shared.why_stopped(),
                })
            }
        }
    }

    async fn judgement(
        &self,
        verdict: Verdict,
        batch: BatchId,
        movies: Vec<Option<Bytes>>,
    ) -> Result<Judgement> {
        let Verdict { state, seq, result } = verdict;
        if let Some((first_seq, group)) = result.first_use {
            let replayed = self.replay(state, first_seq, group).await;
            return replayed.map_err(|error| match error {
                // It was judged: "nothing happened" would be untrue.
                Error::Unavailable { .. } => Error::OutcomeUnknown { batch },
                other => other,
            });
        }
        let results = result.outcomes.into_iter().zip(movies);
        let results = results.map(|(outcome, movie)| OpResult { outcome, movie }).collect();
        let queued = Duration::ZERO;
        Ok(Judgement { state, results, seq: Some(seq), replayed: false, queued })
    }

    /// The answer of the request that used the key first stands in its commit.
    async fn replay(&self, state: Arc<State>, seq: Seq, group: usize) -> Result<Judgement> {
        let log = &self.inner.log;
        let object = log.object(seq);
        let bytes =
            log.read(seq).await.map_err(|failure| failure.into_error("read", object.as_str()))?;
        let bytes = bytes.ok_or_else(|| Error::damaged(object.as_str(), "it is gone"))?;
        let commit = Commit::decode(&object, &bytes)?;
        let first = commit.batches.into_iter().flat_map(|batch| batch.groups).nth(group);
        let first = first
            .ok_or_else(|| Error::damaged(object.as_str(), "it holds fewer groups than it did"))?;
        let movies = stored_movies(&first);
        let results = first.ops.iter().zip(movies).map(|(op, movie)| {
            let outcome =
                op.out.ok_or_else(|| Error::damaged(object.as_str(), "an op has no outcome"))?;
            Ok(OpResult { outcome, movie })
        });
        let results = results.collect::<Result<_>>()?;
        let queued = Duration::ZERO;
        Ok(Judgement { state, results, seq: Some(seq), replayed: true, queued })
    }

    /// Refuses new requests; what was accepted is settled, then the owner of the tail ends.
    pub(crate) async fn close(&self) {
        self.inner.shared.close();
        let mut stopped = self.inner.shared.stopped.subscribe();
        // An error means that the sender is gone, and with it the collection.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Whether nobody but the store holds it.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }

    /// When it was last asked for anything.
    pub(crate) fn last_used(&self) -> Instant {
        self.inner.shared.instant(self.inner.shared.used_ms.load(Ordering::Relaxed))
    }
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Collection").field(self.name()).finish()
    }
}

fn stored_movies(group: &Group) -> Vec<Option<Bytes>> {
    let movie = |action: &Action| match action {
        Action::Put(movie) => Some(movie.json().clone()),
        _ => None,
    };
    group.ops.iter().map(|op| movie(&op.action)).collect()
}
