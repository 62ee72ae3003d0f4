//! What a store counts of itself, in plain numbers for whoever shows them. Never names a metric,
//! and knows no format of one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of measured times, in microseconds: from a folder's stat to a bucket that
/// hardly answers.
pub const DURATION_BOUNDS_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
];
/// The upper bounds of how many came together.
const COUNT_BOUNDS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increase(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values fell between which bounds, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: the last is of all that is larger.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was read. What is recorded meanwhile may be in one number and not in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The upper bounds, each included.
    pub bounds: &'static [u64],
    /// How many values each bound is the lowest of, and at last how many are above them all.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// One of times, in microseconds.
    #[must_use]
    pub fn of_durations() -> Self {
        Self::with(DURATION_BOUNDS_US)
    }

    fn of_counts() -> Self {
        Self::with(COUNT_BOUNDS)
    }

    fn with(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// One more value.
    pub fn record(&self, value: u64) {
        let index = self.bounds.iter().position(|bound| value <= *bound);
        if let Some(count) = self.counts.get(index.unwrap_or(self.bounds.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// One more time.
    pub fn record_time(&self, took: Duration) {
        self.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was recorded so far.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What all collections of a store have done since it began.
#[derive(Debug)]
pub struct Meters {
    /// From forming a batch to its place in the log, in microseconds; those of this replica's clients
    /// only.
    pub commit_time: Histogram,
    /// The ops of each such batch.
    pub commit_ops: Histogram,
    /// Commits of others that were applied.
    pub commits_of_others: Counter,
    /// Creates that found their number taken.
    pub commit_races_lost: Counter,
    /// Creates whose answer was lost or came too late; each was settled by reading.
    pub commit_outcomes_unknown: Counter,
    /// Batches of ours that a peer was sent and that are in the log by it.
    pub batches_forwarded: Counter,
    /// Batches of ours that a peer did not take along: it was beaten, is gone, or refused.
    pub batches_not_carried: Counter,
    /// Batches of ours that a peer was sent and that were not in the log in time.
    pub batches_hedged: Counter,
    /// Batches of peers that this replica has put into the log.
    pub batches_carried: Counter,
    /// Requests that found the write queue full.
    pub queue_refused: Counter,
    /// From a probe's begin to the proof that its state is current, in microseconds.
    pub probe_time: Histogram,
    /// The readers that shared each probe.
    pub probe_readers: Histogram,
    /// Reads of the tail that failed.
    pub probe_failures: Counter,
    /// What each run of the checkpointer that wrote one took, in microseconds.
    pub checkpoint_time: Histogram,
    /// Runs that failed.
    pub checkpoint_failures: Counter,
    /// What each publication that wrote the file took, in microseconds.
    pub publication_time: Histogram,
    /// Publications that failed.
    pub publication_failures: Counter,
    /// Files of others that were found where ours should be, and kept.
    pub foreign_files_kept: Counter,
    /// Edits of the published file that were taken over.
    pub edits_adopted: Counter,
    /// Edits that changed nothing, since they look like a mishap or cannot be read.
    pub edits_refused: Counter,
    /// Reads that were answered from what was known, while the bucket did not answer.
    pub stale_reads: Counter,
    /// Movies of adopted edits that others had written meanwhile, and which are as those left them.
    pub edited_movies_lost: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            commit_time: Histogram::of_durations(),
            commit_ops: Histogram::of_counts(),
            commits_of_others: Counter::default(),
            commit_races_lost: Counter::default(),
            commit_outcomes_unknown: Counter::default(),
            batches_forwarded: Counter::default(),
            batches_not_carried: Counter::default(),
            batches_hedged: Counter::default(),
            batches_carried: Counter::default(),
            queue_refused: Counter::default(),
            probe_time: Histogram::of_durations(),
            probe_readers: Histogram::of_counts(),
            probe_failures: Counter::default(),
            checkpoint_time: Histogram::of_durations(),
            checkpoint_failures: Counter::default(),
            publication_time: Histogram::of_durations(),
            publication_failures: Counter::default(),
            foreign_files_kept: Counter::default(),
            edits_adopted: Counter::default(),
            edits_refused: Counter::default(),
            stale_reads: Counter::default(),
            edited_movies_lost: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_where_its_bound_is_the_lowest_that_holds_it() {
        let histogram = Histogram::of_counts();
        for value in [0, 1, 2, 3, 10_000, 10_001] {
            histogram.record(value);
        }
        let Distribution { bounds, counts, sum } = histogram.read();
        assert_eq!(counts.len(), bounds.len() + 1);
        assert_eq!(counts.get(..3), Some(&[2, 1, 1][..]));
        assert_eq!(counts.iter().rev().take(2).collect::<Vec<_>>(), [&1, &1]);
        assert_eq!(sum, 20_007);
    }
}
