//! What the process says about itself: where log lines go, how they look, and the one line a
//! request.
//!
//! A line is a message for the eye and fields for the query. No body, token, name of a movie or
//! address of a client ever stands in one.

use std::io::IsTerminal;

use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tracing::{Level, enabled};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
    route: &'static str,
}

impl RequestLine {
    /// Notes what is told before the request is given away.
    #[must_use]
    pub fn of<B>(request: &http::Request<B>) -> Self {
        Self { method: request.method().clone(), route: route(request.uri().path()) }
    }

    /// Writes the line; it tells the time from `begun` to the answer's head.
    pub fn write<B: Body>(&self, response: &Response<B>, begun: Instant) {
        let status = response.status();
        if status < StatusCode::BAD_REQUEST && self.method.is_safe() && !tells_reads() {
            return;
        }
        let (method, route) = (self.method.as_str(), self.route);
        let bytes = response.body().size_hint().exact();
        let ms = begun.elapsed().as_micros() as f64 / 1_000.0;
        let id = response.headers().get("x-request-id").map(HeaderValue::as_bytes);
        let id = String::from_utf8_lossy(id.unwrap_or_default());
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(target: REQUEST, $level, method, route, status = status.as_u16(), bytes,
                    ms, request_id = %id, "request")
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

/// The route of a path, without what the client put in it: names of movies are no labels.
fn route(path: &str) -> &'static str {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let parts = [segments.next(), segments.next(), segments.next(), segments.next()];
    match (parts, segments.next()) {
        ([Some("api"), Some("movies"), None, None], None) => "/api/movies",
        ([Some("api"), Some("movies"), Some("query"), None], None) => "/api/movies/query",
        ([Some("api"), Some("movies"), Some(_), Some(_)], None) => "/api/movies/{name}/{year}",
        ([Some("api"), Some("collections"), None, None], None) => "/api/collections",
        ([Some("api"), Some("collections"), Some(_), None], None) => "/api/collections/{file}",
        ([Some("api"), None, None, None], None) => "/api",
        ([Some(""), None, None, None], None) => "/",
        ([Some("openapi.json"), None, None, None], None) => "/openapi.json",
        ([Some("login"), None, None, None], None) => "/login",
        ([Some("login"), Some("aws"), None, None], None) => "/login/aws",
        ([Some(".well-known"), ..], _) => "/.well-known",
        ([Some("livez"), None, None, None], None) => "/livez",
        ([Some("readyz"), None, None, None], None) => "/readyz",
        ([Some("docs"), ..], _) => "/docs",
        ([Some("problems"), ..], _) => "/problems/{type}",
        _ => "other",
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
            ("/secret", "other"),
            ("*", "other"),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn a_filter_is_checked_before_anything_starts() {
        assert!(parse_filter("info,movies_api::request=debug").is_ok());
        for wrong in ["loud", "info,loud", "movies_api=loud", "movies_api="] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }
}
