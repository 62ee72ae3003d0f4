//! How a store behaves, and what is usual.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::CheckpointOptions;
use crate::commit::COMMIT_OPS_MAX;
use crate::movie::MovieLimits;
use crate::peers::Peers;
use crate::publish::Reach;

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Writes nothing, the self-test included.
    pub read_only: bool,
    /// Reads may be this old; `None`: every read is linearizable.
    pub max_staleness: Option<Duration>,
    /// How far the log is read backwards for an edit of the published file.
    pub edit_reach: Reach,
    /// While the bucket does not answer, reads may be this old; `None`: they fail.
    pub serve_stale: Option<Duration>,
    /// How often an idle collection looks for new commits.
    pub poll: Duration,
    /// The name of this replica, as it stands in commits.
    pub replica: String,
    /// The most requests that may wait in one collection's write queue.
    pub queue_groups_max: usize,
    /// The most bytes that may wait in one collection's write queue.
    pub queue_bytes_max: usize,
    /// The most ops that are gathered into one commit.
    pub batch_ops_max: usize,
    /// The most collections open at once.
    pub collections_max: usize,
    /// The most bytes of movies in memory before idle collections are unloaded to make room.
    pub memory_bytes_max: u64,
    /// The most bytes of compressed pages that are kept, over all collections. They are not part
    /// of `memory_bytes_max`.
    pub gzip_bytes_max: u64,
    /// The most bytes of old pages that slow downloads of one collection may hold; beyond it those
    /// that began first are cut.
    pub pinned_bytes_max: u64,
    /// After this long without a request a collection is unloaded (never the default one).
    pub idle_unload: Duration,
    /// How long a read waits for the bucket before it is refused.
    pub read_deadline: Duration,
    /// When checkpoints are written.
    pub checkpoints: CheckpointOptions,
    /// The least time between two editions of the published file; `None`: it is not written.
    pub publish: Option<Duration>,
    /// How often it is looked whether somebody has edited the published file, whose edit is then
    /// adopted; `None`: never, an edit stays where it is, and nothing is published over it.
    pub adopt: Option<Duration>,
    /// How batches go to the replica that writes; `None`: every replica writes its own.
    pub peers: Option<Arc<dyn Peers>>,
    /// What a movie may take (used where a log is born from a file, or adopts an edit of it).
    pub movie: MovieLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            max_staleness: None,
            edit_reach: Reach::default(),
            serve_stale: None,
            poll: Duration::from_secs(5),
            replica: "movies-api".to_owned(),
            queue_groups_max: 10_000,
            queue_bytes_max: 256 * 1024 * 1024,
            batch_ops_max: COMMIT_OPS_MAX,
            collections_max: 1_000,
            memory_bytes_max: 8 * 1024 * 1024 * 1024,
            // A quarter of the movies: what they compress to at most, as measured (ADR 2).
            gzip_bytes_max: 2 * 1024 * 1024 * 1024,
            pinned_bytes_max: 256 * 1024 * 1024,
            idle_unload: Duration::from_secs(600),
            read_deadline: Duration::from_secs(10),
            checkpoints: CheckpointOptions::default(),
            publish: Some(Duration::from_secs(10)),
            adopt: Some(Duration::from_secs(5)),
            peers: None,
            movie: MovieLimits::default(),
        }
    }
}
