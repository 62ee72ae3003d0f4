//! The bucket: one door to `s3://`, `gs://`, `az://`, `file://` and `memory://`.
//!
//! Owns how a store URL becomes an object store, and what its answers prove: which 404 is proof of
//! absence, which error is final, and what only may have happened. Every request is sent once;
//! retries belong to those who know what a lost answer means.

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::env::{Env, Mutant};
use crate::error::{Error, Result};
use crate::genesis;
use crate::key::{CollectionName, Timestamp};

mod connector;
mod credentials;
mod failure;
mod folder;
mod metered;
mod pace;
mod remote;
mod replace;

use connector::ServerClock;
pub use connector::{Refused, UnprovenAbsence};
pub(crate) use failure::Failure;
use failure::{chain, said};
pub(crate) use folder::Folder;
use metered::Metered;
pub use metered::{CallOutcome, Calls, Verb};
pub(crate) use pace::deadline;
pub(crate) use replace::{IfMatch, Replaced, Replacement, is_same, unquoted};

/// A place for collections. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    calls: Arc<Calls>,
    prefix: Path,
    url: String,
    folder: Option<PathBuf>,
    clock: Option<Arc<ServerClock>>,
    distrust: watch::Sender<Option<Error>>,
    if_match: OnceLock<IfMatch>,
    put_bytes_max: u64,
}

/// An object that was read.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) meta: ObjectMeta,
}

/// What a read of an object brought.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    Found(Found),
    /// It did not exist at some moment of the call: proved.
    Absent,
    /// It is there, of a size that was not wanted.
    Declined(ObjectMeta),
}

/// What became of a conditional create.
#[derive(Clone, Debug)]
pub(crate) enum Created {
    /// The object is there, durable, and ours.
    Yes,
    /// An object is there; it may be ours (a lost answer that was sent again below us).
    Taken,
    /// It may have happened, or may still happen.
    Unknown(Failure),
    /// The store refused it for good: it has not happened and will not.
    Refused(Failure),
}

impl Bucket {
    /// Opens `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `file:///folder`, a plain path, or `memory://`. The providers' usual environment variables
    /// hold (`AWS_ENDPOINT_URL` and plain `http` included). Sends nothing and creates nothing. Its
    /// connections belong to the tokio runtime that it is opened on.
    ///
    /// # Errors
    /// `Unsupported` says what is wrong with the URL or the variables.
    ///
    /// # Panics
    /// Outside of a tokio runtime, where it is a provider's.
    pub fn open(url: &str) -> Result<Self> {
        let refuse = |reason: String| Error::unsupported(format!("the store {url:?}"), reason);
        let Some((scheme, rest)) = url.split_once("://") else {
            return Self::open_folder(FilePath::new(url)).map_err(refuse);
        };
        if scheme == "memory" {
            return Ok(Self::new(
                Arc::new(InMemory::new()),
                Path::default(),
                "memory://",
                None,
                None,
            ));
        }
        if scheme == "file" {
            let parsed = url::Url::parse(url).map_err(|error| refuse(error.to_string()))?;
            let path = parsed.to_file_path().map_err(|()| {
                refuse(
                    "a file URL has three slashes and an absolute path: file:///var/lib/movies"
                        .into(),
                )
            })?;
            return Self::open_folder(&path).map_err(refuse);
        }
        let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if container.contains(['@', ':']) {
            // Not to be repeated: it may hold a secret.
            let reason = "name the bucket alone, as in s3://bucket/prefix; credentials are taken \
                          from the provider's variables";
            return Err(Error::unsupported("the store's URL", reason));
        }
        if container.is_empty() || container.contains(['?', '#']) {
            return Err(refuse("name the bucket, as in s3://bucket/prefix".into()));
        }
        let prefix =
            Path::parse(prefix.trim_end_matches('/')).map_err(|error| refuse(error.to_string()))?;
        let clock = Arc::new(ServerClock::default());
        let objects = remote::open(scheme, container, &clock).map_err(refuse)?;
        let shown = format!("{scheme}://{rest}");
        let bucket = Self::new(objects, prefix, shown.trim_end_matches('/'), None, Some(clock));
        Ok(bucket.limited(remote::put_bytes_max(scheme)))
    }

    /// A bucket in a simulation, or any other `ObjectStore` whose `NotFound` proves absence.
    #[must_use]
    pub fn simulated(objects: Arc<dyn ObjectStore>) -> Self {
        Self::new(objects, Path::default(), "simulated://", None, None)
    }

