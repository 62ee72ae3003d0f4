//! The order of events of one run: virtual time, one number an event, one hash of them all.
//!
//! Every request to the bucket and every call of a client is an event, so two runs of a seed
//! that differ anywhere that matters differ in their hash. Never reads a real clock.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use movies_store::key::Timestamp;
use tokio::time::Instant;

/// The wall clock at the beginning of every run: 2026-01-01T00:00:00Z.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000);

/// A place in the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// What to do with events besides counting them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Nothing.
    Quiet,
    /// Each event is a line on standard output, at once: a run that hangs shows where.
    Lines,
}

/// The recorder of one run. Cheap to clone.
#[derive(Clone)]
pub struct Trace {
    started: Instant,
    telling: Telling,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// When each event happened, since the start.
    times: Vec<Duration>,
    hasher: DefaultHasher,
}

impl Trace {
    /// Starts now, which must be inside a runtime with a paused clock.
    #[must_use]
    pub fn start(telling: Telling) -> Self {
        // The standard hasher is seeded by chance; this one never is.
        let inner = Inner { times: Vec::new(), hasher: DefaultHasher::new() };
        Self { started: Instant::now(), telling, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Records that something happened now.
    pub fn event(&self, what: impl fmt::Display) -> Moment {
        let at = self.elapsed();
        let line = format!("{:>10.3} {what}", at.as_secs_f64());
        if self.telling == Telling::Lines {
            // A closed pipe must not change the run.
            drop(writeln!(std::io::stdout(), "{line}"));
        }
        let mut inner = self.lock();
        inner.hasher.write(line.as_bytes());
        inner.times.push(at);
        Moment(inner.times.len() as u64)
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall clock of a machine whose clock is right.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        EPOCH.plus_ms(i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// The last event before `at` (virtual time since the start).
    #[must_use]
    pub fn last_before(&self, at: Duration) -> Moment {
        Moment(self.lock().times.partition_point(|time| *time < at) as u64)
    }

    /// The hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.lock().hasher.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("telling", &self.telling).finish_non_exhaustive()
    }
}
