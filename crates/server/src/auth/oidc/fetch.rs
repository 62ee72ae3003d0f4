//! Small documents from an issuer: its discovery document and its keys.
//!
//! Owns the limits of such a request. Never keeps anything.

use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use http::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde::Deserialize;
use url::Url;

use super::keys::KeySet;
use super::reach::Guard;
use crate::auth::providers::Issuer;

/// The longest discovery document or key set. Real ones take a few KiB.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long one document may take, all in all. Two of them must fit into a request's deadline.
const DOCUMENT_MAX: Duration = Duration::from_secs(8);

/// The HTTP client for servers that a configuration names: it follows no redirect, keeps no
/// connection and waits for nothing without end.
pub(crate) fn client() -> reqwest::ClientBuilder {
    // An error says that one is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_MAX)
        .timeout(DOCUMENT_MAX)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("movies-api/", env!("CARGO_PKG_VERSION")))
}

/// Why a document could not be had. For the log: a caller never sees it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No answer.
    #[error("{url} cannot be reached: {}", causes(.source))]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// An answer that is none.
    #[error("{url} answers {status}; a redirect is not followed")]
    Status {
        /// What was asked.
        url: String,
        /// What it said.
        status: u16,
    },
    /// An answer without end.
    #[error("{url} answers more than {max} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// What is allowed.
        max: usize,
    },
    /// An answer that says something else.
    #[error("{url}: {found}")]
    Wrong {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        found: String,
    },
}

impl FetchError {
    /// Of a request that had no answer. What the URL has in its query is told to nobody: a
    /// signature may stand there.
    pub(crate) fn unreachable(source: reqwest::Error) -> Self {
        let url = source.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        Self::Unreachable { url, source: source.without_url() }
    }
}

/// An error of the client with what caused it: alone it says only that something failed.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The client of one issuer.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: Client,
    guard: Guard,
    discovery: Url,
    issuer: String,
}

/// The two members that count (OIDC Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    /// A client that may go where this issuer sends it, and no deeper.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub(super) fn of(issuer: &Issuer) -> Result<Self, reqwest::Error> {
        Self::within(issuer, DOCUMENT_MAX)
    }

    /// [`Self::of`], each document within this time.
    pub(super) fn within(issuer: &Issuer, document_max: Duration) -> Result<Self, reqwest::Error> {
        let guard = Guard::of(&issuer.url);
        // The resolver must see every name, so no proxy may resolve them in its place.
        let client =
            client().timeout(document_max).no_proxy().dns_resolver(guard.clone()).build()?;
        let mut discovery = issuer.url.clone();
        let path = discovery.path().trim_end_matches('/');
        discovery.set_path(&format!("{path}/.well-known/openid-configuration"));
        Ok(Self { client, guard, discovery, issuer: issuer.id.clone() })
    }

    /// The issuer's present keys. Both documents are read each time, so that a provider may move
    /// its keys to another address.
    pub(super) async fn keys(&self) -> Result<KeySet, FetchError> {
        let wrong = |found| FetchError::Wrong { url: self.discovery.to_string(), found };
        let document = self.get(&self.discovery).await?;
        let document: Discovery =
            serde_json::from_slice(&document).map_err(|error| wrong(error.to_string()))?;
        // Or one issuer could speak in the name of another (RFC 8414, section 3.3).
        if document.issuer != self.issuer {
            return Err(wrong(format!(
                "its issuer is {:?}; configure exactly that, if it is the one you mean",
                document.issuer
            )));
        }
        let jwks_uri = Url::parse(&document.jwks_uri).map_err(|error| error.to_string());
        let jwks_uri = jwks_uri.and_then(|url| self.guard.check(&url).map(|()| url));
        let jwks_uri = jwks_uri.map_err(|why| wrong(format!("its jwks_uri: {why}")))?;
        let keys = self.get(&jwks_uri).await?;
        KeySet::parse(&keys).map_err(|found| FetchError::Wrong { url: jwks_uri.into(), found })
    }

    /// As if the issuer were found at this address.
    #[cfg(test)]
    pub(super) fn move_home(&self, ip: std::net::IpAddr) {
        self.guard.saw_home([ip]);
    }

    async fn get(&self, url: &Url) -> Result<BytesMut, FetchError> {
        let answer = self.client.get(url.clone()).header(ACCEPT, "application/json").send().await;
        read(answer.map_err(FetchError::unreachable)?, DOCUMENT_BYTES_MAX).await
    }
}

/// The whole body of a 200, up to so many bytes.
pub(crate) async fn read(mut answer: Response, max: usize) -> Result<BytesMut, FetchError> {
    let mut url = answer.url().clone();
    url.set_query(None);
    let url = String::from(url);
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status { url, status: answer.status().as_u16() });
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(FetchError::unreachable)? {
        if body.len() + chunk.len() > max {
            return Err(FetchError::TooLong { url, max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
