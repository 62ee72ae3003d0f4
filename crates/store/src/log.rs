//! The only file that touches commit objects: create one, read one, read a window of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use tokio::time::Instant;

use crate::bucket::{Bucket, Created, Failure, Folder, Got};
use crate::env::Env;
use crate::key::{CollectionName, Seq};

/// How long one read of a commit may take before it is tried again.
const READ_DEADLINE: Duration = Duration::from_secs(60);
/// How soon one read of several is tried again, once.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The most commits that are read at once while catching up.
const WINDOW_MAX: u64 = 64;
/// The most bytes that are read at once while catching up, beside the first commit's.
const WINDOW_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The commit objects of one collection.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    bucket: Bucket,
    name: CollectionName,
    env: Env,
    folder: Option<Arc<Folder>>,
}

impl Log {
    pub(crate) fn new(bucket: Bucket, name: CollectionName, env: Env) -> Self {
        let folder = bucket.folder(&name).map(Arc::new);
        Self { bucket, name, env, folder }
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn name(&self) -> &CollectionName {
        &self.name
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// The name of commit `seq`, relative to the store.
    pub(crate) fn object(&self, seq: Seq) -> String {
        format!("{}.log/commit/{:020}.json", self.name, seq.0)
    }

    /// The path below which everything of this log lies.
    pub(crate) fn root(&self) -> Path {
        self.bucket.path(&format!("{}.log", self.name))
    }

    /// A commit behind the missing `seq`, by a listing: the log has a gap, or `seq` was made since.
    pub(crate) async fn beyond(&self, seq: Seq) -> Result<Option<String>, Failure> {
        let missing = self.bucket.path(&self.object(seq));
        let found = self.bucket.first_after(&self.root().join("commit"), &missing).await?;
        Ok(found.map(|path| path.to_string()))
    }

    /// Makes what a folder needs before its first probe; nothing elsewhere.
    pub(crate) fn make_folder(&self) -> Result<(), Failure> {
        match &self.folder {
            Some(folder) => folder.make(&self.env.uuid().simple().to_string()),
            None => Ok(()),
        }
    }

    /// Whether commit `seq` is absent right now, where that can be told without a round trip.
    pub(crate) fn is_absent(&self, seq: Seq, now: Instant) -> Option<bool> {
        self.folder.as_ref()?.is_absent(seq, now)
    }

    /// Creates commit `seq` only if that number is free. On a folder, `Yes` means that file and
    /// directory are synced. Dropping the future leaves the outcome unknown.
    pub(crate) async fn create(&self, seq: Seq, bytes: Bytes) -> Created {
        match self.bucket.create(&self.bucket.path(&self.object(seq)), bytes).await {
            // A folder is linked first and synced then: a refusal may have come after the link.
            Created::Refused(failure)
                if self.folder.is_some()
                    && self.is_absent(seq, self.env.instant()) != Some(true) =>
            {
                Created::Unknown(failure)
            }
            created => created,
        }
    }

    /// Reads commit `seq`; `None` is proof that it did not exist at some moment of the call.
    /// Cancel safe.
    pub(crate) async fn read(&self, seq: Seq) -> Result<Option<Bytes>, Failure> {
        match self.read_if(seq, |_| true).await? {
            Got::Found(found) => Ok(Some(found.bytes)),
            Got::Absent | Got::Declined(_) => Ok(None),
        }
    }

    async fn read_if(&self, seq: Seq, wanted: impl FnOnce(u64) -> bool) -> Result<Got, Failure> {
        let path = self.bucket.path(&self.object(seq));
        let get = self.bucket.get_if(&path, &self.env, wanted);
        let answer = self.env.timeout(READ_DEADLINE, get).await;
        let got = answer.unwrap_or_else(|| {
            Err(Failure::passing(format!("no answer within {} s", READ_DEADLINE.as_secs())))
        })?;
        match (&self.folder, got) {
            (Some(folder), Got::Absent)
                if seq > Seq(1) && folder.is_absent(seq, self.env.instant()).is_none() =>
            {
                Err(Failure::passing("the folder of the commits is gone or is another one"))
            }
            (_, got) => Ok(got),
        }
    }

    /// Reads `count` commits from `from` on, in parallel; fewer where those behind the first take
    /// over 64 MiB together. On a folder, what was found is durable when this returns.
    /// Cancel safe.
    pub(crate) async fn read_window(
        &self,
        from: Seq,
        count: u64,
    ) -> Vec<Result<Option<Bytes>, Failure>> {
        let room = &AtomicU64::new(WINDOW_BYTES_MAX);
        let reads = (0..count).map(|offset| async move {
            // The first always comes, or a window would come to nothing.
            let fits = move |bytes| offset == 0 || take(room, bytes);
            let seq = Seq(from.0 + offset);
            match self.read_if(seq, fits).await {
                // What came of the others would be thrown away for it.
                Err(failure) if count > 1 && !failure.is_final => {
                    self.env.sleep(self.env.jittered(READ_AGAIN_AFTER)).await;
                    self.read_if(seq, fits).await
                }
                read => read,
            }
        });
        let window = futures_util::future::join_all(reads).await.into_iter();
        let window: Vec<_> = window
            .map_while(|read| match read {
                Ok(Got::Found(found)) => Some(Ok(Some(found.bytes))),
                Ok(Got::Absent) => Some(Ok(None)),
                Ok(Got::Declined(_)) => None,
                Err(failure) => Some(Err(failure)),
            })
            .collect();
        let found = window.iter().any(|read| matches!(read, Ok(Some(_))));
        if let Some(folder) = self.folder.clone()
            && found
            && let Err(error) = self.env.compute(move || folder.sync()).await
        {
            self.bucket.distrust(self.root().as_ref());
            return vec![Err(Failure::of_io(&error))];
        }
        window
    }
}

/// How many commits to read at once after a window of `count` that were all there and took
/// `bytes`: twice as many, as far as they are likely to fit.
pub(crate) fn next_window(count: u64, bytes: u64) -> u64 {
    let commit_bytes = (bytes / count.max(1)).max(1);
    (count * 2).min(WINDOW_BYTES_MAX / commit_bytes).clamp(1, WINDOW_MAX)
}

/// Takes `bytes` out of `room`, if they are there.
fn take(room: &AtomicU64, bytes: u64) -> bool {
    let less = |room: u64| room.checked_sub(bytes);
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_window_holds_no_more_than_its_bytes_but_always_one_commit() {
        let objects = Arc::new(InMemory::new());
        let bucket = Bucket::simulated(Arc::clone(&objects) as _);
        let log = Log::new(bucket, CollectionName::default(), Env::real());
        let mebibytes = |count: usize| Bytes::from(vec![0; count * 1024 * 1024]);
        for (seq, size) in (1..).zip([40, 40, 20, 70, 1]) {
            let path = Path::from(log.object(Seq(seq)));
            objects.put(&path, mebibytes(size).into()).await.unwrap();
        }
        let mut lengths = Vec::new();
        for from in 1..=6 {
            lengths.push(log.read_window(Seq(from), 8).await.len());
        }
        // The large one comes only as the first; what is behind it then fits.
        assert_eq!(lengths, [3, 2, 1, 8, 8, 8]);
    }

    #[test]
    fn windows_grow_as_far_as_commits_are_small() {
        assert_eq!(next_window(1, 1_000), 2);
        assert_eq!(next_window(64, 1_000), 64);
        assert_eq!(next_window(8, 8 * 16 * 1024 * 1024), 4);
        assert_eq!(next_window(1, 80 * 1024 * 1024), 1);
    }
}
