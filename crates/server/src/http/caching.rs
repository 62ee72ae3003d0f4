//! What lets a cache or a client keep an answer: tags, dates, `Cache-Control`.
//!
//! Decides 304 and 412 of reads before any byte of a body is touched. Every answer is
//! `no-cache`: it may be kept, but is revalidated each time, so it stays linearizable through any
//! cache. What caches may keep without asking, where the operator wants that, is in `shared.rs`.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use http::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use movies_store::State;
use movies_store::key::{LogId, Tag, Timestamp, Version};

use super::access::{Fetched, add_timing};
use super::encoding;
use super::negotiate::Coding;
use super::precondition::{ReadConditions, Verdict};
use super::problem::{PRECONDITION_FAILED, Problem};
use crate::app::App;

pub(crate) const MOVIES_VERSION: HeaderName = HeaderName::from_static("movies-version");
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const BY_CODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");
/// What is not for everybody must not be sent to somebody else by a cache.
const BY_CALLER: HeaderValue = HeaderValue::from_static("Authorization");
const BY_CODING_AND_CALLER: HeaderValue =
    HeaderValue::from_static("Accept-Encoding, Authorization");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
pub(crate) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A change this young has no `Last-Modified`: another may follow within the same second.
const MODIFIED_AGE_MIN_MS: i64 = 1_000;

thread_local! {
    /// The headers of the version that this thread was asked for last. Not shared: each answer
    /// counts up and down how often they are held, and two threads would wait for each other there.
    static STAMP: RefCell<Option<Arc<Stamp>>> = const { RefCell::new(None) };
}

/// The headers of one version of a collection, made once a thread and cloned into every answer.
#[derive(Debug)]
pub(crate) struct Stamp {
    of: (LogId, Version),
    plain: EntityTag,
    zipped: EntityTag,
    version: HeaderValue,
    changed_at: Timestamp,
    last_modified: Option<HeaderValue>,
    is_settled: AtomicBool,
}

/// A tag in both the forms that are needed.
#[derive(Debug)]
struct EntityTag {
    /// Without quotes.
    opaque: String,
    header: HeaderValue,
}

impl EntityTag {
    fn new(opaque: String) -> Self {
        Self { header: quoted(&opaque), opaque }
    }
}

impl Stamp {
    /// That of this state's version; the last is kept.
    fn of(state: &State) -> Arc<Self> {
        STAMP.with_borrow_mut(|kept| match kept {
            Some(stamp) if stamp.of == (state.log(), state.version()) => Arc::clone(stamp),
            _ => Arc::clone(kept.insert(Arc::new(Self::new(state)))),
        })
    }

    fn new(state: &State) -> Self {
        let tag = state.tag();
        let at = jiff::Timestamp::from_millisecond(state.changed_at().0).ok();
        let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
        Self {
            of: (state.log(), state.version()),
            plain: EntityTag::new(tag.to_string()),
            zipped: EntityTag::new(format!("{tag}-gzip")),
            version: version_header(state),
            changed_at: state.changed_at(),
            last_modified: at
                .and_then(|at| printer.timestamp_to_rfc9110_string(&at).ok())
                .and_then(|date| HeaderValue::try_from(date).ok()),
            is_settled: AtomicBool::new(false),
        }
    }

    /// Since when it is as it is, where that may be told.
    fn modified(&self) -> Option<(Timestamp, &HeaderValue)> {
        // Once old enough, always; the clock is not asked again.
        if !self.is_settled.load(Ordering::Relaxed) {
            self.is_settled.store(self.has_settled(), Ordering::Relaxed);
        }
        let settled = self.is_settled.load(Ordering::Relaxed);
        self.last_modified.as_ref().filter(|_| settled).map(|date| (self.changed_at, date))
    }

    fn has_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let settled = now.saturating_sub(self.changed_at.0) >= MODIFIED_AGE_MIN_MS;
        // Before the first change there is no date.
        settled && self.changed_at > Timestamp::default()
    }
}

