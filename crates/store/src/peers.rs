//! How a batch reaches the replica that writes: HTTP in the server, memory in the simulation.
//!
//! Only an optimisation: whatever a peer says or fails to say, a batch counts once, by its id. A peer
//! is believed as far as this replica's own create is: that a commit is durable. What the commit does
//! is judged here, and the next one proves which it was (`prev`).

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::key::{CollectionName, Seq};

/// A peer is asked to take along no more ops than this at once: a batch of more fills a commit of
/// its own.
pub(crate) const FORWARD_OPS_MAX: usize = 1_000;
/// Nor more bytes, the message's own members included.
pub const FORWARD_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of commits that an answer brings.
pub const SHIPPED_BYTES_MAX: usize = 1024 * 1024;

/// What became of a batch that a peer was asked to take along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// It stands in that commit, or was judged before it.
    Committed {
        /// The number of the commit.
        seq: Seq,
        /// All commits that the owner lacks, that one the last, as they stand in the log; none where
        /// the peer has not all of them any more.
        commits: Vec<Bytes>,
    },
    /// It is not the one that writes, has too much to do, or was beaten to it.
    NotCarried,
    /// It cannot be reached, or refuses.
    Failed,
}

/// Replicas that can be reached.
pub trait Peers: fmt::Debug + Send + Sync {
    /// Where this replica takes batches, as it stands in its commits.
    fn address(&self) -> &str;

    /// Asks the replica at `address`, which stands in a commit of `collection`, to take a batch
    /// along. `message` is a commit of that batch alone that nobody has judged; the peer's
    /// [`Collection::carry`](crate::Collection::carry) reads it. Whoever asks waits for a part of a
    /// second only. Dropping the future may leave the batch with the peer.
    ///
    /// That the answer is the peer's own must be sure: a commit in it is taken for durable.
    fn forward(
        &self,
        address: &str,
        collection: &CollectionName,
        message: Bytes,
    ) -> BoxFuture<'static, Carriage>;
}
