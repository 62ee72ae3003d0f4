//! Whether a log is sound: numbers without gaps, the hash chain, the format, every recorded
//! outcome, and the pages that it adds up to. Reads only.

use crate::apply;
use crate::bucket::Bucket;
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
    /// How many commits are sound, from the first on.
    pub commits: u64,
    /// How many ops they hold.
    pub ops: u64,
    /// How many movies they add up to.
    pub movies: u64,
    /// The version that they add up to.
    pub version: Version,
    /// What is wrong; each names its object. Nothing behind the first one can be checked.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Verifies a collection's log from its first commit on; `progress` is told each sound commit.
///
/// # Errors
/// `Unavailable` when the bucket cannot be read: that says nothing about the log.
pub async fn check(
    bucket: &Bucket,
    name: &CollectionName,
    mut progress: impl FnMut(Seq),
) -> Result<CheckReport> {
    let log = Log::new(bucket.clone(), name.clone(), Env::real());
    let mut state = State::empty(LogId::ZERO);
    let (mut ops, mut problems, mut notes) = (0, Vec::new(), Vec::new());
    loop {
        let seq = state.seq().next();
        let object = log.object(seq);
        let read = log.read(seq).await;
        let Some(bytes) = read.map_err(|failure| failure.into_error("read", object.as_str()))?
        else {
            break;
        };
        match apply::apply(&state, &object, &bytes, None) {
            Ok((commit, applied)) => {
                ops += commit
                    .batches
                    .iter()
                    .flat_map(|batch| &batch.groups)
                    .map(|group| group.ops.len() as u64)
                    .sum::<u64>();
                state = applied.state;
                progress(seq);
            }
            Err(error @ (Error::Damaged { .. } | Error::Unsupported { .. })) => {
                problems.push(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if problems.is_empty() {
        look_behind(&log, state.seq(), &mut problems, &mut notes).await?;
        problems.extend(invariants::snapshot_is_sound(state.movies()).err());
    }
    Ok(CheckReport {
        log: state.log(),
        commits: state.seq().0,
        ops,
        movies: state.movies().count(),
        version: state.version(),
        problems,
        notes,
    })
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
