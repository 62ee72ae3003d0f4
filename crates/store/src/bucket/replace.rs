//! A conditional overwrite: a file that people may edit is replaced only while it is as it was seen.
//!
//! Owns the forms that stores take the condition in (the self-test finds out which), and the
//! exchange of two names by which a folder, which has no conditional overwrite, loses no edit.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::{Bucket, Failure, folder};
use crate::aside;
use crate::env::Env;
use crate::key::CollectionName;

/// How the names of scratch files begin, relative to the store.
const SCRATCH: &str = ".movies-api/publish-";

/// The length of what makes their names unique; what they are of follows.
const UUID_LEN: usize = 36;

/// How a store takes `If-Match` on a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// As RFC 9110 has it; on GCS the generation beside it.
    Quoted,
    /// Without quotes: Ceph's RADOS Gateway refuses every quoted one.
    Unquoted,
    /// It refuses or ignores them all: what is there is looked at right before, and who writes in
    /// between is overwritten.
    Never,
}

/// A new content for a file.
pub(crate) struct Replacement<'a> {
    pub(crate) path: &'a Path,
    pub(crate) pieces: Vec<Bytes>,
    /// What must be there; `None`: nothing.
    pub(crate) seen: Option<&'a ObjectMeta>,
    /// Whose file it is.
    pub(crate) collection: &'a CollectionName,
}

/// What became of a replacement.
#[derive(Clone, Debug)]
pub(crate) enum Replaced {
    /// Done; the new `ETag`, as the store gives it.
    Yes(Option<String>),
    /// Something else is there: nothing happened.
    Changed,
    /// It may have happened, or may still happen.
    Unknown(Failure),
    /// The store refused it for good: it has not happened and will not.
    Refused(Failure),
}

