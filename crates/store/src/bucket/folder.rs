//! What a local folder proves, and what makes it durable.
//!
//! The only file of the store that calls the operating system directly: a probe by `stat` costs a
//! microsecond, so a read on a folder needs no round trip at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::Failure;
use crate::key::Seq;

/// How long the folder's identity is believed: a folder that was removed, unmounted or swapped for
/// another is noticed after this at the latest.
const IDENTITY_AGE_MS_MAX: u64 = 1_000;

/// The commits of one collection in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    commits: PathBuf,
    pinned: OnceLock<Pinned>,
}

/// The directory as it was first seen. A name that is missing in it is absent from this very log,
/// whatever has become of the path since.
#[derive(Debug)]
struct Pinned {
    directory: File,
    identity: Identity,
    since: Instant,
    /// When the path was last seen to lead here, in milliseconds after `since`.
    seen_ms: AtomicU64,
}

type Identity = (u64, u64);

impl Folder {
    pub(super) fn new(root: PathBuf, commits: PathBuf) -> Self {
        Self { root, commits, pinned: OnceLock::new() }
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

    /// Whether commit `seq` is absent; `None` where that cannot be told this way. One `fstatat` of
    /// about a microsecond on a local disk; never touches the runtime.
    pub(crate) fn is_absent(&self, seq: Seq, now: Instant) -> Option<bool> {
        let pinned = match self.pinned.get() {
            Some(pinned) => pinned,
            None => self.pin(now)?,
        };
        let age = u64::try_from(now.saturating_duration_since(pinned.since).as_millis()).ok()?;
        if age > pinned.seen_ms.load(Ordering::Relaxed) + IDENTITY_AGE_MS_MAX {
            let found = identity(&fs::metadata(&self.commits).ok()?);
            if found != pinned.identity {
                return None;
            }
            pinned.seen_ms.store(age, Ordering::Relaxed);
        }
        exists_in(&pinned.directory, &file_name(seq)).map(|exists| !exists)
    }

    fn pin(&self, now: Instant) -> Option<&Pinned> {
        let directory = File::open(&self.commits).ok()?;
        let identity = identity(&directory.metadata().ok()?);
        let seen_ms = AtomicU64::new(0);
        Some(self.pinned.get_or_init(|| Pinned { directory, identity, since: now, seen_ms }))
    }

    /// Makes what was read durable: another process may have linked a commit and not yet synced
    /// the directory.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_directory(&self.commits)
    }
}

/// `<20 digits>.json`, without an allocation: every read on a folder asks for one.
fn file_name(seq: Seq) -> [u8; 25] {
    let mut name = *b"00000000000000000000.json";
    let mut rest = seq.0;
    for digit in name.iter_mut().take(20).rev() {
        if rest == 0 {
            break;
        }
        // A digit is under 10.
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    name
}

#[cfg(unix)]
fn exists_in(directory: &File, name: &[u8]) -> Option<bool> {
    use rustix::fs::{AtFlags, statat};
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Some(true),
        Err(rustix::io::Errno::NOENT) => Some(false),
        Err(_) => None,
    }
}

#[cfg(not(unix))]
fn exists_in(_directory: &File, _name: &[u8]) -> Option<bool> {
    None
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

/// Syncs a file and its name.
pub(super) fn sync_file(path: &FilePath) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), sync_directory)
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

/// Exchanges the names of two files, in one step. Not synced: after a power cut the earlier edition
/// may be back, which the next publication finds and replaces.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(super) fn exchange(one: &FilePath, other: &FilePath) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(super) fn exchange(_one: &FilePath, _other: &FilePath) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the file system cannot exchange names, as many that come over a network cannot
/// (renameat2(2): `EINVAL`).
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_twenty_digits() {
        assert_eq!(&file_name(Seq(42)), b"00000000000000000042.json");
        assert_eq!(&file_name(Seq(u64::MAX)), b"18446744073709551615.json");
    }

    #[test]
    fn absence_is_told_only_of_the_folder_that_was_seen() {
        let home = tempfile::tempdir().unwrap();
        let commits = home.path().join("commit");
        let folder = Folder::new(home.path().to_owned(), commits.clone());
        let now = Instant::now();
        assert_eq!(folder.is_absent(Seq(1), now), None, "there is no folder yet");
        fs::create_dir(&commits).unwrap();
        assert_eq!(folder.is_absent(Seq(1), now), Some(true));
        fs::write(commits.join("00000000000000000001.json"), "x").unwrap();
        assert_eq!(folder.is_absent(Seq(1), now), Some(false));
        fs::rename(&commits, home.path().join("away")).unwrap();
        fs::create_dir(&commits).unwrap();
        let later = now + std::time::Duration::from_millis(IDENTITY_AGE_MS_MAX + 2);
        assert_eq!(folder.is_absent(Seq(2), later), None, "it is another folder");
    }
}
