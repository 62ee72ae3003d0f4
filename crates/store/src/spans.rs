//! The steps of a traced request, in plain values for whoever tells them. Knows no protocol, and
//! chooses no request: where nobody hands in a [`Parent`], as in the simulation, there is no span.
//!
//! What happens now belongs to the task's own parent, as in OpenTelemetry's context: else every
//! function between a handler and the bucket would have to hand it down, for one request in a hundred.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::env::Env;
use crate::meters::Counter;

/// The most links of a span; OpenTelemetry's own limit.
const LINKS_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Option<Parent>;
}

/// A trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A span in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// Which span of which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
}

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The answer to a request of somebody else.
    Server,
    /// Our own.
    Internal,
    /// A request to somebody else.
    Client,
}

/// What is told of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word, or a few.
    Text(Cow<'static, str>),
    /// A number.
    Count(u64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

/// A step that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// Where it stands.
    pub context: SpanContext,
    /// The step that it is a part of.
    pub parent: Option<SpanId>,
    /// Whether that is a process's that called this one.
    pub is_parent_remote: bool,
    /// Whose step it is.
    pub kind: SpanKind,
    /// One of a few.
    pub name: Cow<'static, str>,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What is told of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Others that it did something for, or that did something for it.
    pub links: Vec<SpanContext>,
    /// How many more there were.
    pub links_dropped: u32,
    /// Whether it failed.
    pub is_failed: bool,
}

/// Where spans go that have ended: as far as there is room, and nobody ever waits for it.
#[derive(Debug)]
pub struct Spans {
    env: Env,
    ended: mpsc::Sender<Span>,
    dropped: Counter,
}

impl Spans {
    /// Room for so many, and what takes them out of it.
    #[must_use]
    pub fn new(env: Env, spans_max: usize) -> (Arc<Self>, mpsc::Receiver<Span>) {
        let (ended, taken) = mpsc::channel(spans_max);
        (Arc::new(Self { env, ended, dropped: Counter::default() }), taken)
    }

    /// Those that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Begins the part of a trace that is ours, as a part of `caller`'s span or, without one, a
    /// trace of its own.
    #[must_use]
    pub fn root(
        self: &Arc<Self>,
        caller: Option<SpanContext>,
        name: impl Into<Cow<'static, str>>,
    ) -> OpenSpan {
        let trace = caller.map_or_else(|| self.env.trace_id(), |caller| caller.trace);
        let parent = caller.map(|caller| caller.span);
        self.begin(trace, parent, SpanKind::Server, name.into())
    }

    fn begin(
        self: &Arc<Self>,
        trace: TraceId,
        parent: Option<SpanId>,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> OpenSpan {
        let began = self.env.instant();
        let context = SpanContext { trace, span: self.env.span_id() };
        let span = Box::new(Span {
            context,
            parent,
            is_parent_remote: parent.is_some() && kind == SpanKind::Server,
            kind,
            name,
            began,
            ended: began,
            attributes: Vec::new(),
            links: Vec::new(),
            links_dropped: 0,
            is_failed: false,
        });
        OpenSpan { spans: Arc::clone(self), context, span: Some(span) }
    }
}

/// A step under way. It ends when it is dropped.
#[derive(Debug)]
pub struct OpenSpan {
    spans: Arc<Spans>,
    context: SpanContext,
    /// Until it is dropped.
    span: Option<Box<Span>>,
}

impl OpenSpan {
    /// Where it stands.
    #[must_use]
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// For steps that are parts of it.
    #[must_use]
    pub fn parent(&self) -> Parent {
        Parent { spans: Arc::clone(&self.spans), context: self.context, attempt: None }
    }

    /// Tells something of it, in place of what was told by that key.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let Some(span) = &mut self.span else { return };
        span.attributes.retain(|(told, _)| *told != key);
        span.attributes.push((key, value.into()));
    }

    /// It failed.
    pub fn fail(&mut self) {
        if let Some(span) = &mut self.span {
            span.is_failed = true;
        }
    }

    /// Names another that did something for it, or that it did something for.
    pub(crate) fn link(&mut self, to: SpanContext) {
        let Some(span) = &mut self.span else { return };
        if span.links.contains(&to) {
            return;
        }
        if span.links.len() < LINKS_MAX {
            span.links.push(to);
        } else {
            span.links_dropped += 1;
        }
    }

    /// For steps beside it.
    fn beside(&self) -> Option<Parent> {
        let span = self.span.as_ref()?.parent?;
        let context = SpanContext { span, ..self.context };
        Some(Parent { context, ..self.parent() })
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.ended = self.spans.env.instant();
        if self.spans.ended.try_send(*span).is_err() {
            self.spans.dropped.increase();
        }
    }
}

/// What the steps of now are parts of. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parent {
    spans: Arc<Spans>,
    context: SpanContext,
    attempt: Option<u64>,
}

