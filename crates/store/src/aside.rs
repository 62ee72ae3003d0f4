//! Copies of files that people wrote, kept before anything is done to them: one of each content.
//!
//! A copy's name ends in the BLAKE3 of what it holds. It is created only if its name is free, and
//! never changed or deleted.

use bytes::Bytes;

use crate::bucket::{Bucket, Created, Failure};
use crate::env::Env;
use crate::error::Result;
use crate::genesis;
use crate::key::CollectionName;

/// The folder of a collection's copies, relative to the store.
pub(crate) fn folder(name: &CollectionName) -> String {
    format!("{name}.log/aside")
}

/// The names of the last copies, the newest first, relative to the store.
pub(crate) async fn newest(
    bucket: &Bucket,
    name: &CollectionName,
    count: usize,
) -> Result<Vec<String>> {
    let folder = folder(name);
    let listed = bucket.list(&bucket.path(&folder)).await;
    let listed = listed.map_err(|failure| failure.into_error("list", &*folder))?;
    let names = listed.iter().filter_map(|meta| meta.location.filename());
    let mut names: Vec<_> = names.map(|name| format!("{folder}/{name}")).collect();
    // They begin with the time.
    names.sort_unstable_by(|one, other| other.cmp(one));
    names.truncate(count);
    Ok(names)
}

/// Keeps a copy, unless there is one already; gives its name, relative to the store. On a folder it
/// is durable then. Dropping the future leaves a copy or none.
pub(crate) async fn keep(
    bucket: &Bucket,
    name: &CollectionName,
    env: &Env,
    content: Bytes,
) -> Result<String, Failure> {
    let folder = folder(name);
    let text = content.clone();
    let digests = move || (blake3::hash(&text).to_hex(), genesis::sha256(&text));
    let (blake3, sha256) = env.compute(digests).await;
    let ending = format!("-{blake3}.json");
    // Where it cannot be listed, there are two copies at worst.
    let listed = bucket.list(&bucket.path(&folder)).await.unwrap_or_default();
    let same = listed.iter().filter_map(|meta| meta.location.filename());
    for file in same.filter(|file| file.ends_with(&ending)) {
        let object = format!("{folder}/{file}");
        if holds(bucket, &object, &sha256).await? {
            bucket.sync(&bucket.path(&object), env).await?;
            return Ok(object);
        }
    }
    let time: String = env.now().to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let object = format!("{folder}/{time}{ending}");
    let path = bucket.path(&object);
    match bucket.create(&path, content).await {
        Created::Yes => Ok(object),
        // A lost answer that was sent again below us.
        Created::Taken if holds(bucket, &object, &sha256).await? => {
            bucket.sync(&path, env).await.map(|()| object)
        }
        Created::Taken => Err(Failure::passing("a copy of this name holds something else")),
        Created::Unknown(failure) | Created::Refused(failure) => Err(failure),
    }
}

/// Whether a copy is what its name says: people may write there, too.
async fn holds(bucket: &Bucket, object: &str, sha256: &str) -> Result<bool, Failure> {
    let found = bucket.digest(&bucket.path(object)).await?;
    Ok(found.is_some_and(|(_, found)| *found == *sha256))
}
