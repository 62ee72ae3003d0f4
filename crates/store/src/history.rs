//! A log read from outside, without serving it: its last commit, any commit, any state.

use crate::apply;
use crate::bucket::Bucket;
use crate::checkpoint::load;
use crate::commit::Commit;
use crate::env::Env;
use crate::error::Result;
use crate::key::{CollectionName, LogId, Seq};
use crate::log::Log;
use crate::state::State;

/// How many commits are read at once while a state is rebuilt.
const REPLAY_WINDOW: u64 = 16;

/// The last commit of a collection's log; `None` without a log. A few reads however long it is.
///
/// # Errors
/// `Unavailable` when the bucket cannot be read.
pub async fn log_tail(bucket: &Bucket, name: &CollectionName) -> Result<Option<Seq>> {
    let log = Log::new(bucket.clone(), name.clone(), Env::real());
    if !exists(&log, Seq(1)).await? {
        return Ok(None);
    }
    // Commits have no gaps: double until one is missing, then halve.
    let (mut there, mut missing) = (Seq(1), Seq(2));
    while exists(&log, missing).await? {
        there = missing;
        missing = Seq(missing.0 * 2);
    }
    while missing.0 - there.0 > 1 {
        let middle = Seq(there.0.midpoint(missing.0));
        if exists(&log, middle).await? {
            there = middle;
        } else {
            missing = middle;
        }
    }
    Ok(Some(there))
}

/// One commit; `None` where there is none.
///
/// # Errors
/// `Unavailable` when the bucket cannot be read, `Damaged` or `Unsupported` when it is no commit.
pub async fn read_commit(
    bucket: &Bucket,
    name: &CollectionName,
    seq: Seq,
) -> Result<Option<Commit>> {
    let log = Log::new(bucket.clone(), name.clone(), Env::real());
    let object = log.object(seq);
    let bytes =
        log.read(seq).await.map_err(|failure| failure.into_error("read", object.as_str()))?;
    bytes.map(|bytes| Commit::decode(&object, &bytes)).transpose()
}

/// The state after commit `seq`, from the newest good checkpoint up to it, if there is one, and the
/// commits behind that; after the last commit where the log ends before. `None` without a log.
///
/// # Errors
/// `Unavailable` when the bucket cannot be read, `Damaged` or `Unsupported` for what it holds,
/// `Pruned` for a commit that no checkpoint stands in for.
pub async fn state_at(bucket: &Bucket, name: &CollectionName, seq: Seq) -> Result<Option<State>> {
    let log = Log::new(bucket.clone(), name.clone(), Env::real());
    if !exists(&log, Seq(1)).await? {
        return Ok(None);
    }
    let mut state = State::empty(LogId::ZERO);
    for listed in load::list(&log).await?.into_iter().filter(|listed| listed.seq <= seq) {
        match load::checkpoint(&log, listed.seq).await {
            Ok(Some(found)) => {
                state = found;
                break;
            }
            Ok(None) => {}
            // The log is the truth; an earlier one, or none, does as well.
            Err(error) if error.is_final() => {}
            Err(error) => return Err(error),
        }
    }
    while state.seq() < seq {
        let count = REPLAY_WINDOW.min(seq.0 - state.seq().0);
        for read in log.read_window(state.seq().next(), count).await {
            let object = log.object(state.seq().next());
            let read = read.map_err(|failure| failure.into_error("read", object.as_str()))?;
            let Some(bytes) = read else { return Ok(Some(state)) };
            state = apply::apply(&state, &object, &bytes, None)?.1.state;
        }
    }
    Ok(Some(state))
}

async fn exists(log: &Log, seq: Seq) -> Result<bool> {
    let found = log.read(seq).await;
    found
        .map(|found| found.is_some())
        .map_err(|failure| failure.into_error("read", log.object(seq)))
}
