//! Batches of ours that another replica writes: it won the last number, so it most likely wins the
//! next one, too, and takes ours along.
//!
//! A batch that is sent is as unsettled as one whose create was not answered: only a commit of the log
//! says what became of it, which the peer sends or which is read. What comes back, or is not in the
//! log in time, we create ourselves; it may be in the log twice then, and counts once.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Committer;
use super::offer::{COMMIT_ROOM, Pending, Phase, Room, Settled, Settlement, unjudged};
use super::submission::Submission;
use crate::env::Mutant;
use crate::peers::{Carriage, FORWARD_BYTES_MAX, FORWARD_OPS_MAX, Peers};
use crate::spans;

/// After so long without the batch in the log its owner creates it.
const HEDGE_AFTER: Duration = Duration::from_millis(400);
/// Whoever has written nothing for so long may be gone, and two creates race no more than one.
const WRITES_FOR: Duration = Duration::from_secs(10);
/// So many are under way at once; the next one gathers meanwhile.
const SENT_MAX: usize = 8;
/// How long a peer that cannot be reached, or is late, is not asked: at first, and at most.
const SHUNNED_FIRST: Duration = Duration::from_secs(1);
const SHUNNED_MAX: Duration = Duration::from_secs(60);

/// What is with the replica that writes.
pub(crate) struct Forwarding {
    peers: Option<Arc<dyn Peers>>,
    /// Where the one that wrote the last commit takes batches; none if that is us, or it takes none,
    /// or has failed since.
    to: Option<Arc<str>>,
    /// When its commit came.
    followed: Option<Instant>,
    sent: Vec<Sent>,
    /// Those that came back, to be created here.
    returned: Vec<Pending>,
    /// Peers that could not be reached, or took too long, and are not asked for a while.
    shunned: BTreeMap<Arc<str>, Shunned>,
    /// Whether they came back since yet another has won.
    beaten: bool,
}

struct Sent {
    pending: Pending,
    to: Arc<str>,
    /// None once it has come.
    reply: Option<BoxFuture<'static, Carriage>>,
}

struct Shunned {
    until: Instant,
    pause: Duration,
}

impl Forwarding {
    pub(crate) fn new(peers: Option<Arc<dyn Peers>>) -> Self {
        Self {
            peers,
            to: None,
            followed: None,
            sent: Vec::new(),
            returned: Vec::new(),
            shunned: BTreeMap::new(),
            beaten: false,
        }
    }

    /// Whether this replica knows of others.
    pub(super) fn is_on(&self) -> bool {
        self.peers.is_some()
    }

    /// Where this replica takes batches itself.
    pub(super) fn address(&self) -> Option<Arc<str>> {
        self.peers.as_ref().map(|peers| peers.address().into())
    }

    /// A commit was installed; `writer`: where its writer, who is not us, takes batches.
    pub(super) fn follow(&mut self, writer: Option<&Arc<str>>, now: Instant) {
        let peers = self.peers.as_ref();
        let is_other = |it: &&Arc<str>| peers.is_some_and(|peers| peers.address() != &***it);
        let is_shunned = |it: &Arc<str>| self.shunned.get(it).is_some_and(|it| it.until > now);
        self.to = writer.filter(is_other).filter(|it| !is_shunned(it)).cloned();
        self.followed = Some(now);
    }

    /// Whether the one that writes has as much of us as it is sent at once.
    pub(super) fn is_full(&self) -> bool {
        self.to.is_some() && self.sent.len() + self.returned.len() >= SENT_MAX
    }

