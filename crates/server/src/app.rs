//! What requests share: the store, the parsed settings and whether this replica is draining.
//!
//! Owns [`App`] and the one function that turns it into an [`Endpoint`]. Never reads the
//! environment or a flag: `config.rs` does that and hands over [`Settings`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use movies_store::Store;
use movies_store::key::CollectionName;
use movies_store::movie::MovieLimits;

use crate::auth::Auth;
use crate::http;
use crate::peers::HttpPeers;
use crate::purge::Purges;
use crate::telemetry::meters::Meters;
use crate::telemetry::traces::Traces;
use crate::tls::Expiry;

pub use crate::http::Endpoint;
pub use crate::http::cors::{NoOrigin, Origins};
pub use crate::http::forwarded::{NoNetwork, TrustedProxies};
pub use crate::http::shared::{CacheTag, Shared};

/// What requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    settings: Settings,
    auth: Auth,
    default_collection: CollectionName,
    draining: AtomicBool,
    meters: Meters,
}

/// The parsed settings of the HTTP side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which objects of the bucket are collections.
    pub collections: Collections,
    /// Refuse writes with 403.
    pub read_only: bool,
    /// What a movie may take.
    pub movie: MovieLimits,
    /// The longest path and query, in bytes; over it 414.
    pub url_bytes_max: usize,
    /// The most bytes of header names and values; over it 431.
    pub headers_bytes_max: usize,
    /// The most open connections. Held by the listener; here to be told in `GET /api`.
    pub connections_max: usize,
    /// The most time until a request's first byte of answer.
    pub request_deadline: Duration,
    /// The most time that a reader or writer may stall. Held by the listener; here to be told in
    /// `GET /api`.
    pub stall_timeout: Duration,
    /// The status of a failed `If-Match` on a write.
    pub precondition_status: PreconditionStatus,
    /// Refuse writes of movies without a precondition with 428.
    pub require_preconditions: bool,
    /// Take only requests whose `Host` is a loopback name: a page from elsewhere whose name was
    /// rebound to this machine (DNS rebinding) is refused. For listeners on loopback without
    /// authentication.
    pub loopback_hosts_only: bool,
    /// Whose pages may use the API from a browser.
    pub cors_origins: Origins,
    /// `/livez`, `/readyz` and `/metrics` are on a listener of their own, and not beside the API.
    pub health_apart: bool,
    /// How long shared caches may keep what everybody may read; by default they ask each time.
    pub shared: Option<Shared>,
    /// The other replicas, where they hand over writes.
    pub peers: Option<HttpPeers>,
    /// Who tells shared caches what has changed.
    pub purges: Option<Purges>,
    /// Which requests are traced; by default none.
    pub traces: Option<Traces>,
    /// Whose word on the client's address, scheme and host is believed.
    pub trusted_proxies: TrustedProxies,
    /// The API is served over TLS, and browsers are told to come by it only.
    pub https: bool,
    /// When the certificate ends, told in `/metrics`.
    pub certificate: Option<Expiry>,
    /// Reads may be this old; told in `GET /api`.
    pub max_staleness: Option<Duration>,
    /// While the bucket does not answer, reads may be this old; told in `GET /api`.
    pub serve_stale: Option<Duration>,
    /// Where clients reach this service, where the operator says so.
    pub public_url: Option<String>,
    /// Version and commit of this build, told in `GET /api`.
    pub build: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            collections: Collections::default(),
            read_only: false,
            movie: MovieLimits::default(),
            url_bytes_max: 16 * 1024,
            headers_bytes_max: 32 * 1024,
            connections_max: 10_000,
            request_deadline: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            precondition_status: PreconditionStatus::Conflict,
            require_preconditions: false,
            loopback_hosts_only: false,
            cors_origins: Origins::Own,
            health_apart: false,
            shared: None,
            peers: None,
            purges: None,
            traces: None,
            trusted_proxies: TrustedProxies::default(),
            https: false,
            certificate: None,
            max_staleness: None,
            serve_stale: None,
            public_url: None,
            build: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// How a failed `If-Match` on a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreconditionStatus {
    /// 409, as the seed does.
    #[default]
    Conflict,
    /// 412, as RFC 9110 has it.
    PreconditionFailed,
}

/// Which objects of the bucket are collections: globs in which `*` does not cross `/`.
/// The default collection is always one.
#[derive(Clone, Debug)]
pub struct Collections {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Collections {
    /// Parses globs such as `*.json` or `archive/**/*.json`.
    ///
    /// # Errors
    /// What is wrong with which glob.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, globset::Error> {
        let patterns: Vec<String> = patterns.into_iter().map(str::to_owned).collect();
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            set.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
        }
        Ok(Self { set: set.build()?, patterns })
    }

    /// Whether this object is a collection.
    #[must_use]
    pub fn allows(&self, name: &CollectionName) -> bool {
        name.as_str() == CollectionName::DEFAULT || self.set.is_match(name.as_str())
    }

    /// The globs as given.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl Default for Collections {
    fn default() -> Self {
        Self::parse(["*.json"]).expect("the default glob is valid")
    }
}

impl App {
    /// What requests share from now on.
    #[must_use]
    pub fn new(store: Store, settings: Settings, auth: Auth) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                settings,
                auth,
                default_collection: CollectionName::default(),
                draining: AtomicBool::new(false),
                meters: Meters::default(),
            }),
        }
    }

    /// From now on `/readyz` answers 503, so that no more requests are sent here. Requests are
    /// still served; closing the listener and the store is the caller's.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    /// What is counted.
    pub(crate) fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn default_collection(&self) -> &CollectionName {
        &self.inner.default_collection
    }
}

/// The whole HTTP side: every route and layer.
pub fn endpoint(app: App) -> Endpoint {
    http::endpoint(app)
}

/// `/livez`, `/readyz` and `/metrics` alone, for an admin listener.
pub fn health_endpoint(app: App) -> Endpoint {
    http::health_endpoint(app)
}

/// What other replicas ask of this one, for a listener of its own.
pub fn batches_endpoint(app: App, peers: HttpPeers) -> Endpoint {
    http::batches_endpoint(app, peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_does_not_cross_a_slash_and_the_default_is_always_allowed() {
        let name = |text| CollectionName::parse(text).unwrap();
        let collections = Collections::default();
        assert!(collections.allows(&name("other.json")));
        assert!(!collections.allows(&name("a/other.json")));
        assert!(!collections.allows(&name("other.csv")));
        let collections = Collections::parse(["a/*.json"]).unwrap();
        assert!(collections.allows(&name("a/b.json")));
        assert!(!collections.allows(&name("b.json")));
        assert!(collections.allows(&CollectionName::default()));
    }
}
