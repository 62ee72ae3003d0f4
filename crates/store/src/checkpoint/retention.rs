//! What may go: manifests that nobody needs, and files that no manifest names.
//!
//! A checkpoint under way holds files that no manifest names yet. Those that it puts are young, and
//! a file is spared for the grace and a run's time ([`super::RUN_MAX`]) after it was put. Those that
//! it reuses are named by an earlier manifest, which `write` sees to stand before *and after* the
//! new one is there: whoever lists manifests in between, or at any other time, sees one of the two.
//! Times are the bucket's own. See `docs/adr/0003-checkpoints.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectMeta;

use super::RUN_MAX;
use super::load::{self, Listed};
use super::manifest::Manifest;
use crate::bucket::{Failure, modified_at};
use crate::error::{Error, Result};
use crate::key::{FileHash, Seq, Timestamp};
use crate::log::Log;

/// So many of the newest manifests are kept, whatever their age.
pub(crate) const MANIFESTS_KEPT: usize = 3;
/// So many files go before the manifests are looked at again: a few seconds' worth.
const DELETED_A_LOOK: usize = 16;
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// The manifests that go: all but the newest ones, the last of each day, and the last one before
/// the grace. `listed`: newest first.
pub(super) fn obsolete(listed: &[Listed], grace: Duration) -> Vec<Seq> {
    let Some(newest) = listed.first() else { return Vec::new() };
    let old = before(newest.at, grace);
    let last_old = listed.iter().find(|manifest| manifest.at < old).map(|manifest| manifest.seq);
    let mut days = BTreeSet::new();
    let mut gone = Vec::new();
    for (index, manifest) in listed.iter().enumerate() {
        let is_last_of_its_day = days.insert(manifest.at.0.div_euclid(DAY_MS));
        let is_needed = index < MANIFESTS_KEPT || Some(manifest.seq) == last_old;
        if !is_needed && !is_last_of_its_day {
            gone.push(manifest.seq);
        }
    }
    gone
}

fn before(at: Timestamp, long: Duration) -> Timestamp {
    at.plus_ms(-i64::try_from(long.as_millis()).unwrap_or(i64::MAX))
}

/// Whether the published file may show it though the log does not say so yet: an edition whose op
/// was lost is known by its manifest alone.
fn may_be_published(manifest: &Listed, newest: &Listed, published: Seq) -> bool {
    manifest.seq > published && manifest.at >= before(newest.at, RUN_MAX)
        // It does: an edit of the file is an edit of this.
        || manifest.seq == published
}

/// Deletes manifests that nobody needs, one after the other; `published` is the last commit that
/// the published file shows, as the log says. Cancel safe.
pub(super) async fn thin(
    log: &Log,
    listed: &[Listed],
    grace: Duration,
    published: Seq,
) -> Result<(), Failure> {
    let Some(newest) = listed.first() else { return Ok(()) };
    let obsolete = obsolete(listed, grace);
    let spared = listed.iter().filter(|manifest| may_be_published(manifest, newest, published));
    let spared: BTreeSet<Seq> = spared.map(|manifest| manifest.seq).collect();
    for seq in obsolete.into_iter().filter(|seq| !spared.contains(seq)) {
        let object = load::object(log, seq);
        tracing::debug!(object, "an old checkpoint goes");
        log.bucket().delete(&log.bucket().path(&object)).await?;
    }
    Ok(())
}

/// What a look for files came to that nobody needs.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// How many have gone.
    pub(super) files: u64,
    /// The manifests that cannot be read, in words.
    pub(super) unreadable: Vec<Arc<str>>,
}

/// What the manifests name, as far as they were looked at.
#[derive(Default)]
struct Named {
    manifests: BTreeSet<Seq>,
    files: BTreeSet<FileHash>,
    unreadable: Vec<Arc<str>>,
}

impl Named {
    /// Reads the manifests that were not read before; gives the date of the newest one.
    async fn look(&mut self, log: &Log) -> Result<Option<Timestamp>> {
        let listed = load::list(log).await?;
        for Listed { seq, .. } in &listed {
            if self.manifests.contains(seq) {
                continue;
            }
            match load::manifest(log, *seq).await {
                Ok(manifest) => self.files.extend(manifest.iter().flat_map(Manifest::files)),
                Err(error) if error.is_final() => self.unreadable.push(error.to_string().into()),
                Err(error) => return Err(error),
            }
            self.manifests.insert(*seq);
        }
        Ok(listed.first().map(|newest| newest.at))
    }
}

