//! The keys of one issuer, kept and fetched again when that is due.
//!
//! Owns when a provider is asked: at the start, when the keys are old, and when a token names a key
//! that is not among them; never twice at a time, and never as often as strangers please. A fetch
//! is a task of its own on the process's runtime: whoever waits for it may go away, and the others
//! still hear of its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Fetches;
use super::fetch::Fetcher;
use super::keys::KeySet;
use crate::auth::Refused;
use crate::auth::jwk::VerifyingKey;

/// How often a provider is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The time between two fetches. Also the longest that a withdrawn key is believed.
    pub(super) refresh: Duration,
    /// The same, after one that failed.
    pub(super) retry: Duration,
    /// Older keys are not used any more: a key that was withdrawn must end, even if whoever has it
    /// can keep the provider from us.
    pub(super) keep_max: Duration,
    /// The least time between two fetches for keys that tokens name and nobody has seen: anyone can
    /// send such a token.
    pub(super) unknown_pause: Duration,
    /// The least time from a fetch that failed to one that a request asks for.
    pub(super) failure_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(10 * 60),
            retry: Duration::from_secs(30),
            keep_max: Duration::from_secs(24 * 60 * 60),
            unknown_pause: Duration::from_secs(30),
            failure_pause: Duration::from_secs(5),
        }
    }
}

/// The keys of one issuer.
#[derive(Clone, Debug)]
pub(super) struct KeyCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    issuer: String,
    fetcher: Fetcher,
    pace: Pace,
    runtime: Handle,
    kept: ArcSwapOption<Kept>,
    flight: Mutex<Flight>,
    /// Counts how often keys have become others.
    changes: Arc<AtomicU64>,
    fetches: Arc<Fetches>,
}

#[derive(Debug)]
struct Kept {
    keys: KeySet,
    at: Instant,
}

/// The fetch that is under way, and when the last ones were.
#[derive(Debug, Default)]
struct Flight {
    /// Closed at the fetch's end.
    landing: Option<watch::Receiver<()>>,
    failed: Option<Instant>,
    sought_unknown: Option<Instant>,
}

/// Why a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// There are no keys.
    None,
    /// They are as old as they may get.
    Age,
    /// A token names another one.
    Unknown,
}

impl KeyCache {
    /// Begins to fetch the keys, on the runtime of its caller, and does so again and again until
    /// the cache is dropped.
    pub(super) fn start(
        issuer: &str,
        fetcher: Fetcher,
        pace: Pace,
        changes: Arc<AtomicU64>,
        fetches: Arc<Fetches>,
    ) -> Self {
        let cache = Self {
            inner: Arc::new(Inner {
                issuer: issuer.to_owned(),
                fetcher,
                pace,
                runtime: Handle::current(),
                kept: ArcSwapOption::empty(),
                flight: Mutex::default(),
                changes,
                fetches,
            }),
        };
        cache.inner.runtime.spawn(refresh(Arc::downgrade(&cache.inner)));
        cache
    }

    /// The key that a token names. Waits for a fetch only where the keys at hand do not do.
    ///
    /// # Errors
    /// Where the issuer has no such key, or there are no keys at all.
    ///
    /// Dropping the future leaves a fetch that it began under way.
    pub(super) async fn find(&self, kid: Option<&str>) -> Result<VerifyingKey, Refused> {
        let reason = match self.kept() {
            Some(kept) => match kept.keys.find(kid) {
                Some(key) => return Ok(key.clone()),
                None => Reason::Unknown,
            },
            None => Reason::None,
        };
        if let Some(landing) = self.fetch(reason) {
            landed(landing).await;
        }
        let kept = self.kept().ok_or(Refused::Unavailable("its issuer's keys cannot be had"))?;
        kept.keys.find(kid).cloned().ok_or(Refused::Invalid("its issuer has no such key"))
    }

    /// The keys at hand, if they are not too old.
    fn kept(&self) -> Option<Arc<Kept>> {
        self.inner.kept.load_full().filter(|kept| kept.at.elapsed() <= self.inner.pace.keep_max)
    }

    /// Joins the fetch that is under way, or begins one if it is time; none if it is not.
    fn fetch(&self, reason: Reason) -> Option<watch::Receiver<()>> {
        let mut flight = self.inner.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = &flight.landing {
            return Some(landing.clone());
        }
        let pace = &self.inner.pace;
        let within = |last: Option<Instant>, pause| last.is_some_and(|at| at.elapsed() < pause);
        if reason != Reason::Age && within(flight.failed, pace.failure_pause) {
            return None;
        }
        if reason == Reason::Unknown {
            if within(flight.sought_unknown, pace.unknown_pause) {
                return None;
            }
            flight.sought_unknown = Some(Instant::now());
        }
        let (landed, landing) = watch::channel(());
        flight.landing = Some(landing.clone());
        let cache = self.clone();
        self.inner.runtime.spawn(async move {
            cache.ask(reason).await;
            drop(landed);
        });
        Some(landing)
    }

    async fn ask(&self, reason: Reason) {
        let issuer = &self.inner.issuer;
        let failed = match self.inner.fetcher.keys().await {
            Ok(keys) => {
                self.inner.fetches.ok.increase();
                self.keep(keys, reason);
                None
            }
            Err(error) => {
                self.inner.fetches.failed.increase();
                let keys_kept = self.kept().map_or(0, |kept| kept.keys.len());
                warn!(issuer, keys_kept, "cannot fetch an issuer's keys: {error}");
                Some(Instant::now())
            }
        };
        let mut flight = self.inner.flight.lock().unwrap_or_else(PoisonError::into_inner);
        flight.failed = failed;
        flight.landing = None;
    }

    fn keep(&self, keys: KeySet, reason: Reason) {
        let before = self.inner.kept.load_full();
        let are_others = before.is_none_or(|kept| kept.keys != keys);
        let count = keys.len();
        self.inner.kept.store(Some(Arc::new(Kept { keys, at: Instant::now() })));
        if are_others {
            info!(issuer = self.inner.issuer, keys = count, ?reason, "an issuer's keys are new");
            self.inner.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Fetches again and again, until the cache is gone.
async fn refresh(cache: Weak<Inner>) {
    loop {
        let Some(inner) = cache.upgrade() else { return };
        let (pace, cache) = (inner.pace, KeyCache { inner });
        if let Some(landing) = cache.fetch(Reason::Age) {
            landed(landing).await;
        }
        let has_failed = {
            let flight = cache.inner.flight.lock().unwrap_or_else(PoisonError::into_inner);
            flight.failed.is_some()
        };
        drop(cache);
        sleep(if has_failed { pace.retry } else { pace.refresh }).await;
    }
}

/// Waits until a fetch has ended. Nothing is ever sent: an error says so.
async fn landed(mut landing: watch::Receiver<()>) {
    while landing.changed().await.is_ok() {}
}
