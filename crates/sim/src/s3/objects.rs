//! The buckets in memory. One lock guards them all, and a condition is judged and the object
//! stored under one holding of it: that is the whole promise of a conditional write. It never
//! knows HTTP, faults or permissions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use s3s::crypto::{Checksum, Md5};
use s3s::dto::{Metadata, Timestamp};
use s3s::{S3Result, s3_error};

/// One object as it was stored.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) body: Bytes,
    /// Lower-case hex MD5 of the body, without quotes.
    pub(super) etag: String,
    pub(super) last_modified: Timestamp,
    pub(super) attributes: Attributes,
}

/// The headers that are kept with an object and come back with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

impl Object {
    pub(super) fn new(body: Bytes, attributes: Attributes, now: SystemTime) -> Self {
        let mut etag = String::with_capacity(32);
        for byte in Md5::checksum(&body) {
            etag.push_str(&format!("{byte:02x}"));
        }
        Self { body, etag, last_modified: whole_seconds(now), attributes }
    }
}

/// HTTP dates have no fractions; neither have S3's, so that a date that was sent compares equal.
fn whole_seconds(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

/// What must hold at the moment of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    Always,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match: *`.
    Present,
    /// `If-Match` of this tag, without quotes.
    Tag(String),
    /// Never true: a server that cannot read the tag that it was sent.
    Unreadable,
}

impl Condition {
    fn judge(&self, found: Option<&Object>) -> S3Result<()> {
        let holds = match (self, found) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => true,
            (Self::Tag(tag), Some(object)) => *tag == object.etag,
            (Self::Absent | Self::Unreadable, Some(_)) => false,
            (Self::Present | Self::Tag(_) | Self::Unreadable, None) => {
                return Err(s3_error!(NoSuchKey, "The specified key does not exist."));
            }
        };
        if holds {
            return Ok(());
        }
        Err(s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        ))
    }
}

/// The keys of one page of a listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) objects: Vec<(String, Object)>,
    pub(super) common_prefixes: Vec<String>,
    /// Where the next page goes on, if there is one.
    pub(super) next: Option<String>,
}

/// What to list.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// Only keys that sort after this.
    pub(super) start_after: &'a str,
    /// Only entries that sort after this, the last entry of the page before; a common prefix
    /// is one entry with everything below it.
    pub(super) token: &'a str,
    pub(super) max_keys: usize,
}

type Bucket = BTreeMap<String, Object>;

/// All buckets of a server.
#[derive(Debug, Default)]
pub(super) struct Objects {
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

impl Objects {
    pub(super) fn create_bucket(&self, bucket: &str) -> S3Result<()> {
        let mut buckets = self.lock();
        if buckets.contains_key(bucket) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        buckets.insert(bucket.to_owned(), Bucket::new());
        Ok(())
    }

    pub(super) fn has_bucket(&self, bucket: &str) -> S3Result<()> {
        self.lock().get(bucket).map(|_| ()).ok_or_else(no_such_bucket)
    }

    /// Judges the condition and stores the object, both under one lock.
    pub(super) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &Condition,
    ) -> S3Result<()> {
        let mut buckets = self.lock();
        let bucket = buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        condition.judge(bucket.get(key))?;
        bucket.insert(key.to_owned(), object);
        Ok(())
    }

    /// The object, if there is one; an error where there is no such bucket.
    pub(super) fn get(&self, bucket: &str, key: &str) -> S3Result<Option<Object>> {
        let buckets = self.lock();
        let bucket = buckets.get(bucket).ok_or_else(no_such_bucket)?;
        Ok(bucket.get(key).cloned())
    }

    /// Deletes the object; it is no error that there is none.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let mut buckets = self.lock();
        let bucket = buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        bucket.remove(key);
        Ok(())
    }

    pub(super) fn list(&self, bucket: &str, query: &Query<'_>) -> S3Result<Listing> {
        let buckets = self.lock();
        let bucket = buckets.get(bucket).ok_or_else(no_such_bucket)?;
        let mut page = Listing::default();
        let mut last: Option<String> = None;
        let first = query.prefix.max(query.start_after).max(query.token);
        for (key, object) in bucket.range::<str, _>((Bound::Included(first), Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(query.prefix) else { break };
            let common = query.delimiter.and_then(|delimiter| {
                let (head, _) = rest.split_once(delimiter)?;
                Some(format!("{}{head}{delimiter}", query.prefix))
            });
            let entry = common.as_deref().unwrap_or(key);
            let seen = key.as_str() <= query.start_after
                || entry <= query.token
                || page.common_prefixes.last().is_some_and(|last| last == entry);
            if seen {
                continue;
            }
            if page.objects.len() + page.common_prefixes.len() >= query.max_keys {
                page.next = last;
                break;
            }
            last = Some(entry.to_owned());
            match common {
                Some(common) => page.common_prefixes.push(common),
                None => page.objects.push((key.clone(), object.clone())),
            }
        }
        Ok(page)
    }

    /// All keys and bodies of a bucket; empty where there is no such bucket.
    pub(super) fn all(&self, bucket: &str) -> BTreeMap<String, Bytes> {
        let buckets = self.lock();
        let objects = buckets.get(bucket).into_iter().flatten();
        objects.map(|(key, object)| (key.clone(), object.body.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_such_bucket() -> s3s::S3Error {
    s3_error!(NoSuchBucket, "The specified bucket does not exist")
}
