//! Tells the caches before us what has changed, after it was committed.
//!
//! | module | owns |
//! |---|---|
//! | `waiting` | which tags wait, and from when on |
//! | `place` | which caches the operator names |
//! | `sending` | the task: rounds of calls, pauses, the end |
//! | `provider` | one call, as each provider documents it |
//! | `edgegrid` | Akamai's signature |
//!
//! A request notes what it changed and goes on; one task sends it, at most once a second, each tag
//! twice: at once, and when whatever began to be fetched before the commit has been stored. Never
//! delays a write, never fails one, and never forgets a tag because a call failed. What waits is in
//! memory: a replica that is killed takes it along, and `--cdn-ttl` is the end of what stays stale.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use movies_store::key::{CollectionName, MovieKey};
use movies_store::{Error, Judgement};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::app::CacheTag;

mod edgegrid;
mod place;
mod provider;
mod sending;
#[cfg(test)]
mod tests;
mod waiting;

pub use place::{Call, Network, Place, Template};
pub use provider::Target;
pub use sending::Purging;

use waiting::{Purgeable, Waiting};

/// The longest that a read takes from its begin here to its place in a cache. What it brings may be
/// older than a commit that was made meanwhile.
const SETTLE: Duration = Duration::from_secs(5);
/// When a write is purged whose outcome is not known: it may take effect late, and the pauses grow
/// with how late that is.
const UNKNOWN_AFTER_S: [u64; 10] = [0, 1, 2, 5, 10, 20, 40, 80, 160, 320];
/// With stale reads what is unknown is purged once more when they are over.
const UNKNOWN_OLD: Duration = Duration::from_secs(60);

/// What caches are to forget. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Purges {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Held for moments, never across a call.
    waiting: Mutex<Waiting>,
    done: Mutex<Done>,
    /// There is something where there was nothing.
    woken: Notify,
    /// The times of purges after a change that is known, and after one that may come.
    known: [Duration; 2],
    unknown: Vec<Duration>,
}

/// What was done so far.
#[derive(Clone, Debug, Default)]
struct Done {
    /// Calls by outcome.
    ok: u64,
    limited: u64,
    refused: u64,
    failed: u64,
    tags: u64,
    /// Why the last call failed, where it did.
    trouble: Option<String>,
}

/// What is counted, as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Calls by outcome.
    pub(crate) calls: [(&'static str, u64); 4],
    /// Tags that were purged; each counts as often.
    pub(crate) tags: u64,
    /// How often movies gave way to the tag of their collection.
    pub(crate) widened: u64,
    /// Tags that found no room.
    pub(crate) dropped: u64,
    /// Tags that wait, those of second purges too.
    pub(crate) waiting: usize,
    /// For how long the oldest has waited beyond its time.
    pub(crate) late: Duration,
    /// Why the last call failed, where it did.
    pub(crate) trouble: Option<String>,
}

impl Purges {
    /// Nothing waits. Reads that replicas answer may be as old as `max_staleness`, and so may what
    /// caches fetch after a commit.
    #[must_use]
    pub fn new(max_staleness: Option<Duration>) -> Self {
        let old = max_staleness.unwrap_or_default();
        let settled = SETTLE + old;
        let mut unknown: Vec<_> = UNKNOWN_AFTER_S.map(Duration::from_secs).to_vec();
        unknown.extend((!old.is_zero()).then(|| settled + UNKNOWN_OLD));
        let inner = Inner {
            waiting: Mutex::new(Waiting::new(Instant::now())),
            done: Mutex::default(),
            woken: Notify::new(),
            known: [Duration::ZERO, settled],
            unknown,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A write that is about to be submitted: of one movie, or of a whole collection.
    pub(crate) fn before_change(
        &self,
        collection: &CollectionName,
        key: Option<&MovieKey>,
    ) -> Expected {
        let (lists, all) = (CacheTag::lists(collection), CacheTag::movies(collection));
        // Lists hold every movie, so each change is one of theirs.
        let lists = Purgeable { tag: lists.clone(), cover: lists };
        let tag = key.map_or_else(|| all.clone(), |key| CacheTag::movie(collection, key));
        Expected {
            purges: self.clone(),
            tags: [lists, Purgeable { tag, cover: all }],
            is_over: false,
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let Done { ok, limited, refused, failed, tags, trouble } = self.done().clone();
        let waiting = self.waiting();
        Figures {
            calls: [("ok", ok), ("limited", limited), ("refused", refused), ("failed", failed)],
            tags,
            widened: waiting.widened,
            dropped: waiting.dropped,
            waiting: waiting.len(),
            late: waiting.lateness(Instant::now()),
            trouble,
        }
    }

    fn note(&self, tags: &[Purgeable], after: &[Duration]) {
        let mut waiting = self.waiting();
        let next = waiting.next();
        waiting.note(tags, after, Instant::now());
        if waiting.next() != next {
            self.inner.woken.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.inner.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write under way. Dropped before its outcome is known, as with its request, it is purged as one
/// that may come to be.
#[derive(Debug)]
pub(crate) struct Expected {
    purges: Purges,
    tags: [Purgeable; 2],
    is_over: bool,
}

impl Expected {
    /// It was judged, or not. What was refused, and what was stored already, purges nothing; a
    /// replay does: whoever did it first may have been killed before caches heard of it.
    pub(crate) fn became(mut self, judged: &Result<Judgement, Error>) {
        use movies_store::commit::Code::{Created, Deleted, Replaced};
        let after = match judged {
            Ok(judgement) => {
                let mut codes = judgement.results.iter().map(|result| result.outcome.code);
                let is_change = codes.any(|code| matches!(code, Created | Replaced | Deleted));
                if is_change { &self.purges.inner.known[..] } else { &[] }
            }
            Err(
                Error::Overloaded { .. }
                | Error::Unavailable { .. }
                | Error::ReadOnly
                | Error::Closing,
            ) => &[],
            Err(_) => return,
        };
        if !after.is_empty() {
            self.purges.note(&self.tags, after);
        }
        self.is_over = true;
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if !self.is_over {
            self.purges.note(&self.tags, &self.purges.inner.unknown);
        }
    }
}
