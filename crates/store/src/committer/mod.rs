//! The one task at the tail of a log: it gathers groups, commits them, settles what became of
//! every create, and installs commits whoever wrote them.
//!
//! Two requests may be under way at once: a create (ours, at the next number) and a read of what
//! stands there. Both only bring news; state changes in `Committer::install` alone, which is also
//! the one place that answers waiters: after the swap, from the outcomes of a durable commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bucket::{Created, Failure};
use crate::collection::Shared;
use crate::env::Mutant;
use crate::error::Error;
use crate::follower::{Arrival, Follower, Window};
use crate::gzip::Compressor;
use crate::key::Seq;
use crate::log::Log;
use crate::peers::Carriage;
use crate::state::State;

mod ahead;
mod forward;
mod gather;
mod guests;
mod install;
mod offer;
mod recent;
mod reload;
mod submission;

pub(crate) use ahead::Ahead;
pub(crate) use forward::Forwarding;
pub(crate) use guests::{GUESTS_MAX, Guests};
pub(crate) use offer::Pending;
use offer::{Offer, Phase};
pub(crate) use recent::Recent;
pub(crate) use submission::{Claim, Submission, Verdict};

/// Commits over this are applied off the runtime's threads.
const INLINE_BYTES_MAX: usize = 256 * 1024;
/// The longest sleep where nothing is due.
const IDLE_WAKE: Duration = Duration::from_secs(3_600);
/// So often a missing commit with later ones behind it is looked for again.
const GAP_LOOKS_MAX: u32 = 10;

/// What the owner of a tail needs.
pub(crate) struct Committer {
    pub(crate) log: Log,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Arc<State>,
    pub(crate) submissions: mpsc::Receiver<Submission>,
    pub(crate) follower: Follower,
    pub(crate) compressor: Compressor,
    pub(crate) writer: Arc<str>,
    pub(crate) batch_ops_max: usize,
    pub(crate) queue: VecDeque<Submission>,
    pub(crate) offer: Option<Offer>,
    /// The batch after it, where that is large and the offer is being created.
    pub(crate) ahead: Option<Ahead>,
    pub(crate) creating: Option<BoxFuture<'static, Created>>,
    /// When the create under way began: if it succeeds, the state was current then.
    pub(crate) create_began: Option<Instant>,
    /// Whether the last commit known is ours: then the next create goes without a look.
    pub(crate) last_is_ours: bool,
    /// What another replica is to write for us.
    pub(crate) forwarding: Forwarding,
    /// What we are to write for others.
    pub(crate) guests: Guests,
    /// The end of the log, for others.
    pub(crate) recent: Recent,
    /// How often in a row a commit was seen behind a missing one.
    pub(crate) gap_looks: u32,
}

/// What ends the loop.
enum End {
    Closed,
    Failed(Error),
}

impl Committer {
    /// Runs until the collection closes or fails. Dropping the task loses no acknowledged write:
    /// what it had not answered is unknown to its clients.
    pub(crate) async fn run(mut self) {
        let error = match self.work().await {
            End::Closed => Error::Closing,
            End::Failed(error) => {
                tracing::error!(collection = %self.log.name(), %error, "the collection is stopped");
                error
            }
        };
        self.shared.stop(error.clone());
        self.submissions.close();
        while let Ok(submission) = self.submissions.try_recv() {
            self.queue.push_back(submission);
        }
        for submission in self.queue.drain(..) {
            self.shared.left_queue(submission.group.ops.len(), submission.bytes);
            submission.answer(Err(error.clone()));
        }
        if let Some(offer) = self.offer.take() {
            offer.answer_unknown();
        }
        if let Some(ahead) = self.ahead.take() {
            ahead.answer_error(&error);
        }
        self.forwarding.drain().for_each(Pending::answer_unknown);
        self.guests.send_back();
        self.follower.stop(&error);
    }

    async fn work(&mut self) -> End {
        loop {
            if self.shared.is_closing()
                && self.queue.is_empty()
                && self.offer.is_none()
                && self.ahead.is_none()
                && self.forwarding.is_empty()
                && self.guests.is_empty()
                && self.submissions.is_empty()
            {
                return End::Closed;
            }
            if let Err(error) = self.begin_work().await {
                return End::Failed(error);
            }
            let env = self.log.env().clone();
            let wake_at = self.wake_at(env.instant());
            let open = !self.shared.is_closing();
            let news = tokio::select! {
                biased;
                created = maybe(&mut self.creating) => News::Created(created),
                arrival = self.follower.arrival() => News::Reading(arrival),
                (index, carriage) = self.forwarding.reply() => News::Reply(index, carriage),
                Some(guest) = self.guests.arrival() => News::Guest(guest),
                submission = self.submissions.recv(), if open => News::Submission(submission),
                () = self.shared.closing(), if open => News::Timer,
                () = env.sleep_until(wake_at) => News::Timer,
            };
            let done = match news {
                News::Created(created) => self.on_created(created).await,
                News::Reading(Arrival::Window(window)) => self.on_window(window).await,
                News::Reading(Arrival::Waiter(waiter)) => {
                    self.follower.add(waiter);
                    Ok(())
                }
                News::Submission(Some(submission)) => {
                    self.queue.push_back(submission);
                    Ok(())
                }
                News::Submission(None) => {
                    self.shared.close();
                    Ok(())
                }
                News::Reply(index, carriage) => {
                    self.on_reply(index, carriage).await;
                    Ok(())
                }
                News::Guest(guest) => {
                    self.admit(guest);
                    Ok(())
                }
                News::Timer => Ok(()),
            };
            if let Err(error) = done {
                return End::Failed(error);
            }
        }
    }

