//! The certificate of a listener: read, held against its key, and read again when its files change.
//!
//! Owns handshakes. Never looks at what goes through, and holds nobody up: time and number of
//! handshakes are the listener's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

mod expiry;

pub use expiry::Expiry;

/// How often the files are looked at. What is found must stand for as long before it is judged: a
/// certificate and its key are written one after the other.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is told that a certificate ends soon.
const TELL_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// The most bytes of either file; chains of certificates have a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The first byte of a TLS record that begins a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What ALPN offers, the liked one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where a certificate and its private key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and a known authority, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCertificate(String);

/// What a listener needs for its handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    expiry: Expiry,
}

/// The files of a certificate, and what was found in them.
pub struct Renewal {
    files: TlsFiles,
    current: Arc<Current>,
    expiry: Expiry,
    judged: Found,
}

/// A new connection, after the first byte of its client.
pub(crate) enum Opened {
    /// The handshake is done.
    Tls(Box<TlsStream<TcpStream>>),
    /// The client does not speak TLS.
    Clear(TcpStream),
}

impl Tls {
    /// Reads a certificate and its key. Clients see what [`Renewal::run`] finds later.
    ///
    /// # Errors
    /// Which file is no good, and why.
    pub fn read(files: TlsFiles) -> Result<(Self, Renewal), BadCertificate> {
        let pair = files.read()?;
        let (key, ends) = pair.certified(&files)?;
        let expiry = Expiry::new(ends);
        expiry.tell(files.cert.display());
        let current = Arc::new(Current(ArcSwap::from_pointee(key)));
        let resolver = Arc::clone(&current);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| BadCertificate(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let tls = Self { acceptor, expiry: expiry.clone() };
        Ok((tls, Renewal { files, current, expiry, judged: Ok(pair) }))
    }

    /// When the certificate in use ends.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.expiry.clone()
    }

    /// Shakes hands, unless the client's first byte says that it speaks something else. Dropping
    /// the future closes the connection.
    pub(crate) async fn open(&self, stream: TcpStream) -> io::Result<Opened> {
        let mut first = [0];
        if stream.peek(&mut first).await? > 0 && first != [HANDSHAKE] {
            return Ok(Opened::Clear(stream));
        }
        let stream = self.acceptor.accept(stream).await?;
        Ok(Opened::Tls(Box::new(stream)))
    }
}

impl Renewal {
    /// Looks at the files for ever. A new pair that is good is what later clients see; for one that
    /// is not there is a line in the log, and the one before goes on. Cancel safe.
    pub async fn run(mut self) {
        let mut last = self.judged.clone();
        let mut told = Instant::now();
        loop {
            sleep(LOOK_AGAIN).await;
            let files = self.files.clone();
            let Ok(found) = spawn_blocking(move || files.read()).await else { return };
            let stands = found == last;
            if stands && found != self.judged {
                self.judge(found.clone());
            }
            last = found;
            if told.elapsed() >= TELL_AGAIN {
                self.expiry.tell(self.files.cert.display());
                told = Instant::now();
            }
        }
    }

    fn judge(&mut self, found: Found) {
        let certified = found.as_ref().map_err(BadCertificate::clone);
        match certified.and_then(|pair| pair.certified(&self.files)) {
            Ok((key, ends)) => {
                self.current.0.store(Arc::new(key));
                info!(cert = %self.files.cert.display(), "a new certificate is in use");
                self.expiry.set(ends);
                self.expiry.tell(self.files.cert.display());
            }
            Err(error) => warn!(%error, "the new certificate is no good; the one before goes on"),
        }
        self.judged = found;
    }
}

/// The certificate that clients see now.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What the two files had in them, or why they could not be read.
type Found = Result<Pair, BadCertificate>;

#[derive(Clone, PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl TlsFiles {
    fn read(&self) -> Found {
        Ok(Pair { cert: read("--tls-cert", &self.cert)?, key: read("--tls-key", &self.key)? })
    }
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, BadCertificate> {
    let refuse = |reason: String| BadCertificate(format!("{option} {}: {reason}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(refuse(format!("it has {bytes} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    std::fs::read(path).map_err(|error| refuse(error.to_string()))
}

impl Pair {
    /// What clients are shown, and when the first of the chain ends.
    fn certified(&self, files: &TlsFiles) -> Result<(CertifiedKey, Timestamp), BadCertificate> {
        let (cert, key) = (files.cert.display(), files.key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| BadCertificate(format!("--tls-cert {cert}: it is no PEM: {error}")))?;
        if chain.is_empty() {
            return Err(BadCertificate(format!(
                "--tls-cert {cert}: there is no certificate in it; it begins with \
                 -----BEGIN CERTIFICATE-----"
            )));
        }
        let ends = chain.iter().map(|one| expiry::not_after(one));
        let ends = ends.min().flatten().ok_or_else(|| {
            BadCertificate(format!("--tls-cert {cert}: a certificate in it is damaged"))
        })?;
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => BadCertificate(format!(
                "--tls-key {key}: there is no private key in it that can be read; it begins with \
                 -----BEGIN PRIVATE KEY----- (an encrypted one must be decrypted first)"
            )),
            // What is wrong could quote the key.
            _ => BadCertificate(format!("--tls-key {key}: it is no PEM")),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => "they do not belong together".to_owned(),
                other => other.to_string(),
            };
            BadCertificate(format!("--tls-cert {cert} and --tls-key {key}: {reason}"))
        })?;
        Ok((certified, ends))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("files", &self.files).finish_non_exhaustive()
    }
}
