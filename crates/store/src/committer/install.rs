//! A durable commit becomes the state, and whoever waits for one of its batches is answered.

use std::sync::Arc;

use bytes::Bytes;

use super::offer::{Pending, Prepared, Settled, Settlement};
use super::{Committer, INLINE_BYTES_MAX};
use crate::apply::{self, Applied};
use crate::checkpoint::Install;
use crate::commit::{UNTIL_WINDOW, pruned_to};
use crate::env::Mutant;
use crate::error::Error;
use crate::key::{BatchId, LogId, Seq};
use crate::state::State;

impl Committer {
    /// Installs a commit that was read: ours, if it has the very bytes that we prepared.
    pub(super) async fn install_read(&mut self, seq: Seq, bytes: Bytes) -> Result<(), Error> {
        if let Some(offer) = &mut self.offer
            && let Some(prepared) =
                offer.prepared.take_if(|prepared| prepared.seq == seq && prepared.bytes == bytes)
        {
            if self.log.is_folder() && offer.was_unknown {
                // The file is linked, but its sync failed.
                return Err(self.log.bucket().distrust(&self.log.object(seq)));
            }
            self.creating = None;
            self.install_ours(prepared);
            return Ok(());
        }
        if let Some(checkpoint) = pruned_to(&bytes) {
            return self.reload(seq, checkpoint).await;
        }
        // A genesis that stands only in memory gives way to the log's own.
        let state = match self.state.seq {
            Seq::ZERO => Arc::new(State::empty(LogId::ZERO)),
            _ => Arc::clone(&self.state),
        };
        let (object, mutant) = (self.log.object(seq), self.log.env().mutant());
        let length = bytes.len();
        let large = length > INLINE_BYTES_MAX;
        let work = move || apply::apply(&state, &object, &bytes, mutant);
        let (commit, applied) = if large { self.log.env().compute(work).await? } else { work()? };
        self.last_is_ours = false;
        let ids: Vec<_> = commit.batches.iter().map(|batch| batch.id).collect();
        self.install(seq, applied, &ids, length);
        self.forwarding.follow(commit.forward.as_ref(), self.log.env().instant());
        self.guests.send_back();
        Ok(())
    }

    /// Installs the offer as it was prepared: it is in the log.
    pub(super) fn install_ours(&mut self, prepared: Prepared) {
        let pending = self.offer.iter().flat_map(|offer| &offer.pending);
        let ids: Vec<_> = pending.clone().map(|pending| pending.batch.id).collect();
        let guests = pending.filter(|pending| pending.is_of_peer()).count();
        self.last_is_ours = true;
        self.forwarding.follow(None, self.log.env().instant());
        self.guests.carried(guests, self.log.env().instant(), &self.shared.meters);
        self.install(prepared.seq, prepared.applied, &ids, prepared.bytes.len());
    }

    /// The one place where state changes and waiters are answered: the commit is durable, the new
    /// state is swapped in, then whoever waits for one of its batches gets its outcomes.
    fn install(&mut self, seq: Seq, applied: Applied, ids: &[BatchId], bytes: usize) {
        let Applied { state, batches: results } = applied;
        let was_dropped = std::mem::replace(&mut self.state, Arc::new(state)).dropped;
        self.shared.publish(&self.state);
        if !self.last_is_ours {
            self.shared.meters.commits_of_others.increase();
        }
        self.shared.bell.installed(&Install {
            at: self.log.env().instant(),
            bytes: bytes as u64,
            state_bytes: self.state.movies.wire_bytes(),
            // A collection that lives again has another file, though no movie changed.
            changes: self.state.version.0 == seq || was_dropped != self.state.dropped,
            is_ours: self.last_is_ours,
        });
        let (env, state) = (self.log.env(), Arc::clone(&self.state));
        let meters = Arc::clone(&self.shared.meters);
        let now = env.instant();
        let by = Settlement { state: &state, ids, results: &results, now, meters: &meters };
        let renew = |void: Pending| void.renewed(env.batch_id(), Seq(seq.0 + UNTIL_WINDOW));
        self.forwarding.settle(&by, renew);
        self.guests.settle(&by);
        let Some(mut offer) = self.offer.take() else { return };
        offer.prepared = offer.prepared.take_if(|prepared| prepared.seq > seq);
        let (mut open, mut renewed) = (Vec::new(), Vec::new());
        for pending in offer.pending {
            match pending.settle(&by) {
                Settled::Judged => {}
                Settled::Void(void) => renewed.extend(renew(void)),
                Settled::Open(pending) => open.push(pending),
            }
        }
        if env.has(Mutant::VoidTooSoon) {
            renewed.extend(open.drain(..).filter_map(renew));
        }
        offer.was_unknown &= !open.is_empty();
        if open.is_empty() {
            self.creating = None;
        }
        open.append(&mut renewed);
        offer.pending = open;
        self.offer = Some(offer).filter(|offer| !offer.pending.is_empty());
    }
}
