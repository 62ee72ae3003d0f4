//! What shared caches are told: for how long they may keep a read without asking, and by which tags
//! it can be purged.
//!
//! Only where the operator has asked for it (`--cdn-ttl`), and only of reads that everybody may make
//! and that nobody has signed: all else stays as it is without a cache, or is nobody's but the
//! caller's. Never decides what is sent.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, CACHE_CONTROL, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use movies_store::key::{CollectionName, MovieKey};

use super::access::Fetched;
use super::problem::Problem;
use crate::app::App;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
/// Fastly and Varnish; Cloudflare; Akamai.
const TAGS: [(HeaderName, char); 3] = [
    (HeaderName::from_static("surrogate-key"), ' '),
    (HeaderName::from_static("cache-tag"), ','),
    (HeaderName::from_static("edge-cache-tag"), ','),
];
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
const BY_CALLER: HeaderValue = HeaderValue::from_static("Authorization");

/// How long shared caches may keep reads: the headers that say so, made once.
#[derive(Clone, Debug)]
pub struct Shared {
    everybody: HeaderValue,
    caches: HeaderValue,
}

impl Shared {
    /// Reads are fresh for `ttl`, and may be served for `stale_if_error` more while we do not answer.
    #[must_use]
    pub fn new(ttl: Duration, stale_if_error: Duration) -> Self {
        let (ttl, stale) = (ttl.as_secs(), stale_if_error.as_secs());
        let header = |text: String| HeaderValue::try_from(text).expect("words and numbers");
        Self {
            // A browser asks each time; s-maxage is for caches that know no header of their own.
            everybody: header(format!("public, max-age=0, s-maxage={ttl}, stale-if-error={stale}")),
            caches: header(format!("max-age={ttl}, stale-if-error={stale}")),
        }
    }
}

/// The name of something in a cache. It is made of where it is, never of what it holds: Akamai
/// keeps an answer's first tags when it revalidates it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheTag(Arc<str>);

impl CacheTag {
    /// Every list of a collection: all movies, and each query.
    #[must_use]
    pub fn lists(collection: &CollectionName) -> Self {
        Self::of('c', &[collection.as_str()])
    }

    /// Every single movie of a collection.
    #[must_use]
    pub fn movies(collection: &CollectionName) -> Self {
        Self::of('m', &[collection.as_str()])
    }

    /// One movie.
    #[must_use]
    pub fn movie(collection: &CollectionName, key: &MovieKey) -> Self {
        Self::of('m', &[collection.as_str(), key.name(), &key.year().to_string()])
    }

    /// As it stands in headers: `c-` or `m-` and 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(kind: char, parts: &[&str]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let digest = context.finish();
        let half = digest.as_ref().iter().take(8);
        let hex = half.fold(String::from(kind) + "-", |text, byte| format!("{text}{byte:02x}"));
        Self(hex.into())
    }
}

/// For whom an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// No shared cache was spoken of.
    Asked,
    /// For everybody: shared caches may keep it.
    Everybody,
    /// For the caller alone.
    Caller,
}

impl FromRequestParts<App> for Audience {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if app.settings().shared.is_none() {
            return Ok(Self::Asked);
        }
        // Whoever has verified it: where a gateway did, we may let everybody in.
        let is_signed = parts.headers.contains_key(AUTHORIZATION);
        Ok(if is_signed || !app.auth().is_public_read() { Self::Caller } else { Self::Everybody })
    }
}

impl Audience {
    /// Replaces what a read says to caches without them.
    pub(crate) fn apply(
        self,
        app: &App,
        fetched: &Fetched,
        headers: &mut HeaderMap,
        tags: impl FnOnce() -> Vec<CacheTag>,
    ) {
        // What is stale already is not kept any longer.
        let shared = app.settings().shared.as_ref().filter(|_| !fetched.reading.is_stale);
        let Some(shared) = shared else { return };
        if self != Self::Everybody {
            headers.insert(CACHE_CONTROL, PRIVATE);
            if app.auth().is_public_read() {
                headers.append(VARY, BY_CALLER);
            }
            return;
        }
        headers.insert(CACHE_CONTROL, shared.everybody.clone());
        headers.insert(CDN_CACHE_CONTROL, shared.caches.clone());
        headers.insert(SURROGATE_CONTROL, shared.caches.clone());
        let tags = tags();
        for (name, separator) in TAGS {
            let texts: Vec<&str> = tags.iter().map(CacheTag::as_str).collect();
            let text = texts.join(separator.encode_utf8(&mut [0; 4]));
            headers.insert(name, HeaderValue::try_from(text).expect("tags are ASCII"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_made_of_where_something_is() {
        let name = |text| CollectionName::parse(text).unwrap();
        let key = |text, year| {
            MovieKey::parse(text, movies_store::key::Year::new(year).unwrap()).unwrap()
        };
        let (one, other) = (name("movies.json"), name("other.json"));
        let tag = CacheTag::movie(&one, &key("Heat", 1995));
        assert_eq!(tag.as_str().len(), 18);
        assert!(tag.as_str().starts_with("m-"));
        assert_eq!(tag, CacheTag::movie(&one, &key("Heat", 1995)));
        assert_ne!(tag, CacheTag::movie(&one, &key("Heat", 1996)));
        assert_ne!(tag, CacheTag::movie(&other, &key("Heat", 1995)));
        assert_ne!(CacheTag::lists(&one), CacheTag::lists(&other));
        assert_ne!(CacheTag::movies(&one).as_str(), tag.as_str());
    }
}
