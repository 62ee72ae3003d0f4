//! A batch on its way into the log, and those who wait for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::recent::Recent;
use super::submission::Verdict;
use crate::apply::{Applied, GroupResult};
use crate::backoff::Backoff;
use crate::bucket::Failure;
use crate::commit::{Batch, COMMIT_BYTES_MAX, COMMIT_OPS_MAX, Commit};
use crate::error::Error;
use crate::key::{BatchId, CommitHash, Seq};
use crate::log::Log;
use crate::meters::Meters;
use crate::peers::Carriage;
use crate::spans::{OpenSpan, Parent};
use crate::state::State;

/// The room that a commit's own members take.
pub(super) const COMMIT_ROOM: usize = 4 * 1024;

/// What becomes of a batch, for its span.
const FAILED: &str = "failed";
const UNKNOWN: &str = "unknown";

/// What the committer does next with an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Create it at the tail.
    Ready,
    /// See first what stands at the tail.
    Look,
}

/// A batch that is not in the log yet, as far as is known, and who waits for it.
pub(crate) struct Pending {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    waiters: Waiters,
    /// Where any of its requests is traced.
    span: Option<OpenSpan>,
    /// How often it was sent, to the bucket or to a peer.
    attempts: u64,
    /// Whether a peer has it, too: it may come into the log without us.
    pub(super) is_abroad: bool,
    /// When it has to be in the log, or its owner creates it: since it was first sent to a peer.
    pub(super) due: Option<Instant>,
    /// When it was taken out of the queue.
    formed: Instant,
}

/// Who waits for a batch.
pub(super) enum Waiters {
    /// Clients of this replica, one for each group.
    Clients(Vec<oneshot::Sender<Result<Verdict, Error>>>),
    /// The replica whose clients sent it.
    Peer(Owner),
}

/// The replica that a batch belongs to.
pub(super) struct Owner {
    reply: oneshot::Sender<Carriage>,
    /// The first commit that it does not have.
    lacks: Seq,
    /// The hash of the one before.
    prev: Option<CommitHash>,
}

impl Owner {
    fn hear(self, seq: Seq, recent: &Recent) {
        let commits = recent.since(self.lacks);
        // One that waits no longer reads the log.
        let _ = self.reply.send(Carriage::Committed { seq, commits });
    }
}

/// What is to be created at the tail next.
pub(crate) struct Offer {
    /// Never empty.
    pub(super) pending: Vec<Pending>,
    pub(super) phase: Phase,
    pub(super) prepared: Option<Prepared>,
    /// Whether an attempt may still take effect.
    pub(super) was_unknown: bool,
    /// Whether another was quicker, who then may take it along.
    pub(super) lost_race: bool,
    /// The store's last word, if it refused for good.
    pub(super) refused: Option<Failure>,
    pub(super) not_before: Instant,
    pub(super) backoff: Backoff,
}

/// A commit as it is sent, with what it will do.
pub(crate) struct Prepared {
    pub(super) seq: Seq,
    pub(super) bytes: Bytes,
    pub(super) applied: Applied,
}

/// What a commit still holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) ops: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// That of an empty one.
    pub(super) const WHOLE: Self =
        Self { ops: COMMIT_OPS_MAX, bytes: COMMIT_BYTES_MAX - COMMIT_ROOM };

    /// Half of that.
    pub(super) const HALF: Self = Self { ops: Self::WHOLE.ops / 2, bytes: Self::WHOLE.bytes / 2 };

    /// Makes room for a batch, if there is.
    pub(super) fn takes(&mut self, pending: &Pending) -> bool {
        let (ops, bytes) = (pending.ops(), pending.bytes);
        let fits = ops <= self.ops && bytes <= self.bytes;
        if fits {
            *self = Self { ops: self.ops - ops, bytes: self.bytes - bytes };
        }
        fits
    }
}

/// What settles a batch: a commit that was installed.
pub(super) struct Settlement<'a> {
    /// The state after it.
    pub(super) state: &'a Arc<State>,
    /// Its batches, in order.
    pub(super) ids: &'a [BatchId],
    /// What became of their groups.
    pub(super) results: &'a [Vec<GroupResult>],
    /// It and those before it.
    pub(super) recent: &'a Recent,
    pub(super) now: Instant,
    pub(super) meters: &'a Meters,
}

/// What a commit means to a batch.
pub(super) enum Settled {
    /// It holds it.
    Judged,
    /// It is void: no commit up to its last one holds it, so it has not happened.
    Void(Pending),
    /// Not yet.
    Open(Pending),
}

