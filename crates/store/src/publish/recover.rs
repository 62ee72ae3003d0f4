//! Edits that a publication had in its hands when it was cut off, on a folder between its two renames.

use std::sync::Arc;

use object_store::path::Path;

use super::{FOREIGN_BYTES_MAX, Publication, Publisher};
use crate::aside;
use crate::bucket::{Failure, Found, Got};
use crate::collection::Collection;
use crate::error::{Error, Result};

impl Publisher {
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

    pub(super) async fn bring_aside(&mut self) -> Result<()> {
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
        let mut kept = None;
        if !is_recorded && self.edition_of(&sha256, state.file(), state.version).await?.is_none() {
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
}