    /// Begins whatever is due: an offer, a create, a read.
    async fn begin_work(&mut self) -> Result<(), Error> {
        if self.creating.is_none() {
            // Readers whom the last create did not serve wait for a read of their own.
            self.follower.uncover();
        }
        while let Ok(submission) = self.submissions.try_recv() {
            self.queue.push_back(submission);
        }
        self.hedge(self.log.env().instant());
        self.forward_beaten();
        self.forward_waiting();
        if self.offer.is_none() {
            self.offer = match self.ahead.take() {
                Some(ahead) => Some(self.catch_up_with(ahead).await?),
                None => self.form_offer(),
            };
        }
        // Not before, or an offer that was just made would be of the future, and wait for a timer.
        let now = self.log.env().instant();
        if self.creating.is_none()
            && let Some(offer) = &self.offer
            && offer.phase == Phase::Ready
            && offer.not_before <= now
        {
            self.begin_create().await?;
        }
        self.work_ahead();
        let settle = self.creating.is_none()
            && self
                .offer
                .as_ref()
                .is_some_and(|offer| offer.phase == Phase::Look && offer.not_before <= now);
        if !self.is_held() {
            let commit = self.offer.as_ref().filter(|_| settle).and_then(Offer::traced);
            self.follower.begin(&self.log, self.state.seq, settle, commit.as_ref(), now);
        }
        Ok(())
    }

    /// On a folder our own commit is visible before it is synced: no look until its create has
    /// returned.
    pub(super) fn is_held(&self) -> bool {
        self.log.is_folder() && self.creating.is_some()
    }

    /// When something is due that no news brings.
    fn wake_at(&self, now: Instant) -> Instant {
        let offer =
            self.offer.as_ref().filter(|offer| self.creating.is_none() && offer.not_before > now);
        let offer = offer.map(|offer| offer.not_before);
        let follower =
            (!self.follower.is_busy() && !self.is_held()).then(|| self.follower.due_at(now));
        let hedge = self.forwarding.due();
        let waits = !self.queue.is_empty() || !self.guests.is_empty();
        let gather = self.guests.gather_until.filter(|until| waits && *until > now);
        let due = [offer, follower, hedge, gather].into_iter().flatten().min();
        due.unwrap_or(now + IDLE_WAKE)
    }

    async fn on_created(&mut self, created: Created) -> Result<(), Error> {
        self.creating = None;
        let began = self.create_began.take();
        let Some(offer) = &mut self.offer else { return Ok(()) };
        let at_tail =
            offer.prepared.as_ref().is_some_and(|prepared| prepared.seq == self.state.seq.next());
        match created {
            Created::Yes if at_tail => {
                let Some(prepared) = offer.prepared.take() else { return Ok(()) };
                self.install_ours(prepared);
                self.follower.covered(&self.state);
                if let Some(began) = began {
                    self.shared.checked(began);
                }
                return Ok(());
            }
            Created::Yes => {
                // We have installed another commit at this number, and the store says that ours
                // was created there: it does not keep its word.
                let object = offer
                    .prepared
                    .as_ref()
                    .map_or_else(String::new, |prepared| self.log.object(prepared.seq));
                return Err(Error::damaged(
                    object,
                    "the bucket confirmed two different commits of one number",
                ));
            }
            Created::Taken if self.log.env().has(Mutant::ConflictIsFailure) => {
                if let Some(offer) = self.offer.take() {
                    offer.answer_error(&Error::unavailable("create", "a commit", "conflict"));
                }
                return Ok(());
            }
            Created::Taken if self.log.env().has(Mutant::TakenIsOurs) && at_tail => {
                let Some(prepared) = offer.prepared.take() else { return Ok(()) };
                self.install_ours(prepared);
                return Ok(());
            }
            Created::Taken => {
                self.shared.meters.commit_races_lost.increase();
                offer.lost_race = true;
                offer.look(None);
            }
            Created::Unknown(failure) => {
                self.shared.meters.commit_outcomes_unknown.increase();
                let pause = offer.unknown(&failure);
                tracing::warn!(collection = %self.log.name(), reason = %failure.reason, "a commit's outcome is unknown; looking");
                self.shared.failed_request(&failure);
                offer.not_before = self.log.env().instant() + self.log.env().jittered(pause);
            }
            Created::Refused(failure) => {
                self.shared.failed_request(&failure);
                offer.look(Some(failure));
            }
        }
        if !at_tail {
            offer.prepared = None;
        }
        Ok(())
    }