impl Pending {
    pub(super) fn new(
        batch: Batch,
        waiters: Waiters,
        span: Option<OpenSpan>,
        now: Instant,
    ) -> Self {
        let bytes = batch.encoded_len();
        let (attempts, is_abroad) = (0, false);
        Self { batch, bytes, waiters, span, attempts, is_abroad, due: None, formed: now }
    }

    /// One that a peer wants taken along.
    pub(crate) fn of_peer(
        batch: Batch,
        message_bytes: usize,
        span: Option<OpenSpan>,
        (lacks, prev): (Seq, Option<CommitHash>),
        reply: oneshot::Sender<Carriage>,
        now: Instant,
    ) -> Self {
        let owner = Owner { reply, lacks, prev };
        let mut pending = Self::new(batch, Waiters::Peer(owner), span, now);
        // Nobody has checked at the edge how its texts are escaped.
        pending.bytes += message_bytes;
        pending
    }

    pub(super) fn ops(&self) -> usize {
        self.batch.groups.iter().map(|group| group.ops.len()).sum()
    }

    pub(super) fn is_of_peer(&self) -> bool {
        matches!(self.waiters, Waiters::Peer(_))
    }

    /// The bytes of a message that holds it alone.
    pub(super) fn message_bytes(&self) -> usize {
        self.bytes + COMMIT_ROOM
    }

    /// Whether its owner's log is this one as far as that goes: a copy of a bucket has the same log,
    /// and another end. Where nobody can tell, it is not.
    pub(super) fn is_of(&self, state: &State, recent: &Recent) -> bool {
        let Waiters::Peer(Owner { lacks, prev, .. }) = &self.waiters else { return true };
        let before = if *lacks == state.seq.next() { state.hash } else { recent.before(*lacks) };
        prev.is_some() && *prev == before
    }

    /// It was judged before, in commit `seq` at the latest.
    pub(super) fn was_judged(self, seq: Seq, recent: &Recent) {
        if let Waiters::Peer(owner) = self.waiters {
            owner.hear(seq, recent);
        }
    }

    /// It is sent: what its request is a part of, where it is traced.
    pub(super) fn sent(&mut self) -> Option<Parent> {
        self.attempts += 1;
        self.traced().map(|parent| parent.at(self.attempts))
    }

    /// What requests for its sake are parts of, where it is traced.
    fn traced(&self) -> Option<Parent> {
        self.span.as_ref().map(OpenSpan::parent)
    }

    /// Its span ends before anybody is answered, so that it lies within those of its requests.
    fn end_span(&mut self, outcome: &'static str, seq: Option<Seq>) {
        let Some(mut span) = self.span.take() else { return };
        span.set("movies.commit.requests", self.batch.groups.len() as u64);
        span.set("movies.commit.ops", self.ops() as u64);
        span.set("movies.commit.bytes", self.bytes as u64);
        span.set("movies.commit.attempts", self.attempts);
        span.set("movies.commit.outcome", outcome);
        if let Some(seq) = seq {
            span.set("movies.commit.seq", seq.0);
        }
        if matches!(outcome, FAILED | UNKNOWN) {
            span.set("error.type", outcome);
            span.fail();
        }
    }

    /// The same batch has come again from its peer, who waits for this answer now.
    pub(super) fn ask_again(&mut self, again: Self) {
        self.waiters = again.waiters;
    }

    /// It is its owner's again.
    pub(super) fn give_back(mut self) {
        self.end_span("given back", None);
        if let Waiters::Peer(owner) = self.waiters {
            let _ = owner.reply.send(Carriage::NotCarried);
        }
    }

    /// A void one of this replica's clients, under another id.
    pub(super) fn renewed(mut self, id: BatchId, until: Seq) -> Option<Self> {
        if self.is_of_peer() {
            self.give_back();
            return None;
        }
        self.batch.id = id;
        self.batch.until = until;
        (self.is_abroad, self.due) = (false, None);
        Some(self)
    }

    /// Whether a peer sent it that does not wait any more.
    pub(super) fn is_left(&self) -> bool {
        matches!(&self.waiters, Waiters::Peer(owner) if owner.reply.is_closed())
    }

