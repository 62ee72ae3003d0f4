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
        let large = bytes.len() > INLINE_BYTES_MAX;
        let commit_bytes = bytes.clone();
        let work = move || apply::apply(&state, &object, &bytes, mutant);
        let (commit, applied) = if large { self.log.env().compute(work).await? } else { work()? };
        self.last_is_ours = false;
        let ids: Vec<_> = commit.batches.iter().map(|batch| batch.id).collect();
        self.install(seq, applied, &ids, commit_bytes);
        self.forwarding.follow(commit.forward.as_ref(), self.log.env().instant());
        self.guests.send_back();
        Ok(())
    }

    /// A peer that has carried a batch of ours tells of the commits up to that one: installs those that
    /// follow, as if they were read. Where that fails, the log itself says what is wrong.
    pub(super) async fn install_shipped(&mut self, last: Seq, commits: Vec<Bytes>) {
        let first = last.0.saturating_add(1).saturating_sub(commits.len() as u64);
        for (seq, bytes) in (first..).map(Seq).zip(commits) {
            if seq != self.state.seq.next() {
                continue;
            }
            // What is on a folder may not be synced yet, and why a commit is pruned only the log tells.
            if self.is_held() || pruned_to(&bytes).is_some() {
                break;
            }
            // Not a part of the whole answer, which would be kept for it.
            let bytes = Bytes::copy_from_slice(&bytes);
            if let Err(error) = self.install_read(seq, bytes).await {
                tracing::warn!(collection = %self.log.name(), %error, "a commit that a replica has sent does not follow");
                break;
            }
        }
        if self.log.env().has(Mutant::ShippedIsProof) {
            self.shared.checked(self.log.env().instant());
        }
        if self.state.seq < last {
            self.follower.poll_at(self.log.env().instant());
        }
    }

    /// Installs the offer as it was prepared: it is in the log.
    pub(super) fn install_ours(&mut self, prepared: Prepared) {
        let pending = self.offer.iter().flat_map(|offer| &offer.pending);
        let ids: Vec<_> = pending.clone().map(|pending| pending.batch.id).collect();
        let guests = pending.filter(|pending| pending.is_of_peer()).count();
        self.last_is_ours = true;
        self.forwarding.follow(None, self.log.env().instant());
        self.guests.carried(guests, self.log.env().instant(), &self.shared.meters);
        self.install(prepared.seq, prepared.applied, &ids, prepared.bytes);
    }

    /// The one place where state changes and waiters are answered: the commit is durable, the new
    /// state is swapped in, then whoever waits for one of its batches gets its outcomes.
    fn install(&mut self, seq: Seq, applied: Applied, ids: &[BatchId], bytes: Bytes) {
        let Applied { state, batches: results } = applied;
        let before = std::mem::replace(&mut self.state, Arc::new(state));
        self.shared.publish(&self.state);
        if !self.last_is_ours {
            self.shared.meters.commits_of_others.increase();
        }
        self.shared.bell.installed(&Install {
            at: self.log.env().instant(),
            bytes: bytes.len() as u64,
            state_bytes: self.state.movies.wire_bytes(),
            // A collection that lives again has another file, though no movie changed.
            changes: self.state.version.0 == seq || before.dropped != self.state.dropped,
            is_ours: self.last_is_ours,
        });
        if self.forwarding.is_on() {
            self.recent.push(seq, before.hash, bytes);
        }
        let (env, state) = (self.log.env(), Arc::clone(&self.state));
        let meters = Arc::clone(&self.shared.meters);
        let now = env.instant();
        let recent = &self.recent;
        let by = Settlement { state: &state, ids, results: &results, recent, now, meters: &meters };
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
