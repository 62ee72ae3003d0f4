//! Which tags wait to be purged, and from when on. Reads no clock and calls nobody.
//!
//! Bounded: where too many tags of movies wait, the one tag that all movies of their collection have
//! takes their place. It purges more than is needed and never less.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::CacheTag;

/// The most tags that wait; tags of single movies give way to their collection's before.
pub(super) const WAITING_MAX: usize = 10_000;
/// The most tags of one round: more of them are purged by collection.
pub(super) const ROUND_MAX: usize = 1_000;
/// Later purges are gathered by this, so that all of a second are one round.
const GATHERED: Duration = Duration::from_secs(1);

/// A tag with the one that purges it as well: for a single movie that of all movies of its
/// collection, for every other tag itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purgeable {
    pub(super) tag: CacheTag,
    pub(super) cover: CacheTag,
}

/// Tags, and what is known of each.
type Tags = BTreeMap<CacheTag, Due>;

/// When a tag was to be purged at first, and what purges it as well.
#[derive(Clone, Debug)]
struct Due {
    at: Instant,
    cover: CacheTag,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Waiting {
    began: Instant,
    /// As soon as may be.
    soon: Tags,
    /// By the time from which on.
    later: BTreeMap<Instant, Tags>,
    /// What is being sent.
    sending: Tags,
    count: usize,
    /// How often movies gave way to their collection.
    pub(super) widened: u64,
    /// How many tags found no room at all.
    pub(super) dropped: u64,
}

impl Waiting {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            soon: Tags::new(),
            later: BTreeMap::new(),
            sending: Tags::new(),
            count: 0,
            widened: 0,
            dropped: 0,
        }
    }

    /// These are to be purged after each of these times, zero being at once.
    pub(super) fn note(&mut self, tags: &[Purgeable], after: &[Duration], now: Instant) {
        if self.len() + tags.len() * after.len() > WAITING_MAX {
            self.widen();
        }
        for after in after {
            for Purgeable { tag, cover } in tags {
                if self.len() >= WAITING_MAX {
                    self.dropped += 1;
                    continue;
                }
                let due = Due { at: now + *after, cover: cover.clone() };
                let place = match *after {
                    Duration::ZERO => &mut self.soon,
                    _ => self.later.entry(gathered(self.began, due.at)).or_default(),
                };
                self.count += insert(place, tag.clone(), due);
            }
        }
    }

    /// From when on something may be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        if !self.soon.is_empty() {
            return Some(self.began);
        }
        self.later.keys().next().copied()
    }

    /// Takes what is due as what is being sent; too many tags of movies give way.
    pub(super) fn take(&mut self, now: Instant) -> Vec<CacheTag> {
        while let Some(round) = self.later.first_entry().filter(|round| *round.key() <= now) {
            for (tag, due) in round.remove() {
                insert(&mut self.soon, tag, due);
            }
        }
        if self.soon.len() > ROUND_MAX {
            self.widened += 1;
            self.soon = widened(std::mem::take(&mut self.soon));
        }
        for (tag, due) in std::mem::take(&mut self.soon) {
            insert(&mut self.sending, tag, due);
        }
        self.recount();
        self.sending.keys().cloned().collect()
    }

    /// All that waits is due.
    pub(super) fn hasten(&mut self) {
        for (tag, due) in std::mem::take(&mut self.later).into_values().flatten() {
            insert(&mut self.soon, tag, due);
        }
        self.recount();
    }

    /// These were purged.
    pub(super) fn purged(&mut self, tags: &[CacheTag]) {
        for tag in tags {
            self.sending.remove(tag);
        }
    }

    /// What was being sent waits again.
    pub(super) fn again(&mut self) {
        for (tag, due) in std::mem::take(&mut self.sending) {
            insert(&mut self.soon, tag, due);
        }
        self.recount();
    }

    /// Tags of movies give way to those of their collections.
    pub(super) fn widen(&mut self) {
        self.widened += 1;
        self.soon = widened(std::mem::take(&mut self.soon));
        for round in self.later.values_mut() {
            *round = widened(std::mem::take(round));
        }
        self.recount();
    }

    /// How many wait or are being sent.
    pub(super) fn len(&self) -> usize {
        self.count + self.sending.len()
    }

    /// For how long the oldest has waited beyond its time.
    pub(super) fn lateness(&self, now: Instant) -> Duration {
        let rounds = self.later.range(..=now).flat_map(|(_, round)| round.values());
        let all = rounds.chain(self.soon.values()).chain(self.sending.values());
        all.map(|due| now.saturating_duration_since(due.at)).max().unwrap_or_default()
    }

    fn recount(&mut self) {
        self.count = self.soon.len() + self.later.values().map(BTreeMap::len).sum::<usize>();
    }
}

/// The next full second since the beginning.
fn gathered(began: Instant, at: Instant) -> Instant {
    let seconds = at.saturating_duration_since(began).as_nanos().div_ceil(GATHERED.as_nanos());
    began + GATHERED.saturating_mul(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// One tag more; none where it, or what covers it, is there already.
fn insert(tags: &mut Tags, tag: CacheTag, due: Due) -> usize {
    let known = if tags.contains_key(&due.cover) { due.cover.clone() } else { tag };
    match tags.entry(known) {
        std::collections::btree_map::Entry::Occupied(mut there) => {
            let there = there.get_mut();
            there.at = there.at.min(due.at);
            0
        }
        std::collections::btree_map::Entry::Vacant(free) => {
            free.insert(due);
            1
        }
    }
}

fn widened(tags: Tags) -> Tags {
    let mut wide = Tags::new();
    for due in tags.into_values() {
        insert(&mut wide, due.cover.clone(), due);
    }
    wide
}
