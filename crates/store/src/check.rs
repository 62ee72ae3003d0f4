//! Whether a log is sound: numbers without gaps, the hash chain, the format, every recorded
//! outcome, the pages that it adds up to, and every checkpoint of it. Reads only.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::apply;
use crate::bucket::Bucket;
use crate::checkpoint::load::{self, Listed};
use crate::commit::pruned_to;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::genesis;
use crate::invariants;
use crate::key::{CollectionName, LogId, Seq, Version};
use crate::log::Log;
use crate::state::State;

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The log's id; zeros where there is none.
    pub log: LogId,
    /// How many commits are sound, from the first on, pruned ones included.
    pub commits: u64,
    /// How many of them are pruned: of those only the number is left.
    pub pruned: u64,
    /// How many ops the others hold, as far as they were replayed.
    pub ops: u64,
    /// How many checkpoints hold what the log adds up to.
    pub checkpoints: u64,
    /// How many movies they add up to.
    pub movies: u64,
    /// The version that they add up to.
    pub version: Version,
    /// What is wrong; each names its object. Nothing behind a commit that is can be checked.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Verifies a collection's log from its first commit on, and every checkpoint against it;
/// `progress` is told each sound commit. Where old commits were pruned, the log is replayed from
/// the oldest good checkpoint.
///
/// # Errors
/// `Unavailable` when the bucket cannot be read: that says nothing about the log.
pub async fn check(
    bucket: &Bucket,
    name: &CollectionName,
    progress: impl FnMut(Seq),
) -> Result<CheckReport> {
    check_in(bucket, name, Env::real(), progress).await
}

