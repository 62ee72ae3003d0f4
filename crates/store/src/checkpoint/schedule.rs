//! When the next checkpoint is due. Pure: told what was installed and what time it is.

use std::time::Duration;

use tokio::time::Instant;

use super::CheckpointOptions;

/// After one that took `t`, the next begins `PACE` times `t` later at the earliest: checkpoints
/// take at most a tenth of the time.
const PACE: u32 = 9;
/// A half of the state's bytes: with a quarter, checkpoints are most of what a write costs in a
/// large catalogue (ADR 3).
const STATE_SHARE: u64 = 2;
/// The first pause after a failure; it doubles up to [`FAILURE_PAUSE_MAX`].
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(10);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(600);

/// A commit that was installed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Install {
    /// When.
    pub(crate) at: Instant,
    /// Its length.
    pub(crate) bytes: u64,
    /// Of the state after it.
    pub(crate) state_bytes: u64,
    /// Whether it changed a movie.
    pub(crate) changes: bool,
    /// Whether this replica wrote it.
    pub(crate) is_ours: bool,
}

/// What happened since the last checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    commits: u64,
    bytes: u64,
    state_bytes: u64,
    /// The commit with which there was enough.
    enough: Option<Call>,
    /// The last commit that changed a movie.
    changed: Option<Call>,
}

/// A commit that calls for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    at: Instant,
    is_ours: bool,
}

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody waits for it.
    Demand,
    /// A commit of this replica called for it.
    Ours,
    /// Another replica's commit did: this one stands in.
    Another,
}

/// When the next checkpoint is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    options: CheckpointOptions,
    tally: Tally,
    /// What the run under way covers.
    covered: Tally,
    not_before: Option<Instant>,
    quiet_not_before: Option<Instant>,
    failures: u32,
    /// Since when somebody waits for one, whatever the pace.
    demanded: Option<Instant>,
}

impl Schedule {
    pub(crate) fn new(options: CheckpointOptions) -> Self {
        Self {
            options,
            tally: Tally::default(),
            covered: Tally::default(),
            not_before: None,
            quiet_not_before: None,
            failures: 0,
            demanded: None,
        }
    }

    /// Somebody waits for one.
    pub(crate) fn demand(&mut self, at: Instant) {
        self.demanded = Some(at);
    }

    pub(crate) fn installed(&mut self, install: &Install) {
        self.replayed(1, install);
    }

    /// So many commits were applied at a start, taken together.
    pub(crate) fn replayed(&mut self, commits: u64, together: &Install) {
        let tally = &mut self.tally;
        tally.commits += commits;
        tally.bytes += together.bytes;
        tally.state_bytes = together.state_bytes;
        let call = Call { at: together.at, is_ours: together.is_ours };
        if together.changes {
            tally.changed = Some(call);
        }
        let bound = self.options.commit_bytes.max(tally.state_bytes / STATE_SHARE);
        if tally.bytes > bound || tally.commits >= self.options.commits {
            tally.enough = tally.enough.or(Some(call));
        }
    }

    /// When a checkpoint is due, if no more is installed; `patience` is how long this replica
    /// waits for another whose commit called for it.
    pub(crate) fn due_at(&self, patience: Duration) -> Option<Instant> {
        let wait = |call: &Call| if call.is_ours { Duration::ZERO } else { patience };
        let enough = self.tally.enough.map(|call| call.at + wait(&call));
        let quiet = self.tally.changed.map(|call| {
            let at = call.at + self.options.quiet + wait(&call);
            self.quiet_not_before.map_or(at, |earliest| earliest.max(at))
        });
        let due = [enough, quiet].into_iter().flatten().min();
        let due = due.map(|due| self.not_before.map_or(due, |earliest| earliest.max(due)));
        [due, self.demanded].into_iter().flatten().min()
    }

    /// A run begins: what was installed so far is in it.
    pub(crate) fn began(&mut self) -> Cause {
        self.covered = std::mem::take(&mut self.tally);
        let mut calls = [self.covered.enough, self.covered.changed].into_iter().flatten();
        match self.demanded.take() {
            Some(_) => Cause::Demand,
            None if calls.any(|call| call.is_ours) => Cause::Ours,
            None => Cause::Another,
        }
    }

    /// A run that began at `began` ended well.
    pub(crate) fn ended(&mut self, began: Instant, now: Instant) {
        self.failures = 0;
        self.not_before = Some(now + PACE * now.saturating_duration_since(began));
        self.quiet_not_before = Some(began + self.options.quiet_period);
    }

