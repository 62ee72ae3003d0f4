//! What the tail's owner reads for: the shared probe of strong reads, catching up, and the poll
//! that keeps an idle replica near the tail.
//!
//! A reader joins only a probe that begins after it arrived; all that wait share the next one, so
//! there is at most one probe a round trip however many readers there are. Never changes state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::bucket::Failure;
use crate::env::Mutant;
use crate::error::Result;
use crate::key::Seq;
use crate::log::{self, Log};
use crate::meters::Meters;
use crate::spans::{self, OpenSpan, Parent};
use crate::state::State;

/// A reader that waits for a proof that the state is current.
#[derive(Debug)]
pub(crate) struct ProbeWaiter {
    pub(crate) reply: oneshot::Sender<Result<Arc<State>>>,
    /// Its time until the answer, where it is traced.
    pub(crate) wait: Option<OpenSpan>,
}

impl ProbeWaiter {
    fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }

    /// A reader that is gone does not mind.
    fn answer(self, answer: Result<Arc<State>>) {
        drop(self.wait);
        let _ = self.reply.send(answer);
    }
}

/// What one read of the tail brought.
pub(crate) struct Window {
    pub(crate) from: Seq,
    pub(crate) count: u64,
    /// One for each commit from `from` on; shorter where it broke off at an error.
    pub(crate) reads: Vec<Result<Option<Bytes>, Failure>>,
    pub(crate) began: Instant,
    /// Whether it began after the committer had asked what stands at the tail.
    pub(crate) settles: bool,
}

/// News of the reading side.
pub(crate) enum Arrival {
    Window(Window),
    Waiter(ProbeWaiter),
}

/// The reading side of the tail's owner.
pub(crate) struct Follower {
    arrivals: mpsc::Receiver<ProbeWaiter>,
    /// For the next read.
    waiting: Vec<ProbeWaiter>,
    /// Served by the read under way.
    joined: Vec<ProbeWaiter>,
    /// Served by the create under way, if it succeeds: it began after they had arrived.
    covered: Vec<ProbeWaiter>,
    read: Option<BoxFuture<'static, Window>>,
    next_count: u64,
    not_before: Instant,
    backoff: Backoff,
    poll: Duration,
    next_poll: Instant,
    joins_in_flight: bool,
}

impl Follower {
    pub(crate) fn new(arrivals: mpsc::Receiver<ProbeWaiter>, poll: Duration, log: &Log) -> Self {
        let now = log.env().instant();
        Self {
            arrivals,
            waiting: Vec::new(),
            joined: Vec::new(),
            covered: Vec::new(),
            read: None,
            next_count: 1,
            not_before: now,
            backoff: Backoff::default(),
            poll,
            next_poll: now + log.env().jittered(poll),
            joins_in_flight: log.env().has(Mutant::JoinProbeInFlight),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.read.is_some()
    }

    /// When it has something to do next, if it is not busy.
    pub(crate) fn due_at(&self, now: Instant) -> Instant {
        if self.not_before > now { self.not_before } else { self.next_poll }
    }

    pub(crate) fn add(&mut self, waiter: ProbeWaiter) {
        if self.joins_in_flight && self.is_busy() {
            self.joined.push(waiter);
        } else {
            self.waiting.push(waiter);
        }
    }

    /// The next reader, or what the read under way brought. Cancel safe.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        let Self { arrivals, read, .. } = self;
        let reading = async {
            match read {
                Some(read) => read.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            window = reading => {
                self.read = None;
                Arrival::Window(window)
            }
            Some(waiter) = arrivals.recv() => Arrival::Waiter(waiter),
            else => std::future::pending().await,
        }
    }

    /// Begins a read behind `tail` if somebody wants one and none is under way. `settle`: the
    /// committer wants to know what stands there, for this commit where it is traced.
    pub(crate) fn begin(
        &mut self,
        log: &Log,
        tail: Seq,
        settle: bool,
        commit: Option<&Parent>,
        now: Instant,
    ) {
        while let Ok(waiter) = self.arrivals.try_recv() {
            self.add(waiter);
        }
        let wanted = settle
            || !self.waiting.is_empty()
            || !self.joined.is_empty()
            || self.next_count > 1
            || self.next_poll <= now;
        if self.is_busy() || !wanted || self.not_before > now {
            return;
        }
        self.joined.append(&mut self.waiting);
        self.next_poll = now + log.env().jittered(self.poll);
        let (log, from, count) = (log.clone(), tail.next(), self.next_count);
        let waits = self.joined.iter_mut().filter_map(|waiter| waiter.wait.as_mut());
        let span = spans::probe_of(commit, waits);
        self.read = Some(Box::pin(async move {
            let traced = span.as_ref().map(OpenSpan::parent);
            let reads = spans::within(traced, log.read_window(from, count)).await;
            drop(span);
            Window { from, count, reads, began: now, settles: settle }
        }));
    }

    /// There is news to be looked for at once, by a read that begins after this.
    pub(crate) fn poll_at(&mut self, now: Instant) {
        self.next_poll = self.next_poll.min(now);
    }

    /// There are more commits than the window held: the next one is larger.
    pub(crate) fn more(&mut self, window: u64, window_bytes: u64) {
        // A window of one would be taken for a mere probe.
        self.next_count = log::next_window(window, window_bytes).max(2);
        self.backoff.reset();
    }

    /// The read failed: again after a pause, unless there is no hope.
    pub(crate) fn failed(&mut self, failure: &Failure, log: &Log, tail: Seq) {
        let pause = self.backoff.pause();
        // What was too much at once may come one by one; who has given up is forgotten.
        self.next_count = 1;
        self.joined.retain(|waiter| !waiter.is_gone());
        self.waiting.retain(|waiter| !waiter.is_gone());
        self.not_before = log.env().instant() + log.env().jittered(pause);
        if failure.is_final {
            let error = failure.clone().into_error("read", log.object(tail.next()));
            self.answer(&Err(error));
        }
    }

    /// A create begins: if it succeeds, the state was current after these readers had arrived.
    pub(crate) fn cover(&mut self) {
        while let Ok(waiter) = self.arrivals.try_recv() {
            self.add(waiter);
        }
        self.covered.append(&mut self.waiting);
    }

    /// The create succeeded.
    pub(crate) fn covered(&mut self, state: &Arc<State>) {
        for waiter in self.covered.drain(..) {
            waiter.answer(Ok(Arc::clone(state)));
        }
    }

    /// The create came to nothing that proves anything.
    pub(crate) fn uncover(&mut self) {
        self.waiting.append(&mut self.covered);
    }

    /// The tail was reached: everyone who waited for this read is answered.
    pub(crate) fn reached(&mut self, state: &Arc<State>, took: Duration, meters: &Meters) {
        if !self.joined.is_empty() {
            meters.probe_time.record_time(took);
            meters.probe_readers.record(self.joined.len() as u64);
        }
        self.next_count = 1;
        self.backoff.reset();
        self.answer(&Ok(Arc::clone(state)));
    }

    fn answer(&mut self, answer: &Result<Arc<State>>) {
        for waiter in self.joined.drain(..) {
            waiter.answer(answer.clone());
        }
    }

    /// The collection stops: nobody will read any more.
    pub(crate) fn stop(&mut self, error: &crate::Error) {
        self.arrivals.close();
        while let Ok(waiter) = self.arrivals.try_recv() {
            self.waiting.push(waiter);
        }
        self.uncover();
        self.joined.append(&mut self.waiting);
        self.answer(&Err(error.clone()));
    }
}