impl Bucket {
    /// The same bucket, just opened, where one PUT carries no more than this.
    pub(crate) fn limited(mut self, put_bytes_max: u64) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.put_bytes_max = put_bytes_max;
        }
        self
    }

    /// The most bytes that one PUT carries.
    pub(crate) fn put_bytes_max(&self) -> u64 {
        self.inner.put_bytes_max
    }

    /// Replaces an object only if what is there is as expected. After `Unknown` the caller must
    /// look. Dropping the future leaves the outcome unknown; on a folder also a scratch file, which
    /// [`Bucket::left_behind`] finds.
    pub(crate) async fn replace(&self, new: Replacement<'_>, env: &Env) -> Replaced {
        if let Err(error) = self.check_trust() {
            return Replaced::Refused(Failure::lasting(error.to_string()));
        }
        let Some(seen) = new.seen else {
            return self.overwrite(new.path, new.pieces, PutMode::Create).await;
        };
        if self.is_folder() {
            return match self.exchange(new, seen, env).await {
                Ok(replaced) => replaced,
                Err(failure) if failure.is_final => Replaced::Refused(failure),
                Err(failure) => Replaced::Unknown(failure),
            };
        }
        match self.if_match() {
            IfMatch::Quoted => {
                self.replace_if(new.path, new.pieces, seen.e_tag.clone(), seen).await
            }
            IfMatch::Unquoted => {
                let tag = seen.e_tag.as_deref().map(|tag| unquoted(tag).to_owned());
                self.replace_if(new.path, new.pieces, tag, seen).await
            }
            IfMatch::Never => match self.head(new.path).await {
                Ok(Some(now)) if is_same(&now, seen) => {
                    self.overwrite(new.path, new.pieces, PutMode::Overwrite).await
                }
                Ok(_) => Replaced::Changed,
                Err(failure) => Replaced::Unknown(failure),
            },
        }
    }

    /// Replaces an object if its `ETag` is still `tag`, in that very form.
    pub(crate) async fn replace_if(
        &self,
        path: &Path,
        pieces: Vec<Bytes>,
        tag: Option<String>,
        seen: &ObjectMeta,
    ) -> Replaced {
        let version = UpdateVersion { e_tag: tag, version: seen.version.clone() };
        self.overwrite(path, pieces, PutMode::Update(version)).await
    }

    async fn overwrite(&self, path: &Path, pieces: Vec<Bytes>, mode: PutMode) -> Replaced {
        let payload: PutPayload = pieces.into_iter().collect();
        match self.inner.objects.put_opts(path, payload, mode.into()).await {
            Ok(done) => Replaced::Yes(done.e_tag),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Replaced::Changed,
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.is_final {
                    Replaced::Refused(failure)
                } else {
                    Replaced::Unknown(failure)
                }
            }
        }
    }

    /// On a folder: writes aside, exchanges the two names, and looks at what came out. If that is
    /// not what was seen, a copy of it is kept and it goes back.
    async fn exchange(
        &self,
        new: Replacement<'_>,
        seen: &ObjectMeta,
        env: &Env,
    ) -> Result<Replaced, Failure> {
        let scratch = self.scratch(new.collection, env);
        let payload: PutPayload = new.pieces.into_iter().collect();
        if let Err(error) = self.inner.objects.put(&scratch, payload).await {
            return Err(Failure::of(&error));
        }
        // A file's tag is made of inode, time and size, which it takes along to its new name.
        let ours = self.tag_of(&scratch).await?;
        let replaced = match self.swap(&scratch, new.path, seen.e_tag.as_deref()).await {
            Ok(Swap::Done) => Ok(Replaced::Yes(ours)),
            Ok(Swap::NotThere) => Ok(Replaced::Changed),
            Ok(Swap::Other) => {
                // Who saves again before it is back overwrites it there: hence a copy, first. That
                // it cannot be made is no reason not to put it back.
                let kept = self.keep(&scratch, new.collection, env).await;
                match self.swap(&scratch, new.path, ours.as_deref()).await? {
                    Swap::Done => Ok(Replaced::Changed),
                    Swap::NotThere | Swap::Other => {
                        kept?;
                        self.keep(&scratch, new.collection, env).await?;
                        Ok(Replaced::Changed)
                    }
                }
            }
            // Nothing was exchanged; but what cannot be told is not deleted either.
            Err(failure) if self.tag_of(&scratch).await? == ours => Err(failure),
            Err(failure) => return Err(failure),
        };
        if let Err(failure) = self.delete(&scratch).await {
            tracing::debug!(%scratch, reason = %failure.reason, "a scratch file stays");
        }
        replaced
    }

    /// Scratch files of publications that were cut off, or are under way: each may hold an edit that
    /// was on its way back. None where the bucket is no folder.
    pub(crate) async fn left_behind(
        &self,
        collection: &CollectionName,
    ) -> Result<Vec<Path>, Failure> {
        if !self.is_folder() {
            return Ok(Vec::new());
        }
        let (folder, name) = SCRATCH.split_once('/').unwrap_or_default();
        let found = self.list(&self.path(folder)).await?;
        let mark = mark_of(collection);
        let is_its = |path: &Path| {
            let unique = path.filename().and_then(|file| file.strip_prefix(name));
            unique.is_some_and(|unique| match unique.get(UUID_LEN..).filter(|m| !m.is_empty()) {
                Some(other) => other == mark,
                // Of nobody by its name: the first collection there is takes it.
                None => collection.as_str() == CollectionName::DEFAULT,
            })
        };
        Ok(found.into_iter().map(|meta| meta.location).filter(is_its).collect())
    }

    /// Takes a scratch file away from whoever may still be at work with it, in one step, so that it
    /// holds from now on what it holds; `None` where it has gone. That one finds nothing to
    /// exchange then, and looks anew.
    pub(crate) async fn claim(
        &self,
        scratch: &Path,
        collection: &CollectionName,
        env: &Env,
    ) -> Result<Option<Path>, Failure> {
        let claimed = self.scratch(collection, env);
        match self.inner.objects.rename(scratch, &claimed).await {
            Ok(()) => Ok(Some(claimed)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// A new name for a scratch file.
    fn scratch(&self, collection: &CollectionName, env: &Env) -> Path {
        self.path(&format!("{SCRATCH}{}{}", env.uuid(), mark_of(collection)))
    }

    /// Keeps a copy of an edit.
    async fn keep(
        &self,
        scratch: &Path,
        collection: &CollectionName,
        env: &Env,
    ) -> Result<(), Failure> {
        let Some(found) = self.get(scratch, env).await? else { return Ok(()) };
        aside::keep(self, collection, env, found.bytes).await.map(|_| ()).inspect_err(|failure| {
            tracing::warn!(file = %scratch, reason = %failure.reason, "an edit could not be copied; it stays in this file");
        })
    }

    /// Sees that a file is durable that another process may have written; elsewhere than on a
    /// folder what can be read is.
    pub(crate) async fn sync(&self, path: &Path, env: &Env) -> Result<(), Failure> {
        if !self.is_folder() {
            return Ok(());
        }
        let file = self.file(path)?;
        let synced = env.compute(move || folder::sync_file(&file)).await;
        synced.map_err(|error| Failure::of_io(&error))
    }

    /// Exchanges two files and tells whether what came out has the tag `expected`. Where the file
    /// system cannot, it looks first and renames then.
    async fn swap(
        &self,
        scratch: &Path,
        path: &Path,
        expected: Option<&str>,
    ) -> Result<Swap, Failure> {
        match folder::exchange(&self.file(scratch)?, &self.file(path)?) {
            Ok(()) if self.tag_of(scratch).await?.as_deref() == expected => Ok(Swap::Done),
            Ok(()) => Ok(Swap::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Swap::NotThere),
            Err(error) if folder::is_unsupported(&error) => {
                if self.tag_of(path).await?.as_deref() != expected {
                    return Ok(Swap::NotThere);
                }
                let renamed = self.inner.objects.rename(scratch, path).await;
                renamed.map(|()| Swap::Done).map_err(|error| Failure::of(&error))
            }
            Err(error) => Err(Failure::of_io(&error)),
        }
    }

    async fn tag_of(&self, path: &Path) -> Result<Option<String>, Failure> {
        Ok(self.head(path).await?.and_then(|meta| meta.e_tag))
    }

    /// Where an object lies on the disk.
    fn file(&self, path: &Path) -> Result<PathBuf, Failure> {
        let root = self.inner.folder.as_ref();
        let parts = path.prefix_match(&self.inner.prefix);
        let file = root
            .zip(parts)
            .map(|(root, parts)| parts.fold(root.clone(), |file, part| file.join(part.as_ref())));
        file.ok_or_else(|| Failure::lasting("it is not in this folder"))
    }
}

/// How the name of a scratch file ends that is of this collection, whose own name may be too long.
fn mark_of(collection: &CollectionName) -> String {
    format!("-{:.16}", blake3::hash(collection.as_str().as_bytes()).to_hex().as_str())
}

/// What came of exchanging two files.
enum Swap {
    /// What came out is as expected.
    Done,
    /// Nothing came out: nothing was exchanged.
    NotThere,
    /// Something else came out.
    Other,
}

/// Whether an object is as it was seen.
pub(crate) fn is_same(now: &ObjectMeta, seen: &ObjectMeta) -> bool {
    let tag = |meta: &ObjectMeta| meta.e_tag.as_deref().map(|tag| unquoted(tag).to_owned());
    tag(now).is_some() && tag(now) == tag(seen)
}

/// An `ETag` as the log records it.
pub(crate) fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const NAME: &str = "movies.json";

    /// A store of its own, and what a person does to the file there.
    async fn check(bucket: &Bucket) {
        let (env, path) = (Env::real(), bucket.path(NAME));
        let put = |text: &'static str| vec![text.into(), "\n".into()];
        let replace = |text, seen: Option<ObjectMeta>| {
            let (env, path) = (env.clone(), path.clone());
            async move {
                let (path, seen) = (&path, seen.as_ref());
                let collection = &CollectionName::default();
                let new = Replacement { path, pieces: put(text), seen, collection };
                bucket.replace(new, &env).await
            }
        };
        let seen = || async { bucket.head(&path).await.unwrap().expect("it is there") };
        assert!(matches!(replace("1", None).await, Replaced::Yes(_)));
        assert!(matches!(replace("never", None).await, Replaced::Changed));
        let first = seen().await;
        let Replaced::Yes(tag) = replace("2", Some(first.clone())).await else { panic!("it is") };
        assert_eq!(seen().await.e_tag, tag, "the tag is that of what was written");
        assert!(matches!(replace("never", Some(first)).await, Replaced::Changed));
        let edited = Bytes::from_static(b"a person's");
        bucket.inner.objects.put(&path, edited.clone().into()).await.unwrap();
        let stale = ObjectMeta { e_tag: tag, ..seen().await };
        assert!(matches!(replace("never", Some(stale)).await, Replaced::Changed));
        let found = bucket.get(&path, &env).await.unwrap().expect("it is there");
        assert_eq!(found.bytes, edited, "an edit is not touched");
        assert!(!bucket.any_below(&bucket.path(".movies-api")).await.unwrap(), "nothing is left");
    }

    #[tokio::test]
    async fn in_memory() {
        check(&Bucket::open("memory://").unwrap()).await;
    }

    #[tokio::test]
    async fn in_a_folder() {
        let home = tempfile::tempdir().unwrap();
        check(&Bucket::open(home.path().to_str().unwrap()).unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_editor_that_saves_all_the_time_loses_no_edit() {
        const SAVES: usize = 300;
        let home = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(home.path().to_str().unwrap()).unwrap();
        let (env, path) = (Env::real(), bucket.path(NAME));
        let publish = async |seen: Option<&ObjectMeta>| {
            let pieces = vec!["ours".into()];
            let collection = &CollectionName::default();
            let new = Replacement { path: &path, pieces, seen, collection };
            bucket.replace(new, &env).await
        };
        publish(None).await;
        let (file, saved_to) = (home.path().join(NAME), home.path().join("saved"));
        let is_done = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_done);
        // Saves as editors do, and only over what it has seen to be ours.
        let editor = env.compute(move || {
            let mut saved = 0;
            while saved < SAVES {
                if std::fs::read(&file).is_ok_and(|text| text == b"ours") {
                    std::fs::write(&saved_to, format!("edit {saved}")).unwrap();
                    std::fs::rename(&saved_to, &file).unwrap();
                    saved += 1;
                }
            }
            ends.store(true, Ordering::Release);
        });
        let mut seen = std::collections::BTreeSet::new();
        let publisher = async {
            loop {
                let is_last = is_done.load(Ordering::Acquire);
                let found = bucket.get(&path, &env).await.unwrap().expect("it is always there");
                if found.bytes != "ours" {
                    seen.insert(found.bytes);
                } else if is_last {
                    break;
                }
                publish(Some(&found.meta)).await;
            }
        };
        tokio::join!(editor, publisher);
        if let Ok(kept) = std::fs::read_dir(home.path().join("movies.json.log/aside")) {
            seen.extend(kept.map(|copy| std::fs::read(copy.unwrap().path()).unwrap().into()));
        }
        let all = (0..SAVES).map(|save| Bytes::from(format!("edit {save}")));
        let lost: Vec<_> = all.filter(|edit| !seen.contains(edit)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}