    /// Answers whoever waits, if the commit holds it.
    pub(super) fn settle(self, by: &Settlement<'_>) -> Settled {
        let seq = by.state.seq;
        let Some(position) = by.ids.iter().position(|id| *id == self.batch.id) else {
            return if self.batch.until <= seq { Settled::Void(self) } else { Settled::Open(self) };
        };
        if !self.is_of_peer() {
            by.meters.commit_time.record_time(by.now.saturating_duration_since(self.formed));
            by.meters.commit_ops.record(self.ops() as u64);
        }
        self.answer(by.state, seq, by.results.get(position), by.recent);
        Settled::Judged
    }

    /// The batch was judged in commit `seq`. One without groups withdrew it: nothing happened.
    pub(super) fn answer(
        mut self,
        state: &Arc<State>,
        seq: Seq,
        results: Option<&Vec<GroupResult>>,
        recent: &Recent,
    ) {
        self.end_span(if results.is_some() { "committed" } else { "withdrawn" }, Some(seq));
        let waiters = match self.waiters {
            Waiters::Clients(waiters) => waiters,
            Waiters::Peer(owner) => return owner.hear(seq, recent),
        };
        let results = results.map(Vec::as_slice).unwrap_or_default();
        for (index, waiter) in waiters.into_iter().enumerate() {
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

    /// A deliberate bug: whoever waits is answered before the commit.
    pub(super) fn answer_early(
        mut self,
        state: &Arc<State>,
        seq: Seq,
        results: &Vec<GroupResult>,
        recent: &Recent,
    ) -> Self {
        let waiters = std::mem::replace(&mut self.waiters, Waiters::Clients(Vec::new()));
        let early = Self::new(self.batch.clone(), waiters, None, self.formed);
        early.answer(state, seq, Some(results), recent);
        self
    }

    /// It is given up. A peer goes on by itself, whatever the reason.
    pub(super) fn answer_error(mut self, error: &Error) {
        let is_unknown = matches!(error, Error::OutcomeUnknown { .. });
        self.end_span(if is_unknown { UNKNOWN } else { FAILED }, None);
        match self.waiters {
            Waiters::Clients(waiters) => {
                for waiter in waiters {
                    let _ = waiter.send(Err(error.clone()));
                }
            }
            Waiters::Peer(_) => self.give_back(),
        }
    }

    pub(super) fn answer_unknown(self) {
        let error = Error::OutcomeUnknown { batch: self.batch.id };
        self.answer_error(&error);
    }
}

impl Offer {
    pub(super) fn new(pending: Vec<Pending>, phase: Phase, now: Instant) -> Self {
        Self {
            pending,
            phase,
            prepared: None,
            was_unknown: false,
            lost_race: false,
            refused: None,
            not_before: now,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.pending.iter().map(|pending| pending.bytes).sum()
    }

    pub(super) fn batches(&self) -> Vec<Batch> {
        self.pending.iter().map(|pending| pending.batch.clone()).collect()
    }

    /// It is sent: what the request is a part of, where a batch in it is traced; of several, the
    /// first, to which the others have links.
    pub(super) fn sent(&mut self) -> Option<Parent> {
        let mut first: Option<Parent> = None;
        for pending in &mut self.pending {
            let parent = pending.sent();
            match (&first, &mut pending.span) {
                (None, _) => first = parent,
                (Some(first), Some(span)) => span.link(first.context()),
                (Some(_), None) => {}
            }
        }
        first
    }

    /// What requests for its sake are parts of, where it is traced.
    pub(super) fn traced(&self) -> Option<Parent> {
        self.pending.iter().find_map(Pending::traced)
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
        tracing::debug!(reason = %failure.reason, "outcome unknown");
        self.backoff.pause()
    }

    pub(super) fn answer_error(self, error: &Error) {
        for pending in self.pending {
            pending.answer_error(error);
        }
    }

    pub(super) fn answer_unknown(self) {
        for pending in self.pending {
            pending.answer_unknown();
        }
    }

    /// The store refuses it for good: nothing happened, unless an earlier attempt is unknown, or a
    /// peer has it.
    pub(super) fn answer_refused(self, error: &Error) {
        for pending in self.pending {
            if self.was_unknown || pending.is_abroad {
                pending.answer_unknown();
            } else {
                pending.answer_error(error);
            }
        }
    }
}

/// A commit at the tail that nobody has judged yet.
pub(super) fn unjudged(
    log: &Log,
    state: &State,
    writer: &Arc<str>,
    forward: Option<Arc<str>>,
    batches: Vec<Batch>,
) -> Commit {
    Commit {
        format: state.format,
        log: state.log,
        seq: state.seq.next(),
        at: log.env().now(),
        writer: Arc::clone(writer),
        forward,
        prev: state.hash,
        batches,
    }
}
