//! What a log adds up to after one of its commits.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::commit::{FORMAT, FileRegister, KEY_AGE_MS, KEYS_MAX};
use crate::key::{BatchId, CommitHash, LogId, Print, Seq, Tag, Timestamp, Version};
use crate::snapshot::Snapshot;

/// The state after commit `seq`: the same on every replica. Immutable; a clone shares everything
/// that a commit does not touch.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) log: LogId,
    pub(crate) format: u32,
    pub(crate) seq: Seq,
    pub(crate) hash: Option<CommitHash>,
    /// The effective time: the latest `at` of all commits so far.
    pub(crate) at: Timestamp,
    pub(crate) version: Version,
    /// The effective time of `version`.
    pub(crate) changed_at: Timestamp,
    pub(crate) file: Option<FileRegister>,
    pub(crate) dropped: bool,
    pub(crate) movies: Snapshot,
    pub(crate) keys: Keys,
    pub(crate) judged: Judged,
}

impl State {
    /// The state before the genesis.
    #[must_use]
    pub fn empty(log: LogId) -> Self {
        Self {
            log,
            format: FORMAT,
            seq: Seq::ZERO,
            hash: None,
            at: Timestamp::default(),
            version: Version::default(),
            changed_at: Timestamp::default(),
            file: None,
            dropped: false,
            movies: Snapshot::default(),
            keys: Keys::default(),
            judged: Judged::default(),
        }
    }

    /// The log that it is the sum of.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The last commit in it.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The last commit that changed a movie.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When a movie last changed, in effective time.
    #[must_use]
    pub fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// The effective time of the last commit.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The published file that the log knows.
    #[must_use]
    pub fn file(&self) -> Option<&FileRegister> {
        self.file.as_ref()
    }

    /// Whether the collection was dropped and not created again since.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.dropped
    }

    /// The movies.
    #[must_use]
    pub fn movies(&self) -> &Snapshot {
        &self.movies
    }

    /// How many idempotency keys it keeps.
    #[must_use]
    pub fn idempotency_keys(&self) -> usize {
        self.keys.len()
    }

    /// How many ids of judged batches it remembers.
    #[must_use]
    pub fn judged_batches(&self) -> usize {
        self.judged.len()
    }

    /// The tag of lists and queries.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag::Collection(self.log, self.version)
    }
}

/// Whose key it is: keys of two identities never meet.
pub(crate) type KeyOwner = (Option<Arc<str>>, Arc<str>);

/// Where the outcome of a request with an idempotency key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    pub(crate) print: Print,
    pub(crate) seq: Seq,
    /// Counted over all groups of the commit, from 0.
    pub(crate) group: usize,
    pub(crate) at: Timestamp,
}

/// The idempotency keys in use, bounded by age and number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    uses: OrdMap<KeyOwner, KeyUse>,
    by_age: OrdMap<(Seq, usize), KeyOwner>,
}

impl Keys {
    pub(crate) fn get(&self, owner: &KeyOwner) -> Option<&KeyUse> {
        self.uses.get(owner)
    }

    pub(crate) fn len(&self) -> usize {
        self.uses.len()
    }

    /// Forgets what is older than [`KEY_AGE_MS`] at `now`.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.oldest()
            && oldest.at.plus_ms(KEY_AGE_MS) <= now
        {
            self.remove_oldest();
        }
    }

    /// Records a first use; the oldest goes where there are over [`KEYS_MAX`].
    pub(crate) fn insert(&mut self, owner: KeyOwner, at: KeyUse) {
        self.by_age.insert((at.seq, at.group), owner.clone());
        self.uses.insert(owner, at);
        if self.uses.len() > KEYS_MAX {
            self.remove_oldest();
        }
    }

    /// The uses of keys, oldest first, of commits after `after`, counted by their places.
    pub(crate) fn after(
        &self,
        after: Option<(Seq, usize)>,
    ) -> impl Iterator<Item = (&KeyOwner, &KeyUse)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_age
            .range((from, Bound::Unbounded))
            .filter_map(|(_, owner)| Some((owner, self.uses.get(owner)?)))
    }

    fn oldest(&self) -> Option<&KeyUse> {
        self.by_age.get_min().and_then(|(_, owner)| self.uses.get(owner))
    }

    fn remove_oldest(&mut self) {
        if let Some((age, owner)) = self.by_age.get_min().cloned() {
            self.by_age.remove(&age);
            self.uses.remove(&owner);
        }
    }
}

/// The ids of judged batches, each remembered until its own `until` has passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    ids: OrdSet<BatchId>,
    by_until: OrdSet<(Seq, BatchId)>,
}

impl Judged {
    pub(crate) fn contains(&self, id: BatchId) -> bool {
        self.ids.contains(&id)
    }

    pub(crate) fn insert(&mut self, id: BatchId, until: Seq) {
        self.ids.insert(id);
        self.by_until.insert((until, id));
    }

    /// Forgets the ids that cannot count any more at `seq` or later.
    pub(crate) fn expire(&mut self, seq: Seq) {
        while let Some(&(until, id)) = self.by_until.get_min()
            && until < seq
        {
            self.by_until.remove(&(until, id));
            self.ids.remove(&id);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The ids with the last commit in which each may count, by that.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (BatchId, Seq)> {
        self.by_until.iter().map(|(until, id)| (*id, *until))
    }
}
