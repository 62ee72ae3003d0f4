//! What stands where the published file should, and whose it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectMeta;
use serde::de::IgnoredAny;

use super::edit::Edit;
use super::{FOREIGN_BYTES_MAX, Foreign, LOOKS_MAX, MANIFESTS_MAX, Publisher, Tried, tag};
use crate::aside;
use crate::bucket::{Found, Got, is_same, modified_at};
use crate::checkpoint::load;
use crate::collection::{Collection, Freshness};
use crate::commit::FileRegister;
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::key::{Seq, Version};
use crate::state::State;

/// On a folder, what breaks off and is younger than this may not be all yet.
const UNFINISHED_MS: u64 = 60_000;

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
    Known(Foreign),
    /// Somebody else's, and as what it would be recorded.
    Foreign(ObjectMeta, FileRegister),
}

/// What stands there once the log knows of it.
pub(super) enum Settled {
    /// What the register says, or nothing.
    Ours(Option<ObjectMeta>),
    /// Somebody else's, which stays.
    Foreign(Foreign),
    /// It does not stand still.
    Moving,
    /// There may be more of it in a moment.
    Unfinished,
}

impl Publisher {
    /// Sees to it that the register says what stands there: records what is ours, adopts what a
    /// person made of it.
    pub(super) async fn settle(&self, collection: &Collection) -> Result<Settled> {
        for _ in 0..LOOKS_MAX {
            let state = collection.latest();
            if state.dropped {
                return Ok(Settled::Ours(None));
            }
            let seen = self.head().await?;
            let known = collection.publication().foreign;
            match self.examine(seen, &state, known.as_ref()).await? {
                Standing::Ours(seen) => return Ok(Settled::Ours(seen)),
                Standing::Moving => return Ok(Settled::Moving),
                Standing::Known(known) => return Ok(Settled::Foreign(known)),
                // What another replica has recorded meanwhile is not recorded again.
                _ if !self.is_latest(collection, &state).await? => {}
                Standing::Unrecorded(to) => self.record(&state, to).await?,
                Standing::Foreign(seen, _) if self.log.env().has(Mutant::PublishOverEdit) => {
                    return Ok(Settled::Ours(Some(seen)));
                }
                Standing::Foreign(seen, to) => {
                    let Some(content) = self.read(&seen).await? else {
                        return Ok(Settled::Foreign(self.tell(collection, &seen, None)));
                    };
                    if self.adopts_every.is_none() {
                        let copy = Some(self.keep(content).await?);
                        return Ok(Settled::Foreign(self.tell(collection, &seen, copy)));
                    }
                    let (name, text) = (self.log.name().clone(), content.clone());
                    let edit = self.log.env().compute(move || Edit::parse(&name, &text)).await;
                    if edit.is_err() && self.is_unfinished(&seen, &content) {
                        return Ok(Settled::Unfinished);
                    }
                    let copy = self.keep(content).await?;
                    self.adopt(collection, &state, to, copy, edit).await?;
                }
            }
        }
        Ok(Settled::Moving)
    }

