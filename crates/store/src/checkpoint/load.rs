//! From the bucket: which checkpoints there are, one manifest, the state that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::REQUESTS_MAX;
use super::file::{self, FILE_BYTES_MAX};
use super::manifest::{KeyLine, MANIFEST_BYTES_MAX, Manifest, PageFile};
use crate::bucket::{Failure, deadline, modified_at};
use crate::commit;
use crate::error::{Error, Result};
use crate::key::{CommitHash, FileHash, Seq, Timestamp};
use crate::log::Log;
use crate::page::Page;
use crate::snapshot::Snapshot;
use crate::state::{Judged, KeyUse, Keys, State};

/// How often a read is tried that fails in passing.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// How often the checkpoints are listed anew when one goes before it is read.
pub(crate) const LISTINGS_MAX: u32 = 3;
/// The most files that are unpacked at once.
const UNPACKED_MAX: usize = 4;

/// A manifest as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) seq: Seq,
    /// When it was written, by the bucket's clock.
    pub(crate) at: Timestamp,
}

/// The newest checkpoint that can be used, if any.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) state: Option<State>,
    /// What is wrong with newer ones, in words.
    pub(crate) damaged: Vec<String>,
}

/// The name of the manifest after commit `seq`, relative to the store.
pub(crate) fn object(log: &Log, seq: Seq) -> String {
    format!("{}.log/checkpoint/{:020}.json", log.name(), seq.0)
}

/// The name of a file, relative to the store.
pub(super) fn file_object(log: &Log, file: FileHash) -> String {
    format!("{}.log/page/{file}.zst", log.name())
}

/// The manifests, newest first: a hint, which [`manifest`] proves.
///
/// # Errors
/// `Unavailable` when the bucket cannot be listed.
pub(crate) async fn list(log: &Log) -> Result<Vec<Listed>> {
    let folder = log.root().join("checkpoint");
    let listed = patiently(log, || log.bucket().list(&folder)).await;
    let listed = listed.map_err(|failure| failure.into_error("list", folder.to_string()))?;
    let mut listed: Vec<_> = listed
        .iter()
        .filter_map(|meta| {
            let digits = meta.location.filename()?.strip_suffix(".json")?;
            let seq = digits.parse().ok().filter(|_| digits.len() == 20).map(Seq)?;
            Some(Listed { seq, at: modified_at(meta) })
        })
        .collect();
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.seq));
    Ok(listed)
}

/// The manifest after commit `seq`; `None` is proof that there is none: one that was listed has
/// gone since, as retention has it.
///
/// # Errors
/// `Damaged` or `Unsupported` where it cannot be used, `Unavailable` where that is not known.
pub(crate) async fn manifest(log: &Log, seq: Seq) -> Result<Option<Manifest>> {
    let object = object(log, seq);
    let Some(bytes) = find(log, &object, MANIFEST_BYTES_MAX as u64).await? else {
        return Ok(None);
    };
    let manifest = Manifest::decode(&object, &bytes)?;
    if manifest.seq != seq {
        let found = format!("it is the checkpoint after commit {}", manifest.seq);
        return Err(Error::damaged(object, found));
    }
    Ok(Some(manifest))
}

