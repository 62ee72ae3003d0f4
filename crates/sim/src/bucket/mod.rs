//! An object store in memory, in virtual time, with faults.
//!
//! Every request is a message: it takes effect at one moment of its own, whatever becomes of the
//! client that sent it, and its answer travels back. Conditions are judged at the effect. The
//! objects themselves are kept by [`object_store::memory::InMemory`]; this file owns only the
//! ways there and back, and the bucket's own two promises about a log (invariant 1): a commit's
//! number follows its predecessor's, and its content never changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use movies_store::commit::{Commit, pruned_to};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::faults::{Distance, Faults, Kind, Trip, Trouble};
use crate::trace::Trace;

/// The log of the only collection of a simulation.
const LOG: &str = "movies.json.log/commit/";
const CHECKPOINTS: &str = "movies.json.log/checkpoint/";
/// How many attempted creates are kept for the peer to copy.
const ATTEMPTS_MAX: usize = 64;

/// Which replica a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica(pub u8);

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The bucket. Cheap to clone.
#[derive(Clone)]
pub struct SimBucket {
    shared: Arc<Shared>,
}

struct Shared {
    objects: InMemory,
    trace: Trace,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: ChaCha12Rng,
    faults: Faults,
    distances: BTreeMap<Replica, Distance>,
    cut: BTreeSet<Replica>,
    stalled: BTreeMap<Replica, Instant>,
    modified: BTreeMap<Path, DateTime<Utc>>,
    commits: Vec<Bytes>,
    checkpoints: usize,
    attempts: VecDeque<Arc<Commit>>,
    pruned: usize,
    requests: usize,
    creates: usize,
    writes_in_flight: usize,
    broken_promises: Vec<String>,
}

