//! The manifest of a checkpoint: readable JSON that names everything the state consists of.
//!
//! Format 1 is frozen: `docs/adr/0003-checkpoints.md` describes it member by member. Its last
//! member is the hash of all that stands before it: unlike a commit it has no successor that
//! would tell damage. Unknown members are `Unsupported`. Never touches the bucket.

use std::sync::Arc;

use bytes::Bytes;

use crate::commit::FileRegister;
use crate::error::Result;
use crate::key::{BatchId, CommitHash, FileHash, LogId, MovieKey, Print, Seq, Timestamp, Version};

mod decode;
mod encode;

pub(super) use decode::key_line;
pub(super) use encode::push_key;

/// The largest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The state after a commit, but for the rows that its files hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The format of the log at that commit, which is the manifest's as well.
    pub format: u32,
    /// The log it belongs to.
    pub log: LogId,
    /// The last commit in it.
    pub seq: Seq,
    /// The hash of that commit: the next one must name it.
    pub hash: CommitHash,
    /// The effective time of that commit.
    pub at: Timestamp,
    /// The last commit that changed a movie.
    pub version: Version,
    /// The effective time of `version`.
    pub changed_at: Timestamp,
    /// Whether the collection is dropped.
    pub dropped: bool,
    /// The published file that the log knows.
    pub file: Option<FileRegister>,
    /// The replica that wrote it.
    pub writer: Arc<str>,
    /// How many movies there are.
    pub movies: u64,
    /// The length of all movies as they go over the wire, each with a separator before it.
    pub wire_bytes: u64,
    /// SHA-256 of the catalogue as a published file: by it a publication is recognised.
    pub sha256: Arc<str>,
    /// The ids of judged batches, each with the last commit in which it might count, by that.
    pub judged: Vec<(BatchId, Seq)>,
    /// How many idempotency keys there are: the last ones of `key_files` and `recent_keys`.
    pub keys: u64,
    /// The older keys, oldest file first. The first one may hold keys that have expired since.
    pub key_files: Vec<KeyFile>,
    /// The keys that no file holds yet, oldest first.
    pub recent_keys: Vec<KeyLine>,
    /// The movies, in key order.
    pub pages: Vec<PageFile>,
}

/// A file with the movies of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFile {
    /// Its name.
    pub file: FileHash,
    /// The key of its first movie.
    pub first: MovieKey,
    /// How many movies it holds.
    pub rows: u64,
    /// Its length before compression, in bytes.
    pub bytes: u64,
}

/// A file of idempotency keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Its name.
    pub file: FileHash,
    /// Where the last of its keys was used.
    pub last: (Seq, usize),
    /// How many keys it holds.
    pub rows: u64,
    /// Its length before compression, in bytes.
    pub bytes: u64,
}

/// An idempotency key and where it was used first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    /// Whose key it is.
    pub by: Option<Arc<str>>,
    /// The key.
    pub key: Arc<str>,
    /// The print of the request.
    pub print: Print,
    /// The commit.
    pub seq: Seq,
    /// The group, counted over the whole commit.
    pub group: usize,
    /// The effective time of the commit.
    pub at: Timestamp,
}

impl Manifest {
    /// The object's bytes. The same manifest always gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode::manifest(self)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// `Damaged` where it is none or was altered, `Unsupported` where it needs a newer binary;
    /// both name `object`.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self> {
        decode::manifest(bytes).map_err(|error| error.of(object))
    }

    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = FileHash> + '_ {
        let keys = self.key_files.iter().map(|file| file.file);
        self.pages.iter().map(|page| page.file).chain(keys)
    }
}

#[cfg(test)]
pub(super) mod tests;