/// [`check()`] in a world that may be simulated.
///
/// # Errors
/// As [`check()`].
pub async fn check_in(
    bucket: &Bucket,
    name: &CollectionName,
    env: Env,
    progress: impl FnMut(Seq),
) -> Result<CheckReport> {
    let log = Log::new(bucket.clone(), name.clone(), env);
    let checkpoints = list(&log).await?;
    let report = CheckReport {
        log: LogId::ZERO,
        commits: 0,
        pruned: 0,
        ops: 0,
        checkpoints: 0,
        movies: 0,
        version: Version::default(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let state = State::empty(LogId::ZERO);
    Check { log, state, checkpoints, report, progress }.run().await
}

/// The checkpoints, oldest first.
async fn list(log: &Log) -> Result<VecDeque<Listed>> {
    let newest_first = load::list(log).await?;
    Ok(newest_first.into_iter().rev().collect())
}

struct Check<P> {
    log: Log,
    /// What the commits so far add up to.
    state: State,
    /// Those that were not compared yet, oldest first.
    checkpoints: VecDeque<Listed>,
    report: CheckReport,
    progress: P,
}

impl<P: FnMut(Seq)> Check<P> {
    async fn run(mut self) -> Result<CheckReport> {
        if self.is_pruned(Seq(1)).await? {
            self.skip_pruned().await?;
        }
        if self.report.problems.is_empty() {
            self.replay().await?;
        }
        if self.report.problems.is_empty() {
            let Self { log, state, report, .. } = &mut self;
            look_behind(log, state.seq(), &mut report.problems, &mut report.notes).await?;
            report.problems.extend(invariants::snapshot_is_sound(state.movies()).err());
        }
        for Listed { seq, .. } in std::mem::take(&mut self.checkpoints) {
            let object = load::object(&self.log, seq);
            self.report.problems.push(format!("{object} is of a commit that cannot be reached"));
        }
        Ok(CheckReport {
            log: self.state.log(),
            commits: self.state.seq().0,
            movies: self.state.movies().count(),
            version: self.state.version(),
            ..self.report
        })
    }

    async fn read(&self, seq: Seq) -> Result<Option<Bytes>> {
        let read = self.log.read(seq).await;
        read.map_err(|failure| failure.into_error("read", self.log.object(seq)))
    }

    async fn is_pruned(&self, seq: Seq) -> Result<bool> {
        Ok(self.read(seq).await?.is_some_and(|bytes| pruned_to(&bytes).is_some()))
    }

    /// Begins at the oldest good checkpoint behind which no commit is pruned; what lies before it
    /// cannot be replayed, but every number must be taken.
    async fn skip_pruned(&mut self) -> Result<()> {
        let mut listings = 1;
        while let Some(Listed { seq, .. }) = self.checkpoints.pop_front() {
            match load::checkpoint(&self.log, seq).await {
                Ok(Some(_)) if self.is_pruned(seq.next()).await? => {}
                Ok(Some(state)) => {
                    self.state = state;
                    self.report.checkpoints += 1;
                    break;
                }
                // Retention was quicker; what has come instead is in no listing of before.
                Ok(None) if self.checkpoints.is_empty() && listings < load::LISTINGS_MAX => {
                    listings += 1;
                    self.checkpoints = list(&self.log).await?;
                }
                Ok(None) => {}
                Err(error) if error.is_final() => self.report.problems.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let first = self.log.object(Seq(1));
        if self.state.seq() == Seq::ZERO {
            let found = format!("{first} was pruned, and no checkpoint from there on can be read");
            self.report.problems.push(found);
            return Ok(());
        }
        let checkpoint = self.state.seq();
        let mut is_prefix = true;
        for seq in (1..=checkpoint.0).map(Seq) {
            let object = self.log.object(seq);
            match self.read(seq).await? {
                None => self.report.problems.push(format!("{object} is missing")),
                Some(bytes) if pruned_to(&bytes).is_none() => is_prefix = false,
                Some(_) if is_prefix => self.report.pruned += 1,
                Some(_) => {
                    self.report.problems.push(format!("{object} was pruned before older ones"));
                }
            }
        }
        self.report.notes.push(format!(
            "commits 1 to {} are pruned; the log was replayed from checkpoint {checkpoint} on",
            self.report.pruned
        ));
        Ok(())
    }

    async fn replay(&mut self) -> Result<()> {
        loop {
            let seq = self.state.seq().next();
            let object = self.log.object(seq);
            let Some(bytes) = self.read(seq).await? else { return Ok(()) };
            match apply::apply(&self.state, &object, &bytes, None) {
                Ok((commit, applied)) => {
                    let groups = commit.batches.iter().flat_map(|batch| &batch.groups);
                    self.report.ops += groups.map(|group| group.ops.len() as u64).sum::<u64>();
                    self.state = applied.state;
                    (self.progress)(seq);
                }
                Err(error @ Error::Pruned { .. }) => {
                    self.report.problems.push(format!("{error}; older commits were not"));
                    return Ok(());
                }
                Err(error) if error.is_final() => {
                    self.report.problems.push(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            while self.checkpoints.pop_front_if(|next| next.seq <= seq).is_some() {
                self.compare(seq).await?;
            }
        }
    }

    /// The checkpoint after commit `seq` against the state that the log adds up to.
    async fn compare(&mut self, seq: Seq) -> Result<()> {
        match load::checkpoint(&self.log, seq).await {
            // Retention was quicker: nothing is wrong with what is not there.
            Ok(None) => {}
            Ok(Some(checkpoint)) => {
                match invariants::checkpoint_is_the_state(&checkpoint, &self.state) {
                    Ok(()) => self.report.checkpoints += 1,
                    Err(found) => {
                        let object = load::object(&self.log, seq);
                        self.report
                            .problems
                            .push(format!("{object} is not what the log says: {found}"));
                    }
                }
            }
            Err(error) if error.is_final() => self.report.problems.push(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// How far behind the tail a check looks for commits after a gap.
const GAP_LOOK: u64 = 64;

async fn look_behind(
    log: &Log,
    tail: Seq,
    problems: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<()> {
    // Without a log a folder has no directory of commits, in which alone absence can be proved.
    if tail == Seq::ZERO && !genesis::has_traces(log).await? {
        notes.push("there is no log yet".to_owned());
        return Ok(());
    }
    for seq in (tail.0 + 2..=tail.0 + 1 + GAP_LOOK).map(Seq) {
        let found =
            log.read(seq).await.map_err(|failure| failure.into_error("read", log.object(seq)))?;
        if found.is_some() {
            problems.push(format!(
                "{} is missing, but {} is there: the log has a gap",
                log.object(tail.next()),
                log.object(seq)
            ));
            return Ok(());
        }
    }
    if tail == Seq::ZERO {
        problems.push(format!(
            "{} is missing, but later parts of its log are there",
            log.object(Seq(1))
        ));
    }
    Ok(())
}
