//! A log read from outside, without serving it: its last commit, any commit, whether its
//! collection was dropped.

use crate::bucket::Bucket;
use crate::commit::{Action, Code, Commit, Op};
use crate::env::Env;
use crate::error::Result;
use crate::key::{CollectionName, Seq};
use crate::log::Log;

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

/// How many commits in a row that say nothing of it are looked through for a drop.
const LOOK_BACK: usize = 100;

/// Whether a collection was dropped and not created again, by the last commits of its log; one
/// that exists may be told from a dropped one without being opened. `false` without a log.
///
/// # Errors
/// `Unavailable` when the bucket cannot be read, `Damaged` or `Unsupported` when what it holds is
/// no commit.
pub async fn is_dropped(bucket: &Bucket, name: &CollectionName) -> Result<bool> {
    let Some(tail) = log_tail(bucket, name).await? else { return Ok(false) };
    for seq in (1..=tail.0).rev().take(LOOK_BACK).map(Seq) {
        let commit = read_commit(bucket, name, seq).await?;
        if let Some(is_dropped) = commit.as_ref().and_then(leaves_dropped) {
            return Ok(is_dropped);
        }
    }
    Ok(false)
}

/// Whether the collection is dropped after this commit; none where no op of it tells.
fn leaves_dropped(commit: &Commit) -> Option<bool> {
    let groups = commit.batches.iter().flat_map(|batch| &batch.groups);
    groups.flat_map(|group| &group.ops).filter_map(shows_dropped).last()
}

fn shows_dropped(op: &Op) -> Option<bool> {
    let is_there = |code| matches!(code, Code::Created | Code::Replaced | Code::Unchanged);
    let code = op.out?.code;
    match &op.action {
        Action::Drop => matches!(code, Code::Deleted | Code::Missing).then_some(true),
        Action::Put(_) | Action::Create => is_there(code).then_some(false),
        Action::Delete(_) => (code == Code::Deleted).then_some(false),
        Action::Adopt(adoption) => {
            let stored = adoption.changes.iter().filter(|change| change.movie.is_some());
            stored.filter_map(|change| change.out).any(|out| is_there(out.code)).then_some(false)
        }
        Action::Published { .. } | Action::Upgrade { .. } => None,
    }
}

async fn exists(log: &Log, seq: Seq) -> Result<bool> {
    let found = log.read(seq).await;
    found
        .map(|found| found.is_some())
        .map_err(|failure| failure.into_error("read", log.object(seq)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commit::Group;
    use crate::key::{MovieKey, Year};
    use crate::movie::{Movie, MovieLimits};
    use crate::{Absent, Options, Store};

    /// Every sequence of five changes, each judged in the log since it has a key.
    #[tokio::test]
    async fn a_drop_is_told_from_outside_as_from_inside() {
        let key = MovieKey::parse("Heat", Year::new(1995).unwrap()).unwrap();
        let movie = Movie::parse(key.clone(), b"{}", MovieLimits::default()).unwrap();
        let actions = [Action::Drop, Action::Create, Action::Put(movie), Action::Delete(key)];
        let bucket = Bucket::open("memory://").unwrap();
        let store = Store::start(bucket.clone(), Env::real(), Options::default()).await.unwrap();
        for story in 0..actions.len().pow(5) {
            let name = CollectionName::parse(&format!("story{story}.json")).unwrap();
            assert!(!is_dropped(&bucket, &name).await.unwrap());
            let opened = store.open(&name, Absent::Create).await.unwrap();
            let collection = opened.collection().unwrap();
            for turn in 0..5 {
                let action = actions[story / actions.len().pow(turn) % actions.len()].clone();
                let print = crate::key::Print::of(&[b""]);
                let key = Some((format!("{turn}").into(), print));
                let group = Group { key, ..Group::of(action) };
                collection.submit(group, Duration::from_secs(30)).await.unwrap();
            }
            let inside = collection.latest().is_dropped();
            assert_eq!(is_dropped(&bucket, &name).await.unwrap(), inside, "{story}");
        }
    }
}