    /// Whether no commit of another has moved the register since `state`.
    async fn is_latest(&self, collection: &Collection, state: &State) -> Result<bool> {
        let now = collection.read(Freshness::AtMost(Duration::ZERO)).await?.state;
        Ok(now.file() == state.file() && now.dropped == state.dropped)
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
        state: &State,
        known: Option<&Foreign>,
    ) -> Result<Standing> {
        let register = state.file();
        let Some(seen) = seen else { return Ok(Standing::Ours(None)) };
        let recorded = register.and_then(|register| register.etag.as_deref());
        if recorded.is_some() && recorded == tag(&seen) {
            return Ok(Standing::Ours(Some(seen)));
        }
        if let Some(known) = known.filter(|known| tag(&seen) == Some(&known.etag)) {
            return Ok(Standing::Known(known.clone()));
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
        let edition = self.edition_of(&sha256, register, state.version).await?;
        let etag = tag(&seen).map(Into::into);
        Ok(match edition {
            Some(seq) => Standing::Unrecorded(FileRegister { etag, sha256, seq }),
            // It shows no version of ours.
            None => Standing::Foreign(seen, FileRegister { etag, sha256, seq: Seq::ZERO }),
        })
    }

    /// The commit after which the movies were as a content shows them, if this log may have written
    /// it since what the register says: tried by this replica, or of a checkpoint. `version`: of now.
    pub(super) async fn edition_of(
        &self,
        sha256: &str,
        register: Option<&FileRegister>,
        version: Version,
    ) -> Result<Option<Seq>> {
        let published = register.map_or(Seq::ZERO, |register| register.seq);
        let is_edit = register.is_some_and(|register| register.seq == Seq::ZERO);
        let mut tried = self.tried.iter().rev();
        let is_it = |tried: &&Tried| {
            let is_later = tried.seq > published && (!is_edit || tried.version == version);
            is_later && *tried.sha256 == *sha256
        };
        if let Some(tried) = tried.find(is_it) {
            return Ok(Some(tried.seq));
        }
        let later =
            load::list(&self.log).await?.into_iter().filter(|listed| listed.seq > published);
        for listed in later.take(MANIFESTS_MAX) {
            match load::manifest(&self.log, listed.seq).await {
                Ok(Some(manifest)) if *manifest.sha256 == *sha256 => {
                    // What is older than the edit in the file was put back by somebody.
                    let is_since =
                        manifest.file.as_ref() == register || manifest.version == version;
                    return Ok(Some(manifest.seq).filter(|_| !is_edit || is_since));
                }
                Ok(_) => {}
                // A damaged one is told where checkpoints are read; it recognises nothing.
                Err(error) if error.is_final() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What a file that is not ours holds; nothing of one that is too large for a copy.
    async fn read(&self, seen: &ObjectMeta) -> Result<Option<Bytes>> {
        let (bucket, object) = (self.log.bucket(), self.log.name().as_str());
        let path = bucket.path(object);
        let got = bucket.get_if(&path, self.log.env(), |bytes| bytes <= FOREIGN_BYTES_MAX).await;
        let got = got.map_err(|failure| failure.into_error("read", object))?;
        let Got::Found(Found { bytes, meta }) = got else { return Ok(None) };
        if !is_same(&meta, seen) {
            return Err(Error::unavailable("read", object, "it changes right now"));
        }
        Ok(Some(bytes))
    }

    /// Whether somebody is still at it: a program that writes a file where it is, rather than beside
    /// it, shows the beginning first.
    fn is_unfinished(&self, seen: &ObjectMeta, content: &[u8]) -> bool {
        let age_ms = self.log.env().now().0 - modified_at(seen).0;
        let is_new = self.log.is_folder() && age_ms.unsigned_abs() < UNFINISHED_MS;
        is_new && serde_json::from_slice::<IgnoredAny>(content).is_err_and(|error| error.is_eof())
    }

    /// Keeps a copy: where.
    async fn keep(&self, content: Bytes) -> Result<Arc<str>> {
        let (bucket, object) = (self.log.bucket(), self.log.name());
        if self.log.env().has(Mutant::KeepNoCopy) {
            return Ok(aside::folder(object).into());
        }
        let kept = aside::keep(bucket, object, self.log.env(), content).await;
        let kept =
            kept.map_err(|failure| failure.into_error("create a copy in", aside::folder(object)))?;
        Ok(kept.into())
    }

    /// Tells, once, of a file that stays as it is.
    fn tell(&self, collection: &Collection, seen: &ObjectMeta, kept: Option<Arc<str>>) -> Foreign {
        collection.meters().foreign_files_kept.increase();
        tracing::warn!(
            collection = %self.log.name(),
            aside = kept.as_deref().unwrap_or("nowhere, it is too large"),
            "the published file is not ours: it is kept as it is, and nothing is published \
             until it is moved away"
        );
        Foreign { etag: tag(seen).unwrap_or_default().into(), aside: kept }
    }
}
