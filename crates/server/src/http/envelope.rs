//! What is around every route: request ids, limits, deadline, panics, timing, counting, and the
//! rendering of problems. One function, not a layer a feature: it is on the path of every read, where each layer
//! of axum's costs allocations.

use std::any::Any;
use std::cell::Cell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler as _;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Body as _;
use movies_store::spans;
use tower::Service as _;

use super::access::add_timing;
use super::caching::NO_STORE;
use super::cors::Grant;
use super::forwarded::Origin;
use super::lines::line;
use super::negotiate::{Form, accept};
use super::problem::{DEADLINE, INTERNAL, Problem};
use super::{limits, movies};
use crate::app::{App, Settings};
use crate::audit;
use crate::telemetry::meters::Meters;
use crate::telemetry::traces::{self, TRACEPARENT, Traceparent, Traces};
use crate::telemetry::{RequestLine, Route};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A browser takes every answer for what its type says, and for nothing that runs.
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
/// For a year (RFC 6797). Not for subdomains: they may be somebody else's.
const BY_HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// The longest request id that is taken over from a client.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The routes of a listener in their envelope. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    app: App,
    hosts: Hosts,
    routes: Router,
}

/// By which names the service may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// By those that the settings allow.
    Configured,
    /// By any, as orchestrators and other replicas call by addresses: what is served tells a page
    /// nothing that is worth keeping from it, or takes nothing that is not signed.
    Any,
}

impl Endpoint {
    pub(crate) fn new(app: App, hosts: Hosts, routes: Router) -> Self {
        Self { app, hosts, routes }
    }

    /// Whether what a proxy says of its client may count.
    pub(crate) fn believes_proxies(&self) -> bool {
        !self.app.settings().trusted_proxies.is_empty()
    }

    /// The answer to one request, whatever happens behind it. A write that the store has accepted
    /// is committed even when the future is dropped.
    ///
    /// What comes before the handler is done at once: an `async fn` would have room for the request
    /// in its future, as would each that it hands it on to, and hyper moves that future.
    pub fn answer(&self, mut request: Request) -> impl Future<Output = Response> + Send {
        let started = Instant::now();
        let line = RequestLine::of(&request);
        let counted = self.meters().request();
        let settings = self.app.settings();
        if let Some(origin) = settings.trusted_proxies.origin(&request) {
            request.extensions_mut().insert(origin);
        }
        let sender = Sender::of(&request, settings, self.hosts);
        // A write holds its own deadline, since its answer must say whether it happened.
        let deadline = matches!(*request.method(), Method::GET | Method::HEAD)
            .then_some(settings.request_deadline);
        let checked = limits::check(settings, self.hosts, &request);
        let span = self.traces().and_then(|traces| line.trace(traces, &request));
        let answer = checked.map(|()| self.routed(line.route(), request));
        let answer = answer.map(|answer| match &span {
            Some(span) => spans::within(Some(span.parent()), answer).boxed(),
            None => answer,
        });
        async move {
            let response = match answer {
                Ok(answer) => guarded(answer, deadline).await,
                Err(problem) => problem.into_response(),
            };
            let took = started.elapsed();
            let response = sender.finish(response, took, self.meters());
            line.write(&response, took, &counted, span.as_ref());
            if let Some(span) = span {
                traces::end(span, response.status());
            }
            response
        }
    }

    /// The answer of the route. Two reads go past the router, which clones, boxes and moves a
    /// request for a tenth of the instructions of a point read.
    fn routed(&self, route: Route, request: Request) -> BoxFuture<'static, Response> {
        let is_read = self.hosts == Hosts::Configured && *request.method() == Method::GET;
        match route {
            Route::List if is_read => movies::list.call(request, self.app.clone()),
            Route::Query if is_read => movies::query.call(request, self.app.clone()),
            _ => {
                // A router is always ready, and never fails.
                let answer = self.routes.clone().call(request);
                answer.map(|answer| answer.unwrap_or_else(|never| match never {})).boxed()
            }
        }
    }

    /// What is counted.
    pub(crate) fn meters(&self) -> &Meters {
        self.app.meters()
    }

    /// What chooses the requests that are traced, where any are.
    fn traces(&self) -> Option<&Traces> {
        self.app.settings().traces.as_ref()
    }
}

/// The answer in time; a panic becomes a problem, and its message a log line.
async fn guarded(answer: impl Future<Output = Response>, deadline: Option<Duration>) -> Response {
    let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
    // Most reads are answered at once, and then no timer is set.
    let outcome = match ((&mut answer).now_or_never(), deadline) {
        (Some(outcome), _) => outcome,
        (None, None) => answer.await,
        (None, Some(deadline)) => match tokio::time::timeout(deadline, answer).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => return out_of_time(deadline).into_response(),
        },
    };
    match outcome {
        Ok(response) => response,
        Err(panic) => Problem::new(&INTERNAL, "the server failed; this is a bug")
            .with_cause(format!("panic: {}", panic_message(&*panic)))
            .into_response(),
    }
}

