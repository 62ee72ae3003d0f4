//! The published file: a collection's movies as one ordinary JSON array that anybody may read.
//!
//! Owns when and how it is written, always from a checkpoint's state, and the one rule: what this
//! log did not write there is never overwritten. The log's register says what it wrote last; the
//! overwrite is conditional on that very content, and a `published` op moves the register. Never
//! reads edits into the log: a file that is not ours is kept aside and told, and publishing waits.
//! See `docs/adr/0004-publication.md`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::time::Instant;

use crate::aside;
use crate::bucket::{Failure, Found, Got, Replaced, Replacement, is_same, unquoted};
use crate::checkpoint::{Manifest, load};
use crate::collection::{Collection, WeakCollection};
use crate::commit::{Action, FileRegister, Group};
use crate::error::{Error, Result};
use crate::key::{Seq, Timestamp, Version};
use crate::log::Log;
use crate::snapshot::Snapshot;
use crate::state::State;

/// After one that took `t`, the next begins `PACE` times `t` later at the earliest: publication
/// takes at most a tenth of the time.
const PACE: u32 = 9;
/// The first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// How often a file that is not ours is looked at again.
const FOREIGN_LOOK: Duration = Duration::from_secs(30);
/// How often one publication looks anew at a file that changes under its hands.
const LOOKS_MAX: u32 = 4;
/// A file over this that is not ours is told, but not copied.
const FOREIGN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How many checkpoints are asked whether an unknown content is theirs.
const MANIFESTS_MAX: usize = 400;
/// How many editions are remembered that were tried.
const TRIED_MAX: usize = 16;
/// How long the op that moves the register may take.
const OP_DEADLINE: Duration = Duration::from_secs(60);

/// How a collection's published file stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The file that stands where ours should, if one does.
    pub foreign: Option<Foreign>,
    /// When this replica last wrote it.
    pub at: Option<Timestamp>,
    /// Why the last try failed, if it did.
    pub trouble: Option<Arc<str>>,
    /// Where the edits are kept, since this replica began, that a publication had in its hands
    /// which was cut off.
    pub recovered: Vec<Arc<str>>,
}

/// A published file that this log did not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its `ETag`, without quotes.
    pub etag: Arc<str>,
    /// Where a copy is kept; `None` where it is too large for one.
    pub aside: Option<Arc<str>>,
}

/// What is to be published: the movies of a checkpoint.
struct Edition {
    seq: Seq,
    version: Version,
    movies: Snapshot,
    sha256: Arc<str>,
}

/// Publishes the newest checkpoint's movies, one at a time.
pub(crate) struct Publisher {
    log: Log,
    collection: WeakCollection,
    /// The least time between two; `None`: never.
    interval: Option<Duration>,
    next: Option<Edition>,
    /// The last editions that it tried to write: one may arrive late, when its checkpoint is gone.
    tried: VecDeque<(Seq, Arc<str>)>,
    not_before: Option<Instant>,
    failures: u32,
    /// Whether a publication may have been cut off, with an edit in its hands.
    looks_behind: bool,
}

/// What stands where the file should.
enum Standing {
    /// What the register says, or nothing.
    Ours(Option<ObjectMeta>),
    /// Ours, by its content, under a tag that the log does not have: a copy, or an edition whose op
    /// was lost.
    Unrecorded(FileRegister),
    /// It changes right now.
    Moving,
    /// Somebody else's, and told already.
    Known,
    /// Somebody else's.
    Foreign(ObjectMeta),
}

impl Publisher {
    pub(crate) fn new(log: Log, collection: WeakCollection, interval: Option<Duration>) -> Self {
        Self {
            log,
            collection,
            interval,
            next: None,
            tried: VecDeque::new(),
            not_before: None,
            failures: 0,
            looks_behind: true,
        }
    }

    /// Whether there is nothing to publish of `state`. Of a dropped collection the file stays as
    /// it was.
    pub(crate) fn is_current(&self, state: &State) -> bool {
        self.interval.is_none() || state.dropped || shows(state.file(), state.version)
    }

    /// There is a checkpoint of the movies of `state`.
    pub(crate) fn checkpointed(&mut self, manifest: &Manifest, state: &State) {
        if manifest.version == state.version && !self.is_current(state) {
            let Manifest { seq, version, sha256, .. } = manifest;
            let (sha256, movies) = (Arc::clone(sha256), state.movies.clone());
            self.next = Some(Edition { seq: *seq, version: *version, movies, sha256 });
        }
    }

