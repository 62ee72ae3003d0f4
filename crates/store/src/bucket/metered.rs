//! Counts the requests to a bucket, and makes spans of traced ones: what was asked, what came of it,
//! how long it took. Never changes one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};
use tokio::time::Instant;

use super::Failure;
use crate::meters::{Counter, Histogram};
use crate::spans::{self, OpenSpan, SpanKind};

/// What is asked of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A PUT of a name that must be free: every commit is one.
    Create,
    /// A PUT over a content that must be there still.
    Replace,
    /// Any other PUT.
    Put,
    /// A read.
    Get,
    /// A look without the content.
    Head,
    /// A listing, however many answers it takes.
    List,
    /// A removal.
    Delete,
    /// A copy or, on a folder, a rename.
    Copy,
}

impl Verb {
    /// All of them, in the order of their discriminants.
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Replace,
        Self::Put,
        Self::Get,
        Self::Head,
        Self::List,
        Self::Delete,
        Self::Copy,
    ];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Copy => "copy",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// Done.
    Ok,
    /// There is no such object: often the answer that was hoped for.
    Absent,
    /// The name is taken, or the content is another.
    Conflict,
    /// Refused for good.
    Refused,
    /// No answer that can be used.
    Failed,
    /// Nobody waited for the answer any more.
    Abandoned,
}

impl CallOutcome {
    /// All of them, in the order of their discriminants.
    const ALL: [Self; 6] =
        [Self::Ok, Self::Absent, Self::Conflict, Self::Refused, Self::Failed, Self::Abandoned];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    fn of<T>(answer: &Result<T>) -> Self {
        match answer {
            Ok(_) => Self::Ok,
            Err(Error::NotFound { .. }) => Self::Absent,
            Err(
                Error::AlreadyExists { .. }
                | Error::Precondition { .. }
                | Error::NotModified { .. },
            ) => Self::Conflict,
            Err(error) if Failure::of(error).is_final => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

/// The requests of one verb.
#[derive(Debug)]
struct Tally {
    outcomes: [Counter; CallOutcome::ALL.len()],
    time: Histogram,
}

/// All requests to a bucket so far.
#[derive(Debug)]
pub struct Calls([Tally; Verb::ALL.len()]);

impl Default for Calls {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Tally {
            outcomes: Default::default(),
            time: Histogram::of_durations(),
        }))
    }
}

impl Calls {
    /// How many requests of each verb came to what.
    pub fn counts(&self) -> impl Iterator<Item = (Verb, CallOutcome, u64)> + '_ {
        Verb::ALL.into_iter().zip(&self.0).flat_map(|(verb, tally)| {
            let counts = CallOutcome::ALL.into_iter().zip(&tally.outcomes);
            counts.map(move |(outcome, count)| (verb, outcome, count.get()))
        })
    }

    /// How long those of each verb took until their answer began, in microseconds; a listing, until
    /// it was read.
    pub fn times(&self) -> impl Iterator<Item = (Verb, &Histogram)> + '_ {
        Verb::ALL.into_iter().zip(self.0.iter().map(|tally| &tally.time))
    }
}

/// The kinds of objects of a log, by the folder that they lie in.
const LOG_OBJECTS: [&str; 4] = ["commit", "checkpoint", "page", "aside"];

/// A request under way. Dropped before its end, it was abandoned.
struct Call {
    span: Option<OpenSpan>,
    calls: Arc<Calls>,
    verb: Verb,
    began: Instant,
    outcome: CallOutcome,
}

impl Call {
    fn end<T>(mut self, answer: Result<T>) -> Result<T> {
        self.outcome = CallOutcome::of(&answer);
        answer
    }

    fn saw<T>(&mut self, item: &Result<T>) {
        if item.is_err() {
            self.outcome = CallOutcome::of(item);
        }
    }

    /// Watches the items of a stream. One that is not read to its end has done what was wanted.
    fn watch<T: Send + 'static>(
        mut self,
        items: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        self.outcome = CallOutcome::Ok;
        // By a method, so that the closure has all of it: its end is the stream's.
        items.inspect(move |item| self.saw(item)).boxed()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(span) = &mut self.span {
            span.set("movies.bucket.outcome", self.outcome.name());
            if matches!(self.outcome, CallOutcome::Refused | CallOutcome::Failed) {
                span.set("error.type", self.outcome.name());
                span.fail();
            }
        }
        let Some(tally) = self.calls.0.get(self.verb as usize) else { return };
        if let Some(count) = tally.outcomes.get(self.outcome as usize) {
            count.increase();
        }
        tally.time.record_time(self.began.elapsed());
    }
}