/// The newest good checkpoint: its state, proved to be of this log.
///
/// # Errors
/// `Unavailable` where the bucket does not answer; `Damaged` where a checkpoint shows that the
/// log has lost commits, which no older one makes good.
pub(crate) async fn newest_good(log: &Log) -> Result<Newest> {
    // What is wrong with them; nothing but that it has gone.
    let mut passed = BTreeMap::<Seq, Option<String>>::new();
    let mut listings = 1;
    let mut listed = list(log).await?.into_iter();
    let mut state = None;
    while let Some(Listed { seq, .. }) = listed.next() {
        if passed.contains_key(&seq) {
            continue;
        }
        match checkpoint(log, seq).await {
            Ok(Some(loaded)) => {
                state = Some(loaded);
                break;
            }
            Ok(None) => {
                passed.insert(seq, None);
                if listings < LISTINGS_MAX {
                    listings += 1;
                    listed = list(log).await?.into_iter();
                }
            }
            Err(error) if error.is_final() && !names_a_commit(log, &error) => {
                tracing::warn!(collection = %log.name(), %error, "a checkpoint cannot be used; an older one is");
                passed.insert(seq, Some(error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Newest { state, damaged: passed.into_values().rev().flatten().collect() })
}

/// The state after commit `seq` as its checkpoint has it, proved to be of this log; `None` is proof
/// that there is no such checkpoint any more.
///
/// # Errors
/// As [`load_proved`].
pub(crate) async fn checkpoint(log: &Log, seq: Seq) -> Result<Option<State>> {
    let Some(manifest) = manifest(log, seq).await? else { return Ok(None) };
    match load_proved(log, &manifest).await {
        Err(error) if has_gone(log, seq, &error).await => Ok(None),
        loaded => loaded.map(Some),
    }
}

/// Whether a checkpoint seems damaged only because it was deleted while it was read.
async fn has_gone(log: &Log, seq: Seq, error: &Error) -> bool {
    error.is_final() && !names_a_commit(log, error) && matches!(manifest(log, seq).await, Ok(None))
}

/// Whether it is the log that is damaged, not a checkpoint of it.
fn names_a_commit(log: &Log, error: &Error) -> bool {
    let commits = format!("{}.log/commit/", log.name());
    matches!(error, Error::Damaged { object, .. } if object.starts_with(&commits))
}

/// The state that a manifest names, if it is of this log.
async fn load_proved(log: &Log, manifest: &Manifest) -> Result<State> {
    prove(log, manifest).await?;
    state(log, manifest).await
}

/// A checkpoint belongs to this log if its last commit is the one that it was taken after.
async fn prove(log: &Log, manifest: &Manifest) -> Result<()> {
    let commit = log.object(manifest.seq);
    let found = patiently(log, || log.read(manifest.seq)).await;
    let found = found.map_err(|failure| failure.into_error("read", commit.as_str()))?;
    let Some(bytes) = found else {
        let found = format!(
            "it is missing, but checkpoint {} was taken after it: the log has lost commits; restore them",
            manifest.seq
        );
        return Err(Error::damaged(commit, found));
    };
    let hash = CommitHash::of(&bytes);
    if hash != manifest.hash && commit::pruned_to(&bytes).is_none() {
        let found = format!(
            "it was taken after a commit with hash {}, but {commit} has {hash}",
            manifest.hash
        );
        return Err(Error::damaged(object(log, manifest.seq), found));
    }
    Ok(())
}

/// The state that a manifest names: its files are read and unpacked in parallel.
///
/// # Errors
/// `Damaged` where a file is missing or not what it should be, `Unavailable` where that is not
/// known.
pub(crate) async fn state(log: &Log, manifest: &Manifest) -> Result<State> {
    let seq = manifest.seq;
    let wrong = |found: &str| Error::damaged(object(log, seq), found);
    // Owned places: a future that borrows what its stream yields is not `Send` to the compiler.
    let files: Vec<_> = stream::iter(manifest.pages.clone())
        .map(|place| fetch(log, place.file, place.bytes.min(FILE_BYTES_MAX), place))
        .buffered(REQUESTS_MAX)
        .map_ok(|(place, content)| unpack(log, place, content, seq))
        .try_buffered(UNPACKED_MAX)
        .try_collect()
        .await?;
    let mut last = None;
    for page in files.iter().flatten() {
        let first = page.key(0);
        if last.is_some() && last >= first {
            return Err(wrong("the keys of its files overlap"));
        }
        last = page.key(page.count() - 1);
    }
    let movies = Snapshot::of_pages(files.into_iter().flatten());
    if (movies.count(), movies.wire_bytes()) != (manifest.movies, manifest.wire_bytes) {
        return Err(wrong("its files do not add up to what it says"));
    }
    let mut judged = Judged::default();
    manifest.judged.iter().for_each(|(id, until)| judged.insert(*id, *until));
    Ok(State {
        log: manifest.log,
        format: manifest.format,
        seq,
        hash: Some(manifest.hash),
        at: manifest.at,
        version: manifest.version,
        changed_at: manifest.changed_at,
        file: manifest.file.clone(),
        dropped: manifest.dropped,
        movies,
        keys: keys(log, manifest).await?,
        judged,
    })
}

/// Reads and unpacks every file that the manifest after commit `seq` names and that is not in
/// `verified` yet; `false` is proof that there is no such manifest any more.
///
/// # Errors
/// As [`state`].
pub(crate) async fn verify(log: &Log, seq: Seq, verified: &mut BTreeSet<FileHash>) -> Result<bool> {
    let Some(manifest) = manifest(log, seq).await? else { return Ok(false) };
    match verify_files(log, &manifest, verified).await {
        Err(error) if has_gone(log, seq, &error).await => Ok(false),
        done => done.map(|()| true),
    }
}

async fn verify_files(
    log: &Log,
    manifest: &Manifest,
    verified: &mut BTreeSet<FileHash>,
) -> Result<()> {
    prove(log, manifest).await?;
    let pages: Vec<_> =
        manifest.pages.iter().filter(|place| !verified.contains(&place.file)).cloned().collect();
    stream::iter(pages)
        .map(|place| fetch(log, place.file, place.bytes.min(FILE_BYTES_MAX), place))
        .buffered(REQUESTS_MAX)
        .try_for_each(|(place, content)| async move {
            unpack(log, place, content, manifest.seq).await.map(|_| ())
        })
        .await?;
    verified.extend(manifest.pages.iter().map(|place| place.file));
    keys(log, manifest).await.map(|_| ())
}

/// Reads a file that must be there, of at most so many bytes.
async fn fetch<P>(log: &Log, file: FileHash, bytes: u64, place: P) -> Result<(P, Bytes)> {
    let object = file_object(log, file);
    // As many share the line.
    let found = find(log, &object, bytes.saturating_mul(REQUESTS_MAX as u64)).await?;
    let content = found.ok_or_else(|| Error::damaged(object, "it is missing"))?;
    Ok((place, content))
}

async fn unpack(log: &Log, place: PageFile, content: Bytes, seq: Seq) -> Result<Vec<Page>> {
    let object = file_object(log, place.file);
    let work = move || file::unpack_pages(&content, &place, seq);
    log.env().compute(work).await.map_err(|found| Error::damaged(object, found))
}

/// The last ones of all keys that the files hold: older ones have expired since they were written.
async fn keys(log: &Log, manifest: &Manifest) -> Result<Keys> {
    let fetched: Vec<_> = stream::iter(manifest.key_files.clone())
        .map(|place| fetch(log, place.file, place.bytes.min(FILE_BYTES_MAX), place))
        .buffered(REQUESTS_MAX)
        .try_collect()
        .await?;
    let mut lines: Vec<KeyLine> = Vec::new();
    for (place, content) in fetched {
        let object = file_object(log, place.file);
        let work = move || file::unpack_keys(&content, &place);
        let unpacked = log.env().compute(work).await;
        lines.extend(unpacked.map_err(|found| Error::damaged(object, found))?);
    }
    lines.extend(manifest.recent_keys.iter().cloned());
    let expired =
        usize::try_from(manifest.keys).ok().and_then(|keys| lines.len().checked_sub(keys));
    let Some(expired) = expired else {
        return Err(Error::damaged(object(log, manifest.seq), "its files hold too few keys"));
    };
    let mut keys = Keys::default();
    for KeyLine { by, key, print, seq, group, at } in lines.into_iter().skip(expired) {
        keys.insert((by, key), KeyUse { print, seq, group, at });
    }
    Ok(keys)
}

/// Reads an object of at most about so many bytes; `None` is proof that it is not there.
async fn find(log: &Log, object: &str, bytes: u64) -> Result<Option<Bytes>> {
    let path = log.bucket().path(object);
    let limit = deadline(bytes);
    let found = patiently(log, || async {
        let answer = log.env().timeout(limit, log.bucket().get(&path, log.env())).await;
        answer.unwrap_or_else(|| Err(Failure::passing("no answer in time")))
    });
    let found = found.await.map_err(|failure| failure.into_error("read", object))?;
    Ok(found.map(|found| found.bytes))
}

/// Tries again what failed in passing.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
    log: &Log,
    request: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut attempt = 1;
    loop {
        match request().await {
            Err(failure) if !failure.is_final && attempt < ATTEMPTS => {
                log.env().sleep(log.env().jittered(PAUSE * attempt)).await;
            }
            answer => return answer,
        }
        attempt += 1;
    }
}
