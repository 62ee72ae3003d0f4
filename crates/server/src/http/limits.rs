//! What a request may take: URL, headers, `Host`, body. The listener holds connections and
//! stalls; what the HTTP parser refuses never comes here.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::envelope::Hosts;
use super::extract::cut;
use super::lines::lines;
use super::problem::{
    HEADERS_TOO_LARGE, HOST_NOT_ALLOWED, INVALID_BODY, Problem, REQUEST_TIMEOUT, TOO_LARGE,
    UNEXPECTED_BODY, UNSUPPORTED_MEDIA_TYPE, URL_TOO_LONG,
};
use crate::app::Settings;

/// Checks what every request must keep to, before any route is looked up.
///
/// # Errors
/// 414, 431 or 403, each with its limit or rule.
pub(crate) fn check(settings: &Settings, hosts: Hosts, request: &Request) -> Result<(), Problem> {
    let url_bytes = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    if url_bytes > settings.url_bytes_max {
        let max = settings.url_bytes_max;
        let detail =
            format!("the path and query have {url_bytes} bytes; at most {max} are allowed");
        return Err(Problem::new(&URL_TOO_LONG, detail));
    }
    let headers = request.headers();
    let headers_bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers_bytes > settings.headers_bytes_max {
        let max = settings.headers_bytes_max;
        let detail = format!("the headers have {headers_bytes} bytes; at most {max} are allowed");
        return Err(Problem::new(&HEADERS_TOO_LARGE, detail));
    }
    if settings.loopback_hosts_only && hosts == Hosts::Configured {
        check_host(request)?;
    }
    Ok(())
}

/// DNS rebinding: a page from elsewhere can give its own name this machine's address and then
/// reach us with the user's browser; but it cannot change the name in `Host`.
fn check_host(request: &Request) -> Result<(), Problem> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let lines = lines(request.headers(), &HOST).map(|host| host.to_str().unwrap_or(""));
    let mut hosts = authority.into_iter().chain(lines).peekable();
    if hosts.peek().is_some() && hosts.all(is_loopback) {
        return Ok(());
    }
    Err(Problem::header(
        &HOST_NOT_ALLOWED,
        "Host",
        "the Host header is no loopback name; call this server as localhost, 127.0.0.1 or [::1] (a page whose name was rebound to this machine must not reach it)",
    ))
}

/// Whether a host, with or without port, can only be this machine.
fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_loopback = address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
        return is_loopback && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = cut(host, b':');
    if port.is_some_and(|port| !is_port(port)) {
        return false;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks that a body is announced as JSON in UTF-8.
///
/// # Errors
/// 415 with the header to add.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |header, detail: String| {
        Err(Problem::header(
            &UNSUPPORTED_MEDIA_TYPE,
            header,
            format!("{detail}; send the header Content-Type: application/json"),
        ))
    };
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return refuse("Content-Type", "the body has no Content-Type".to_owned());
    };
    let content_type = content_type.to_str().unwrap_or_default();
    if !is_json_in_utf8(content_type) {
        let detail = format!("the Content-Type is {content_type:?}, which is not JSON in UTF-8");
        return refuse("Content-Type", detail);
    }
    let is_identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !is_identity(coding)) {
        let detail = "the body has a Content-Encoding; send it plain".to_owned();
        return refuse("Content-Encoding", detail);
    }
    Ok(())
}

fn is_json_in_utf8(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = match essence.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty()),
        None => false,
    };
    is_json
        && parts.filter(|part| !part.is_empty()).all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim_matches('"');
            !name.eq_ignore_ascii_case("charset")
                || value.eq_ignore_ascii_case("utf-8")
                || value.eq_ignore_ascii_case("utf8")
        })
}

/// Reads a body of at most `bytes_max`, for at most `time_max`. Dropped, it has no effect.
///
/// # Errors
/// 413 as soon as it is known to be larger, 408 where it takes longer, 400 where it breaks off.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    time_max: Duration,
) -> Result<Bytes, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    tokio::time::timeout(time_max, collect(body, bytes_max)).await.unwrap_or_else(|_elapsed| {
        let seconds = time_max.as_secs();
        let detail = format!("the body did not arrive within {seconds} s; nothing was stored");
        Err(Problem::new(&REQUEST_TIMEOUT, detail))
    })
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_off(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        // Nearly every movie arrives in one piece, which is then not copied.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    Ok([first, rest.freeze()].concat().into())
}

/// A client that stalls is told apart from a connection that is gone.
fn broken_off(error: &axum::Error) -> Problem {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    if causes.any(|cause| cause.is::<tower_http::timeout::TimeoutError>()) {
        return Problem::new(
            &REQUEST_TIMEOUT,
            "the body stalled; nothing was stored, send it again",
        );
    }
    Problem::new(&INVALID_BODY, format!("the body broke off: {error}"))
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        &TOO_LARGE,
        format!("the body has more than {bytes_max} bytes, which is the limit"),
    )
}

/// Checks that a request has no body.
///
/// # Errors
/// 422.
pub(crate) fn check_no_body(body: &Body) -> Result<(), Problem> {
    if body.is_end_stream() {
        return Ok(());
    }
    Err(Problem::new(&UNEXPECTED_BODY, "this request takes no body; send it without one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for ours in [
            "localhost",
            "LOCALHOST:5000",
            "localhost.",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(ours), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::2]",
            "[::1",
            "[::1]x",
            "localhost:x",
            "user@localhost",
            "10.0.0.1",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn a_body_must_be_announced_as_json_in_utf_8() {
        for fine in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/ld+json",
            "application/json;",
        ] {
            assert!(is_json_in_utf8(fine), "{fine}");
        }
        for other in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/+json",
            "text/json",
        ] {
            assert!(!is_json_in_utf8(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_before_it_is_read() {
        let read = |bytes: usize, announced: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(length) = announced {
                headers.insert(CONTENT_LENGTH, length.parse().unwrap());
            }
            let body = Body::from(vec![b'x'; bytes]);
            async move { read_body(&headers, body, 10, Duration::from_secs(5)).await }
        };
        assert_eq!(read(10, None).await.unwrap().len(), 10);
        assert_eq!(read(11, None).await.unwrap_err().kind().slug, "too-large");
        assert_eq!(read(0, Some("11")).await.unwrap_err().kind().slug, "too-large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let (_sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
        let body =
            Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|item| (item, receiver))
            }));
        let result = read_body(&HeaderMap::new(), body, 10, Duration::from_secs(30)).await;
        assert_eq!(result.unwrap_err().kind().slug, "request-timeout");
    }

    proptest! {
        #[test]
        fn no_host_or_content_type_panics(text in "\\PC{0,40}") {
            is_loopback(&text);
            is_json_in_utf8(&text);
        }
    }
}