    /// Another replica has written the checkpoint, and publishes first.
    pub(crate) fn stand_back(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }

    /// When there is something to do, if there is.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        self.next.as_ref().map(|_| self.not_before.unwrap_or(now))
    }

    /// Publishes what is due. Dropping the future leaves the file as it was, or an edition whose
    /// op is committed later.
    pub(crate) async fn run(&mut self) {
        let Some(collection) = self.collection.upgrade() else {
            self.next = None;
            return;
        };
        let env = self.log.env().clone();
        let began = env.instant();
        if let Some(Edition { seq, sha256, .. }) = &self.next
            && self.tried.back().is_none_or(|(last, _)| last != seq)
        {
            self.tried.push_back((*seq, Arc::clone(sha256)));
            if self.tried.len() > TRIED_MAX {
                self.tried.pop_front();
            }
        }
        let done = match self.bring_aside().await {
            Ok(()) => self.publish().await.inspect_err(|_| self.looks_behind = true),
            Err(error) => Err(error),
        };
        let now = env.instant();
        let took = now.saturating_duration_since(began);
        let pause = match &done {
            Ok(Some(_)) => FOREIGN_LOOK,
            Ok(None) => {
                self.next = None;
                self.interval.unwrap_or_default()
            }
            // It would be refused as often as it is tried; the next edition may be smaller.
            Err(error) if error.is_final() => {
                self.next = None;
                self.interval.unwrap_or_default()
            }
            Err(_) => PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX),
        };
        self.failures = if done.is_err() { self.failures + 1 } else { 0 };
        self.not_before = Some(now + pause.max(PACE * took));
        let (foreign, trouble) = match done {
            Ok(foreign) => (foreign, None),
            Err(error) => {
                let last = collection.publication();
                let trouble: Arc<str> = error.to_string().into();
                if !error.is_final() || last.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        collection = %self.log.name(),
                        %error,
                        "the file could not be published; the log goes on, and the last one stands"
                    );
                }
                (last.foreign, Some(trouble))
            }
        };
        if trouble.is_some() {
            collection.meters().publication_failures.increase();
        }
        collection.set_publication(Publication { foreign, trouble, ..collection.publication() });
    }

    /// Brings aside what a publication had in its hands that was cut off, on a folder, between its
    /// two renames. What cannot be copied stays where it is: it is told, and tried again by the next
    /// start.
    pub(crate) async fn recover(&mut self) {
        if let Err(error) = self.bring_aside().await
            && let Some(collection) = self.collection.upgrade()
        {
            let name = self.log.name();
            tracing::warn!(collection = %name, %error, "an edit that was cut off cannot be kept");
            let trouble = Some(error.to_string().into());
            collection.set_publication(Publication { trouble, ..collection.publication() });
        }
    }

    async fn bring_aside(&mut self) -> Result<()> {
        let Some(collection) = self.collection.upgrade().filter(|_| self.looks_behind) else {
            return Ok(());
        };
        let (bucket, name) = (self.log.bucket(), self.log.name());
        let left = bucket.left_behind(name).await;
        for scratch in left.map_err(|failure| failure.into_error("list", name.as_str()))? {
            let told = collection.publication().recovered;
            if told.iter().any(|kept| **kept == *scratch.as_ref()) {
                continue;
            }
            let claimed = bucket.claim(&scratch, name, self.log.env()).await;
            let claimed = claimed.map_err(|failure| failure.into_error("rename", scratch.as_ref()));
            let Some(claimed) = claimed? else { continue };
            let kept = self.bring_one_aside(&claimed, &collection).await.unwrap_or_else(|error| {
                tracing::warn!(collection = %name, %error, "it cannot be copied, and stays");
                Some(claimed.as_ref().into())
            });
            if let Some(kept) = kept {
                tracing::warn!(
                    collection = %name,
                    aside = %kept,
                    "a publication was cut off that had an edit in its hands; the edit is kept here"
                );
                let mut publication = collection.publication();
                publication.recovered.push(kept);
                collection.set_publication(publication);
            }
        }
        self.looks_behind = false;
        Ok(())
    }

    /// Where the edit is kept, if it is one.
    async fn bring_one_aside(
        &self,
        claimed: &Path,
        collection: &Collection,
    ) -> Result<Option<Arc<str>>> {
        let (bucket, name, env) = (self.log.bucket(), self.log.name(), self.log.env());
        let unavailable = |operation| {
            let object = claimed.as_ref();
            move |failure: Failure| -> Error { failure.into_error(operation, object) }
        };
        let read = bucket.digest(claimed).await.map_err(unavailable("read"))?;
        let Some((_, sha256)) = read else { return Ok(None) };
        let state = collection.latest();
        let is_recorded = state.file().is_some_and(|register| register.sha256 == sha256);
        // What was ours longer ago may have been put back by somebody.
        let published = state.file().map_or(Seq::ZERO, |register| register.seq);
        let mut kept = None;
        if !is_recorded && self.edition_of(&sha256, published).await?.is_none() {
            let fits = |bytes| bytes <= FOREIGN_BYTES_MAX;
            match bucket.get_if(claimed, env, fits).await.map_err(unavailable("read"))? {
                Got::Found(Found { bytes, .. }) => {
                    let copy = aside::keep(bucket, name, env, bytes).await;
                    kept = Some(copy.map_err(unavailable("keep"))?.into());
                }
                Got::Absent => return Ok(None),
                // Too large to be copied: it stays, under the name that it has now.
                Got::Declined(_) => return Ok(Some(claimed.to_string().into())),
            }
        }
        bucket.delete(claimed).await.map_err(unavailable("delete"))?;
        Ok(kept)
    }

    /// Gives the file that is in the way, if one is.
    async fn publish(&self) -> Result<Option<Foreign>> {
        let (Some(edition), Some(collection)) = (&self.next, self.collection.upgrade()) else {
            return Ok(None);
        };
        let object = self.log.name().as_str();
        let path = self.log.bucket().path(object);
        let mut said: Arc<str> = "it does not stand still".into();
        let began = self.log.env().instant();
        for _ in 0..LOOKS_MAX {
            let state = collection.latest();
            if state.dropped || shows(state.file(), edition.version) {
                return Ok(None);
            }
            self.check_size(edition)?;
            let seen = self.head().await?;
            let known = collection.publication().foreign;
            let seen = match self.examine(seen, state.file(), known.as_ref()).await? {
                Standing::Ours(seen) => seen,
                Standing::Unrecorded(to) => {
                    self.record(&state, to).await?;
                    continue;
                }
                Standing::Moving => continue,
                Standing::Known => return Ok(known),
                Standing::Foreign(seen) => {
                    let kept = self.keep(&seen).await?;
                    collection.meters().foreign_files_kept.increase();
                    return Ok(Some(kept));
                }
            };
            let name = self.log.name();
            let new = Replacement {
                path: &path,
                pieces: edition.movies.array().collect(),
                seen: seen.as_ref(),
                collection: name,
            };
            match self.log.bucket().replace(new, self.log.env()).await {
                Replaced::Yes(etag) => {
                    let etag = etag.as_deref().map(|etag| unquoted(etag).into());
                    let sha256 = Arc::clone(&edition.sha256);
                    self.record(&state, FileRegister { etag, sha256, seq: edition.seq }).await?;
                    tracing::info!(collection = %name, seq = %edition.seq, "published");
                    self.note_written(&collection, began);
                }
                Replaced::Changed => {}
                Replaced::Unknown(failure) => said = failure.reason,
                Replaced::Refused(failure) => return Err(failure.into_error("write", object)),
            }
        }
        Err(Error::unavailable("write", object, said))
    }

    fn note_written(&self, collection: &Collection, began: Instant) {
        let env = self.log.env();
        let took = env.instant().saturating_duration_since(began);
        collection.meters().publication_time.record_time(took);
        let at = Some(env.now());
        collection.set_publication(Publication { at, ..collection.publication() });
    }

    /// One PUT carries the whole file: a store that has a limit would take all of it and refuse.
    fn check_size(&self, edition: &Edition) -> Result<()> {
        let max = self.log.bucket().put_bytes_max();
        let bytes: u64 = edition.movies.array_bytes();
        if bytes <= max {
            return Ok(());
        }
        let found = format!(
            "as a published file the catalogue is over the {max} bytes that one PUT may carry in \
             this store; the API and `movies-api export` give all of it, and `--publish off` ends \
             this message"
        );
        Err(Error::unsupported(self.log.name().as_str(), found))
    }

    async fn head(&self) -> Result<Option<ObjectMeta>> {
        let object = self.log.name().as_str();
        let head = self.log.bucket().head(&self.log.bucket().path(object)).await;
        head.map_err(|failure| failure.into_error("look at", object))
    }

    /// Finds out whose file it is that was seen.
    async fn examine(
        &self,
        seen: Option<ObjectMeta>,
        register: Option<&FileRegister>,
        known: Option<&Foreign>,
    ) -> Result<Standing> {
        let Some(seen) = seen else { return Ok(Standing::Ours(None)) };
        let recorded = register.and_then(|register| register.etag.as_deref());
        if recorded.is_some() && recorded == tag(&seen) {
            return Ok(Standing::Ours(Some(seen)));
        }
        if known.is_some_and(|known| tag(&seen) == Some(&known.etag)) {
            return Ok(Standing::Known);
        }
        let object = self.log.name().as_str();
        let read = self.log.bucket().digest(&self.log.bucket().path(object)).await;
        let read = read.map_err(|failure| failure.into_error("read", object))?;
        let Some((_, sha256)) = read.filter(|(meta, _)| is_same(meta, &seen)) else {
            return Ok(Standing::Moving);
        };
        if let Some(register) = register.filter(|register| register.sha256 == sha256) {
            // A copied folder has other tags. Or it is a later edition with the same movies, not
            // recorded yet: which, the register's compare-and-set tells, not this look.
            let etag = tag(&seen).map(Into::into);
            return Ok(Standing::Unrecorded(FileRegister { etag, ..register.clone() }));
        }
        let published = register.map_or(Seq::ZERO, |register| register.seq);
        match self.edition_of(&sha256, published).await? {
            Some(seq) => {
                let etag = tag(&seen).map(Into::into);
                Ok(Standing::Unrecorded(FileRegister { etag, sha256, seq }))
            }
            None => Ok(Standing::Foreign(seen)),
        }
    }

    /// The commit after `published` after which the movies were as a content shows them, if this log
    /// ever wrote it: tried by this replica, or of a checkpoint.
    async fn edition_of(&self, sha256: &str, published: Seq) -> Result<Option<Seq>> {
        let mut tried = self.tried.iter().rev().filter(|(seq, _)| *seq > published);
        if let Some((seq, _)) = tried.find(|(_, tried)| **tried == *sha256) {
            return Ok(Some(*seq));
        }
        let later =
            load::list(&self.log).await?.into_iter().filter(|listed| listed.seq > published);
        for listed in later.take(MANIFESTS_MAX) {
            match load::manifest(&self.log, listed.seq).await {
                Ok(Some(manifest)) if *manifest.sha256 == *sha256 => {
                    return Ok(Some(manifest.seq));
                }
                Ok(_) => {}
                // A damaged one is told where checkpoints are read; it recognises nothing.
                Err(error) if error.is_final() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Moves the register; where another replica has moved it meanwhile, the next look tells.
    async fn record(&self, state: &State, to: FileRegister) -> Result<()> {
        let Some(collection) = self.collection.upgrade() else { return Err(Error::Closing) };
        let op = Action::Published { from: state.file().cloned(), to };
        collection.submit(Group::of_service(op), OP_DEADLINE).await.map(|_| ())
    }

    /// Keeps a copy of a file that is not ours, and tells it once.
    async fn keep(&self, seen: &ObjectMeta) -> Result<Foreign> {
        let (bucket, object) = (self.log.bucket(), self.log.name());
        let mut copy: Option<Arc<str>> = None;
        let path = bucket.path(object.as_str());
        let got = bucket.get_if(&path, self.log.env(), |bytes| bytes <= FOREIGN_BYTES_MAX).await;
        let got = got.map_err(|failure| failure.into_error("read", object.as_str()))?;
        if let Got::Found(Found { bytes: content, meta }) = got {
            if !is_same(&meta, seen) {
                return Err(Error::unavailable("read", object.as_str(), "it changes right now"));
            }
            let kept = aside::keep(bucket, object, self.log.env(), content).await;
            let kept = kept
                .map_err(|failure| failure.into_error("create a copy in", aside::folder(object)))?;
            copy = Some(kept.into());
        }
        tracing::warn!(
            collection = %object,
            aside = copy.as_deref().unwrap_or("nowhere, it is too large"),
            "the published file is not ours: it is kept as it is, and nothing is published \
             until it is moved away"
        );
        Ok(Foreign { etag: tag(seen).unwrap_or_default().into(), aside: copy })
    }
}

/// Whether the file shows a version, or a later one. Before the first there is nothing to show.
fn shows(register: Option<&FileRegister>, version: Version) -> bool {
    register.map_or(Seq::ZERO, |register| register.seq) >= version.0
}

/// The tag of an object as the log records it.
fn tag(meta: &ObjectMeta) -> Option<&str> {
    meta.e_tag.as_deref().map(unquoted)
}

#[cfg(test)]
mod tests;
