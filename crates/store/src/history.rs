//! A log read from outside, without serving it: its last commit, any commit.

use crate::bucket::Bucket;
use crate::commit::Commit;
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

async fn exists(log: &Log, seq: Seq) -> Result<bool> {
    let found = log.read(seq).await;
    found
        .map(|found| found.is_some())
        .map_err(|failure| failure.into_error("read", log.object(seq)))
}
