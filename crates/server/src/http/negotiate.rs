//! What the client accepts: JSON or a page for people, plain or compressed. Never refuses what it
//! cannot read.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::lines::lines;
use crate::app::App;

/// What the client accepts: all lines of `Accept` as one list (RFC 9110 section 5.3).
pub(crate) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = lines(headers, &ACCEPT);
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(first.clone()) };
    let all: Vec<_> = [first, second].into_iter().chain(lines).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
}

/// How to answer where both forms exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON: for programs, and whenever nothing says otherwise.
    Json,
    /// A page: only where `text/html` is named and not liked less than JSON.
    Html,
}

/// What a page may load: its own inline style, nothing else; it stands in no frame, sends no form
/// and does not tell where its reader comes from.
pub(crate) const HTML_POLICY: [(HeaderName, HeaderValue); 2] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (REFERRER_POLICY, NO_REFERRER),
];
pub(crate) const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

impl Form {
    pub(crate) fn preferred(accept: Option<&HeaderValue>) -> Self {
        let Some(accept) = accept.and_then(|accept| accept.to_str().ok()) else {
            return Self::Json;
        };
        let html = quality(accept, |range| range.eq_ignore_ascii_case("text/html"));
        let json = quality(accept, is_json_range);
        if html.is_some_and(|html| html > 0 && json.is_none_or(|json| html >= json)) {
            Self::Html
        } else {
            Self::Json
        }
    }
}

/// How a body may be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// What every client and every CDN takes.
    Gzip,
}

impl FromRequestParts<App> for Coding {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Infallible> {
        Ok(Self::preferred(&parts.headers))
    }
}

impl Coding {
    /// RFC 9110 section 12.5.3: gzip where it, or everything, is named and not liked less than
    /// the plain body. Where nothing fits the plain body is sent: that is no reason to refuse.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let [mut any, mut gzip, mut identity] = [None; 3];
        let lines = lines(headers, &ACCEPT_ENCODING).filter_map(|line| line.to_str().ok());
        for (coding, quality) in lines.flat_map(ranges) {
            let is = |name| coding.eq_ignore_ascii_case(name);
            let best = match () {
                () if is("gzip") || is("x-gzip") => &mut gzip,
                () if is("*") => &mut any,
                () if is("identity") => &mut identity,
                () => continue,
            };
            *best = (*best).max(Some(quality));
        }
        match gzip.or(any) {
            Some(gzip) if gzip > 0 && gzip >= identity.unwrap_or(0) => Self::Gzip,
            _ => Self::Identity,
        }
    }
}

/// Whether JSON may be sent. Only an `Accept` that names neither JSON nor everything, or names
/// it with `q=0`, says no.
pub(crate) fn takes_json(accept: Option<&HeaderValue>) -> bool {
    let Some(accept) = accept.and_then(|accept| accept.to_str().ok()) else { return true };
    if accept == "*/*" || accept.trim().is_empty() {
        return true;
    }
    quality(accept, is_json_range)
        .or_else(|| quality(accept, |range| range == "*/*" || range == "*"))
        .is_some_and(|quality| quality > 0)
}

fn is_json_range(range: &str) -> bool {
    ["application/json", "application/problem+json", "application/*"]
        .iter()
        .any(|json| range.eq_ignore_ascii_case(json))
}

/// The best quality, in thousandths, of the ranges that `is` takes; none where none is named.
fn quality(accept: &str, is: impl Fn(&str) -> bool) -> Option<u16> {
    ranges(accept).filter(|(range, _)| is(range)).map(|(_, quality)| quality).max()
}

/// What a list names, each with its quality in thousandths.
fn ranges(list: &str) -> impl Iterator<Item = (&str, u16)> {
    list.split(',').map(|entry| {
        let Some((range, parameters)) = entry.split_once(';') else { return (entry.trim(), 1_000) };
        let quality = parameters.split(';').map(str::trim).find_map(|parameter| {
            parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))
        });
        (range.trim(), quality.map_or(1_000, thousandths))
    })
}

/// `0.8` as 800; what is no number counts as 1.
fn thousandths(text: &str) -> u16 {
    let Some((whole, fraction)) = text.split_once('.') else {
        return if text == "0" { 0 } else { 1_000 };
    };
    if whole != "0" {
        return 1_000;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    digits.fold(0, |sum, digit| sum * 10 + u16::from(digit.saturating_sub(b'0').min(9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Form {
        Form::preferred(Some(&HeaderValue::from_static(accept)))
    }

    fn json(accept: &'static str) -> bool {
        takes_json(Some(&HeaderValue::from_static(accept)))
    }

    #[test]
    fn browsers_get_pages_and_programs_get_json() {
        assert_eq!(form("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Html);
        assert_eq!(form("*/*"), Form::Json);
        assert_eq!(form("application/json, text/html;q=0.9"), Form::Json);
        assert_eq!(form("text/html;q=0"), Form::Json);
        assert_eq!(Form::preferred(None), Form::Json);
    }

    #[test]
    fn gzip_is_sent_where_it_is_named_and_not_liked_less() {
        let coding = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (ACCEPT_ENCODING, HeaderValue::from_static(line)));
            Coding::preferred(&lines.collect())
        };
        let zipped: &[&[&str]] = &[
            &["gzip"],
            &["GZip"],
            &["x-gzip"],
            &["gzip, deflate, br, zstd"],
            &["br;q=1.0, gzip;q=0.8, *;q=0.1"],
            &["br", "gzip"],
            &["*"],
            &["*;q=0.5, br"],
            &["gzip;q=0.5, *;q=0"],
            &["gzip;q=1.0, identity;q=0.5, *;q=0"],
            &["identity, gzip"],
            &["identity;q=0, gzip;q=0.001"],
            &["gzip ; q=0.4"],
        ];
        for lines in zipped {
            assert_eq!(coding(lines), Coding::Gzip, "{lines:?}");
        }
        let plain: &[&[&str]] = &[
            &[],
            &[""],
            &["identity"],
            &["br, deflate"],
            &["gzip;q=0"],
            &["gzip;q=0.000"],
            &["gzip;q=0, *"],
            &["*;q=0"],
            &["identity;q=0"],
            &["identity;q=0, br"],
            &["gzip;q=0.5, identity"],
            &["gzip;q=0.5", "identity;q=0.6"],
            &["gzipped"],
        ];
        for lines in plain {
            assert_eq!(coding(lines), Coding::Identity, "{lines:?}");
        }
    }

    #[test]
    fn only_an_accept_that_rules_json_out_is_refused() {
        for fine in ["*/*", "", "application/json", "text/html, */*;q=0.1", "application/*", "*"] {
            assert!(json(fine), "{fine}");
        }
        for refused in ["application/xml", "text/html", "application/json;q=0", "*/*;q=0.0"] {
            assert!(!json(refused), "{refused}");
        }
    }
}