fn out_of_time(deadline: Duration) -> Problem {
    let seconds = deadline.as_secs();
    Problem::new(&DEADLINE, format!("there was no answer within {seconds} s; try again"))
        .with_header(RETRY_AFTER, HeaderValue::from(1))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// What the answer needs to know of its request.
struct Sender {
    request_id: HeaderValue,
    traceparent: Option<HeaderValue>,
    accept: Option<HeaderValue>,
    grant: Grant,
    is_head: bool,
    is_https: bool,
    /// Its caller has shown a token where caches stand between.
    is_signed: bool,
}

impl Sender {
    fn of(request: &Request, settings: &Settings, hosts: Hosts) -> Self {
        let headers = request.headers();
        let is_https =
            settings.https || request.extensions().get::<Origin>().is_some_and(Origin::is_https);
        Self {
            request_id: request_id(headers),
            traceparent: traceparent(headers),
            accept: accept(headers),
            grant: settings.cors_origins.grant(request.method(), headers),
            is_head: *request.method() == Method::HEAD,
            // The listener for health alone is always plain.
            is_signed: settings.shared.is_some() && headers.contains_key(AUTHORIZATION),
            is_https: is_https && hosts == Hosts::Configured,
        }
    }

    fn finish(self, mut response: Response, took: Duration, meters: &Meters) -> Response {
        // A problem has its status already, so only failures pay for the look.
        if response.status().is_success() {
            if let Some(line) = response.extensions_mut().remove::<audit::Line>() {
                line.tell(self.request_id.to_str().unwrap_or_default(), meters);
            }
        } else if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let id = self.request_id.to_str().unwrap_or_default();
            problem.log(id, meters);
            response = problem.render(id, Form::preferred(self.accept.as_ref()));
            if self.is_head {
                response = without_body(response);
            }
            if self.is_signed {
                response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
            }
        }
        let headers = response.headers_mut();
        self.grant.apply(headers);
        headers.insert(REQUEST_ID, self.request_id);
        add_timing(headers, "total", took);
        headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
        if self.is_https {
            headers.insert(STRICT_TRANSPORT_SECURITY, BY_HTTPS_ONLY);
        }
        if let Some(traceparent) = self.traceparent {
            headers.insert(TRACEPARENT, traceparent);
        }
        response
    }
}

/// Only the head, as the routes answer HEAD: over HTTP/2 nobody else would leave the body out.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// The client's id, where it is a sane token; else one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |id: &&HeaderValue| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
    };
    line(headers, &REQUEST_ID).filter(is_sane).cloned().unwrap_or_else(new_request_id)
}

/// A UUID (version 8) of a random number of this thread and a counter: unique, cheap, and not
/// meant to be unguessable.
fn new_request_id() -> HeaderValue {
    thread_local! {
        static THREAD: u64 = RandomState::new().build_hasher().finish();
        static COUNTER: Cell<u64> = const { Cell::new(0) };
    }
    let (thread, count) = (THREAD.with(|thread| *thread), COUNTER.get());
    COUNTER.set(count.wrapping_add(1));
    let id = uuid::Builder::from_custom_bytes(
        (u128::from(thread) << 64 | u128::from(count)).to_be_bytes(),
    );
    let mut text = uuid::Uuid::encode_buffer();
    let text = id.into_uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(text.as_bytes()))
        .expect("a UUID is hexadecimal digits and dashes")
}

/// The client's, where it is one: it goes back as it came.
fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    line(headers, &TRACEPARENT).filter(|_| Traceparent::of(headers).is_some()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_request_id_is_taken_over_and_another_replaced_by_a_uuid() {
        assert_eq!(id_for("abc-123"), "abc-123");
        let long = "x".repeat(129);
        for odd in ["", "a b", "<script>", "a\"b", long.as_str()] {
            assert!(uuid::Uuid::try_parse(&id_for(odd)).is_ok(), "{odd}");
        }
        assert_ne!(id_for(""), id_for(""));
    }

    #[test]
    fn only_a_well_formed_traceparent_is_taken_over() {
        let check = |text| {
            let value = HeaderValue::from_static(text);
            traceparent(&HeaderMap::from_iter([(TRACEPARENT, value)])).is_some()
        };
        assert!(check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"));
        assert!(!check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"));
        assert!(!check("zz"));
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let response = guarded(async { panic!("boom") }, None).await;
        assert_eq!(response.status(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_without_an_answer_is_given_up() {
        let response = guarded(std::future::pending(), Some(Duration::from_secs(30))).await;
        assert_eq!(response.status(), 503);
    }
}
