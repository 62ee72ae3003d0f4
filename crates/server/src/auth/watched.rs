//! A file that a person or an orchestrator may change while we run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tracing::{error, info};

/// A file, and how it was when it was looked at last.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    /// How it was when it was read last.
    read: Option<Stamp>,
    /// How it was at the last look: an editor may first cut it short and then write it, and what is
    /// there in between is nothing that anybody meant.
    seen: Option<Stamp>,
    /// Why what is there now could not be used.
    failed: Option<String>,
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
        let stamp = stamp(path);
        Self { path: path.to_owned(), read: stamp, seen: stamp, failed: None }
    }

    /// [`Self::read_again`], for those who look from time to time: only where two looks in a row find
    /// the same.
    pub(crate) fn read_once_it_stands<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&Path) -> anyhow::Result<T>,
    ) -> Option<T> {
        let now = stamp(&self.path);
        let stands = std::mem::replace(&mut self.seen, now) == now;
        if stands { self.read_again(what, read) } else { None }
    }

    /// What is in it now, where it has changed. Of one that cannot be used the reason is told once,
    /// and it is read again until it can: what kept us from it may not have been in the file, such as
    /// a process without a free file descriptor.
    pub(crate) fn read_again<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&Path) -> anyhow::Result<T>,
    ) -> Option<T> {
        let now = stamp(&self.path);
        if self.read == now && self.failed.is_none() {
            return None;
        }
        self.read = now;
        match read(&self.path) {
            Ok(found) => {
                info!("read {} again", self.path.display());
                self.failed = None;
                Some(found)
            }
            Err(problem) => {
                let problem = format!("{problem:#}");
                if self.failed.as_ref() != Some(&problem) {
                    error!("{problem}; the {what} that were known go on");
                }
                self.failed = Some(problem);
                None
            }
        }
    }
}

/// None where it is not there or cannot be looked at; reading it then says why.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some(Stamp { inode: meta.ino(), length: meta.len(), changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> anyhow::Result<String> {
        Ok(fs::read_to_string(path)?)
    }

    #[test]
    fn a_file_that_could_not_be_read_in_passing_is_read_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "old").unwrap();
        let mut file = Watched::new(&path);
        assert_eq!(file.read_again("users", text), None, "nothing has changed");
        fs::write(&path, "newer").unwrap();
        let busy = |_: &Path| -> anyhow::Result<String> { anyhow::bail!("too many open files") };
        assert_eq!(file.read_again("users", busy), None);
        assert!(file.failed.is_some());
        assert_eq!(file.read_again("users", text).as_deref(), Some("newer"));
        assert_eq!(file.read_again("users", text), None, "nothing has changed since");
    }

    #[test]
    fn a_file_that_is_being_written_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "ann").unwrap();
        let mut file = Watched::new(&path);
        for halves in ["", "an", "ann and"] {
            fs::write(&path, halves).unwrap();
            assert_eq!(
                file.read_once_it_stands("users", text),
                None,
                "{halves:?} was not there for long"
            );
        }
        fs::write(&path, "ann and bob").unwrap();
        assert_eq!(file.read_once_it_stands("users", text), None, "the first look");
        assert_eq!(file.read_once_it_stands("users", text).as_deref(), Some("ann and bob"));
        // Changed, and back again before the second look.
        fs::rename(&path, folder.path().join("away")).unwrap();
        assert_eq!(file.read_once_it_stands("users", text), None);
        assert_eq!(file.failed, None, "nobody was told that it is gone");
    }
}
