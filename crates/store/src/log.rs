//! The only file that touches commit objects: create one, read one, read a window of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;

use crate::bucket::{Bucket, Created, Failure, Folder};
use crate::env::Env;
use crate::key::{CollectionName, Seq};

/// How long one read of a commit may take before it is tried again.
const READ_DEADLINE: Duration = Duration::from_secs(60);

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
    pub(crate) fn is_absent(&self, seq: Seq) -> Option<bool> {
        self.folder.as_ref()?.is_absent(seq, self.env.instant())
    }

    /// Creates commit `seq` only if that number is free. On a folder, `Yes` means that file and
    /// directory are synced. Dropping the future leaves the outcome unknown.
    pub(crate) async fn create(&self, seq: Seq, bytes: Bytes) -> Created {
        match self.bucket.create(&self.bucket.path(&self.object(seq)), bytes).await {
            // A folder is linked first and synced then: a refusal may have come after the link.
            Created::Refused(failure)
                if self.folder.is_some() && self.is_absent(seq) != Some(true) =>
            {
                Created::Unknown(failure)
            }
            created => created,
        }
    }

    /// Reads commit `seq`; `None` is proof that it did not exist at some moment of the call.
    /// Cancel safe.
    pub(crate) async fn read(&self, seq: Seq) -> Result<Option<Bytes>, Failure> {
        let path = self.bucket.path(&self.object(seq));
        let answer = self.env.timeout(READ_DEADLINE, self.bucket.get(&path, &self.env)).await;
        let found = answer.unwrap_or_else(|| {
            Err(Failure::passing(format!("no answer within {} s", READ_DEADLINE.as_secs())))
        })?;
        match (&self.folder, found) {
            (Some(folder), None)
                if seq > Seq(1) && folder.is_absent(seq, self.env.instant()).is_none() =>
            {
                Err(Failure::passing("the folder of the commits is gone or is another one"))
            }
            (_, found) => Ok(found.map(|found| found.bytes)),
        }
    }

    /// Reads `count` commits from `from` on, in parallel; on a folder, what was found is durable
    /// when this returns. Cancel safe.
    pub(crate) async fn read_window(
        &self,
        from: Seq,
        count: u64,
    ) -> Vec<Result<Option<Bytes>, Failure>> {
        let reads = (from.0..from.0 + count).map(|seq| self.read(Seq(seq)));
        let window = futures_util::future::join_all(reads).await;
        let found = window.iter().any(|read| matches!(read, Ok(Some(_))));
        if let Some(folder) = self.folder.clone()
            && found
            && let Err(error) = self.env.compute(move || folder.sync()).await
        {
            return vec![Err(Failure::of_io(&error))];
        }
        window
    }
}
