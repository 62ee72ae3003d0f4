//! Traces: which requests are traced, the span of each, and how spans reach a collector
//! (OpenTelemetry, by OTLP).
//!
//! | module | owns |
//! |---|---|
//! | `traceparent` | what a caller says of its trace (W3C Trace Context) |
//! | `encode` | spans as OTLP has them |
//! | `sending` | the task: batches, pauses, the end |
//!
//! A request that is not traced pays for one look at its headers and one throw of dice. What is
//! traced makes its steps in the store ([`movies_store::spans`]), and never waits for a collector.
//! Spans hold no token, body, query or client's address; the path of a movie or collection stands in
//! them, and of another replica the address.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use http::{Request, StatusCode, Version};
use movies_store::meters::Counter;
use movies_store::spans::{OpenSpan, Spans};

use super::Route;

mod encode;
mod sending;
#[cfg(test)]
mod tests;
mod traceparent;

pub use sending::{Collector, Tracing};
pub(crate) use traceparent::{TRACEPARENT, Traceparent, digits};

/// The longest path that is told, in bytes.
const PATH_BYTES_MAX: usize = 256;
/// The methods that are told (semantic conventions, "HTTP server span"); any other is `_OTHER`.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// Chooses requests and makes their spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spans: Arc<Spans>,
    /// The part of the requests that are traced where their callers do not say.
    sample: f64,
    scheme: &'static str,
    done: Done,
}

/// What became of spans and of calls so far.
#[derive(Debug, Default)]
struct Done {
    sent: Counter,
    refused: Counter,
    lost: Counter,
    calls_ok: Counter,
    calls_refused: Counter,
    calls_failed: Counter,
}

/// What is counted, as it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Spans that a collector has.
    pub(crate) sent: u64,
    /// Those that none will have, by reason.
    pub(crate) dropped: [(&'static str, u64); 3],
    /// Calls by outcome.
    pub(crate) calls: [(&'static str, u64); 3],
}

impl Traces {
    fn new(spans: Arc<Spans>, sample: f64, scheme: &'static str) -> Self {
        Self { inner: Arc::new(Inner { spans, sample, scheme, done: Done::default() }) }
    }

    /// The span of a request, where it is traced: where its caller traces it or, where nobody has
    /// decided, by chance.
    pub(crate) fn begin<B>(&self, request: &Request<B>, route: Route) -> Option<OpenSpan> {
        let caller = match Traceparent::of(request.headers()) {
            Some(caller) if caller.is_sampled => Some(caller.context),
            Some(_) => return None,
            None if route.begins_no_trace() || !self.is_chosen() => return None,
            None => None,
        };
        let method = METHODS.into_iter().find(|known| request.method().as_str() == *known);
        let name = match (method.unwrap_or("HTTP"), route) {
            (method, Route::Other) => method.to_owned(),
            (method, route) => format!("{method} {}", route.name()),
        };
        let mut span = self.inner.spans.root(caller, name);
        span.set("http.request.method", method.unwrap_or("_OTHER"));
        span.set("url.scheme", self.inner.scheme);
        span.set("network.protocol.version", version(request.version()));
        // What is none of ours may be anything, a password too.
        if route != Route::Other {
            let path = request.uri().path();
            let end = path.floor_char_boundary(PATH_BYTES_MAX);
            span.set("http.route", route.name());
            span.set("url.path", path.get(..end).unwrap_or_default().to_owned());
        }
        Some(span)
    }

    fn is_chosen(&self) -> bool {
        // Each has other keys, so that what it makes of nothing is random.
        let dice = RandomState::new().build_hasher().finish();
        // The 53 bits that such a number holds: from 0 to less than 1.
        let share = (dice >> 11) as f64 / (1_u64 << 53) as f64;
        share < self.inner.sample
    }

    pub(crate) fn figures(&self) -> Figures {
        let Inner { spans, done, .. } = &*self.inner;
        Figures {
            sent: done.sent.get(),
            dropped: [
                ("no room", spans.dropped()),
                ("refused", done.refused.get()),
                ("stopped", done.lost.get()),
            ],
            calls: [
                ("ok", done.calls_ok.get()),
                ("refused", done.calls_refused.get()),
                ("failed", done.calls_failed.get()),
            ],
        }
    }
}

/// The answer has begun. A span whose client went away before that has no status.
pub(crate) fn end(mut span: OpenSpan, status: StatusCode) {
    span.set("http.response.status_code", u64::from(status.as_u16()));
    if status.is_server_error() {
        span.set("error.type", status.as_str().to_owned());
        span.fail();
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
