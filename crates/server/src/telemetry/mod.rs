//! What the process says about itself: where log lines go, how they look, the one line a request,
//! and what is counted.
//!
//! | module | owns |
//! |---|---|
//! | `names` | the one table of every metric |
//! | `meters` | what the HTTP side counts |
//! | `metrics` | everything that is counted, under its name |
//! | `text` | the format |
//! | `process` | what the process takes |
//! | `traces` | which requests are traced, and how their spans reach a collector |
//!
//! A line is a message for the eye and fields for the query. No body, token, name of a movie or
//! address of a client ever stands in one.

use std::io::IsTerminal;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use tracing::{Level, enabled};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub(crate) mod meters;
pub(crate) mod metrics;
mod names;
mod process;
mod text;
pub mod traces;

use meters::InFlight;
use movies_store::spans::OpenSpan;
use traces::{Traceparent, Traces};

/// The target of the one line a request, to be named in `--log-level`.
///
/// Reads that succeed are told at `debug`, writes and refusals at `info`, failures of ours at
/// `warn`. A line is a system call: at tens of thousands of reads a second it would cost more
/// than the reads, and a load balancer knows them anyway. `--log-level
/// info,movies_api::request=debug` turns them on.
pub const REQUEST: &str = "movies_api::request";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For the eye.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to standard error from now on. Standard output is for answers.
///
/// `filter` must be one that [`parse_filter`] took.
pub fn init(format: LogFormat, filter: &str) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
    }
}

/// Checks a filter such as `info` or `warn,movies_api::request=debug`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_filter(text: &str) -> Result<String, String> {
    const USE: &str = "use off, error, warn, info, debug or trace, alone or as target=level";
    // The library takes a lone word that is no level for a target: a mistyped level would be
    // silence.
    let is_sound = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    };
    if let Some(part) = text.split(',').find(|part| !is_sound(part)) {
        return Err(format!("{part:?} is no level; {USE}"));
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; {USE}")),
    }
}

/// Whether a line about a successful read would be written.
#[must_use]
pub fn tells_reads() -> bool {
    enabled!(target: REQUEST, Level::DEBUG)
}

/// What is told of a request.
#[derive(Debug)]
pub struct RequestLine {
    method: Method,
    route: Route,
}

impl RequestLine {
    /// Notes what is told before the request is given away.
    #[must_use]
    pub fn of<B>(request: &http::Request<B>) -> Self {
        Self { method: request.method().clone(), route: Route::of(request.uri().path()) }
    }

    /// What the request asks for.
    pub(crate) fn route(&self) -> Route {
        self.route
    }

    /// Its span, where it is traced.
    pub(crate) fn trace<B>(&self, traces: &Traces, request: &http::Request<B>) -> Option<OpenSpan> {
        traces.begin(request, self.route)
    }

    /// Counts the answer, and writes the line; both tell how long its head `took`.
    pub(crate) fn write<B: Body>(
        &self,
        response: &Response<B>,
        took: Duration,
        request: &InFlight<'_>,
        span: Option<&OpenSpan>,
    ) {
        request.answered(self.route, &self.method, response.status(), took);
        let status = response.status();
        if status < StatusCode::BAD_REQUEST && self.method.is_safe() && !tells_reads() {
            return;
        }
        let (method, route) = (self.method.as_str(), self.route.name());
        let bytes = response.body().size_hint().exact();
        let ms = took.as_micros() as f64 / 1_000.0;
        let id = response.headers().get("x-request-id").map(HeaderValue::as_bytes);
        let id = String::from_utf8_lossy(id.unwrap_or_default());
        let trace_id = match span {
            Some(span) => Some(traces::digits(span.context().trace)),
            None => sampled_trace(response.headers()),
        };
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(target: REQUEST, $level, method, route, status = status.as_u16(), bytes,
                    ms, request_id = %id, trace_id, "request")
            };
        }
        if status.is_server_error() {
            line!(Level::WARN);
        } else if status.is_client_error() || !self.method.is_safe() {
            line!(Level::INFO);
        } else {
            line!(Level::DEBUG);
        }
    }
}

/// The id of the trace that the client keeps, of which we send no spans; the envelope has taken its
/// `traceparent` over.
fn sampled_trace(headers: &HeaderMap) -> Option<String> {
    let caller = Traceparent::of(headers).filter(|caller| caller.is_sampled)?;
    Some(traces::digits(caller.context.trace))
}

