//! A request in the queue, and who has it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::apply::GroupResult;
use crate::commit::Group;
use crate::error::Error;
use crate::key::{BatchId, Seq};
use crate::spans::OpenSpan;
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
