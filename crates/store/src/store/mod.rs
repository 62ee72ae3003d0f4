//! A bucket's collections: opened on first use, unloaded when idle, bounded in number and memory;
//! one collection's trouble never stops another.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use object_store::ObjectMeta;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::Instant;

use crate::bucket::Bucket;
use crate::collection::Collection;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::genesis::Unborn;
use crate::gzip::Compressor;
use crate::key::CollectionName;
use crate::meters::Meters;
use crate::peers::Carriage;
use crate::selftest;
use crate::spans;

mod accord;
mod open;
mod options;

pub use accord::Accord;
pub use options::Options;

/// How long the error that keeps a collection from being served is repeated before it is opened
/// anew.
const FAILURE_KEPT: Duration = Duration::from_secs(10);
/// How often idle collections are looked for.
const JANITOR_PERIOD: Duration = Duration::from_secs(30);
/// The most listings of one [`Store::names`].
const LISTINGS_MAX: usize = 100;
/// The most names of one [`Store::names`].
const NAMES_MAX: usize = 10_000;

/// What to do about a collection that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing is written; the answer is `None`.
    Leave,
    /// It is created, empty.
    Create,
}

/// What an opening came to.
#[derive(Clone, Debug)]
pub enum Opened {
    /// It does not exist; nothing was written.
    Absent,
    /// It is there: it was before, or its file was, or another was quicker to create it.
    Found(Collection),
    /// Neither file nor log was there, and this call created it, empty. Of all calls that race to
    /// create it, through whatever replica, at most one is told this.
    Born(Collection),
}

impl Opened {
    /// The collection, where it exists.
    #[must_use]
    pub fn collection(self) -> Option<Collection> {
        match self {
            Self::Absent => None,
            Self::Found(collection) | Self::Born(collection) => Some(collection),
        }
    }
}

/// A bucket's collections. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: Bucket,
    env: Env,
    options: Options,
    compressor: Compressor,
    meters: Arc<Meters>,
    warnings: Vec<String>,
    /// Held for moments only, never across an await.
    slots: Mutex<BTreeMap<CollectionName, Arc<Slot>>>,
}

/// One collection's place.
#[derive(Default)]
struct Slot {
    /// Held while it is being opened, so that it is opened once.
    opening: Arc<tokio::sync::Mutex<Option<Refusal>>>,
    /// The only lasting handle besides those of requests.
    collection: Mutex<Option<Collection>>,
}

/// An error that is repeated for a while, since opening anew would most likely find it again.
struct Refusal {
    error: Error,
    until: Instant,
    /// The file at fault: once it is another, the error is not repeated.
    file: Option<ObjectMeta>,
}

impl Store {
    /// Tests the bucket (unless read-only) and refuses one that cannot carry a log.
    ///
    /// # Errors
    /// `Unavailable` when the bucket cannot be reached or written, `Unsupported` when it does not
    /// keep what a log needs; both say what to do.
    pub async fn start(bucket: Bucket, env: Env, options: Options) -> Result<Self> {
        let mut warnings = Vec::new();
        if !options.read_only {
            bucket.make_root().map_err(|failure| failure.into_error("create", bucket.url()))?;
            warnings = selftest::run(&bucket, &env).await?;
        }
        let compressor = Compressor::new(env.clone(), options.gzip_bytes_max);
        let slots = Mutex::default();
        let meters = Arc::default();
        let inner = Inner { bucket, env, options, compressor, meters, warnings, slots };
        let store = Self { inner: Arc::new(inner) };
        store.inner.env.spawn(unload_idle(Arc::downgrade(&store.inner)));
        Ok(store)
    }

    /// Opens a collection, or finds it open. One whose file exists without a log gets its
    /// genesis.
    ///
    /// Cancel safe: an opening that has begun goes on without its caller, so that a long log is
    /// open for those who ask again; it may still create the collection.
    ///
    /// # Errors
    /// Whatever keeps it from being served; `Overloaded` where too many are open.
    pub async fn open(&self, name: &CollectionName, absent: Absent) -> Result<Opened> {
        let slot = self.slot(name)?;
        if let Some(collection) = slot.current()
            && collection.failure().is_none()
        {
            return Ok(Opened::Found(collection));
        }
        let mut refusal = Arc::clone(&slot.opening).lock_owned().await;
        let now = self.inner.env.instant();
        if let Some(collection) = slot.current() {
            match collection.failure() {
                None => return Ok(Opened::Found(collection)),
                Some(error) => *refusal = Some(Refusal::new(error, None, now)),
            }
        }
        slot.show(None);
        if let Some(refusal) = &*refusal
            && self.holds(refusal, name, now).await
        {
            return Err(refusal.error.clone());
        }
        *refusal = None;
        let (reply, answer) = oneshot::channel();
        let (store, opened_name) = (self.clone(), name.clone());
        let opening = async move {
            let opened = store.open_slot(&opened_name, slot, absent, refusal).await;
            // An error says that the caller has gone; others find it in the slot.
            let _ = reply.send(opened);
        };
        self.inner.env.spawn(spans::within(spans::current(), opening));
        let broke_off = || Error::unavailable("open", name.as_str(), "its opening broke off");
        answer.await.unwrap_or_else(|_dropped| Err(broke_off()))
    }

