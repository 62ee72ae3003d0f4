//! The log's format: commit, batch, group, op; its limits; encode and decode.
//!
//! Format 1 is frozen: `docs/adr/0001-the-log.md` describes it member by member. A commit object
//! is readable JSON with one op a line. Unknown members are `Unsupported`, never ignored: a
//! replica that skips what it does not understand computes another state. Never judges an op.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::{BatchId, CommitHash, LogId, MovieKey, Print, Seq, Tag, Timestamp};
use crate::movie::Movie;

pub(crate) mod decode;
pub(crate) mod encode;

/// The format that this binary writes and applies.
pub const FORMAT: u32 = 1;
/// W: a batch counts at most this many commits after it was first offered.
pub const UNTIL_WINDOW: u64 = 1_024;
/// The most ops of one commit; an adoption counts as one.
pub const COMMIT_OPS_MAX: usize = 10_000;
/// The largest commit object, in bytes.
pub const COMMIT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most bytes of a group, encoded.
pub const GROUP_BYTES_MAX: usize = COMMIT_BYTES_MAX / 2;
/// The most ops of one group.
pub const GROUP_OPS_MAX: usize = 10_000;
/// The most idempotency keys that a state keeps; the oldest go first.
pub const KEYS_MAX: usize = 100_000;
/// How long an idempotency key is kept, in milliseconds of effective time.
pub const KEY_AGE_MS: i64 = 24 * 60 * 60 * 1_000;

/// One numbered, immutable object of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The format it is written in.
    pub format: u32,
    /// The log it belongs to.
    pub log: LogId,
    /// Its number.
    pub seq: Seq,
    /// When its writer made it, by the writer's clock.
    pub at: Timestamp,
    /// The replica that wrote it.
    pub writer: Arc<str>,
    /// Where the writer takes forwarded batches.
    pub forward: Option<Arc<str>>,
    /// The hash of its predecessor's bytes; none in commit 1.
    pub prev: Option<CommitHash>,
    /// What it does, in order.
    pub batches: Vec<Batch>,
}

/// Groups that were gathered together. The same batch may be offered more than once; it counts
/// once, at or before `until`. One without groups withdraws its id: it is judged, and did nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Its identity.
    pub id: BatchId,
    /// The last commit in which it may count.
    pub until: Seq,
    /// The replica whose clients sent it.
    pub from: Arc<str>,
    /// The requests.
    pub groups: Vec<Group>,
}

/// Who did what nobody asked for: the service itself. No caller is called so: a caller's id has a
/// colon.
pub const SERVICE: &str = "service";
/// Whoever runs a command on the bucket itself.
pub const OPERATOR: &str = "operator";

/// One request: applied all or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Who asked, as a stable id: a caller, [`SERVICE`] or [`OPERATOR`]; none where callers are not
    /// asked who they are.
    pub by: Option<Arc<str>>,
    /// The idempotency key and the print of the request that came with it.
    pub key: Option<(Arc<str>, Print)>,
    /// What to do, in order; each op is judged after its predecessors.
    pub ops: Vec<Op>,
}

/// One change, with its preconditions and, once judged, its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// What to do.
    pub action: Action,
    /// The op goes only if one of these matches; none means always, an empty list never.
    pub if_match: Option<Vec<Tag>>,
    /// The op goes only if none of these matches.
    pub if_none_match: Option<Vec<Tag>>,
    /// What became of it; recorded by the writer, recomputed by every other replica.
    pub out: Option<Outcome>,
}

/// The kinds of op.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create or replace a movie.
    Put(Movie),
    /// Delete a movie.
    Delete(MovieKey),
    /// Take over a person's edit of the published file, or the file a log is born from.
    Adopt(Adoption),
    /// The catalogue was published as a file.
    Published {
        /// The register before.
        from: Option<FileRegister>,
        /// The register after.
        to: FileRegister,
    },
    /// Delete the collection: every movie goes, numbers go on.
    Drop,
    /// Let a dropped collection exist again, empty.
    Create,
    /// Raise the log's format; alone in its commit.
    Upgrade {
        /// The new format.
        to: u32,
    },
}

/// The published file that the log knows: a register with compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRegister {
    /// The bucket's `ETag`, unquoted; none where the store has none.
    pub etag: Option<Arc<str>>,
    /// SHA-256 of the content, lower-case hexadecimal: its identity.
    pub sha256: Arc<str>,
    /// The version that the content shows.
    pub seq: Seq,
}