/// A read, on its way to its answer.
pub(crate) struct Answer<'a> {
    app: &'a App,
    fetched: &'a Fetched,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(app: &'a App, fetched: &'a Fetched) -> Self {
        Self { app, fetched }
    }

    /// Answers with something that is tagged as the whole collection is. `body` is only made
    /// where it is sent.
    ///
    /// # Errors
    /// 412 where `If-Match` does not hold.
    pub(crate) fn collection(
        &self,
        conditions: &ReadConditions,
        body: impl FnOnce() -> Body,
    ) -> Result<Response, Problem> {
        let stamp = Stamp::of(&self.fetched.reading.state);
        let modified = stamp.modified();
        let verdict = conditions.judge(&stamp.plain.opaque, modified.map(|(at, _)| at));
        let last_modified = modified.map(|(_, date)| date.clone());
        let body = if verdict == Verdict::Send { body() } else { Body::empty() };
        self.finish(&stamp, verdict, &stamp.plain, last_modified, body)
    }

    /// Answers with the whole collection, in the coding that the client likes best. Each coding
    /// is a representation of its own, with its own tag.
    ///
    /// # Errors
    /// 412 where `If-Match` does not hold.
    pub(crate) async fn catalogue(
        &self,
        conditions: &ReadConditions,
        coding: Coding,
    ) -> Result<Response, Problem> {
        let reading = &self.fetched.reading;
        let stamp = Stamp::of(&reading.state);
        // `[]` does not shrink.
        let is_zipped = coding == Coding::Gzip && reading.state.movies().count() > 0;
        let tag = if is_zipped { &stamp.zipped } else { &stamp.plain };
        let modified = stamp.modified();
        let verdict = conditions.judge(&tag.opaque, modified.map(|(at, _)| at));
        let last_modified = modified.map(|(_, date)| date.clone());
        let body = match verdict {
            Verdict::Send if is_zipped => {
                encoding::zipped_catalogue(self.app.store().compressor(), reading).await
            }
            Verdict::Send => encoding::catalogue(reading),
            Verdict::NotModified | Verdict::Failed => Body::empty(),
        };
        let answer = self.finish(&stamp, verdict, tag, last_modified, body);
        let vary = if self.app.auth().is_public_read() { BY_CODING } else { BY_CODING_AND_CALLER };
        let mut response = answer.map_err(|failed| failed.with_header(VARY, vary.clone()))?;
        response.headers_mut().insert(VARY, vary);
        if is_zipped && verdict == Verdict::Send {
            response.headers_mut().insert(CONTENT_ENCODING, GZIP);
        }
        Ok(response)
    }

    /// Answers with one movie. It has no date of its own: only its collection's is known.
    ///
    /// # Errors
    /// 412 where `If-Match` does not hold.
    pub(crate) fn movie(
        &self,
        conditions: &ReadConditions,
        tag: &Tag,
        body: impl FnOnce() -> Body,
    ) -> Result<Response, Problem> {
        let stamp = Stamp::of(&self.fetched.reading.state);
        let tag = EntityTag::new(tag.to_string());
        let verdict = conditions.judge(&tag.opaque, None);
        let body = if verdict == Verdict::Send { body() } else { Body::empty() };
        self.finish(&stamp, verdict, &tag, None, body)
    }

    fn finish(
        &self,
        stamp: &Stamp,
        verdict: Verdict,
        tag: &EntityTag,
        last_modified: Option<HeaderValue>,
        body: Body,
    ) -> Result<Response, Problem> {
        let etag = tag.header.clone();
        if verdict == Verdict::Failed {
            let detail = "If-Match names another version than the current one; read it again without If-Match";
            return Err(Problem::new(&PRECONDITION_FAILED, detail)
                .with_header(ETAG, etag)
                .with_header(MOVIES_VERSION, stamp.version.clone()));
        }
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(ETAG, etag);
        headers.insert(CACHE_CONTROL, NO_CACHE);
        headers.insert(MOVIES_VERSION, stamp.version.clone());
        add_timing(&mut headers, "probe", self.fetched.probe_time);
        if !self.app.auth().is_public_read() {
            headers.insert(VARY, BY_CALLER);
        }
        if let Some(date) = last_modified {
            headers.insert(LAST_MODIFIED, date);
        }
        if let Some(age) = age_header(self.fetched.reading.age) {
            headers.insert(AGE, age);
        }
        if self.fetched.reading.is_stale {
            headers.insert(CACHE_STATUS, stale_status(self.fetched.reading.age));
        }
        let status = if verdict == Verdict::NotModified {
            StatusCode::NOT_MODIFIED
        } else {
            headers.insert(CONTENT_TYPE, JSON);
            StatusCode::OK
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// An answer from memory that is older than it should be (RFC 9211 sections 2.1, 2.4 and 2.8).
fn stale_status(age: Duration) -> HeaderValue {
    let text = format!("movies-api; hit; ttl=-{}; detail=bucket-unavailable", age.as_secs());
    HeaderValue::try_from(text).expect("words and a number")
}

/// Only a read that may be stale has an age; it counts in whole seconds, rounded up.
fn age_header(age: Duration) -> Option<HeaderValue> {
    let seconds = age.as_secs() + u64::from(age.subsec_nanos() > 0);
    (seconds > 0).then(|| HeaderValue::from(seconds))
}

/// An entity tag as a header has it.
pub(crate) fn quoted(opaque: &str) -> HeaderValue {
    HeaderValue::try_from(format!("\"{opaque}\"")).expect("our tags are letters, digits and dashes")
}

/// `Movies-Version` of a state.
pub(crate) fn version_header(state: &State) -> HeaderValue {
    HeaderValue::from(state.version().0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_answer_has_no_age_and_a_stale_one_rounds_up() {
        assert_eq!(age_header(Duration::ZERO), None);
        assert_eq!(age_header(Duration::from_millis(1)), Some(HeaderValue::from(1)));
        assert_eq!(age_header(Duration::from_secs(2)), Some(HeaderValue::from(2)));
    }
}