impl SimBucket {
    /// An empty bucket that always works, until [`Self::set_faults`].
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let inner = Inner {
            rng: ChaCha12Rng::seed_from_u64(seed),
            faults: Faults::NONE,
            distances: BTreeMap::new(),
            cut: BTreeSet::new(),
            stalled: BTreeMap::new(),
            modified: BTreeMap::new(),
            commits: Vec::new(),
            checkpoints: 0,
            attempts: VecDeque::new(),
            pruned: 0,
            requests: 0,
            creates: 0,
            writes_in_flight: 0,
            broken_promises: Vec::new(),
        };
        let shared = Shared { objects: InMemory::new(), trace, inner: Mutex::new(inner) };
        Self { shared: Arc::new(shared) }
    }

    /// The bucket as `replica` reaches it.
    #[must_use]
    pub fn client(&self, replica: Replica, distance: Distance) -> Arc<dyn ObjectStore> {
        self.lock().distances.insert(replica, distance);
        Arc::new(Client { bucket: self.clone(), replica })
    }

    /// From now on requests meet these faults.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Ends all faults, cuts, stalls and detours; what is under way already still suffers them.
    pub fn calm(&self) {
        let mut inner = self.lock();
        inner.faults = Faults::NONE;
        inner.cut.clear();
        inner.stalled.clear();
        inner.distances.values_mut().for_each(|distance| *distance = Distance::NEAR);
    }

    /// From now on nothing goes from `replica` to the bucket, or back.
    pub fn cut(&self, replica: Replica) {
        self.lock().cut.insert(replica);
    }

    /// Whether it is.
    pub(crate) fn is_cut(&self, replica: Replica) -> bool {
        self.lock().cut.contains(&replica)
    }

    /// Whether it says nothing now.
    pub(crate) fn is_stalled(&self, replica: Replica) -> bool {
        self.lock().stalled.get(&replica).is_some_and(|until| *until > Instant::now())
    }

    /// Ends the cut.
    pub fn join(&self, replica: Replica) {
        self.lock().cut.remove(&replica);
    }

    /// Requests that `replica` sends until `stalled` is over arrive only then.
    pub fn stall(&self, replica: Replica, stalled: Duration) {
        self.lock().stalled.insert(replica, Instant::now() + stalled);
    }

    /// The raw bytes of all commits, first to last.
    #[must_use]
    pub fn commits(&self) -> Vec<Bytes> {
        self.lock().commits.clone()
    }

    /// How many commits there are.
    #[must_use]
    pub fn commit_count(&self) -> usize {
        self.lock().commits.len()
    }

    /// How many commits are stubs by now.
    #[must_use]
    pub fn pruned_count(&self) -> usize {
        self.lock().pruned
    }

    /// How many checkpoints were ever written.
    #[must_use]
    pub fn checkpoint_count(&self) -> usize {
        self.lock().checkpoints
    }

    /// The commits that were tried last, stored or not.
    #[must_use]
    pub fn attempts(&self) -> Vec<Arc<Commit>> {
        self.lock().attempts.iter().cloned().collect()
    }

    /// How many requests came, and how many of them would create a commit.
    #[must_use]
    pub fn requests(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.requests, inner.creates)
    }

    /// Writes that have yet to take effect, those given up by their senders included.
    #[must_use]
    pub fn writes_in_flight(&self) -> usize {
        self.lock().writes_in_flight
    }

    /// What was done to the log that nothing may ever do.
    #[must_use]
    pub fn broken_promises(&self) -> Vec<String> {
        self.lock().broken_promises.clone()
    }

    /// Creates the commit after the last one, now, as a lucky peer would.
    pub fn append(&self, commit: Bytes) {
        let number = self.commit_count() as u64 + 1;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = Path::from(format!("{LOG}{number:020}.json"));
        self.store(&path, commit.into(), options).expect("the number after the last is free");
    }

    /// Places an object, now.
    pub fn place(&self, path: &str, content: Bytes) {
        self.store(&Path::from(path), content.into(), PutOptions::default())
            .expect("an overwrite in memory cannot fail");
    }

    /// What an object holds, now.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Bytes> {
        let read = async { self.shared.objects.get(&Path::from(path)).await?.bytes().await };
        read.now_or_never().expect("memory answers at once").ok()
    }

    /// What the objects below a path hold, now.
    pub(crate) fn contents(&self, prefix: &str) -> impl Iterator<Item = Bytes> + use<'_> {
        let prefix = Path::from(prefix);
        let listed = self.shared.objects.list(Some(&prefix)).try_collect::<Vec<_>>();
        let listed = listed.now_or_never().expect("memory answers at once").unwrap_or_default();
        listed.into_iter().filter_map(|meta| self.content(meta.location.as_ref()))
    }

    /// The effect of a PUT.
    fn store(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = options.mode == PutMode::Create;
        let content = Bytes::from(payload.clone());
        let put = self.shared.objects.put_opts(path, payload, options);
        let done = put.now_or_never().expect("memory answers at once")?;
        let modified = DateTime::from_timestamp_millis(self.shared.trace.wall().0);
        let mut inner = self.lock();
        inner.modified.insert(path.clone(), modified.unwrap_or_default());
        if let Some(number) = commit_number(path) {
            let expected = inner.commits.len() + 1;
            if !create && number < expected as u64 && pruned_to(&content).is_some() {
                // What the commit said is remembered here.
                inner.pruned += 1;
                return Ok(done);
            }
            if !create || number != expected as u64 {
                let broken = format!("{path} was put where commit {expected} is next");
                inner.broken_promises.push(broken);
            }
            inner.commits.push(content);
        }
        inner.checkpoints += usize::from(path.as_ref().starts_with(CHECKPOINTS));
        Ok(done)
    }

    /// The effect of a DELETE.
    fn remove(&self, path: &Path) -> Result<()> {
        if commit_number(path).is_some() {
            self.lock().broken_promises.push(format!("{path} was deleted"));
        }
        let deleted = self.shared.objects.delete(path);
        match deleted.now_or_never().expect("memory answers at once") {
            // As on S3, deleting what is absent succeeds.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(modified) = self.lock().modified.get(&meta.location) {
            meta.last_modified = *modified;
        }
        meta
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBucket").field("commits", &self.commit_count()).finish_non_exhaustive()
    }
}

/// The number of a commit object; `None` for any other.
fn commit_number(path: &Path) -> Option<u64> {
    path.as_ref().strip_prefix(LOG)?.strip_suffix(".json")?.parse().ok()
}

/// A replica's way to the bucket.
#[derive(Clone, Debug)]
struct Client {
    bucket: SimBucket,
    replica: Replica,
}

