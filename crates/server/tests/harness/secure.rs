//! HTTPS as a client that trusts one certificate speaks it: by hyper, over HTTP/1.1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Server, keep_secret};

/// A certificate for `localhost`, signed by itself, and its key.
pub(crate) struct Identity {
    cert: CertificateDer<'static>,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        Self::until(2999)
    }

    /// One that ends with this year.
    pub(crate) fn until(year: i32) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let (cert, key_pem) = (params.self_signed(&key).unwrap(), key.serialize_pem());
        keep_secret(&key_pem);
        Self { cert: cert.der().clone(), cert_pem: cert.pem(), key_pem }
    }

    /// Writes both files as `tls.crt` and `tls.key`.
    pub(crate) fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&cert, &self.cert_pem).unwrap();
        std::fs::write(&key, &self.key_pem).unwrap();
        (cert, key)
    }
}

/// A client that trusts one certificate and speaks one version of HTTP.
pub(crate) struct SecureClient {
    runtime: Runtime,
    connector: TlsConnector,
    version: Version,
}

impl SecureClient {
    pub(crate) fn new(trusted: &Identity, version: Version) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.cert.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocol: &[u8] = if version == Version::HTTP_2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, connector: TlsConnector::from(Arc::new(config)), version }
    }

    /// A connection after its handshake.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = self.connector.connect(name, stream).await?;
            let protocol = stream.get_ref().1.alpn_protocol();
            assert_eq!(protocol == Some(b"h2"), self.version == Version::HTTP_2, "{protocol:?}");
            Ok(stream)
        })
    }

    pub(crate) fn write(&self, stream: &mut TlsStream<TcpStream>, bytes: &[u8]) {
        self.runtime
            .block_on(async {
                stream.write_all(bytes).await?;
                stream.flush().await
            })
            .expect("the server takes it");
    }

    /// What comes until the server closes, well or not.
    pub(crate) fn read_to_end(&self, stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
        let mut bytes = Vec::new();
        drop(self.runtime.block_on(stream.read_to_end(&mut bytes)));
        bytes
    }

    /// The answer to a request on a connection of its own.
    pub(crate) fn try_ask(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        body: &'static str,
    ) -> Option<Response<Bytes>> {
        let io = TokioIo::new(self.connect(server.address()).ok()?);
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .version(self.version)
            .header("Host", "localhost")
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        self.runtime.block_on(async {
            let response = if self.version == Version::HTTP_2 {
                let (mut sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.ok()?;
                tokio::spawn(connection);
                sender.send_request(request).await.ok()?
            } else {
                let (mut sender, connection) = http1::handshake(io).await.ok()?;
                tokio::spawn(connection);
                sender.send_request(request).await.ok()?
            };
            let (head, body) = response.into_parts();
            Some(Response::from_parts(head, body.collect().await.ok()?.to_bytes()))
        })
    }

    #[track_caller]
    pub(crate) fn ask(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        body: &'static str,
    ) -> Response<Bytes> {
        let answer = self.try_ask(server, method, path, body);
        answer.unwrap_or_else(|| panic!("no answer to {method} {path}: {}", server.log()))
    }
}