    /// It failed: what it should have covered is still to be done.
    pub(crate) fn failed(&mut self, began: Instant, now: Instant) {
        let pause = FAILURE_PAUSE_MIN.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        let pace = PACE * now.saturating_duration_since(began);
        self.not_before = Some(now + pause.min(FAILURE_PAUSE_MAX).max(pace));
        let missed = std::mem::take(&mut self.covered);
        self.tally.commits += missed.commits;
        self.tally.bytes += missed.bytes;
        self.tally.enough = missed.enough.or(self.tally.enough);
        self.tally.changed = self.tally.changed.or(missed.changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const PATIENCE: Duration = Duration::from_secs(30);

    fn install(at: Instant, bytes: u64) -> Install {
        Install { at, bytes, state_bytes: 0, changes: false, is_ours: true }
    }

    fn schedule() -> (Schedule, Instant) {
        (Schedule::new(CheckpointOptions::default()), Instant::now())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn many_bytes_call_for_one_at_once() {
        let (mut schedule, now) = schedule();
        schedule.installed(&install(now, 4 * MIB));
        assert_eq!(schedule.due_at(PATIENCE), None);
        schedule.installed(&install(now, 1));
        assert_eq!(schedule.due_at(PATIENCE), Some(now));
    }

    #[test]
    fn a_large_state_takes_more_bytes() {
        let (mut schedule, now) = schedule();
        let large = Install { state_bytes: 100 * MIB, ..install(now, 50 * MIB) };
        schedule.installed(&large);
        assert_eq!(schedule.due_at(PATIENCE), None);
        schedule.installed(&Install { bytes: 1, ..large });
        assert_eq!(schedule.due_at(PATIENCE), Some(now));
    }

    #[test]
    fn many_commits_call_for_one_however_small() {
        let (mut schedule, now) = schedule();
        (0..19_999).for_each(|_| schedule.installed(&install(now, 1)));
        assert_eq!(schedule.due_at(PATIENCE), None);
        schedule.installed(&install(now, 1));
        assert_eq!(schedule.due_at(PATIENCE), Some(now));
    }

    #[test]
    fn a_quiet_second_calls_for_one_if_a_movie_changed() {
        let (mut schedule, now) = schedule();
        schedule.installed(&install(now, 1));
        assert_eq!(schedule.due_at(PATIENCE), None, "nothing changed");
        schedule.installed(&Install { changes: true, ..install(now, 1) });
        assert_eq!(schedule.due_at(PATIENCE), Some(now + seconds(1)));
        schedule.installed(&Install { changes: true, ..install(now + seconds(1), 1) });
        assert_eq!(schedule.due_at(PATIENCE), Some(now + seconds(2)), "it was not quiet");
    }

    #[test]
    fn bursts_have_a_period() {
        let (mut schedule, now) = schedule();
        let change = Install { changes: true, ..install(now, 1) };
        schedule.installed(&change);
        assert_eq!(schedule.began(), Cause::Ours);
        schedule.ended(now + seconds(1), now + seconds(1));
        assert_eq!(schedule.due_at(PATIENCE), None, "a quiet store does nothing");
        schedule.installed(&Install { at: now + seconds(2), ..change });
        assert_eq!(schedule.due_at(PATIENCE), Some(now + seconds(11)));
        schedule.installed(&Install { bytes: 5 * MIB, ..install(now + seconds(3), 1) });
        assert_eq!(schedule.due_at(PATIENCE), Some(now + seconds(3)), "bytes do not wait for it");
    }

    #[test]
    fn the_one_whose_commit_called_goes_first() {
        let (mut schedule, now) = schedule();
        schedule.installed(&Install { is_ours: false, ..install(now, 5 * MIB) });
        schedule.installed(&install(now, 1));
        assert_eq!(schedule.due_at(PATIENCE), Some(now + PATIENCE));
        assert_eq!(schedule.began(), Cause::Another);
    }

    #[test]
    fn they_take_a_tenth_of_the_time() {
        let (mut schedule, now) = schedule();
        schedule.installed(&install(now, 5 * MIB));
        schedule.began();
        schedule.installed(&install(now, 5 * MIB));
        schedule.ended(now, now + seconds(10));
        assert_eq!(schedule.due_at(PATIENCE), Some(now + seconds(100)));
    }

    #[test]
    fn a_demand_waits_for_nothing() {
        let (mut schedule, now) = schedule();
        schedule.ended(now, now + seconds(10));
        schedule.demand(now + seconds(11));
        assert_eq!(schedule.due_at(PATIENCE), Some(now + seconds(11)));
        assert_eq!(schedule.began(), Cause::Demand);
        assert_eq!(schedule.due_at(PATIENCE), None);
    }

    #[test]
    fn a_failed_one_is_tried_again_less_and_less_often() {
        let (mut schedule, now) = schedule();
        schedule.installed(&install(now, 5 * MIB));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule.began();
            schedule.failed(now, now);
            pauses.push((schedule.due_at(PATIENCE).unwrap() - now).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    }
}