impl Client {
    /// Sends one request. Dropping the future gives up the answer, not the request.
    async fn send<T: Send + 'static>(
        &self,
        kind: Kind,
        path: &Path,
        effect: impl FnOnce(&SimBucket) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let trip = self.plan(kind, path);
        let (answered, answer) = oneshot::channel();
        if let Some(arrives) = trip.arrives {
            let (client, path) = (self.clone(), path.clone());
            self.bucket.lock().writes_in_flight += usize::from(kind.is_write());
            tokio::spawn(async move {
                sleep(arrives).await;
                client.bucket.lock().writes_in_flight -= usize::from(kind.is_write());
                let result = effect(&client.bucket);
                client.tell(format_args!("{kind:?} {path} = {}", in_a_word(&result)));
                // Whoever sent it may be gone.
                drop(answered.send(result));
            });
        }
        let result = match trip.trouble {
            Some((trouble, after)) => {
                sleep(after).await;
                Err(trouble.error(path))
            }
            None => {
                let result = answer.await.expect("what has no trouble arrives");
                sleep(trip.back).await;
                result
            }
        };
        if self.bucket.lock().cut.contains(&self.replica) {
            return Err(Trouble::Unreachable.error(path));
        }
        result
    }

    fn plan(&self, kind: Kind, path: &Path) -> Trip {
        let mut inner = self.bucket.lock();
        let inner = &mut *inner;
        inner.requests += 1;
        let trip = if inner.cut.contains(&self.replica) {
            Trip::unreachable(&mut inner.rng)
        } else {
            let distance = inner.distances.get(&self.replica).copied().unwrap_or(Distance::NONE);
            let trip = Trip::draw(&mut inner.rng, kind, inner.faults, distance);
            let stalled = inner.stalled.get(&self.replica);
            trip.delayed(
                stalled.map_or(Duration::ZERO, |until| until.duration_since(Instant::now())),
            )
        };
        let trouble = trip.trouble.map(|(trouble, _)| trouble);
        self.tell(format_args!("{kind:?} {path} {:?} {trouble:?}", trip.arrives));
        trip
    }

    fn tell(&self, what: fmt::Arguments<'_>) {
        self.bucket.shared.trace.event(format_args!("{} {what}", self.replica));
    }
}

fn in_a_word<T>(result: &Result<T>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(object_store::Error::AlreadyExists { .. }) => "exists",
        Err(object_store::Error::NotFound { .. }) => "absent",
        Err(_) => "refused",
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim://{}", self.replica)
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let kind = if options.mode == PutMode::Create { Kind::Create } else { Kind::Put };
        if commit_number(location).is_some()
            && let Ok(commit) = Commit::decode("an attempt", &Bytes::from(payload.clone()))
        {
            let mut inner = self.bucket.lock();
            inner.creates += 1;
            inner.attempts.push_back(Arc::new(commit));
            if inner.attempts.len() > ATTEMPTS_MAX {
                inner.attempts.pop_front();
            }
        }
        let path = location.clone();
        self.send(kind, location, move |bucket| bucket.store(&path, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(object_store::Error::NotImplemented {
            operation: "put_multipart_opts".into(),
            implementer: self.to_string(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = location.clone();
        self.send(Kind::Get, location, move |bucket| {
            // Its own dates are the real clock's, so conditions are judged here.
            let head = bucket.shared.objects.head(&path);
            let meta = bucket.dated(head.now_or_never().expect("memory answers at once")?);
            options.check_preconditions(&meta)?;
            let plain =
                GetOptions { range: options.range, head: options.head, ..Default::default() };
            let get = bucket.shared.objects.get_opts(&path, plain);
            let got = get.now_or_never().expect("memory answers at once")?;
            Ok(GetResult { meta, ..got })
        })
        .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let client = self.clone();
        let delete = move |path: Path| {
            let client = client.clone();
            async move {
                let gone = path.clone();
                client.send(Kind::Delete, &path, move |bucket| bucket.remove(&gone)).await?;
                Ok(path)
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (client, prefix) = (self.clone(), prefix.cloned());
        let page = async move {
            let path = prefix.clone().unwrap_or_default();
            let list = move |bucket: &SimBucket| {
                let found = bucket.shared.objects.list(prefix.as_ref()).try_collect::<Vec<_>>();
                let found = found.now_or_never().expect("memory answers at once")?;
                Ok(found.into_iter().map(|meta| Ok(bucket.dated(meta))).collect::<Vec<_>>())
            };
            client.send(Kind::List, &path, list).await
        };
        stream::once(page).map_ok(stream::iter).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        let prefix = prefix.cloned();
        self.send(Kind::List, &path, move |bucket| {
            let list = bucket.shared.objects.list_with_delimiter(prefix.as_ref());
            let mut found = list.now_or_never().expect("memory answers at once")?;
            found.objects = found.objects.into_iter().map(|meta| bucket.dated(meta)).collect();
            Ok(found)
        })
        .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (from.clone(), to.clone());
        self.send(Kind::Copy, from, move |bucket| {
            let copy = bucket.shared.objects.copy_opts(&source, &target, options);
            copy.now_or_never().expect("memory answers at once")
        })
        .await
    }
}

#[cfg(test)]
mod tests;