    /// Opens what the slot is for, while `refusal` keeps others waiting.
    async fn open_slot(
        &self,
        name: &CollectionName,
        slot: Arc<Slot>,
        absent: Absent,
        mut refusal: OwnedMutexGuard<Option<Refusal>>,
    ) -> Result<Opened> {
        let opened = self.open_log(name, absent).await;
        match &opened {
            Ok(Opened::Found(collection) | Opened::Born(collection)) => {
                slot.show(Some(collection.clone()));
            }
            Err(Unborn { error, file }) if error.is_final() || file.is_some() => {
                let now = self.inner.env.instant();
                *refusal = Some(Refusal::new(error.clone(), file.clone(), now));
            }
            Ok(Opened::Absent) | Err(_) => {
                drop(refusal);
                self.forget(name, &slot);
            }
        }
        opened.map_err(|unborn| unborn.error)
    }

    /// Whether a kept error is still to be repeated.
    async fn holds(&self, refusal: &Refusal, name: &CollectionName, now: Instant) -> bool {
        let bucket = &self.inner.bucket;
        refusal.until > now
            && (refusal.file.is_none()
                || bucket
                    .head(&bucket.path(name.as_str()))
                    .await
                    .is_ok_and(|now| refusal.file == now))
    }

    /// The collections in the bucket, by a listing, open or not: every object that could be one,
    /// and every log. Not filtered by the operator's choice; at most 10,000.
    ///
    /// # Errors
    /// `Unavailable` when the bucket cannot be listed.
    pub async fn names(&self) -> Result<Vec<CollectionName>> {
        let bucket = &self.inner.bucket;
        let mut names = std::collections::BTreeSet::new();
        let mut folders = vec![bucket.prefix().clone()];
        let mut listings = 0;
        while let Some(folder) = folders.pop() {
            listings += 1;
            if listings > LISTINGS_MAX || names.len() >= NAMES_MAX {
                break;
            }
            let listed = bucket.children(&folder).await;
            let (objects, below) =
                listed.map_err(|failure| failure.into_error("list", bucket.url()))?;
            let relative = |path: &object_store::path::Path| {
                let parts: Option<Vec<_>> = path
                    .prefix_match(bucket.prefix())
                    .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect());
                parts.unwrap_or_default().join("/")
            };
            names.extend(
                objects.iter().filter_map(|path| CollectionName::parse(&relative(path)).ok()),
            );
            for path in below {
                let text = relative(&path);
                match text.strip_suffix(".log") {
                    Some(name) => names.extend(CollectionName::parse(name).ok()),
                    None if CollectionName::parse(&text).is_ok() => folders.push(path),
                    None => {}
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Those that are open now.
    #[must_use]
    pub fn opened(&self) -> Vec<Collection> {
        self.slots().values().filter_map(|slot| slot.current()).collect()
    }

    /// Takes a batch of another replica along into the log of an open collection, if this one writes
    /// there; ends when it is judged, or somebody else has to do it. `message`: what
    /// [`Peers::forward`](crate::Peers::forward) was given.
    ///
    /// Cancel safe: a batch that nobody waits for any more may still be committed.
    ///
    /// # Errors
    /// `Unprocessable` where the message is no batch, or one of another log; `Unsupported` where it
    /// needs a newer version.
    pub async fn carry(&self, name: &CollectionName, message: bytes::Bytes) -> Result<Carriage> {
        let slot = self.slots().get(name).cloned();
        match slot.and_then(|slot| slot.current()) {
            Some(collection) => collection.carry(message).await,
            None => Ok(Carriage::NotCarried),
        }
    }

    /// What the self-test wants a person to know, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// Makes and keeps the compressed form of pages, for all collections.
    #[must_use]
    pub fn compressor(&self) -> &Compressor {
        &self.inner.compressor
    }

    /// What its collections have done since it began.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.inner.bucket
    }

    /// Refuses new writes, waits until every accepted one is settled, then stops.
    ///
    /// Cancel safe; but dropping the future leaves accepted writes unsettled.
    pub async fn close(&self) {
        let opened = self.opened();
        futures_util::future::join_all(opened.iter().map(Collection::close)).await;
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<CollectionName, Arc<Slot>>> {
        self.inner.slots()
    }

    fn slot(&self, name: &CollectionName) -> Result<Arc<Slot>> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(name) {
            return Ok(Arc::clone(slot));
        }
        self.inner.make_room(&mut slots)?;
        let slot = Arc::new(Slot::default());
        slots.insert(name.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    /// Removes the slot of a collection that was not opened, unless others wait for it.
    fn forget(&self, name: &CollectionName, slot: &Arc<Slot>) {
        if let Entry::Occupied(entry) = self.slots().entry(name.clone())
            && Arc::ptr_eq(entry.get(), slot)
            && slot.current().is_none()
            // The map's and ours: nobody else waits for its lock.
            && Arc::strong_count(slot) == 2
        {
            entry.remove();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.inner.bucket).finish()
    }
}

impl Refusal {
    fn new(error: Error, file: Option<ObjectMeta>, now: Instant) -> Self {
        Self { error, until: now + FAILURE_KEPT, file }
    }
}

impl Slot {
    fn current(&self) -> Option<Collection> {
        self.collection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it holds neither a collection nor anybody who waits for one.
    fn is_empty(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.current().is_none()
    }

    /// Whether it keeps an error that is still to be repeated.
    fn refuses(&self, now: Instant) -> bool {
        let refusal = self.opening.try_lock();
        refusal.is_ok_and(|kept| kept.as_ref().is_some_and(|refusal| refusal.until > now))
    }

    /// Since when nobody has used it; `None` while somebody does, or is about to.
    fn idle_since(self: &Arc<Self>) -> Option<Instant> {
        if Arc::strong_count(self) > 1 {
            return None;
        }
        let collection = self.collection.lock().unwrap_or_else(PoisonError::into_inner);
        collection.as_ref().filter(|collection| collection.is_unused()).map(Collection::last_used)
    }

    fn show(&self, collection: Option<Collection>) {
        *self.collection.lock().unwrap_or_else(PoisonError::into_inner) = collection;
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<CollectionName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unloads the longest unused collections until one more fits.
    fn make_room(&self, slots: &mut BTreeMap<CollectionName, Arc<Slot>>) -> Result<()> {
        // Openings that came to nothing leave empty slots behind when their callers go away; those
        // that keep an error have room as long as there is.
        let now = self.env.instant();
        slots.retain(|_, slot| !slot.is_empty() || slot.refuses(now));
        if slots.len() >= self.options.collections_max {
            slots.retain(|_, slot| !slot.is_empty());
        }
        loop {
            let opened = slots.values().filter_map(|slot| slot.current());
            let (count, bytes) = opened.fold((0, 0), |(count, bytes), collection| {
                (count + 1, bytes + collection.latest().movies().wire_bytes())
            });
            if slots.len() < self.options.collections_max
                && (bytes <= self.options.memory_bytes_max || count <= 1)
            {
                return Ok(());
            }
            let longest_unused = slots
                .iter()
                .filter_map(|(name, slot)| Some((slot.idle_since()?, name.clone())))
                .filter(|(_, name)| name.as_str() != CollectionName::DEFAULT)
                .min();
            let Some((_, name)) = longest_unused else {
                return Err(Error::Overloaded { what: "the set of open collections" });
            };
            self.unload(slots, &name);
        }
    }

    fn unload(&self, slots: &mut BTreeMap<CollectionName, Arc<Slot>>, name: &CollectionName) {
        if let Some(slot) = slots.remove(name)
            && let Some(collection) = slot.current()
        {
            tracing::info!(collection = %name, "unloaded");
            self.env.spawn(async move { collection.close().await });
        }
    }
}

/// Unloads collections that nobody asks for; ends with the store.
async fn unload_idle(store: Weak<Inner>) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        let now = inner.env.instant();
        {
            let mut slots = inner.slots();
            let idle: Vec<_> = slots
                .iter()
                .filter(|(name, slot)| {
                    name.as_str() != CollectionName::DEFAULT
                        && slot.idle_since().is_some_and(|since| {
                            now.saturating_duration_since(since) >= inner.options.idle_unload
                        })
                })
                .map(|(name, _)| name.clone())
                .collect();
            for name in idle {
                inner.unload(&mut slots, &name);
            }
        }
        let env = inner.env.clone();
        drop(inner);
        env.sleep(JANITOR_PERIOD).await;
    }
}
