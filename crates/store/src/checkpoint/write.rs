//! One checkpoint into the bucket: its files, a few at once, then the manifest.
//!
//! Files are content-addressed, so they are simply put; whatever is written before a crash is
//! garbage, which `retention` finds. The manifest is created last and only if its number is free.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, future, stream};

use tokio::sync::Semaphore;

use super::file::{self, Packed};
use super::load::{self, patiently};
use super::manifest::{KeyFile, KeyLine, Manifest, PageFile};
use super::plan::{self, Piece};
use super::rendering;
use crate::bucket::{Bucket, Created};
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::key::{CommitHash, FileHash};
use crate::log::Log;
use crate::state::State;

/// Requests for files under way at once. Each holds one compressed file: with those in the making
/// a few tens of megabytes at most.
pub(super) const WRITES_MAX: usize = 4;
/// So many idempotency keys make a file; fewer stand in the manifest.
pub(super) const KEYS_A_FILE: usize = 2_048;
/// How often the manifest is created before the run is given up.
const ATTEMPTS: u32 = 3;

/// What a checkpoint is made of.
pub(super) struct Draft<'a> {
    pub(super) log: &'a Log,
    pub(super) state: &'a State,
    /// The newest one before it, whose files are reused.
    pub(super) base: Option<&'a Manifest>,
    pub(super) file_bytes: u64,
    pub(super) writer: Arc<str>,
    /// How many files are in the making at a time. One beside requests: one core, and one file's
    /// text in memory. More where somebody waits for nothing else.
    pub(super) press: Semaphore,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) manifest: Manifest,
    /// How many files were written; the others are those of earlier checkpoints.
    pub(super) files: usize,
    /// Whether this manifest is the one in the bucket; else another's of the same commit may be.
    pub(super) is_ours: bool,
}

