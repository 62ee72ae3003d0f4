//! Large batches: one is judged while the one before it is being created.
//!
//! A batch gathers as long as the one before it is under way; that is what makes groups commit
//! together. One that is large already gains little by that, and judging it takes about as long as
//! creating a commit: so it is judged on the state that the commit under way will leave, if that
//! is what comes to stand there. Else it is judged again, as any other.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Committer;
use super::gather::preparation;
use super::offer::{Offer, Prepared};
use crate::commit::COMMIT_BYTES_MAX;
use crate::env::Mutant;
use crate::error::Error;
use crate::key::CommitHash;

/// A batch that was never sent, and what it will be if all goes well.
pub(crate) struct Ahead {
    offer: Offer,
    /// The commit that it is judged behind.
    behind: Option<CommitHash>,
    preparing: BoxFuture<'static, Result<Prepared, Error>>,
}

impl Ahead {
    /// It was never sent: nothing happened.
    pub(super) fn answer_error(self, error: &Error) {
        self.offer.answer_error(error);
    }
}

impl Committer {
    /// Begins to judge the next batch, if it is large and a create is under way.
    pub(super) fn work_ahead(&mut self) {
        // What has come back waits for the next create already.
        let is_busy = self.ahead.is_some() || self.forwarding.has_returned();
        if self.creating.is_none() || is_busy || !self.much_waits() {
            return;
        }
        let prepared = self.offer.as_ref().and_then(|offer| offer.prepared.as_ref());
        let Some(state) = prepared.map(|prepared| Arc::new(prepared.applied.state.clone())) else {
            return;
        };
        let behind = state.hash;
        if let Some(pending) = self.take_batch(self.batch_ops_max, COMMIT_BYTES_MAX, true) {
            let now = self.log.env().instant();
            let offer = Offer::new(vec![pending], self.first_phase(), now);
            let forward = self.forwarding.address();
            let work = preparation(&self.log, &self.writer, forward, state, offer.batches());
            let preparing = Box::pin(self.log.env().compute(work));
            self.ahead = Some(Ahead { offer, behind, preparing });
        }
    }

    /// Half of what a commit may hold, or more.
    pub(super) fn much_waits(&self) -> bool {
        self.queue.len() >= self.batch_ops_max || self.large_waits()
    }

    /// A group that takes half of it by itself.
    pub(super) fn large_waits(&self) -> bool {
        self.queue.front().is_some_and(|first| {
            2 * first.group.ops.len() >= self.batch_ops_max || 2 * first.bytes >= COMMIT_BYTES_MAX
        })
    }

    /// The batch that was judged ahead has its turn.
    pub(super) async fn catch_up_with(&mut self, ahead: Ahead) -> Result<Offer, Error> {
        let Ahead { mut offer, behind, preparing } = ahead;
        offer.phase = self.first_phase();
        if self.state.hash == behind || self.log.env().has(Mutant::TrustForesight) {
            match preparing.await {
                Ok(prepared) => offer.prepared = Some(prepared),
                Err(error) => {
                    offer.answer_error(&error);
                    return Err(error);
                }
            }
        } else {
            // It was never sent, so its time may begin anew.
            let until = self.until();
            offer.pending.iter_mut().for_each(|pending| pending.batch.until = until);
        }
        Ok(offer)
    }
}
