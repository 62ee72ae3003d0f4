//! From the queue to a create under way: the group commit.

use std::sync::Arc;

use super::offer::{Offer, Phase, Prepared};
use super::{Committer, INLINE_BYTES_MAX};
use crate::apply;
use crate::bucket::Failure;
use crate::commit::{Batch, COMMIT_BYTES_MAX, Commit, Group, UNTIL_WINDOW};
use crate::env::Mutant;
use crate::error::Error;
use crate::key::{BatchId, Seq};
use crate::log::Log;
use crate::spans;
use crate::state::State;

/// A clock further off the bucket's must not stamp commits: it could expire every
/// idempotency key.
const CLOCK_AHEAD_MS_MAX: i64 = 60_000;
/// The room that a commit's own members take.
const COMMIT_ROOM: usize = 4 * 1024;

impl Committer {
    /// Takes all waiting groups, as far as one commit holds them.
    pub(super) fn form_offer(&mut self) -> Option<Offer> {
        if self.queue.is_empty() {
            return None;
        }
        if let Some(reason) = self.clock_is_off() {
            let error = Error::unavailable("write to", self.log.name().as_str(), reason);
            for submission in self.queue.drain(..) {
                self.shared.left_queue(submission.group.ops.len(), submission.bytes);
                submission.answer(Err(error.clone()));
            }
            return None;
        }
        let (id, now) = (self.log.env().batch_id(), self.log.env().instant());
        let (mut groups, mut waiters, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ops, mut bytes) = (0, COMMIT_ROOM);
        while let Some(next) = self.queue.front() {
            let fits = ops + next.group.ops.len() <= self.batch_ops_max
                && bytes + next.bytes <= COMMIT_BYTES_MAX;
            if !fits && !groups.is_empty() {
                break;
            }
            let Some(submission) = self.queue.pop_front() else { break };
            self.shared.left_queue(submission.group.ops.len(), submission.bytes);
            if submission.claim.offer(id, now) {
                ops += submission.group.ops.len();
                bytes += submission.bytes;
                groups.push(submission.group);
                waiters.push(submission.reply);
                waits.extend(submission.wait);
            }
        }
        if groups.is_empty() {
            return None;
        }
        let (batch, span) = (self.batch(id, groups), spans::commit_of(waits));
        Some(Offer::new(batch, waiters, span, self.first_phase(), now))
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

    pub(super) fn batch(&self, id: BatchId, groups: Vec<Group>) -> Batch {
        Batch {
            id,
            until: Seq(self.state.seq.0 + UNTIL_WINDOW),
            from: Arc::clone(&self.writer),
            groups,
        }
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
        if !is_prepared(offer) {
            let work = preparation(&self.log, &self.writer, Arc::clone(&self.state), &offer.batch);
            offer.prepared = Some(if offer.bytes > INLINE_BYTES_MAX {
                self.log.env().compute(work).await?
            } else {
                work()?
            });
        }
        let Some(prepared) = offer.prepared.take() else { return Ok(()) };
        if self.log.env().has(Mutant::AnswerBeforeDurable) {
            offer.answer(
                &Arc::new(prepared.applied.state.clone()),
                seq,
                prepared.applied.batches.first(),
            );
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

/// The work that makes a commit of one batch on `state`.
pub(super) fn preparation(
    log: &Log,
    writer: &Arc<str>,
    state: Arc<State>,
    batch: &Batch,
) -> impl FnOnce() -> Result<Prepared, Error> + Send + 'static {
    let commit = Commit {
        format: state.format,
        log: state.log,
        seq: state.seq.next(),
        at: log.env().now(),
        writer: Arc::clone(writer),
        forward: None,
        prev: state.hash,
        batches: vec![batch.clone()],
    };
    let mutant = log.env().mutant();
    move || {
        let seq = commit.seq;
        let (_, bytes, applied) = apply::prepare(&state, commit, mutant)?;
        Ok(Prepared { seq, bytes, applied })
    }
}