impl Draft<'_> {
    /// Writes it. Dropping the future leaves files without a manifest, which are garbage, or a
    /// whole checkpoint.
    ///
    /// # Errors
    /// `Unavailable` with what the bucket said; the earlier checkpoints stand.
    pub(super) async fn write(&self, hash: CommitHash) -> Result<Written> {
        let State { movies, judged, keys, .. } = self.state;
        let mut files = 0;
        let (pages, sha256) = future::try_join(self.pages(&mut files), self.sha256()).await?;
        let (key_files, recent_keys) = self.keys(&mut files).await?;
        let forgets = self.log.env().has(Mutant::ForgetJudgedInCheckpoint);
        let keyless = self.log.env().has(Mutant::ForgetKeysInCheckpoint);
        let mistimes = self.log.env().has(Mutant::ForgetChangeTimeInCheckpoint);
        let manifest = Manifest {
            format: self.state.format,
            log: self.state.log,
            seq: self.state.seq,
            hash,
            at: self.state.at,
            version: self.state.version,
            changed_at: if mistimes { self.state.at } else { self.state.changed_at },
            dropped: self.state.dropped,
            file: self.state.file.clone(),
            writer: Arc::clone(&self.writer),
            movies: movies.count(),
            wire_bytes: movies.wire_bytes(),
            sha256,
            judged: if forgets { Vec::new() } else { judged.iter().collect() },
            keys: if keyless { 0 } else { keys.len() as u64 },
            key_files: if keyless { Vec::new() } else { key_files },
            recent_keys: if keyless { Vec::new() } else { recent_keys },
            pages,
        };
        self.prove_base(&manifest).await?;
        let is_ours = self.create(&manifest).await?;
        self.prove_base(&manifest).await?;
        Ok(Written { manifest, files, is_ours })
    }

    /// The page files in key order: one in the making, a few on their way.
    async fn pages(&self, written: &mut usize) -> Result<Vec<PageFile>> {
        let (movies, base, file_bytes) =
            (self.state.movies.clone(), self.base.cloned(), self.file_bytes);
        let plan = move || plan::pieces(&movies, base.as_ref(), file_bytes);
        let pieces = self.log.env().compute(plan).await;
        let sent: Vec<_> = stream::iter(pieces)
            .map(|piece| self.provide(piece))
            .buffered(WRITES_MAX)
            .try_collect()
            .await?;
        *written += sent.iter().filter(|(_, is_new)| *is_new).count();
        Ok(sent.into_iter().map(|(place, _)| place).collect())
    }

    /// Of the published rendering.
    async fn sha256(&self) -> Result<Arc<str>> {
        let _turn = self.press.acquire().await;
        Ok(rendering::sha256(&self.state.movies, self.log.env()).await)
    }

    /// Sees that a piece's file is there; gives its place, and whether it had to be written.
    async fn provide(&self, piece: Piece) -> Result<(PageFile, bool)> {
        if let Some(kept) = &piece.kept
            && self.exists(kept.file).await?
        {
            return Ok((kept.clone(), false));
        }
        let rows = piece.rows(&self.state.movies);
        let packed = {
            let _turn = self.press.acquire().await;
            self.log.env().compute(move || file::pack_pages(&rows)).await
        };
        let (place, packed) = packed.expect("a piece has movies");
        self.put(&packed).await?;
        Ok((place, true))
    }

    /// The files of older keys, and the keys that make no file yet. Keys never change and go
    /// oldest first, so a file is good until its last key has gone.
    async fn keys(&self, written: &mut usize) -> Result<(Vec<KeyFile>, Vec<KeyLine>)> {
        let keys = &self.state.keys;
        let oldest = keys.after(None).next().map(|(_, first)| (first.seq, first.group));
        let mut kept: Vec<KeyFile> = Vec::new();
        if let (Some(oldest), Some(base)) = (oldest, self.base) {
            kept.extend(base.key_files.iter().filter(|file| file.last >= oldest).cloned());
            let names: Vec<_> = kept.iter().map(|file| file.file).collect();
            let there: Vec<bool> = stream::iter(names)
                .map(|file| self.exists(file))
                .buffered(WRITES_MAX)
                .try_collect()
                .await?;
            if there.contains(&false) {
                kept.clear();
            }
        }
        let rest = keys.after(kept.last().map(|file| file.last));
        let mut lines: Vec<_> = rest
            .map(|((by, key), first)| KeyLine {
                by: by.clone(),
                key: Arc::clone(key),
                print: first.print,
                seq: first.seq,
                group: first.group,
                at: first.at,
            })
            .collect();
        while lines.len() >= KEYS_A_FILE {
            let later = lines.split_off(KEYS_A_FILE);
            let some = std::mem::replace(&mut lines, later);
            let packed = self.log.env().compute(move || file::pack_keys(&some)).await;
            let (place, packed) = packed.expect("there are keys");
            self.put(&packed).await?;
            *written += 1;
            kept.push(place);
        }
        Ok((kept, lines))
    }

    /// Whether a file of an earlier checkpoint is there, as a hint: a start tells if it is not.
    async fn exists(&self, file: FileHash) -> Result<bool> {
        let object = load::file_object(self.log, file);
        let path = self.bucket().path(&object);
        let found = patiently(self.log, || self.bucket().head(&path)).await;
        found.map(|found| found.is_some()).map_err(|failure| failure.into_error("look at", object))
    }

    /// What is reused is safe from being deleted as long as a manifest names it: the earlier one up
    /// to when ours is there. One that stands before and after has stood all the time.
    async fn prove_base(&self, manifest: &Manifest) -> Result<()> {
        let Some(base) = self.base else { return Ok(()) };
        let theirs: BTreeSet<_> = base.files().collect();
        if !manifest.files().any(|file| theirs.contains(&file)) {
            return Ok(());
        }
        let object = load::object(self.log, base.seq);
        let path = self.bucket().path(&object);
        let found = patiently(self.log, || self.bucket().head(&path)).await;
        match found.map_err(|failure| failure.into_error("look at", object.as_str()))? {
            Some(_) => Ok(()),
            None => Err(Error::unavailable(
                "reuse the files of",
                object,
                "it was deleted meanwhile, so that they may go as well",
            )),
        }
    }

    /// Its name is its content, so whatever is there may be overwritten: that heals a file that
    /// was cut short, and renews the date by which garbage is judged.
    async fn put(&self, packed: &Packed) -> Result<()> {
        let object = load::file_object(self.log, packed.hash);
        let path = self.bucket().path(&object);
        let put = patiently(self.log, || self.bucket().put(&path, packed.content.clone())).await;
        put.map_err(|failure| failure.into_error("write", object))
    }

    /// Whether it was created; an unknown first try makes that `false` at worst.
    async fn create(&self, manifest: &Manifest) -> Result<bool> {
        let object = load::object(self.log, manifest.seq);
        let path = self.bucket().path(&object);
        let bytes = manifest.encode();
        let mut said = None;
        for _ in 0..ATTEMPTS {
            match self.bucket().create(&path, bytes.clone()).await {
                Created::Yes => return Ok(true),
                // Another's of the same commit is as good, if it is there: S3 says the same of two
                // that come at once (409 `ConditionalRequestConflict`).
                Created::Taken if load::manifest(self.log, manifest.seq).await?.is_some() => {
                    return Ok(false);
                }
                Created::Taken => said = Some("it is said to be there, and is not".into()),
                Created::Refused(failure) => return Err(failure.into_error("create", object)),
                Created::Unknown(failure) => said = Some(failure.reason),
            }
        }
        Err(Error::unavailable("create", object, said.unwrap_or_else(|| "no answer".into())))
    }

    fn bucket(&self) -> &Bucket {
        self.log.bucket()
    }
}
