//! Cross-origin requests (Fetch standard, section 3.3): which pages of other origins may read the
//! answers, by the operator's choice. Credentials in the browser's sense are never allowed: there
//! are no cookies, and a page sends its bearer token itself.

use std::fmt;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

/// Every method of any route.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
/// Every request header that is looked at and that a page may not send unasked. `Authorization` must
/// be named: a `*` does not stand for it.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, Movies-Min-Version, Prefer, Traceparent, X-Request-Id",
);
/// One by one: what may not be named is a prefix.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id, X-Total-Count, Movies-Outcome, Movies-Replayed, Movies-Version",
);
const MAX_AGE_SECONDS: u32 = 24 * 60 * 60;
const ANY: HeaderValue = HeaderValue::from_static("*");
const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// Whose pages may use the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Nobody's but those of this very origin.
    #[default]
    Own,
    /// Those of these origins.
    These(Vec<HeaderValue>),
    /// Everybody's.
    Any,
}

impl Origins {
    /// Parses `*`, or origins such as `https://films.example` and `http://localhost:8080`.
    ///
    /// # Errors
    /// The first text that is no origin as a browser sends it.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NoOrigin> {
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        match texts.as_slice() {
            [] => Ok(Self::Own),
            ["*"] => Ok(Self::Any),
            texts => {
                texts.iter().map(|text| origin(text)).collect::<Result<_, _>>().map(Self::These)
            }
        }
    }

    /// As they were given.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Own => Vec::new(),
            Self::Any => vec!["*"],
            Self::These(origins) => {
                origins.iter().filter_map(|origin| origin.to_str().ok()).collect()
            }
        }
    }

    /// What the answer to a request must say.
    pub(crate) fn grant(&self, method: &Method, headers: &HeaderMap) -> Grant {
        let origin = match self {
            Self::Own => return Grant::default(),
            // Whoever asks: what does not depend on the origin needs no `Vary`.
            Self::Any => Some(ANY),
            Self::These(origins) => {
                headers.get(ORIGIN).filter(|origin| origins.contains(origin)).cloned()
            }
        };
        let is_preflight =
            method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Grant { origin, is_preflight, varies: matches!(self, Self::These(_)) }
    }
}

/// Something that no browser sends as `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoOrigin(String);

impl fmt::Display for NoOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "{text:?} is no origin; write https://films.example or http://localhost:8080 (scheme, \
             host and port as a browser sends them, no path), or a * alone for every page"
        )
    }
}

impl std::error::Error for NoOrigin {}

/// An origin that a browser would spell in another way would never match.
fn origin(text: &str) -> Result<HeaderValue, NoOrigin> {
    let refuse = || NoOrigin(text.to_owned());
    if text.contains('*') {
        return Err(refuse());
    }
    let origin = Url::parse(text).map_err(|_no_url| refuse())?.origin();
    let origin =
        Some(origin.ascii_serialization()).filter(|spelt| origin.is_tuple() && spelt == text);
    HeaderValue::try_from(origin.ok_or_else(refuse)?).map_err(|_control| refuse())
}

/// What the answer to one request must say of other origins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    /// Whose page may read it.
    origin: Option<HeaderValue>,
    /// The browser asks before it sends the request itself.
    is_preflight: bool,
    /// Another origin would get another answer, so a cache must tell them apart.
    varies: bool,
}

impl Grant {
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, BY_ORIGIN);
        }
        let Some(origin) = self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.is_preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_SECONDS));
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for text in ["https://films.example", "http://localhost:8080", "http://[::1]:1"] {
            assert_eq!(Origins::parse([text]).map(|o| o.texts().len()), Ok(1), "{text}");
        }
        for text in [
            "films.example",
            "https://",
            "https://films.example/",
            "https://films.example/x",
            "https://Films.example",
            "https://*.example",
            "https://a@films.example",
            "https://films.example:port",
            "https://films.example:443",
            "file:///x",
            "https://é.example",
            "https://a b",
            "null",
            "://x",
        ] {
            assert_eq!(Origins::parse([text]), Err(NoOrigin(text.to_owned())), "{text}");
        }
        assert!(Origins::parse(["*", "https://films.example"]).is_err());
        assert_eq!(Origins::parse([""]), Ok(Origins::Own));
    }
}