/// Deletes the files that no manifest names and that are older than `spared`, one after the other.
/// None goes while a manifest cannot be read: what it names is not known. Cancel safe.
///
/// A listing of many files is minutes old when its end is come to. So what was written since is
/// read right before some go, and each one's date once more: whoever puts it again renews it.
///
/// # Errors
/// Whatever keeps it from knowing or deleting.
pub(super) async fn sweep(log: &Log, spared: Duration) -> Result<Swept> {
    let (mut named, mut swept) = (Named::default(), Swept::default());
    let Some(newest) = named.look(log).await? else { return Ok(swept) };
    let old = before(newest, spared);
    let pages = log.root().join("page");
    let files = log.bucket().list(&pages).await;
    let files = files.map_err(|failure| failure.into_error("list", pages.to_string()))?;
    let may_go = |file: &ObjectMeta| {
        let name = file.location.filename().and_then(|name| name.strip_suffix(".zst"));
        let hash = name.and_then(FileHash::parse).filter(|_| modified_at(file) < old)?;
        Some((hash, file.location.clone()))
    };
    let mut old_files: Vec<_> = files.iter().filter_map(may_go).collect();
    old_files.retain(|(hash, _)| !named.files.contains(hash));
    for some in old_files.chunks(DELETED_A_LOOK) {
        named.look(log).await?;
        if !named.unreadable.is_empty() {
            break;
        }
        for (_, path) in some.iter().filter(|(hash, _)| !named.files.contains(hash)) {
            let unavailable = |operation| {
                move |failure: Failure| -> Error { failure.into_error(operation, path.to_string()) }
            };
            let now = log.bucket().head(path).await.map_err(unavailable("look at"))?;
            if now.is_some_and(|now| modified_at(&now) < old) {
                log.bucket().delete(path).await.map_err(unavailable("delete"))?;
                swept.files += 1;
            }
        }
    }
    swept.unreadable = named.unreadable;
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600 * 1_000;
    const GRACE: Duration = Duration::from_secs(24 * 3_600);

    /// Manifests written at these hours, oldest first; the numbers of those that stay.
    fn kept(hours: &[i64]) -> Vec<u64> {
        let mut listed: Vec<_> = hours
            .iter()
            .enumerate()
            .map(|(index, hour)| Listed { seq: Seq(index as u64), at: Timestamp(hour * HOUR_MS) })
            .collect();
        listed.reverse();
        let gone = obsolete(&listed, GRACE);
        let mut kept: Vec<_> =
            listed.iter().map(|manifest| manifest.seq).filter(|seq| !gone.contains(seq)).collect();
        kept.reverse();
        kept.into_iter().map(|seq| seq.0).collect()
    }

    #[test]
    fn what_is_published_stays_and_what_may_be_for_an_hour() {
        let at = |seq, ms| Listed { seq: Seq(seq), at: Timestamp(ms) };
        let newest = at(9, 2 * HOUR_MS);
        let stays = |manifest| may_be_published(&manifest, &newest, Seq(5));
        assert!(stays(at(6, HOUR_MS)) && stays(at(8, 2 * HOUR_MS)));
        assert!(stays(at(5, 0)), "it is shown");
        assert!(!stays(at(4, 2 * HOUR_MS)), "the log knows of a later one");
        assert!(!stays(at(6, HOUR_MS - 1)), "nobody is still at it");
    }

    #[test]
    fn the_last_three_stay() {
        assert!(kept(&[]).is_empty());
        assert_eq!(kept(&[1]), [0]);
        assert_eq!(kept(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(kept(&[1, 1, 1, 1, 1]), [2, 3, 4]);
    }

    #[test]
    fn the_last_of_each_day_stays() {
        assert_eq!(kept(&[1, 23, 25, 47, 49, 50, 51, 52]), [1, 2, 3, 5, 6, 7]);
        assert_eq!(kept(&[1, 200, 400, 401, 402]), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_last_one_before_the_grace_stays() {
        // Written at 13:00 of the first day, and again at 20:00; it is 14:00 of the next.
        assert_eq!(kept(&[12, 13, 20, 36, 37, 38]), [1, 2, 3, 4, 5]);
    }
}
