//! stub
use crate::key::CollectionName;
use crate::movie::MovieLimits;
use crate::{Bucket, Collection, Env, Result};
use std::time::Duration;

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Writes nothing, the self-test included.
    pub read_only: bool,
    /// Reads may be this old; `None`: every read is linearizable.
    pub max_staleness: Option<Duration>,
    /// How often an idle collection looks for new commits.
    pub poll: Duration,
    /// The name of this replica, as it stands in commits.
    pub replica: String,
    /// The most requests that may wait in one collection's write queue.
    pub queue_groups_max: usize,
    /// The most bytes that may wait in one collection's write queue.
    pub queue_bytes_max: usize,
    /// The most collections open at once.
    pub collections_max: usize,
    /// After this long without a request a collection is unloaded (never the default one).
    pub idle_unload: Duration,
    /// How long a read waits for the bucket before it is refused.
    pub read_deadline: Duration,
    /// What a movie may take (used when a log is born from a file).
    pub movie: MovieLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            max_staleness: None,
            poll: Duration::from_secs(5),
            replica: "movies-api".to_owned(),
            queue_groups_max: 10_000,
            queue_bytes_max: 256 * 1024 * 1024,
            collections_max: 1_000,
            idle_unload: Duration::from_secs(600),
            read_deadline: Duration::from_secs(10),
            movie: MovieLimits::default(),
        }
    }
}

/// What to do about a collection that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing is written; the answer is `None`.
    Leave,
    /// It is created, empty.
    Create,
}

/// A bucket's collections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store;
impl Store {
    /// Tests the bucket (unless read-only) and refuses one that cannot carry a log.
    pub async fn start(_bucket: Bucket, _env: Env, _options: Options) -> Result<Self> {
        todo!()
    }
    /// Opens a collection, or finds it open. One whose file exists without a log gets its
    /// genesis. `None` where neither exists and `absent` is `Leave`.
    pub async fn open(
        &self,
        _name: &CollectionName,
        _absent: Absent,
    ) -> Result<Option<Collection>> {
        todo!()
    }
    /// The collections in the bucket, by a listing: open or not. (Names are not filtered by the operator's glob.)
    pub async fn names(&self) -> Result<Vec<CollectionName>> {
        todo!()
    }
    /// Those that are open now.
    pub fn opened(&self) -> Vec<Collection> {
        todo!()
    }
    /// What the self-test wants a person to know: warnings, in words.
    pub fn warnings(&self) -> &[String] {
        todo!()
    }
    /// Refuses new writes, waits until every accepted one is settled, then stops.
    pub async fn close(&self) {
        todo!()
    }
}