/// A route: what a request asked for, without what the client put in its path. Names of movies are
/// no labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    List,
    Query,
    Movie,
    Collections,
    Collection,
    About,
    Start,
    Openapi,
    Login,
    LoginAws,
    WellKnown,
    Live,
    Ready,
    Docs,
    Problem,
    Metrics,
    Batches,
    Other,
}

impl Route {
    /// All of them, in the order of their discriminants.
    pub(crate) const ALL: &[Self] = &[
        Self::List,
        Self::Query,
        Self::Movie,
        Self::Collections,
        Self::Collection,
        Self::About,
        Self::Start,
        Self::Openapi,
        Self::Login,
        Self::LoginAws,
        Self::WellKnown,
        Self::Live,
        Self::Ready,
        Self::Docs,
        Self::Problem,
        Self::Metrics,
        Self::Batches,
        Self::Other,
    ];

    /// Its template.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::List => "/api/movies",
            Self::Query => "/api/movies/query",
            Self::Movie => "/api/movies/{name}/{year}",
            Self::Collections => "/api/collections",
            Self::Collection => "/api/collections/{file}",
            Self::About => "/api",
            Self::Start => "/",
            Self::Openapi => "/openapi.json",
            Self::Login => "/login",
            Self::LoginAws => "/login/aws",
            Self::WellKnown => "/.well-known",
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Docs => "/docs",
            Self::Problem => "/problems/{type}",
            Self::Metrics => "/metrics",
            Self::Batches => "/v1/batches",
            Self::Other => "other",
        }
    }

    /// Whether a request for it is no trace's first: operators' own programs ask for it every few
    /// seconds, or replicas, who say where they trace.
    pub(crate) fn begins_no_trace(self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Metrics | Self::Batches)
    }

    /// The route of a path, without what the client put in it: names of movies are no labels.
    fn of(path: &str) -> Self {
        match path {
            "/api/movies" => return Self::List,
            "/api/movies/query" => return Self::Query,
            "/api/collections" => return Self::Collections,
            "/api" => return Self::About,
            "/" => return Self::Start,
            "/openapi.json" => return Self::Openapi,
            "/login" => return Self::Login,
            "/login/aws" => return Self::LoginAws,
            "/livez" => return Self::Live,
            "/readyz" => return Self::Ready,
            "/metrics" => return Self::Metrics,
            _ => {}
        }
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let parts = [segments.next(), segments.next(), segments.next(), segments.next()];
        match (parts, segments.next()) {
            ([Some("api"), Some("movies"), Some(_), Some(_)], None) => Self::Movie,
            ([Some("api"), Some("collections"), Some(_), None], None) => Self::Collection,
            ([Some(".well-known"), ..], _) => Self::WellKnown,
            ([Some("docs"), ..], _) => Self::Docs,
            ([Some("v1"), Some("batches"), Some(_), _], _) => Self::Batches,
            ([Some("problems"), ..], _) => Self::Problem,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_says_nothing_of_what_the_client_sent() {
        for (path, expected) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/api/movies", "/api/movies"),
            ("/api/movies/query", "/api/movies/query"),
            ("/api/movies/query/2010", "/api/movies/{name}/{year}"),
            ("/api/movies/Face%2FOff/1997", "/api/movies/{name}/{year}"),
            ("/api/movies/Face/Off/1997", "other"),
            ("/api/collections/a%2Fb.json", "/api/collections/{file}"),
            ("/docs/index.css", "/docs"),
            ("/metrics", "/metrics"),
            ("/secret", "other"),
            ("*", "other"),
        ] {
            assert_eq!(Route::of(path).name(), expected, "{path}");
        }
    }

    #[test]
    fn the_trace_is_told_only_where_it_is_sampled() {
        let trace = |flags: &str| {
            let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let value = HeaderValue::try_from(text).unwrap();
            let headers = HeaderMap::from_iter([(traces::TRACEPARENT, value)]);
            sampled_trace(&headers)
        };
        assert_eq!(trace("01").as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace("00"), None);
        assert_eq!(sampled_trace(&HeaderMap::new()), None);
    }

    #[test]
    fn a_filter_is_checked_before_anything_starts() {
        assert!(parse_filter("info,movies_api::request=debug").is_ok());
        for wrong in ["loud", "info,loud", "movies_api=loud", "movies_api="] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }
}
