//! One open collection in numbers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Collection;
use crate::key::{Seq, Timestamp, Version};

/// How a collection stands. All numbers are of about one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The last commit in memory.
    pub seq: Seq,
    /// The last commit that changed a movie.
    pub version: Version,
    /// How long ago the request began that last proved this state current.
    pub age: Duration,
    /// The movies in memory.
    pub movies: u64,
    /// Their pages.
    pub pages: usize,
    /// The bytes of those pages, as they go over the wire.
    pub wire_bytes: u64,
    /// Downloads that hold a state.
    pub pins: usize,
    /// The most bytes of old pages that these downloads hold.
    pub pinned_bytes: u64,
    /// Requests that wait to be written.
    pub queued_groups: usize,
    /// Their ops.
    pub queued_ops: usize,
    /// About the bytes that those take in a commit.
    pub queued_bytes: usize,
    /// The last commit in the newest checkpoint that is known.
    pub checkpoint: Seq,
    /// When this replica last ended a run of its checkpointer well.
    pub checkpoint_at: Option<Timestamp>,
    /// Whether its last run failed.
    pub checkpoint_fails: bool,
    /// The last commit that the published file shows.
    pub published: Seq,
    /// When that edition was recorded, where this replica has published it.
    pub published_at: Option<Timestamp>,
    /// Whether the last publication failed.
    pub publication_fails: bool,
    /// Whether a file of somebody else stands where the published one should.
    pub is_foreign: bool,
    /// Whether it serves nothing any more.
    pub is_stopped: bool,
}

impl Collection {
    /// How it stands. Visits each page's place in memory once, and sends nothing.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let shared = &self.inner.shared;
        let age = shared.age(self.inner.log.env().instant());
        let state = self.latest();
        let (pins, pinned_bytes) = shared.pins.held(&state);
        let (checkpoint, publication) = (self.checkpoint(), self.publication());
        Figures {
            seq: state.seq(),
            version: state.version(),
            age,
            movies: state.movies().count(),
            pages: state.movies().pages().count(),
            wire_bytes: state.movies().wire_bytes(),
            pins,
            pinned_bytes,
            queued_groups: shared.queued_groups.load(Ordering::Relaxed),
            queued_ops: shared.queued_ops.load(Ordering::Relaxed),
            queued_bytes: shared.queued_bytes.load(Ordering::Relaxed),
            checkpoint: checkpoint.seq.unwrap_or_default(),
            checkpoint_at: checkpoint.at,
            checkpoint_fails: checkpoint.trouble.is_some(),
            published: state.file().map_or(Seq::ZERO, |file| file.seq),
            published_at: publication.at,
            publication_fails: publication.trouble.is_some(),
            is_foreign: publication.foreign.is_some(),
            is_stopped: self.failure().is_some(),
        }
    }
}
