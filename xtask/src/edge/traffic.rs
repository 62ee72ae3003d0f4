//! Readers and writers at once before a cache: how many reads were hits, and how old what they got.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::cache::{Cached, is_hit, number, target};

/// Movies that are read.
pub(super) const HOT: usize = 1_000;
/// Movies that are written; those that are read among them.
const CATALOGUE: usize = 3_000;
/// Movies beside them, which this traffic leaves alone.
pub(super) const UNTOUCHED: usize = CATALOGUE;
pub(super) const UNREAD: usize = CATALOGUE + 1;
const CLIENTS: usize = 4;
/// Of each client.
const REQUESTS: usize = 5_000;
/// Every twentieth request is a write.
const WRITE_EVERY: usize = 20;

/// What was written when, by movie; of each in the order of its one writer.
type Written = Mutex<BTreeMap<usize, Vec<(usize, Instant)>>>;

/// What readers got.
pub(super) struct Found {
    pub(super) reads: usize,
    pub(super) hits: usize,
    /// Reads that did not have a write that was answered before they began.
    stale: usize,
    /// For how long the write that such a read did not have had been answered.
    pub(super) stalest: Duration,
    written: Written,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, hits, stale, stalest, .. } = self;
        let tenths = hits * 1_000 / reads.max(&1);
        write!(
            f,
            "{hits} of {reads} reads over {HOT} hot movies were hits ({}.{} %) while every \
             {WRITE_EVERY}th request wrote; {stale} were before their purge, by {stalest:.2?} at most",
            tenths / 10,
            tenths % 10
        )
    }
}

impl Found {
    /// How many movies the cache has wrong now.
    pub(super) fn stale_now(&self, cached: &Cached) -> Result<usize> {
        let last: Vec<_> = {
            let written = locked(&self.written);
            let last = |(movie, all): (&usize, &Vec<(usize, _)>)| Some((*movie, all.last()?.0));
            written.iter().filter_map(last).collect()
        };
        let mut stale = 0;
        for (movie, expected) in last {
            stale += usize::from(number(&cached.get(&target(movie))?)? != expected);
        }
        Ok(stale)
    }
}

/// The whole catalogue, each with the number 0.
pub(super) fn fill(cached: &Cached) -> Result<()> {
    (0..=UNREAD).try_for_each(|movie| cached.put(movie, 0))
}

/// Several clients that read and write at once.
pub(super) fn mixed(cached: &Cached) -> Result<Found> {
    let written = Written::default();
    let all = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let written = &written;
                    move || one(cached, client, written)
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| client.join());
        joined
            .map(|found| found.map_err(|_panic| anyhow!("a client ended"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let sum = |of: fn(&Got) -> usize| all.iter().map(of).sum();
    Ok(Found {
        reads: sum(|got| got.reads),
        hits: sum(|got| got.hits),
        stale: sum(|got| got.stale),
        stalest: all.iter().map(|got| got.stalest).max().unwrap_or_default(),
        written,
    })
}

/// What one client got.
#[derive(Default)]
struct Got {
    reads: usize,
    hits: usize,
    stale: usize,
    stalest: Duration,
}

fn one(cached: &Cached, client: usize, written: &Written) -> Result<Got> {
    let (mut got, mut dice) = (Got::default(), client + 1);
    for round in 1..=REQUESTS {
        // Knuth's generator: the same requests each time.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = dice >> 33;
        if round.is_multiple_of(WRITE_EVERY) {
            // Each movie has one writer, so its numbers grow.
            let movie = draw % (CATALOGUE / CLIENTS) * CLIENTS + client;
            cached.put(movie, round)?;
            locked(written).entry(movie).or_default().push((round, Instant::now()));
            continue;
        }
        let movie = draw % HOT;
        let begun = Instant::now();
        let answer = cached.get(&target(movie))?;
        let has = number(&answer).with_context(|| target(movie))?;
        got.reads += 1;
        got.hits += usize::from(is_hit(&answer));
        let written = locked(written);
        let missed =
            written.get(&movie).and_then(|all| all.iter().find(|(number, _)| *number > has));
        if let Some((_, at)) = missed.filter(|(_, at)| *at < begun) {
            got.stale += 1;
            got.stalest = got.stalest.max(begun - *at);
        }
    }
    Ok(got)
}

fn locked(written: &Written) -> MutexGuard<'_, BTreeMap<usize, Vec<(usize, Instant)>>> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}