/// A store whose requests are counted.
#[derive(Debug)]
pub(super) struct Metered {
    inner: Arc<dyn ObjectStore>,
    calls: Arc<Calls>,
}

impl Metered {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, calls: Arc<Calls>) -> Self {
        Self { inner, calls }
    }

    fn call(&self, verb: Verb, at: Option<&Path>) -> Call {
        let calls = Arc::clone(&self.calls);
        let span = spans::current().map(|parent| {
            let mut span = parent.begin(SpanKind::Client, format!("bucket {}", verb.name()));
            span.set("movies.bucket.verb", verb.name());
            span.set("movies.bucket.object", at.map_or("many", kind));
            if let Some(attempt) = parent.attempt() {
                span.set("movies.bucket.attempt", attempt);
            }
            span
        });
        Call { span, calls, verb, began: Instant::now(), outcome: CallOutcome::Abandoned }
    }
}

/// What kind of object it is; never its name.
fn kind(at: &Path) -> &'static str {
    let mut parts = at.as_ref().rsplit('/').skip(1);
    let (folder, log) = (parts.next(), parts.next());
    let is_of_a_log = log.is_some_and(|log| log.ends_with(".log"));
    let known = LOG_OBJECTS.into_iter().find(|kind| is_of_a_log && folder == Some(kind));
    known.unwrap_or("file")
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

// Each by the method of its own: a store may do any of them better than by the others.
#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        let verb = match how.mode {
            PutMode::Create => Verb::Create,
            PutMode::Update(_) => Verb::Replace,
            PutMode::Overwrite => Verb::Put,
        };
        let call = self.call(verb, Some(at));
        call.end(self.inner.put_opts(at, payload, how).await)
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(Verb::Put, Some(at)).end(self.inner.put_multipart_opts(at, how).await)
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        let call = self.call(if how.head { Verb::Head } else { Verb::Get }, Some(at));
        call.end(self.inner.get_opts(at, how).await)
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.call(Verb::Get, Some(at)).end(self.inner.get_ranges(at, ranges).await)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.call(Verb::Delete, None).watch(self.inner.delete_stream(paths))
    }

    fn list(&self, below: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.call(Verb::List, None).watch(self.inner.list(below))
    }

    fn list_with_offset(
        &self,
        below: Option<&Path>,
        after: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.call(Verb::List, None).watch(self.inner.list_with_offset(below, after))
    }

    async fn list_with_delimiter(&self, below: Option<&Path>) -> Result<ListResult> {
        self.call(Verb::List, None).end(self.inner.list_with_delimiter(below).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.call(Verb::Copy, Some(from)).end(self.inner.copy_opts(from, to, how).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, how: RenameOptions) -> Result<()> {
        self.call(Verb::Copy, Some(from)).end(self.inner.rename_opts(from, to, how).await)
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn every_request_counts_under_its_verb_and_outcome() {
        let calls = Arc::new(Calls::default());
        let store = Metered::new(Arc::new(InMemory::new()), Arc::clone(&calls));
        let path = Path::from("a");
        let create = || PutOptions::from(PutMode::Create);
        assert!(store.get(&path).await.is_err());
        store.put_opts(&path, "x".into(), create()).await.unwrap();
        assert!(store.put_opts(&path, "x".into(), create()).await.is_err());
        store.get(&path).await.unwrap();
        store.head(&path).await.unwrap();
        assert_eq!(store.list(None).count().await, 1);
        store.delete(&path).await.unwrap();
        let seen: Vec<_> = calls.counts().filter(|(_, _, count)| *count > 0).collect();
        let expected = [
            (Verb::Create, CallOutcome::Ok, 1),
            (Verb::Create, CallOutcome::Conflict, 1),
            (Verb::Get, CallOutcome::Ok, 1),
            (Verb::Get, CallOutcome::Absent, 1),
            (Verb::Head, CallOutcome::Ok, 1),
            (Verb::List, CallOutcome::Ok, 1),
            (Verb::Delete, CallOutcome::Ok, 1),
        ];
        assert_eq!(seen, expected);
        let timed: u64 =
            calls.times().map(|(_, time)| time.read().counts.iter().sum::<u64>()).sum();
        assert_eq!(timed, 7);
    }
}
