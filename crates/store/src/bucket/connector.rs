//! What `object_store` does not show of an HTTP answer: the error code of a 404, a refusal for
//! good, and the server's clock.
//!
//! S3 says `NoSuchKey` for a missing object and `NoSuchBucket` for a missing bucket with the same
//! status; an ingress that reloads says 404 for anything. Only the first proves absence
//! (Amazon S3 API reference, "Error responses"; Azure Blob service "Status and error codes").

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, SpawnedReqwestConnector,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::pace;
use crate::env::Env;
use crate::key::Timestamp;

/// The codes that prove absence, as S3 and GCS, and as Azure say it.
const ABSENT_CODES: [&str; 2] = ["NoSuchKey", "BlobNotFound"];

/// A 404 that does not prove that the object is absent.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "a 404 that is no proof of absence (a missing bucket, or not the store that answers): {said}"
)]
pub struct UnprovenAbsence {
    /// What came with it.
    pub said: String,
}

/// The store refuses the request for good.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store refuses it with status {status}: {said}")]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What came with it.
    pub said: String,
}

/// Installs the process's TLS provider, unless there is one.
pub(super) fn install_crypto() {
    // Fails only where another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The first characters of a text, for an error message.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The server's clock, by the `Date` of its last answer (RFC 9110, section 6.6.1).
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    last: Mutex<Option<(Timestamp, Instant)>>,
    /// The last second that was parsed: most answers come within one.
    last_second: AtomicI64,
}

impl ServerClock {
    fn saw(&self, date: &str) {
        let Ok(at) = jiff::fmt::rfc2822::parse(date) else { return };
        let at = at.timestamp().as_second();
        if self.last_second.swap(at, Ordering::Relaxed) != at {
            // A date names the second that has begun; its middle is the best guess.
            let at = Timestamp(at * 1_000 + 500);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Instant::now()));
        }
    }

    /// What the server's clock shows at `now`.
    pub(super) fn now(&self, now: Instant) -> Option<Timestamp> {
        let (at, seen) = (*self.last.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = now.saturating_duration_since(seen).as_millis();
        Some(at.plus_ms(i64::try_from(since).ok()?))
    }
}

/// Makes clients that translate answers.
#[derive(Debug)]
pub(super) struct Connector {
    /// Connections belong to the runtime that opened the bucket, whichever runtime makes the
    /// request that opens them.
    inner: SpawnedReqwestConnector,
    clock: Arc<ServerClock>,
}

impl Connector {
    pub(super) fn new(clock: Arc<ServerClock>) -> Self {
        Self { inner: SpawnedReqwestConnector::new(Handle::current()), clock }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = self.inner.connect(options)?;
        let (clock, env) = (Arc::clone(&self.clock), Env::real());
        Ok(HttpClient::new(Translator { inner, clock, env }))
    }
}

#[derive(Debug)]
struct Translator {
    inner: HttpClient,
    clock: Arc<ServerClock>,
    /// Its own: real buckets are never simulated.
    env: Env,
}

#[async_trait]
impl HttpService for Translator {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let method = request.method().clone();
        let bytes = request.body().content_length() as u64;
        let response = pace::in_time(&self.env, bytes, self.inner.execute(request)).await?;
        if let Some(Ok(date)) = response.headers().get(http::header::DATE).map(|date| date.to_str())
        {
            self.clock.saw(date);
        }
        match response.status() {
            StatusCode::NOT_FOUND if method == Method::GET => prove_absence(response).await,
            status if is_refusal(status) && method == Method::PUT => {
                let said = body_text(response).await?.1;
                Err(HttpError::new(
                    HttpErrorKind::Unknown,
                    Refused { status: status.as_u16(), said: shortened(&said) },
                ))
            }
            _ => Ok(response),
        }
    }
}

/// Statuses that mean: not now and not the next time. 401 and 403 have variants of their own in
/// `object_store`; 404 on a PUT is a missing bucket.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 405 | 411 | 413 | 414 | 415 | 416 | 422 | 431 | 501)
}

async fn prove_absence(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let header = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok());
    let header = header.map(str::to_owned);
    let (parts, said) = body_text(response).await?;
    let in_body = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = header.as_deref().or(in_body.map(|(code, _)| code.trim()));
    if code.is_some_and(|code| ABSENT_CODES.contains(&code)) {
        let body = Full::new(said.into()).map_err(|never| match never {});
        return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
    }
    Err(HttpError::new(HttpErrorKind::Unknown, UnprovenAbsence { said: shortened(&said) }))
}

async fn body_text(response: HttpResponse) -> Result<(http::response::Parts, String), HttpError> {
    let (parts, body) = response.into_parts();
    let bytes = body.bytes().await?;
    Ok((parts, String::from_utf8_lossy(&bytes).into_owned()))
}
