//! What the HTTP side counts. Never renders it.
//!
//! Requests are counted in stripes, one a thread as far as they go: a read then writes to no cache
//! line that another thread writes to, and takes no lock. A histogram of a metrics crate is one
//! shared lock.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use movies_store::meters::{Counter, Distribution, Histogram};

use super::Route;

/// More threads than this share stripes.
const STRIPES: usize = 8;
/// The methods that are told; any other is the last.
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "other"];
/// The classes of statuses.
pub(super) const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The stripe of each thread.
fn stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) });
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        stripe.get()
    })
}

/// What the HTTP side has done since it began.
#[derive(Debug)]
pub(crate) struct Meters {
    stripes: Box<[Stripe]>,
    connections: AtomicU64,
    accepted: Counter,
    pub(crate) turned_away: Counter,
    audited: Mutex<BTreeMap<Audited, u64>>,
    pub(super) began: SystemTime,
}

/// A login's outcome, or why a request was refused. The words are the program's own, so there are
/// only so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audited {
    Login(&'static str),
    Refused(&'static str),
}

#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    begun: AtomicU64,
    ended: AtomicU64,
    /// By route, then method.
    tallies: Box<[Tally]>,
}

#[derive(Debug)]
struct Tally {
    classes: [Counter; CLASSES.len()],
    time: Histogram,
}

/// The requests of one route and method.
pub(super) struct Requests {
    pub(super) route: &'static str,
    pub(super) method: &'static str,
    pub(super) classes: [u64; CLASSES.len()],
    pub(super) time: Distribution,
}

impl Default for Meters {
    fn default() -> Self {
        let tally = || Tally { classes: Default::default(), time: Histogram::of_durations() };
        let stripe = || Stripe {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            tallies: (0..Route::ALL.len() * METHODS.len()).map(|_| tally()).collect(),
        };
        Self {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            connections: AtomicU64::new(0),
            accepted: Counter::default(),
            turned_away: Counter::default(),
            audited: Mutex::default(),
            began: SystemTime::now(),
        }
    }
}

impl Meters {
    /// Counts a request as in flight until the value is dropped.
    pub(crate) fn request(&self) -> InFlight<'_> {
        let stripe = self.stripes.get(stripe());
        if let Some(stripe) = stripe {
            stripe.begun.fetch_add(1, Ordering::Relaxed);
        }
        InFlight(stripe)
    }

    /// Counts a connection as open until the value is dropped.
    pub(crate) fn connection(&self) -> OpenConnection<'_> {
        self.accepted.increase();
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(&self.connections)
    }

    /// Somebody has logged in, or was refused.
    pub(crate) fn audited(&self, what: Audited) {
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        *audited.entry(what).or_default() += 1;
    }

    pub(super) fn audits(&self) -> BTreeMap<Audited, u64> {
        self.audited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn connections(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.accepted.get())
    }

    pub(super) fn in_flight(&self) -> u64 {
        let sum = |which: fn(&Stripe) -> &AtomicU64| -> u64 {
            self.stripes.iter().map(|stripe| which(stripe).load(Ordering::Relaxed)).sum()
        };
        // The ends first, so that it is never below zero.
        let ended = sum(|stripe| &stripe.ended);
        sum(|stripe| &stripe.begun).saturating_sub(ended)
    }

    /// Those that there were any of.
    pub(super) fn requests(&self) -> Vec<Requests> {
        let places =
            Route::ALL.iter().flat_map(|route| METHODS.map(|method| (route.name(), method)));
        let all = places.enumerate().map(|(place, (route, method))| {
            let mut tallies = self.stripes.iter().filter_map(|stripe| stripe.tallies.get(place));
            let mut classes = [0; CLASSES.len()];
            let mut time = Histogram::of_durations().read();
            tallies.by_ref().for_each(|tally| {
                let counts = classes.iter_mut().zip(&tally.classes);
                counts.for_each(|(sum, count)| *sum += count.get());
                let more = tally.time.read();
                time.counts.iter_mut().zip(more.counts).for_each(|(sum, count)| *sum += count);
                time.sum += more.sum;
            });
            Requests { route, method, classes, time }
        });
        all.filter(|requests| requests.classes.iter().any(|count| *count > 0)).collect()
    }
}

/// A request that is in flight.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(Option<&'a Stripe>);

impl InFlight<'_> {
    /// It was answered.
    pub(crate) fn answered(
        &self,
        route: Route,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let method = METHODS.iter().position(|name| *name == method.as_str());
        let place = route as usize * METHODS.len() + method.unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        if let Some(tally) = self.0.and_then(|stripe| stripe.tallies.get(place)) {
            if let Some(count) = tally.classes.get(class) {
                count.increase();
            }
            tally.time.record_time(took);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(stripe) = self.0 {
            stripe.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct OpenConnection<'a>(&'a AtomicU64);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
