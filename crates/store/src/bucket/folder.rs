//! What a local folder proves, and what makes it durable.
//!
//! The only file of the store that calls the operating system directly: a probe by `stat` costs a
//! microsecond, so a read on a folder needs no round trip at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::OnceLock;

use super::Failure;
use crate::key::Seq;

/// The commits of one collection in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    commits: PathBuf,
    /// Which folder it was when it was first seen: an unmounted disk leaves another one behind.
    identity: OnceLock<Identity>,
}

type Identity = (u64, u64);

impl Folder {
    pub(super) fn new(root: PathBuf, commits: PathBuf) -> Self {
        Self { root, commits, identity: OnceLock::new() }
    }

    /// Makes the folder of the commits: without it absence cannot be proved. `unique` names the
    /// scratch files of the check for hard links.
    pub(crate) fn make(&self, unique: &str) -> Result<(), Failure> {
        make(&self.commits).map_err(|error| Failure::of_io(&error))?;
        check_hard_links(&self.root, unique).map_err(|error| Failure {
            reason: format!(
                "the folder cannot hold hard links ({error}), by which a commit is created only \
                     if it does not exist; use another file system"
            )
            .into(),
            is_final: true,
        })
    }

    /// Whether commit `seq` is absent; `None` where that cannot be told this way. Takes about a
    /// microsecond on a local disk and never touches the runtime.
    pub(crate) fn is_absent(&self, seq: Seq) -> Option<bool> {
        match fs::symlink_metadata(self.commits.join(format!("{seq:020}.json", seq = seq.0))) {
            Ok(_) => Some(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let now = identity(&fs::symlink_metadata(&self.commits).ok()?);
                (*self.identity.get_or_init(|| now) == now).then_some(true)
            }
            Err(_) => None,
        }
    }

    /// Makes what was read durable: another process may have linked a commit and not yet synced
    /// the directory.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_directory(&self.commits)
    }
}

#[cfg(unix)]
fn identity(meta: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

#[cfg(not(unix))]
fn identity(_meta: &fs::Metadata) -> Identity {
    (0, 0)
}

#[cfg(unix)]
fn sync_directory(path: &FilePath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_path: &FilePath) -> io::Result<()> {
    Ok(())
}

/// Makes a folder and whatever is missing above it, and syncs each new entry.
pub(super) fn make(path: &FilePath) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(parent)?,
        }
    }
    Ok(())
}

/// A missing file proves absence only while the root exists: an unmounted disk takes it away.
pub(super) fn prove_absence(root: &FilePath) -> Result<(), Failure> {
    match fs::metadata(root) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Failure::passing(format!("{} is no folder", root.display()))),
        Err(error) => Err(Failure::of_io(&error)),
    }
}

fn check_hard_links(root: &FilePath, unique: &str) -> io::Result<()> {
    let scratch = root.join(".movies-api");
    make(&scratch)?;
    let from = scratch.join(format!("link-{unique}.a"));
    let to = scratch.join(format!("link-{unique}.b"));
    let linked = File::create(&from).and_then(|_| fs::hard_link(&from, &to));
    // Best effort: a scratch file left behind harms nobody.
    let _ = fs::remove_file(&to);
    let _ = fs::remove_file(&from);
    linked
}
