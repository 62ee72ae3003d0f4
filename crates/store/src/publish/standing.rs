//! What stands where the published file should, and whose it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectMeta;

use super::{FOREIGN_BYTES_MAX, Foreign, LOOKS_MAX, MANIFESTS_MAX, Publisher, tag};
use crate::aside;
use crate::bucket::{Found, Got, is_same};
use crate::checkpoint::load;
use crate::collection::{Collection, Freshness};
use crate::commit::FileRegister;
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::key::Seq;
use crate::state::State;

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
            match self.examine(seen, state.file(), known.as_ref()).await? {
                Standing::Ours(seen) => return Ok(Settled::Ours(seen)),
                Standing::Moving => return Ok(Settled::Moving),
                Standing::Known(known) => return Ok(Settled::Foreign(known)),
                // What another replica has recorded meanwhile is not recorded again.
                _ if !self.is_latest(collection, &state).await? => {}
                Standing::Unrecorded(to) => self.record(&state, to).await?,
                Standing::Foreign(seen, _) if self.log.env().has(Mutant::PublishOverEdit) => {
                    return Ok(Settled::Ours(Some(seen)));
                }
                Standing::Foreign(seen, edit) => match (self.keep(&seen).await?, self.adopts_every)
                {
                    (Some((copy, content)), Some(_)) => {
                        self.adopt(collection, &state, edit, copy, content).await?;
                    }
                    (kept, _) => {
                        let copy = kept.map(|(copy, _)| copy);
                        return Ok(Settled::Foreign(self.tell(collection, &seen, copy)));
                    }
                },
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
        register: Option<&FileRegister>,
        known: Option<&Foreign>,
    ) -> Result<Standing> {
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
        let published = register.map_or(Seq::ZERO, |register| register.seq);
        let edition = self.edition_of(&sha256, published).await?;
        let etag = tag(&seen).map(Into::into);
        Ok(match edition {
            Some(seq) => Standing::Unrecorded(FileRegister { etag, sha256, seq }),
            // It shows no version of ours.
            None => Standing::Foreign(seen, FileRegister { etag, sha256, seq: Seq::ZERO }),
        })
    }

    /// The commit after `published` after which the movies were as a content shows them, if this log
    /// ever wrote it: tried by this replica, or of a checkpoint.
    pub(super) async fn edition_of(&self, sha256: &str, published: Seq) -> Result<Option<Seq>> {
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

    /// Keeps a copy of a file that is not ours: where, and what it holds. Nothing of one that is too
    /// large for a copy.
    async fn keep(&self, seen: &ObjectMeta) -> Result<Option<(Arc<str>, Bytes)>> {
        let (bucket, object) = (self.log.bucket(), self.log.name());
        let path = bucket.path(object.as_str());
        let got = bucket.get_if(&path, self.log.env(), |bytes| bytes <= FOREIGN_BYTES_MAX).await;
        let got = got.map_err(|failure| failure.into_error("read", object.as_str()))?;
        let Got::Found(Found { bytes: content, meta }) = got else { return Ok(None) };
        if !is_same(&meta, seen) {
            return Err(Error::unavailable("read", object.as_str(), "it changes right now"));
        }
        let kept = aside::keep(bucket, object, self.log.env(), content.clone()).await;
        let kept =
            kept.map_err(|failure| failure.into_error("create a copy in", aside::folder(object)))?;
        Ok(Some((kept.into(), content)))
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
