//! A batch on its way into the log, and those who wait for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::apply::{Applied, GroupResult};
use crate::backoff::Backoff;
use crate::bucket::Failure;
use crate::commit::{Batch, Group};
use crate::error::Error;
use crate::key::{BatchId, Seq};
use crate::meters::Meters;
use crate::spans::{OpenSpan, Parent};
use crate::state::State;

/// A request in the queue.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) group: Group,
    /// About the bytes that it takes in a commit.
    pub(crate) bytes: usize,
    pub(crate) claim: Arc<Claim>,
    /// Its time in the queue, where it is traced.
    pub(crate) wait: Option<OpenSpan>,
    pub(crate) reply: oneshot::Sender<Result<Verdict, Error>>,
}

/// What the log said of a group.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) state: Arc<State>,
    pub(crate) seq: Seq,
    pub(crate) result: GroupResult,
}

impl Submission {
    /// Answers; a caller that is gone does not mind.
    pub(super) fn answer(self, answer: Result<Verdict, Error>) {
        let _ = self.reply.send(answer);
    }
}

/// Who has a queued request: the committer once it is offered, its client if it gives up first.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    state: AtomicU8,
    offered: OnceLock<(BatchId, Instant)>,
}

const QUEUED: u8 = 0;
const OFFERED: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Claim {
    /// The committer takes it into batch `id`; `false` where the client has given up.
    pub(super) fn offer(&self, id: BatchId, now: Instant) -> bool {
        // Set first, so that a client that loses the race below finds it.
        let _ = self.offered.set((id, now));
        self.turn(OFFERED)
    }

    /// The client gives up. `None`: nothing happened and nothing will. Else the batch that may
    /// still be committed.
    pub(crate) fn withdraw(&self) -> Option<BatchId> {
        if self.turn(WITHDRAWN) { None } else { self.offered.get().map(|(id, _)| *id) }
    }

    /// When the committer took it.
    pub(crate) fn offered_at(&self) -> Option<Instant> {
        self.offered.get().map(|(_, at)| *at)
    }

    fn turn(&self, to: u8) -> bool {
        self.state.compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What the committer does next with an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Create it at the tail.
    Ready,
    /// See first what stands at the tail.
    Look,
}

/// A batch that is not in the log yet, as far as is known.
pub(crate) struct Offer {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    waiters: Vec<oneshot::Sender<Result<Verdict, Error>>>,
    /// Where any of its requests is traced.
    span: Option<OpenSpan>,
    /// How often it was sent.
    attempts: u64,
    pub(super) phase: Phase,
    pub(super) prepared: Option<Prepared>,
    /// Whether an attempt may still take effect.
    pub(super) was_unknown: bool,
    /// The store's last word, if it refused for good.
    pub(super) refused: Option<Failure>,
    /// When it was taken out of the queue.
    formed: Instant,
    pub(super) not_before: Instant,
    pub(super) backoff: Backoff,
}

/// A commit as it is sent, with what it will do.
pub(crate) struct Prepared {
    pub(super) seq: Seq,
    pub(super) bytes: Bytes,
    pub(super) applied: Applied,
}

impl Offer {
    pub(super) fn new(
        batch: Batch,
        waiters: Vec<oneshot::Sender<Result<Verdict, Error>>>,
        span: Option<OpenSpan>,
        phase: Phase,
        now: Instant,
    ) -> Self {
        let bytes = batch.encoded_len();
        Self {
            batch,
            bytes,
            waiters,
            span,
            attempts: 0,
            phase,
            prepared: None,
            was_unknown: false,
            refused: None,
            formed: now,
            not_before: now,
            backoff: Backoff::default(),
        }
    }

    /// It is sent: what its request is a part of, where it is traced.
    pub(super) fn sent(&mut self) -> Option<Parent> {
        self.attempts += 1;
        self.traced().map(|parent| parent.at(self.attempts))
    }

    /// What requests for its sake are parts of, where it is traced.
    pub(super) fn traced(&self) -> Option<Parent> {
        self.span.as_ref().map(OpenSpan::parent)
    }

    /// Its span ends before anybody is answered, so that it lies within those of its requests.
    fn end_span(&mut self, outcome: &'static str, seq: Option<Seq>) {
        let Some(mut span) = self.span.take() else { return };
        let ops: usize = self.batch.groups.iter().map(|group| group.ops.len()).sum();
        span.set("movies.commit.requests", self.batch.groups.len() as u64);
        span.set("movies.commit.ops", ops as u64);
        span.set("movies.commit.bytes", self.bytes as u64);
        span.set("movies.commit.attempts", self.attempts);
        span.set("movies.commit.outcome", outcome);
        match seq {
            Some(seq) => span.set("movies.commit.seq", seq.0),
            None => {
                span.set("error.type", outcome);
                span.fail();
            }
        }
    }

    /// The create came back; see what is there.
    pub(super) fn look(&mut self, refused: Option<Failure>) {
        self.phase = Phase::Look;
        self.refused = refused;
    }

    /// The create's outcome is unknown; gives the pause before the look.
    pub(super) fn unknown(&mut self, failure: &Failure) -> Duration {
        self.was_unknown = true;
        self.look(None);
        tracing::debug!(batch = %self.batch.id, reason = %failure.reason, "outcome unknown");
        self.backoff.pause()
    }

    /// It is in the log.
    pub(super) fn measure(&self, now: Instant, meters: &Meters) {
        let ops: usize = self.batch.groups.iter().map(|group| group.ops.len()).sum();
        meters.commit_time.record_time(now.saturating_duration_since(self.formed));
        meters.commit_ops.record(ops as u64);
    }

    /// The batch was judged in commit `seq`. One without groups withdrew it: nothing happened.
    pub(super) fn answer(
        &mut self,
        state: &Arc<State>,
        seq: Seq,
        results: Option<&Vec<GroupResult>>,
    ) {
        self.end_span(if results.is_some() { "committed" } else { "withdrawn" }, Some(seq));
        let results = results.map(Vec::as_slice).unwrap_or_default();
        for (index, waiter) in self.waiters.drain(..).enumerate() {
            let verdict = match results.get(index) {
                Some(result) => {
                    Ok(Verdict { state: Arc::clone(state), seq, result: result.clone() })
                }
                None => Err(Error::unavailable(
                    "write",
                    "the batch",
                    "it was withdrawn; nothing happened",
                )),
            };
            let _ = waiter.send(verdict);
        }
    }

    pub(super) fn answer_error(mut self, error: &Error) {
        let is_unknown = matches!(error, Error::OutcomeUnknown { .. });
        self.end_span(if is_unknown { "unknown" } else { "failed" }, None);
        for waiter in self.waiters {
            let _ = waiter.send(Err(error.clone()));
        }
    }

    pub(super) fn answer_unknown(self) {
        let error = Error::OutcomeUnknown { batch: self.batch.id };
        self.answer_error(&error);
    }
}
