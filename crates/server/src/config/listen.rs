//! Where requests come in, and by which certificate.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::values::duration;
use crate::tls::TlsFiles;

/// Where requests come in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Listening")]
pub struct ListenArgs {
    /// Address of the API, HTTP/1.1 and HTTP/2; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", env = "MOVIES_LISTEN", default_value = "127.0.0.1:5000")]
    pub listen: String,
    /// Certificate of the API and those between it and a known authority (PEM): with it the API
    /// speaks HTTPS only. Both files are read again when they change
    #[arg(long, value_name = "FILE", env = "MOVIES_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM, not encrypted)
    #[arg(long, value_name = "FILE", env = "MOVIES_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Address of a second listener for /livez, /readyz and /metrics, which are then there only and
    /// ask for no token; always plain HTTP
    #[arg(long, value_name = "ADDRESS", env = "MOVIES_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,
    /// Networks of the gateways before this server, such as 10.0.0.0/8; may be repeated. What they
    /// say in Forwarded or X-Forwarded-For, -Proto and -Host is believed, from nobody else [default:
    /// nobody is believed]
    #[arg(long, value_name = "CIDR", env = "MOVIES_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// Threads that serve [default: one a core]
    #[arg(long, value_name = "N", env = "MOVIES_WORKERS")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// After a signal to stop, this replica says on /readyz that it drains and goes on taking
    /// requests for this long: the time that a gateway or Kubernetes needs to send them elsewhere
    #[arg(long, value_name = "DURATION", env = "MOVIES_DRAIN_DELAY", value_parser = duration)]
    #[arg(default_value = "0s")]
    pub drain_delay: Duration,
    /// After that, requests and writes in flight get this long; a second signal ends
    /// at once
    #[arg(long, value_name = "DURATION", env = "MOVIES_DRAIN_TIMEOUT", value_parser = duration)]
    #[arg(default_value = "25s")]
    pub drain_timeout: Duration,
}

impl ListenArgs {
    /// The certificate and its key, where the API speaks HTTPS.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { cert, key })
    }

    /// Whose word on the client is believed, as it was given.
    pub(super) fn trusted_proxies(&self) -> impl Iterator<Item = &str> {
        self.trusted_proxies.iter().map(String::as_str)
    }

    /// How many threads serve connections.
    #[must_use]
    pub fn workers(&self) -> NonZeroUsize {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.workers.and_then(|count| NonZeroUsize::new(count.into())).unwrap_or_else(cores)
    }
}
