//! A file that is replaced whole or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Writes a file beside `path`, syncs it and renames it; a failure leaves `path` as it was. What is
/// no regular file (`/dev/null`, a named pipe) is written as it is: it cannot be replaced.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if path.metadata().is_ok_and(|meta| !meta.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path)?);
        write(&mut out)?;
        return Ok(out.flush()?);
    }
    // A link is followed: it is its target that is replaced.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let aside = aside_of(path).context("it names no file")?;
    let written = write_synced(&aside, write).and_then(|()| Ok(fs::rename(&aside, path)?));
    if written.is_err() {
        // Best effort: what is left behind harms nobody.
        drop(fs::remove_file(&aside));
        return written;
    }
    sync_folder_of(path)
}

fn aside_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    Some(path.with_file_name(format!(".{name}.{}.part", std::process::id())))
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(super::BUFFER_BYTES, File::create(path)?);
    write(&mut out)?;
    Ok(out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?)
}

/// The new name is durable only when its folder is.
#[cfg(unix)]
fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok(File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?)
}

#[cfg(not(unix))]
fn sync_folder_of(_path: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_file_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("films.json");
        replace(&path, |out| Ok(out.write_all(b"one")?)).unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"half of tw")?;
            anyhow::bail!("no more")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_device_is_written_to_and_stays_one() {
        replace(Path::new("/dev/null"), |out| Ok(out.write_all(b"gone")?)).unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
