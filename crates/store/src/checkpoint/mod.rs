//! Checkpoints: the whole state after a commit, so that a start reads it instead of the log.
//!
//! A checkpoint is a manifest (`<name>.log/checkpoint/<20 digits>.json`, create-only, written last)
//! and the content-addressed files that it names (`<name>.log/page/<blake3>.zst`). It is never the
//! truth: the log is. One that is damaged is reported and passed over, one that is missing costs
//! time. See `docs/adr/0003-checkpoints.md`.
//!
//! | module | owns |
//! |---|---|
//! | [`manifest`] | the manifest's format |
//! | [`mod@file`] | the format of page files and of key files |
//! | `plan` | which files are reused and how the rest is cut |
//! | `write`, `load` | one checkpoint into the bucket, and back |
//! | `schedule`, `task` | when, and the task that does it beside the committer |
//! | `retention` | what goes |

use std::time::Duration;

pub mod file;
pub mod manifest;

pub(crate) mod load;
mod plan;
pub(crate) mod rendering;
mod retention;
mod schedule;
mod task;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use manifest::Manifest;
pub(crate) use schedule::{Install, Schedule};
pub(crate) use task::{Bell, Checkpointer};

/// The most requests for files of one checkpoint that are under way at once.
const REQUESTS_MAX: usize = 8;
/// The longest that writing one checkpoint may take: what is garbage is judged by it.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// When checkpoints are written and how long they are kept.
#[derive(Clone, Debug)]
pub struct CheckpointOptions {
    /// Commits of this many bytes since the last one call for the next, or a half of the
    /// state's bytes if that is more.
    pub commit_bytes: u64,
    /// So many commits since the last one call for the next: a bound on what a start replays.
    pub commits: u64,
    /// A change of a movie calls for one after this long without another.
    pub quiet: Duration,
    /// The least time between two that only quiet calls for.
    pub quiet_period: Duration,
    /// How long a replica waits for the one whose commit called for a checkpoint.
    pub patience: Duration,
    /// The size that page files are cut to, before compression, in bytes.
    pub file_bytes: u64,
    /// How long what no checkpoint needs any more is spared.
    pub grace: Duration,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            commit_bytes: 4 * 1024 * 1024,
            commits: 20_000,
            quiet: Duration::from_secs(1),
            quiet_period: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            file_bytes: 8 * 1024 * 1024,
            grace: Duration::from_secs(24 * 3_600),
        }
    }
}
