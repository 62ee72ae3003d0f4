//! Batches of other replicas that this one takes along while it writes.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Committer;
use super::offer::{Pending, Room, Settled, Settlement};
use crate::commit::UNTIL_WINDOW;
use crate::env::Mutant;
use crate::meters::Meters;

/// So many may wait here.
pub(crate) const GUESTS_MAX: usize = 64;
/// Whoever carried some gathers so long before the next create: most of what it answered comes back
/// about then.
const GATHER: Duration = Duration::from_millis(4);

/// What peers want to have taken along.
pub(crate) struct Guests {
    arrivals: mpsc::Receiver<Pending>,
    waiting: VecDeque<Pending>,
    /// Until when more are waited for.
    pub(super) gather_until: Option<Instant>,
}

impl Guests {
    pub(crate) fn new(arrivals: mpsc::Receiver<Pending>) -> Self {
        Self { arrivals, waiting: VecDeque::new(), gather_until: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one. Cancel safe.
    pub(super) async fn arrival(&mut self) -> Option<Pending> {
        self.arrivals.recv().await
    }

    /// Those that fit, and into half a commit, so that ours have room.
    pub(super) fn take(&mut self, room: &mut Room) -> Vec<Pending> {
        let (mut taken, mut share) = (Vec::new(), Room::HALF);
        self.waiting.retain(|pending| !pending.is_left());
        while let Some(next) = self.waiting.front() {
            if !share.takes(next) || !room.takes(next) {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        taken
    }

    /// We do not write any more: whoever does may take them.
    pub(super) fn send_back(&mut self) {
        while let Ok(pending) = self.arrivals.try_recv() {
            self.waiting.push_back(pending);
        }
        self.waiting.drain(..).for_each(Pending::give_back);
    }

    pub(super) fn settle(&mut self, by: &Settlement<'_>) {
        for pending in std::mem::take(&mut self.waiting) {
            match pending.settle(by) {
                Settled::Judged => {}
                Settled::Void(pending) => pending.give_back(),
                Settled::Open(pending) => self.waiting.push_back(pending),
            }
        }
    }

    /// We have created a commit that holds `count` of them.
    pub(super) fn carried(&mut self, count: usize, now: Instant, meters: &Meters) {
        meters.batches_carried.add(count as u64);
        self.gather_until = (count > 0).then(|| now + GATHER);
    }
}

impl Committer {
    /// Takes in what could stand in our next commit.
    pub(super) fn admit(&mut self, pending: Pending) {
        self.guests.waiting.retain(|waiting| !waiting.is_left());
        let next = self.state.seq.next();
        let batch = &pending.batch;
        if let Some(known) = self.unsettled().find(|known| known.batch.id == batch.id) {
            // Its owner has sent it before, and gave up waiting; or it is ours.
            return if known.is_of_peer() { known.ask_again(pending) } else { pending.give_back() };
        }
        if self.log.env().has(Mutant::CarryAnything) {
            self.guests.waiting.push_back(pending);
        } else if self.state.judged.contains(batch.id) {
            pending.was_judged(self.state.seq, &self.recent);
        } else if self.last_is_ours
            && pending.is_of(&self.state, &self.recent)
            && !self.shared.is_closing()
            && self.guests.waiting.len() < GUESTS_MAX
            && (next.0..=next.0 + UNTIL_WINDOW).contains(&batch.until.0)
        {
            self.guests.waiting.push_back(pending);
        } else {
            pending.give_back();
        }
    }

    /// Every batch that was formed or admitted here and is not in the log yet.
    fn unsettled(&mut self) -> impl Iterator<Item = &mut Pending> + '_ {
        let offered = self.offer.iter_mut().flat_map(|offer| &mut offer.pending);
        offered.chain(&mut self.guests.waiting).chain(self.forwarding.unsettled())
    }
}
