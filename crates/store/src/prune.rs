//! Gives up the words of old commits for room: each becomes a stub, its number stays taken.
//!
//! A commit is never deleted: a writer that was stalled for days could create its number again and
//! fork the log. Below the last three checkpoints nothing is ever replayed, so what stands there
//! is history only. Ascending, so that what is left is one run; every retained checkpoint is read
//! and hashed first, since they are then the only truth about what was pruned.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use crate::bucket::{Bucket, Found, modified_at};
use crate::checkpoint::load::{self, Listed};
use crate::commit::{self, Commit, pruned_to};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{CollectionName, Seq, Timestamp};
use crate::log::Log;
use crate::selftest;

/// So many of the newest checkpoints have every commit behind the oldest of them kept.
const CHECKPOINTS_NEEDED: usize = 3;
/// The most commits that are read at once.
const WINDOW: u64 = 16;

/// Up to where commits are pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Those with a smaller number.
    Seq(Seq),
    /// Those made earlier.
    Time(Timestamp),
}

/// What to prune.
#[derive(Clone, Copy, Debug)]
pub struct PruneOptions {
    /// Up to where.
    pub before: Before,
    /// Commits younger than this are spared: a day, so that idempotency keys can be replayed.
    pub spared: Duration,
    /// Whether to tell only what would be done.
    pub dry_run: bool,
}

/// Why no more is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All that was asked for is.
    Done,
    /// What follows is needed by the last three checkpoints, or there are not so many.
    Checkpoints,
    /// What follows is younger than a day.
    Young,
}

/// What was pruned, or would be.
#[derive(Clone, Debug)]
pub struct PruneReport {
    /// How many commits were pruned before.
    pub before: u64,
    /// How many are now.
    pub commits: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many checkpoints were verified.
    pub checkpoints: u64,
    /// Why it ended.
    pub stop: Stop,
}

/// Prunes old commits of a collection; `progress` is told each one. May be stopped at any point
/// and begun again.
///
/// # Errors
/// `Damaged` where a checkpoint is: then nothing is pruned. `Unavailable` when the bucket does not
/// do what it should; what was pruned until then stays so.
pub async fn prune(
    bucket: &Bucket,
    name: &CollectionName,
    options: PruneOptions,
    env: Env,
    mut progress: impl FnMut(Seq),
) -> Result<PruneReport> {
    if !options.dry_run {
        // It finds out, too, whether this machine's clock can tell how old a commit is.
        selftest::run(bucket, &env).await?;
    }
    let log = Log::new(bucket.clone(), name.clone(), env);
    let checkpoints = verified(&log).await?;
    let mut report = PruneReport {
        before: 0,
        commits: 0,
        bytes: 0,
        checkpoints: checkpoints.len() as u64,
        stop: Stop::Checkpoints,
    };
    let Some(oldest_needed) = checkpoints.get(CHECKPOINTS_NEEDED - 1).copied() else {
        return Ok(report);
    };
    let first = first_left(&log, oldest_needed).await?;
    report.before = first.0 - 1;
    let mut window = Seq(first.0);
    while window < oldest_needed {
        let end = Seq((window.0 + WINDOW).min(oldest_needed.0));
        let commits = join_all((window.0..end.0).map(|seq| read(&log, Seq(seq)))).await;
        for (seq, found) in (window.0..).map(Seq).zip(commits) {
            let found = found?;
            if let Some(stop) = spares(&log, seq, &found, options)? {
                report.stop = stop;
                return Ok(report);
            }
            if !options.dry_run {
                let object = log.object(seq);
                let path = log.bucket().path(&object);
                let put = log.bucket().put(&path, commit::stub(oldest_needed)).await;
                put.map_err(|failure| failure.into_error("overwrite", object))?;
            }
            report.commits += 1;
            report.bytes += found.bytes.len() as u64;
            progress(seq);
        }
        window = end;
    }
    Ok(report)
}

/// The checkpoints that there are, newest first: all sound, or none is pruned for. A service that
/// runs beside deletes old ones and writes new ones meanwhile, so that what has gone calls for
/// another look; whoever goes on vanishing is passed over.
async fn verified(log: &Log) -> Result<Vec<Seq>> {
    let mut verified = BTreeSet::new();
    let mut listed = load::list(log).await?;
    let mut listings = 1;
    while listed.len() >= CHECKPOINTS_NEEDED {
        let mut sound = Vec::new();
        for Listed { seq, .. } in &listed {
            if load::verify(log, *seq, &mut verified).await? {
                sound.push(*seq);
            }
        }
        if sound.len() == listed.len() || listings == load::LISTINGS_MAX {
            return Ok(sound);
        }
        listings += 1;
        listed = load::list(log).await?;
    }
    Ok(Vec::new())
}

/// Why a commit stays, if it does.
fn spares(log: &Log, seq: Seq, found: &Found, options: PruneOptions) -> Result<Option<Stop>> {
    let at = Commit::decode(&log.object(seq), &found.bytes)?.at;
    let is_asked_for = match options.before {
        Before::Seq(before) => seq < before,
        Before::Time(before) => at < before,
    };
    if !is_asked_for {
        return Ok(Some(Stop::Done));
    }
    let spared_ms = i64::try_from(options.spared.as_millis()).unwrap_or(i64::MAX);
    let youngest = at.max(modified_at(&found.meta));
    Ok((youngest.plus_ms(spared_ms) > log.env().now()).then_some(Stop::Young))
}

/// The first commit that is not pruned: pruned ones are one run from the first on.
async fn first_left(log: &Log, end: Seq) -> Result<Seq> {
    let (mut low, mut high) = (1, end.0);
    while low < high {
        let middle = low.midpoint(high);
        if pruned_to(&read(log, Seq(middle)).await?.bytes).is_some() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(Seq(low))
}

async fn read(log: &Log, seq: Seq) -> Result<Found> {
    let object = log.object(seq);
    let path = log.bucket().path(&object);
    let found = load::patiently(log, || log.bucket().get(&path, log.env())).await;
    let found = found.map_err(|failure| failure.into_error("read", object.as_str()))?;
    found.ok_or_else(|| Error::damaged(object, "it is missing: the log has a gap; restore it"))
}