    /// Batches of ours that a peer has, or had.
    pub(super) fn unsettled(&mut self) -> impl Iterator<Item = &mut Pending> + '_ {
        self.sent.iter_mut().map(|sent| &mut sent.pending).chain(&mut self.returned)
    }

    /// Whether there is nothing under way or come back.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.returned.is_empty()
    }

    /// The next answer of a peer, and to which batch. Cancel safe.
    pub(super) async fn reply(&mut self) -> (usize, Carriage) {
        poll_fn(|context| {
            for (index, sent) in self.sent.iter_mut().enumerate() {
                if let Some(reply) = &mut sent.reply
                    && let Poll::Ready(carriage) = reply.poll_unpin(context)
                {
                    sent.reply = None;
                    return Poll::Ready((index, carriage));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// When the first one has to come back.
    pub(super) fn due(&self) -> Option<Instant> {
        self.sent.iter().filter_map(|sent| sent.pending.due).min()
    }

    pub(super) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Those that came back, as far as they fit, and whether another has won meanwhile.
    pub(super) fn take_returned(&mut self, room: &mut Room) -> (Vec<Pending>, bool) {
        let all = std::mem::take(&mut self.returned).into_iter();
        let (taken, left) = all.partition(|pending| room.takes(pending));
        self.returned = left;
        (taken, std::mem::take(&mut self.beaten))
    }

    /// Everything that is unsettled, for good.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Pending> + '_ {
        self.sent.drain(..).map(|sent| sent.pending).chain(self.returned.drain(..))
    }

    /// Where a batch of now goes.
    fn to(&mut self, now: Instant) -> Option<Arc<str>> {
        let writes = self.followed.is_some_and(|followed| followed + WRITES_FOR > now);
        self.to = self.to.take().filter(|_| writes);
        self.to.clone()
    }

    /// A peer did not do what it was asked for: it is not asked again until it wins again.
    fn forget(&mut self, peer: &str) {
        self.to = self.to.take().filter(|to| **to != *peer);
    }

    /// One that cannot be reached may win often; it is asked again after a pause that grows.
    fn shun(&mut self, peer: &Arc<str>, now: Instant) {
        self.forget(peer);
        self.shunned.retain(|_, shunned| shunned.until + SHUNNED_MAX > now);
        let last = self.shunned.get(peer);
        if last.is_some_and(|last| last.until > now) {
            return;
        }
        let pause = last.map_or(SHUNNED_FIRST, |last| (2 * last.pause).min(SHUNNED_MAX));
        self.shunned.insert(Arc::clone(peer), Shunned { until: now + pause, pause });
    }

    /// Those that a commit holds are answered; `renew` makes a void one anew.
    pub(super) fn settle(
        &mut self,
        by: &Settlement<'_>,
        renew: impl Fn(Pending) -> Option<Pending>,
    ) {
        for mut sent in std::mem::take(&mut self.sent) {
            match sent.pending.settle(by) {
                Settled::Judged => {
                    self.shunned.remove(&sent.to);
                    by.meters.batches_forwarded.increase();
                }
                Settled::Void(void) => self.returned.extend(renew(void)),
                Settled::Open(pending) => {
                    sent.pending = pending;
                    self.sent.push(sent);
                }
            }
        }
        for pending in std::mem::take(&mut self.returned) {
            match pending.settle(by) {
                Settled::Judged => {}
                Settled::Void(void) => self.returned.extend(renew(void)),
                Settled::Open(pending) => self.returned.push(pending),
            }
        }
    }
}

impl Committer {
    /// Whether what waits is to go to the replica that writes, as soon as that has less of us.
    pub(super) fn is_for_peer(&self) -> bool {
        let small = |first: &Submission| {
            first.group.ops.len() <= FORWARD_OPS_MAX
                && first.bytes + COMMIT_ROOM <= FORWARD_BYTES_MAX
        };
        self.forwarding.is_full()
            && !self.forwarding.has_returned()
            && self.guests.is_empty()
            && self.queue.front().is_some_and(small)
    }

    /// Sends what waits to the replica that writes, as far as that takes it.
    pub(super) fn forward_waiting(&mut self) {
        let now = self.log.env().instant();
        while let Some(to) = self.forwarding.to(now)
            && !self.forwarding.is_full()
            && let Some(pending) = self.take_batch(FORWARD_OPS_MAX, FORWARD_BYTES_MAX, false)
        {
            self.send(pending, to);
        }
    }

    /// An offer that was beaten goes to whoever won, if that one takes it; what peers had sent along
    /// goes back to them.
    pub(super) fn forward_beaten(&mut self) {
        let now = self.log.env().instant();
        let Some(to) = self.forwarding.to.clone().filter(|_| self.creating.is_none()) else {
            return;
        };
        let beaten = |offer: &&mut super::Offer| offer.phase == Phase::Ready && offer.lost_race;
        let Some(offer) = self.offer.as_mut().filter(beaten) else { return };
        offer.lost_race = false;
        offer.prepared = None;
        for pending in std::mem::take(&mut offer.pending) {
            let fits = pending.ops() <= FORWARD_OPS_MAX
                && pending.message_bytes() <= FORWARD_BYTES_MAX
                && pending.due.is_none_or(|due| due > now);
            if pending.is_of_peer() {
                pending.give_back();
            } else if fits {
                self.send(pending, Arc::clone(&to));
            } else if let Some(offer) = &mut self.offer {
                offer.pending.push(pending);
            }
        }
        self.offer = self.offer.take().filter(|offer| !offer.pending.is_empty());
    }

    fn send(&mut self, mut pending: Pending, to: Arc<str>) {
        let Some(peers) = &self.forwarding.peers else { return };
        pending.is_abroad = true;
        let address = self.forwarding.address();
        let message =
            unjudged(&self.log, &self.state, &self.writer, address, vec![pending.batch.clone()]);
        let reply = spans::within_now(pending.sent(), || {
            peers.forward(&to, self.log.name(), message.encode())
        });
        // From the first peer on, or it would be handed on for ever.
        let due = self.log.env().instant() + HEDGE_AFTER;
        pending.due = pending.due.or(Some(due));
        self.forwarding.sent.push(Sent { pending, to, reply: Some(reply) });
    }

    /// A peer has answered.
    pub(super) async fn on_reply(&mut self, index: usize, carriage: Carriage) {
        match carriage {
            Carriage::Committed { seq, commits } => self.install_shipped(seq, commits).await,
            Carriage::NotCarried | Carriage::Failed => {
                self.shared.meters.batches_not_carried.increase();
                let sent = self.forwarding.sent.remove(index);
                if carriage == Carriage::Failed {
                    self.forwarding.shun(&sent.to, self.log.env().instant());
                } else {
                    self.forwarding.forget(&sent.to);
                    self.forwarding.beaten |= !self.last_is_ours;
                }
                self.forwarding.returned.push(sent.pending);
            }
        }
    }

    /// Takes back what is not in the log in time.
    pub(super) fn hedge(&mut self, now: Instant) {
        for sent in std::mem::take(&mut self.forwarding.sent) {
            if sent.pending.due.is_none_or(|due| due > now) {
                self.forwarding.sent.push(sent);
                continue;
            }
            self.shared.meters.batches_hedged.increase();
            self.forwarding.shun(&sent.to, now);
            let pending = if self.log.env().has(Mutant::RenewHedged) {
                sent.pending.renewed(self.log.env().batch_id(), self.until())
            } else {
                Some(sent.pending)
            };
            self.forwarding.returned.extend(pending);
        }
    }
}
