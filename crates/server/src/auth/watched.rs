//! A file that a person or an orchestrator may change while we run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file, and how it was when it was looked at last.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
}

/// By which a file is seen to have changed. A symbolic link is followed: orchestrators change where
/// it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Watched {
    /// From now on; to be called before the file is read.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: stamp(path) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has changed since it was asked last.
    pub(crate) fn has_changed(&mut self) -> bool {
        let now = stamp(&self.path);
        std::mem::replace(&mut self.seen, now) != now
    }
}

/// None where it is not there or cannot be looked at; reading it then says why.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some(Stamp { inode: meta.ino(), length: meta.len(), changed })
}