    fn open_folder(path: &FilePath) -> std::result::Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Err("name a folder or a URL such as s3://bucket/prefix".into());
        }
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        if path.exists() && !path.is_dir() {
            return Err("it is a file; a store is a folder".into());
        }
        let prefix = Path::from_absolute_path(&path).map_err(|error| error.to_string())?;
        let objects = LocalFileSystem::new().with_fsync(true);
        let url = path.display().to_string();
        Ok(Self::new(Arc::new(objects), prefix, &url, Some(path), None))
    }

    fn new(
        objects: Arc<dyn ObjectStore>,
        prefix: Path,
        url: &str,
        folder: Option<PathBuf>,
        clock: Option<Arc<ServerClock>>,
    ) -> Self {
        let (url, distrust) = (url.to_owned(), watch::Sender::new(None));
        let (if_match, put_bytes_max) = (OnceLock::new(), u64::MAX);
        let calls = Arc::new(Calls::default());
        let objects = Arc::new(Metered::new(objects, Arc::clone(&calls)));
        let inner =
            Inner { objects, calls, prefix, url, folder, clock, distrust, if_match, put_bytes_max };
        Self { inner: Arc::new(inner) }
    }

    /// The URL for people; it holds no secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Whether it is a local folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.inner.folder.is_some()
    }

    /// The requests that were made of it so far.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.inner.calls
    }

    /// The disk did not confirm that `object` is durable. What is read from now on may come from
    /// the page cache and be gone after a power cut, and asking to sync again may be answered
    /// "done" though it is not (fsync(2), and the `PostgreSQL` wiki on "fsync errors"): nothing that
    /// this process says can be relied on.
    pub(crate) fn distrust(&self, object: &str) -> Error {
        let error = Error::damaged(object, "the disk did not confirm that it is durable");
        self.inner.distrust.send_replace(Some(error.clone()));
        error
    }

    /// Why nothing that is read or written here can be relied on any more, if so.
    pub(crate) fn check_trust(&self) -> Result<()> {
        self.inner.distrust.borrow().clone().map_or(Ok(()), Err)
    }

    /// Ends when the process must stop, with the reason: a folder whose disk has failed to sync
    /// is neither read nor written by it any more. Never ends elsewhere. Cancel safe.
    pub async fn distrusted(&self) -> Error {
        let mut seen = self.inner.distrust.subscribe();
        match seen.wait_for(Option::is_some).await.map(|error| error.clone()) {
            Ok(Some(error)) => error,
            // The sender lives as long as we do.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn path(&self, relative: &str) -> Path {
        let prefix = self.inner.prefix.as_ref();
        let slash = if prefix.is_empty() { "" } else { "/" };
        // Verbatim: `join` would percent-encode what is not ASCII, and a person would not find it.
        Path::parse(format!("{prefix}{slash}{relative}")).expect("names were checked when parsed")
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.inner.prefix
    }

    /// The folder of a collection's commits, where the bucket is one.
    pub(crate) fn folder(&self, name: &CollectionName) -> Option<Folder> {
        let root = self.inner.folder.as_ref()?;
        Some(Folder::new(root.clone(), root.join(format!("{name}.log/commit"))))
    }

    /// Makes the root folder, where the bucket is one.
    pub(crate) fn make_root(&self) -> std::result::Result<(), Failure> {
        match &self.inner.folder {
            Some(root) => folder::make(root).map_err(|error| Failure::of_io(&error)),
            None => Ok(()),
        }
    }

    /// How far this process's clock is ahead of the bucket's, in milliseconds, by the bucket's
    /// last answer; none where it tells no time.
    pub(crate) fn clock_ahead_ms(&self, env: &Env) -> Option<i64> {
        let clock = self.inner.clock.as_ref()?;
        Some(env.now().0 - clock.now(env.instant())?.0)
    }

    /// Reads an object; `None` is proof that it did not exist at some moment of the call.
    /// Cancel safe.
    pub(crate) async fn get(
        &self,
        path: &Path,
        env: &Env,
    ) -> std::result::Result<Option<Found>, Failure> {
        match self.get_if(path, env, |_| true).await? {
            Got::Found(found) => Ok(Some(found)),
            Got::Absent | Got::Declined(_) => Ok(None),
        }
    }

    /// Reads an object whose size, in bytes, `wanted` takes: asked before its content arrives.
    /// Cancel safe.
    pub(crate) async fn get_if(
        &self,
        path: &Path,
        env: &Env,
        wanted: impl FnOnce(u64) -> bool,
    ) -> std::result::Result<Got, Failure> {
        self.check_trust().map_err(|error| Failure::lasting(error.to_string()))?;
        let answer = async {
            let got = self.inner.objects.get(path).await?;
            let meta = got.meta.clone();
            if !wanted(meta.size) {
                return Ok(Got::Declined(meta));
            }
            Ok(Got::Found(Found { bytes: got.bytes().await?, meta }))
        };
        match answer.await {
            Ok(got) => Ok(got),
            Err(object_store::Error::NotFound { .. }) => match &self.inner.folder {
                Some(root) => folder::prove_absence(root).map(|()| Got::Absent),
                None => Ok(Got::Absent),
            },
            Err(error) => {
                let unproven = chain(&error).any(|cause| cause.is::<UnprovenAbsence>());
                if unproven && env.has(Mutant::AnyNotFoundIsAbsence) {
                    return Ok(Got::Absent);
                }
                Err(Failure::of(&error))
            }
        }
    }

    /// What an object is and the SHA-256 of its content, of which only a piece is held at a time;
    /// `None` as for [`Bucket::get`]. Cancel safe.
    pub(crate) async fn digest(
        &self,
        path: &Path,
    ) -> std::result::Result<Option<(ObjectMeta, Arc<str>)>, Failure> {
        let got = match self.inner.objects.get(path).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Failure::of(&error)),
        };
        let meta = got.meta.clone();
        let (mut pieces, mut hasher) = (got.into_stream(), Sha256::new());
        while let Some(piece) = pieces.try_next().await.map_err(|error| Failure::of(&error))? {
            hasher.update(&piece);
        }
        Ok(Some((meta, genesis::hexadecimal(&hasher.finalize()))))
    }

    /// Creates an object only if its name is free. After anything but `Yes` the caller must read
    /// what is there. Dropping the future leaves the outcome unknown.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Created {
        if let Err(error) = self.check_trust() {
            return Created::Refused(Failure::lasting(error.to_string()));
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.inner.objects.put_opts(path, bytes.into(), options).await {
            Ok(_) => Created::Yes,
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Created::Taken,
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.is_final { Created::Refused(failure) } else { Created::Unknown(failure) }
            }
        }
    }

    /// How this store takes a condition on a replacement: what the self-test found, else as every
    /// store should.
    pub(crate) fn if_match(&self) -> IfMatch {
        self.inner.if_match.get().copied().unwrap_or(IfMatch::Quoted)
    }

    pub(crate) fn learn_if_match(&self, form: IfMatch) {
        // What was found first stays.
        let _ = self.inner.if_match.set(form);
    }

    /// What an object is, without its content; `None` is a hint, not a proof, that there is none.
    /// Cancel safe.
    pub(crate) async fn head(
        &self,
        path: &Path,
    ) -> std::result::Result<Option<ObjectMeta>, Failure> {
        match self.inner.objects.head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Writes an object, whatever is there. On a folder it is written aside, synced and renamed.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> std::result::Result<(), Failure> {
        let put = self.inner.objects.put(path, bytes.into()).await;
        put.map(|_| ()).map_err(|error| Failure::of(&error))
    }

    /// The objects below `path`: a hint, never a proof.
    pub(crate) async fn list(&self, path: &Path) -> std::result::Result<Vec<ObjectMeta>, Failure> {
        match self.inner.objects.list(Some(path)).try_collect().await {
            Ok(found) => Ok(found),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    pub(crate) async fn delete(&self, path: &Path) -> std::result::Result<(), Failure> {
        match self.inner.objects.delete(path).await {
            // Another was quicker.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Whether any object's name begins with `path/`: a hint, never a proof.
    pub(crate) async fn any_below(&self, path: &Path) -> std::result::Result<bool, Failure> {
        let mut listing = self.inner.objects.list(Some(path));
        match listing.try_next().await {
            Ok(first) => Ok(first.is_some()),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// The first object below `path` whose name is after `object`: a hint, never a proof.
    pub(crate) async fn first_after(
        &self,
        path: &Path,
        object: &Path,
    ) -> std::result::Result<Option<Path>, Failure> {
        let mut listing = self.inner.objects.list_with_offset(Some(path), object);
        match listing.try_next().await {
            Ok(first) => Ok(first.map(|meta| meta.location)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// The objects and the folders right below `path`.
    pub(crate) async fn children(
        &self,
        path: &Path,
    ) -> std::result::Result<(Vec<Path>, Vec<Path>), Failure> {
        let listed = self.inner.objects.list_with_delimiter(Some(path)).await;
        let listed = listed.map_err(|error| Failure::of(&error))?;
        let objects = listed.objects.into_iter().map(|meta| meta.location).collect();
        Ok((objects, listed.common_prefixes))
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.inner.url).finish()
    }
}

/// The time of an object as the bucket tells it.
pub(crate) fn modified_at(meta: &ObjectMeta) -> Timestamp {
    Timestamp(meta.last_modified.timestamp_millis())
}
