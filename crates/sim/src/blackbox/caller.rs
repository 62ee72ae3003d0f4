//! HTTP/1.1 to one replica, and whether a request that failed can have reached it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::identity::{Key, Provider};

const CONNECT_MAX: Duration = Duration::from_secs(1);
const TOKEN_SECONDS: u64 = 3_600;
/// Whom the tokens are for.
pub(super) const AUDIENCE: &str = "movies";

/// Whoever gives every write a name of its own, which the log keeps.
#[derive(Debug)]
pub(super) struct Names {
    provider: Provider,
    key: Key,
}

impl Names {
    pub(super) fn start() -> std::io::Result<Self> {
        let key = Key::new("blackbox");
        Ok(Self { provider: Provider::start(&[&key])?, key })
    }

    /// The replicas' file of identity providers.
    pub(super) fn file(&self) -> String {
        format!("[[oidc]]\nissuer = {:?}\naudience = {AUDIENCE:?}\n", self.provider.issuer())
    }

    /// As whom the log knows somebody.
    pub(super) fn actor(&self, name: &str) -> Arc<str> {
        format!("{}|{name}", self.provider.issuer()).into()
    }

    fn bearer(&self, name: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "iss": self.provider.issuer(), "sub": name, "aud": AUDIENCE,
            "iat": now, "exp": now + TOKEN_SECONDS, "scope": "movies:admin",
        });
        format!("Bearer {}", self.key.sign(&claims))
    }
}

/// A request, apart from whose it is.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Ask {
    pub(super) fn get(target: impl Into<String>) -> Self {
        Self::of(Method::GET, target)
    }

    pub(super) fn of(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: Bytes::new() }
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nobody took the connection: nothing was sent.
    Unsent,
    /// It was sent, perhaps; the answer did not come, or not in time.
    Unanswered,
}

/// One client's connection to one replica.
#[derive(Debug)]
pub(super) struct Caller {
    address: SocketAddr,
    names: Arc<Names>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    pub(super) fn new(address: SocketAddr, names: &Arc<Names>) -> Self {
        Self { address, names: Arc::clone(names), connection: None }
    }

    /// Asks once, in somebody's name. Dropping the future drops the connection.
    pub(super) async fn ask(
        &mut self,
        name: &str,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Heard, Failed> {
        let mut connection = match self.connection.take().filter(|c| !c.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(&ask.target)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.names.bearer(name));
        for (header, value) in &ask.headers {
            request = request.header(*header, value);
        }
        let request = request.body(Full::new(ask.body.clone())).map_err(|_bad| Failed::Unsent)?;
        let exchange = async {
            let (head, body) = connection.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Heard { status: head.status, headers: head.headers, body })
        };
        match timeout(patience, exchange).await {
            Ok(Ok(heard)) => {
                self.connection = Some(connection);
                Ok(heard)
            }
            _ => Err(Failed::Unanswered),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failed> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(self.address)).await;
        let Ok(Ok(stream)) = stream else { return Err(Failed::Unsent) };
        stream.set_nodelay(true).unwrap_or(());
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|_gone| Failed::Unsent)?;
        // Its error is the request's too.
        tokio::spawn(async move { connection.await.unwrap_or(()) });
        Ok(sender)
    }
}