/// An edit of the published file as one op.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// The register that must hold.
    pub from: Option<FileRegister>,
    /// The register after; none at a genesis without a file.
    pub to: Option<FileRegister>,
    /// What the edit changed, in key order; each is judged alone.
    pub changes: Vec<Change>,
}

/// One movie of an adopted edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which movie.
    pub key: MovieKey,
    /// The movie's tag in the edit's base; none where it was absent. Another tag now wins.
    pub base: Option<crate::key::MovieTag>,
    /// The new movie; none deletes.
    pub movie: Option<Movie>,
    /// What became of it.
    pub out: Option<Outcome>,
}

/// What became of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// In a word.
    pub code: Code,
    /// The movie's tag afterwards; for a refusal the tag it has. None where the movie is absent
    /// or the op concerns no single movie.
    pub tag: Option<crate::key::MovieTag>,
    /// The commit of the movie's previous change; none where it was absent.
    pub was: Option<Seq>,
}

/// The outcome in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// It was absent and is there now.
    Created,
    /// It was there and is another now.
    Replaced,
    /// It was there with these very bytes.
    Unchanged,
    /// It was there and is gone.
    Deleted,
    /// Refused: it is absent.
    Missing,
    /// Refused: no tag of `if_match` matches, or the register is another.
    Mismatch,
    /// Refused: a tag of `if_none_match` matches.
    Exists,
    /// Refused: the idempotency key was used by another request.
    KeyReused,
    /// The idempotency key was used by the same request; that one's outcome is the answer.
    Replayed,
    /// Another op of the group was refused.
    Aborted,
}

impl Code {
    const NAMES: [(Self, &'static str); 10] = [
        (Self::Created, "created"),
        (Self::Replaced, "replaced"),
        (Self::Unchanged, "unchanged"),
        (Self::Deleted, "deleted"),
        (Self::Missing, "missing"),
        (Self::Mismatch, "mismatch"),
        (Self::Exists, "exists"),
        (Self::KeyReused, "key_reused"),
        (Self::Replayed, "replayed"),
        (Self::Aborted, "aborted"),
    ];

    /// As it stands in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| name)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(code, _)| *code)
    }

    /// Whether an op with this outcome stops its whole group.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Mismatch | Self::Exists | Self::KeyReused | Self::Aborted
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Group {
    /// A group of one op without preconditions, for tests and tools.
    #[must_use]
    pub fn of(action: Action) -> Self {
        Self { by: None, key: None, ops: vec![Op::new(action)] }
    }

    /// What a replica does by itself.
    pub(crate) fn of_service(action: Action) -> Self {
        Self { by: Some(SERVICE.into()), ..Self::of(action) }
    }
}

impl Op {
    /// An op without preconditions.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { action, if_match: None, if_none_match: None, out: None }
    }
}

impl Action {
    /// The movie that it concerns, if it is a single one.
    #[must_use]
    pub fn key(&self) -> Option<&MovieKey> {
        match self {
            Self::Put(movie) => Some(movie.key()),
            Self::Delete(key) => Some(key),
            _ => None,
        }
    }

    /// As it stands in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
            Self::Adopt(_) => "adopt",
            Self::Published { .. } => "published",
            Self::Drop => "drop",
            Self::Create => "create",
            Self::Upgrade { .. } => "upgrade",
        }
    }
}

impl Commit {
    /// The object's bytes. The same commit always gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode::commit(self)
    }

    /// Reads an object of the log; movies are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// `Damaged` where it is no commit, `Unsupported` where it needs a newer binary, `Pruned`
    /// where only its number is left; all name `object`.
    pub fn decode(object: &str, bytes: &Bytes) -> Result<Self> {
        if let Some(checkpoint) = pruned_to(bytes) {
            return Err(Error::Pruned { object: object.to_owned(), checkpoint });
        }
        decode::commit(bytes).map_err(|error| error.of(object))
    }
}

/// The checkpoint in whose favour a commit was pruned, if these bytes are what is left of it.
#[must_use]
pub fn pruned_to(bytes: &[u8]) -> Option<Seq> {
    decode::stub(bytes)
}

/// What is put in the place of a commit that is pruned: its number stays taken.
pub(crate) fn stub(checkpoint: Seq) -> Bytes {
    format!("{{\"pruned_to\":{checkpoint}}}\n").into()
}

impl Batch {
    /// The bytes that it takes in a commit.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encode::batch_len(self)
    }
}

impl Group {
    /// About the bytes that it takes in a commit, outcomes included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encode::group_len(self)
    }
}

#[cfg(test)]
mod tests;