impl Parent {
    /// Its requests are the `attempt`-th of their kind, from one on.
    pub(crate) fn at(self, attempt: u64) -> Self {
        Self { attempt: Some(attempt), ..self }
    }

    /// Which one is next; none where they are not counted.
    pub(crate) fn attempt(&self) -> Option<u64> {
        self.attempt
    }

    pub(crate) fn context(&self) -> SpanContext {
        self.context
    }

    pub(crate) fn begin(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> OpenSpan {
        self.spans.begin(self.context.trace, Some(self.context.span), kind, name.into())
    }
}

/// Does `work` as a part of `parent`, as far as it is this task's. Dropping it drops the work.
pub async fn within<F: Future>(parent: Option<Parent>, work: F) -> F::Output {
    CURRENT.scope(parent, work).await
}

/// Begins work as a part of `parent`.
pub(crate) fn within_now<T>(parent: Option<Parent>, begin: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(parent, begin)
}

/// A request of this task to another replica, if its own is traced.
#[must_use]
pub fn call(name: &'static str) -> Option<OpenSpan> {
    current().map(|parent| parent.begin(SpanKind::Client, name))
}

/// What this task's steps are parts of, if its request is traced.
pub(crate) fn current() -> Option<Parent> {
    CURRENT.try_with(Option::clone).ok().flatten()
}

/// A wait of this task, if its request is traced.
pub(crate) fn wait(name: &'static str) -> Option<OpenSpan> {
    current().map(|parent| parent.begin(SpanKind::Internal, name))
}

/// The commit of all that have waited in the queue: it stands beside the first one's wait, and has
/// links to the requests of the others, whose waits have links to it (OpenTelemetry's semantic
/// conventions for messaging, "Batch receiving", where one trace may be chosen). The waits end.
pub(crate) fn commit_of(waits: Vec<OpenSpan>) -> Option<OpenSpan> {
    let mut commit: Option<OpenSpan> = None;
    for mut wait in waits {
        let Some(request) = wait.beside() else { continue };
        match &mut commit {
            Some(commit) => {
                commit.link(request.context);
                wait.link(commit.context);
            }
            None => commit = Some(request.begin(SpanKind::Internal, "commit")),
        }
    }
    commit
}

/// The probe of all that wait for it: a part of the commit that wants to know what stands there, or
/// else of the first one's wait; with links to the others, which have links to it.
pub(crate) fn probe_of<'a>(
    commit: Option<&Parent>,
    waits: impl Iterator<Item = &'a mut OpenSpan>,
) -> Option<OpenSpan> {
    let mut probe = commit.map(|commit| commit.begin(SpanKind::Internal, "probe"));
    for wait in waits {
        match &mut probe {
            Some(probe) => {
                probe.link(wait.context);
                wait.link(probe.context);
            }
            None => probe = Some(wait.parent().begin(SpanKind::Internal, "probe")),
        }
    }
    probe
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use object_store::memory::InMemory;

    use super::*;
    use crate::bucket::Bucket;
    use crate::collection::Collection;
    use crate::commit::{Action, Group};
    use crate::key::{CollectionName, MovieKey, Year};
    use crate::movie::{Movie, MovieLimits};
    use crate::{Absent, Freshness, Options, Store};

    /// A collection in a bucket where a probe is a request.
    async fn collection() -> Collection {
        let bucket = Bucket::simulated(Arc::new(InMemory::new()));
        let store = Store::start(bucket, Env::real(), Options::default()).await.unwrap();
        let opened = store.open(&CollectionName::default(), Absent::Create).await.unwrap();
        opened.collection().unwrap()
    }

    async fn put(collection: &Collection, year: u64) {
        let key = MovieKey::parse("Heat", Year::new(year).unwrap()).unwrap();
        let movie = Movie::parse(key, b"{}", MovieLimits::default()).unwrap();
        let group = Group::of(Action::Put(movie));
        collection.submit(group, Duration::from_secs(10)).await.unwrap();
    }

    /// What has ended so far, by name.
    fn by_name(ended: &mut mpsc::Receiver<Span>) -> BTreeMap<String, Vec<Span>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        while let Ok(span) = ended.try_recv() {
            found.entry(span.name.to_string()).or_default().push(span);
        }
        found
    }

    /// Does it as a part of a trace of its own; gives the span that it is a part of.
    async fn traced(spans: &Arc<Spans>, work: impl Future<Output = ()>) -> SpanContext {
        let root = spans.root(None, "root");
        within(Some(root.parent()), work).await;
        root.context()
    }

    #[tokio::test]
    async fn a_commit_is_a_part_of_its_first_request_and_has_links_to_the_others() {
        let movies = collection().await;
        let (spans, mut ended) = Spans::new(Env::real(), 100);
        let (first, second, ()) = tokio::join!(
            traced(&spans, put(&movies, 1995)),
            traced(&spans, put(&movies, 1996)),
            put(&movies, 1997),
        );
        let found = by_name(&mut ended);
        let ([commit], [create]) = (&found["commit"][..], &found["bucket create"][..]) else {
            panic!("one commit carries all: {found:?}");
        };
        assert_eq!((commit.context.trace, commit.parent), (first.trace, Some(first.span)));
        assert_eq!(commit.links, [second]);
        assert!(commit.attributes.contains(&("movies.commit.requests", 3_u64.into())));
        assert_eq!((create.context.trace, create.parent), (first.trace, Some(commit.context.span)));
        for told in [
            ("movies.bucket.object", Value::from("commit")),
            ("movies.bucket.attempt", 1_u64.into()),
            ("movies.bucket.outcome", "ok".into()),
        ] {
            assert!(create.attributes.contains(&told), "{told:?} in {create:?}");
        }
        let waits = &found["queue"];
        assert_eq!(waits.len(), 2);
        let other = waits.iter().find(|wait| wait.context.trace == second.trace).unwrap();
        assert_eq!((other.parent, &other.links[..]), (Some(second.span), &[commit.context][..]));
        assert!(commit.began >= other.began && create.ended <= commit.ended);
    }

    #[tokio::test]
    async fn readers_share_a_probe_and_each_has_a_link_to_it() {
        let movies = collection().await;
        let (spans, mut ended) = Spans::new(Env::real(), 100);
        let read = async || drop(movies.read(Freshness::Configured).await.unwrap());
        let (first, second) = tokio::join!(traced(&spans, read()), traced(&spans, read()));
        let found = by_name(&mut ended);
        let ([probe], [get], [one, other]) =
            (&found["probe"][..], &found["bucket get"][..], &found["proof"][..])
        else {
            panic!("two readers, one probe: {found:?}");
        };
        assert_eq!((one.parent, other.parent), (Some(first.span), Some(second.span)));
        assert_eq!((probe.context.trace, probe.parent), (first.trace, Some(one.context.span)));
        assert_eq!(
            (&probe.links[..], &other.links[..]),
            (&[other.context][..], &[probe.context][..])
        );
        assert_eq!(get.parent, Some(probe.context.span));
        assert!(get.attributes.contains(&("movies.bucket.outcome", "absent".into())));
    }

    #[tokio::test]
    async fn what_nobody_traces_makes_no_span_and_what_finds_no_room_is_counted() {
        let movies = collection().await;
        let (spans, mut ended) = Spans::new(Env::real(), 2);
        put(&movies, 1995).await;
        assert!(by_name(&mut ended).is_empty());
        for _ in 0..3 {
            drop(spans.root(None, "root"));
        }
        assert_eq!((spans.dropped(), by_name(&mut ended)["root"].len()), (1, 2));
    }

    #[tokio::test]
    async fn a_span_has_so_many_links_and_counts_the_others() {
        let (spans, mut ended) = Spans::new(Env::real(), 1_000);
        let requests: Vec<_> = (0..200).map(|_| spans.root(None, "root")).collect();
        let waits = requests.iter().map(|one| one.parent().begin(SpanKind::Internal, "queue"));
        drop(commit_of(waits.collect()));
        let commit = &by_name(&mut ended)["commit"][0];
        assert_eq!((commit.links.len(), commit.links_dropped), (128, 71));
    }
}