    /// What was read at the tail: install it, then settle the offer and answer the readers.
    async fn on_window(&mut self, window: Window) -> Result<(), Error> {
        let mut absent_at = None;
        let mut again = false;
        let mut failure = None;
        let before = self.state.seq;
        let mut window_bytes = 0;
        for (offset, read) in window.reads.into_iter().enumerate() {
            let seq = Seq(window.from.0 + offset as u64);
            if let Ok(Some(bytes)) = &read {
                window_bytes += bytes.len() as u64;
            }
            match read {
                Ok(Some(_)) if absent_at.is_some() => again = true,
                Ok(Some(bytes)) if seq == self.state.seq.next() => {
                    self.install_read(seq, bytes).await?;
                }
                Ok(Some(_)) => {}
                Ok(None) => absent_at = absent_at.or(Some(seq)),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(failure) = failure {
            self.log.bucket().check_trust()?;
            self.shared.failed_request(&failure);
            self.shared.meters.probe_failures.increase();
            self.follower.failed(&failure, &self.log, self.state.seq);
            if let Some(offer) = &mut self.offer
                && offer.phase == Phase::Look
            {
                let pause = offer.backoff.pause();
                offer.not_before = self.log.env().instant() + self.log.env().jittered(pause);
                self.give_up_if_refused(&failure);
            }
            return Ok(());
        }
        if let Some(offer) = &mut self.offer {
            offer.backoff.reset();
        }
        let Some(absent_at) = absent_at.filter(|_| !again) else {
            // There is more, or a commit was seen behind a missing one: look once more.
            let stuck = again && self.state.seq == before;
            self.gap_looks = if stuck { self.gap_looks + 1 } else { 0 };
            if self.gap_looks == GAP_LOOKS_MAX {
                let missing = self.log.object(self.state.seq.next());
                return Err(Error::damaged(
                    missing,
                    "it is missing, but later commits are there: the log has a gap",
                ));
            }
            self.follower.more(window.count, window_bytes);
            return Ok(());
        };
        self.gap_looks = 0;
        let late = self.log.env().has(Mutant::AgeFromAnswer);
        self.shared.checked(if late { self.log.env().instant() } else { window.began });
        let took = self.log.env().instant().saturating_duration_since(window.began);
        self.follower.reached(&self.state, took, &self.shared.meters);
        if window.settles {
            self.settle(absent_at);
        }
        Ok(())
    }

    /// The offer's number was looked at after its last create had returned, and was free then. Where
    /// a peer has sent the commit that took it meanwhile, that one settled what it held, and nothing
    /// of ours was ever sent to the next number.
    fn settle(&mut self, absent_at: Seq) {
        let Some(offer) = &mut self.offer else { return };
        if offer.phase != Phase::Look || absent_at > self.state.seq.next() {
            return;
        }
        if let Some(refusal) = offer.refused.clone() {
            self.drop_refused(&refusal);
            return;
        }
        // What was sent here and is not there now may still arrive: a conflict may have been with
        // our own request, sent twice by a proxy.
        offer.was_unknown |= offer.prepared.is_some();
        offer.phase = Phase::Ready;
    }

    /// A bucket that refuses creates and reads alike has no news for the head of the queue.
    fn give_up_if_refused(&mut self, failure: &Failure) {
        let refused = self.offer.as_ref().is_some_and(|offer| offer.refused.is_some());
        let never_sent =
            self.offer.as_ref().is_some_and(|offer| offer.prepared.is_none() && !offer.was_unknown);
        if failure.is_final && (refused || never_sent) {
            self.drop_refused(failure);
        }
    }

    /// The store refuses this offer for good.
    pub(super) fn drop_refused(&mut self, refusal: &Failure) {
        let Some(offer) = self.offer.take() else { return };
        let (name, reason) = (self.log.name().as_str(), Arc::clone(&refusal.reason));
        offer.answer_refused(&Error::unavailable("write to", name, reason));
    }
}

/// What the loop was woken by.
enum News {
    Created(Created),
    Reading(Arrival),
    Submission(Option<Submission>),
    Reply(usize, Carriage),
    Guest(Pending),
    Timer,
}

/// The future's output; never, where there is none.
async fn maybe<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
