//! From the queue to a create under way: the group commit.

use std::sync::Arc;

use super::offer::{COMMIT_ROOM, Offer, Pending, Phase, Prepared, Room, Waiters, unjudged};
use super::{Committer, INLINE_BYTES_MAX};
use crate::apply;
use crate::bucket::Failure;
use crate::commit::{Batch, Group, UNTIL_WINDOW};
use crate::env::Mutant;
use crate::error::Error;
use crate::key::{BatchId, Seq};
use crate::log::Log;
use crate::spans;
use crate::state::State;

/// A clock further off the bucket's must not stamp commits: it could expire every
/// idempotency key.
const CLOCK_AHEAD_MS_MAX: i64 = 60_000;

impl Committer {
    /// Takes all that waits, as far as one commit holds it: what came back from a peer, what peers
    /// want taken along, and the groups of the queue.
    pub(super) fn form_offer(&mut self) -> Option<Offer> {
        let now = self.log.env().instant();
        let gathers = self.guests.gather_until.is_some_and(|until| until > now);
        let waits =
            self.forwarding.has_returned() || !self.guests.is_empty() || !self.queue.is_empty();
        if self.is_for_peer() {
            return None;
        }
        if !waits || gathers && !self.much_waits() && !self.forwarding.has_returned() {
            return None;
        }
        let mut room = Room::WHOLE;
        let (mut pending, beaten) = self.forwarding.take_returned(&mut room);
        let phase = if pending.is_empty() { self.first_phase() } else { Phase::Look };
        if !self.large_waits() {
            pending.extend(self.guests.take(&mut room));
        }
        if let Some(reason) = self.clock_is_off() {
            let error = Error::unavailable("write to", self.log.name().as_str(), reason);
            for submission in self.queue.drain(..) {
                self.shared.left_queue(submission.group.ops.len(), submission.bytes);
                submission.answer(Err(error.clone()));
            }
            Offer::new(pending, phase, now).answer_refused(&error);
            return None;
        }
        // A large one goes alone, or it would wait for ever.
        let must = pending.is_empty();
        let ops_max = self.batch_ops_max.min(room.ops);
        pending.extend(self.take_batch(ops_max, room.bytes + COMMIT_ROOM, must));
        let mut offer = Offer::new(pending, phase, now);
        offer.lost_race = beaten;
        (!offer.pending.is_empty()).then_some(offer)
    }

    /// Makes a batch of the first groups of the queue, as far as they fit; `must`: of the first one
    /// in any case.
    pub(super) fn take_batch(
        &mut self,
        ops_max: usize,
        bytes_max: usize,
        must: bool,
    ) -> Option<Pending> {
        let (id, now) = (self.log.env().batch_id(), self.log.env().instant());
        let (mut groups, mut waiters, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ops, mut bytes) = (0, COMMIT_ROOM);
        while let Some(next) = self.queue.pop_front_if(|next| {
            must && groups.is_empty()
                || ops + next.group.ops.len() <= ops_max && bytes + next.bytes <= bytes_max
        }) {
            self.shared.left_queue(next.group.ops.len(), next.bytes);
            if next.claim.offer(id, now) {
                ops += next.group.ops.len();
                bytes += next.bytes;
                groups.push(next.group);
                waiters.push(next.reply);
                waits.extend(next.wait);
            }
        }
        if groups.is_empty() {
            return None;
        }
        let (batch, span) = (self.batch(id, groups), spans::commit_of(waits));
        Some(Pending::new(batch, Waiters::Clients(waiters), span, now))
    }

    /// Whoever wrote the last commit may well be about to write the next one.
    pub(super) fn first_phase(&self) -> Phase {
        if self.last_is_ours { Phase::Ready } else { Phase::Look }
    }

    /// Why this machine's clock must not stamp a commit, if so.
    fn clock_is_off(&self) -> Option<String> {
        let ahead = self.log.bucket().clock_ahead_ms(self.log.env())?;
        let off = ahead.abs() > CLOCK_AHEAD_MS_MAX;
        off.then(|| {
            format!("this machine's clock is {} s off the bucket's; set it right", ahead / 1_000)
        })
    }

    /// The last commit in which a batch of now may count.
    pub(super) fn until(&self) -> Seq {
        Seq(self.state.seq.0 + UNTIL_WINDOW)
    }

    fn batch(&self, id: BatchId, groups: Vec<Group>) -> Batch {
        Batch { id, until: self.until(), from: Arc::clone(&self.writer), groups }
    }

    /// Prepares the offer at the tail, unless it is prepared there already, and sends it.
    pub(super) async fn begin_create(&mut self) -> Result<(), Error> {
        let seq = self.state.seq.next();
        let is_prepared =
            |offer: &Offer| offer.prepared.as_ref().is_some_and(|prepared| prepared.seq == seq);
        if !self.offer.as_ref().is_some_and(is_prepared)
            && let Some(reason) = self.clock_is_off()
        {
            // It may have jumped while the offer waited for its turn.
            self.drop_refused(&Failure::lasting(reason));
            return Ok(());
        }
        let Some(offer) = &mut self.offer else { return Ok(()) };
        offer.lost_race = false;
        if !is_prepared(offer) {
            let forward = self.forwarding.address();
            let state = Arc::clone(&self.state);
            let work = preparation(&self.log, &self.writer, forward, state, offer.batches());
            offer.prepared = Some(if offer.bytes() > INLINE_BYTES_MAX {
                self.log.env().compute(work).await?
            } else {
                work()?
            });
        }
        let Some(prepared) = offer.prepared.take() else { return Ok(()) };
        let answers_early = |pending: &Pending| match pending.is_of_peer() {
            true => self.log.env().has(Mutant::ShipBeforeDurable),
            false => self.log.env().has(Mutant::AnswerBeforeDurable),
        };
        if offer.pending.iter().any(answers_early) {
            let state = Arc::new(prepared.applied.state.clone());
            let mut recent = self.recent.clone();
            recent.push(seq, self.state.hash, prepared.bytes.clone());
            let results = prepared.applied.batches.iter();
            for (pending, results) in std::mem::take(&mut offer.pending).into_iter().zip(results) {
                offer.pending.push(match answers_early(&pending) {
                    true => pending.answer_early(&state, seq, results, &recent),
                    false => pending,
                });
            }
        }
        self.compressor.follow(&self.state.movies, &prepared.applied.state.movies);
        let (log, bytes) = (self.log.clone(), prepared.bytes.clone());
        offer.prepared = Some(prepared);
        let traced = offer.sent();
        if self.log.is_folder() {
            self.follower.cover();
        }
        self.create_began = Some(self.log.env().instant());
        let create = async move { log.create(seq, bytes).await };
        self.creating = Some(Box::pin(spans::within(traced, create)));
        Ok(())
    }
}

/// The work that makes a commit of some batches on `state`.
pub(super) fn preparation(
    log: &Log,
    writer: &Arc<str>,
    forward: Option<Arc<str>>,
    state: Arc<State>,
    batches: Vec<Batch>,
) -> impl FnOnce() -> Result<Prepared, Error> + Send + 'static {
    let commit = unjudged(log, &state, writer, forward, batches);
    let mutant = log.env().mutant();
    move || {
        let seq = commit.seq;
        let (_, bytes, applied) = apply::prepare(&state, commit, mutant)?;
        Ok(Prepared { seq, bytes, applied })
    }
}
