//! Batches on their way between replicas, over HTTP of their own: the listener of
//! `--internal-listen` takes them, and the address of it stands in the commits of this replica.
//!
//! Never decides what becomes of a batch; that is the store's (`movies_store::Peers`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use movies_store::key::CollectionName;
use movies_store::meters::Counter;
use movies_store::{Carriage, Env, Peers, Store, spans};
use reqwest::Client;

use crate::auth::variable;
use crate::telemetry::traces::{TRACEPARENT, Traceparent};

mod answer;
mod signature;

use answer::ANSWER_BYTES_MAX;
use signature::{Key, Message, Seen, Stamp};

/// The path that takes batches, and then the collection's name.
pub(crate) const PATH: &str = "/v1/batches/";
/// The variable with the secret.
const SECRET: &str = "MOVIES_INTERNAL_KEY";
/// The fewest bytes of a secret: as many as the signature has.
const SECRET_BYTES_MIN: usize = 32;
/// A replica that takes so long to be reached is as good as gone.
const CONNECT_MAX: Duration = Duration::from_millis(200);
/// What a span says of a batch that was sent.
const OUTCOME: &str = "movies.forward.outcome";
/// How long a batch may take. Its owner has given up before, and created it itself.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The other replicas, as this one reaches them and hears from them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpPeers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: String,
    bucket: String,
    key: Key,
    seen: Seen,
    client: Client,
    env: Env,
    /// Messages that changed nothing, since nobody can tell whose they are.
    forged: Counter,
    /// Messages that changed nothing, though they were signed.
    refused: Counter,
}

impl HttpPeers {
    /// `address`: `host:port` where other replicas reach this one; `bucket`: the URL of theirs; the
    /// secret stands in a file or in `MOVIES_INTERNAL_KEY`. Needs a runtime.
    ///
    /// # Errors
    /// What is wrong with the secret.
    pub fn start(address: String, bucket: String, key_file: Option<&Path>) -> anyhow::Result<Self> {
        let secret = match (variable(SECRET, key_file)?, key_file) {
            (Some(secret), _) => secret.reveal().trim().to_owned(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .trim()
                .to_owned(),
            (None, None) => bail!(
                "--internal-listen needs a secret that all replicas have: --internal-key-file FILE, \
                 or the secret in {SECRET}; `openssl rand -base64 32` makes one"
            ),
        };
        if secret.len() < SECRET_BYTES_MIN {
            bail!(
                "the secret of --internal-listen has under {SECRET_BYTES_MIN} bytes; `openssl rand -base64 32` makes one"
            );
        }
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .tcp_nodelay(true)
            .build()
            .context("cannot make a client for other replicas")?;
        let key = Key::new(secret.as_bytes());
        let inner = Inner {
            address,
            bucket,
            key,
            seen: Seen::default(),
            client,
            env: Env::real(),
            forged: Counter::default(),
            refused: Counter::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How many messages were not signed as they must be, and how many were signed and refused.
    pub(crate) fn refusals(&self) -> (u64, u64) {
        (self.inner.forged.get(), self.inner.refused.get())
    }

    /// Takes a batch that a replica has sent: the answer. One that is not signed, is too old or came
    /// before changes nothing.
    pub(crate) async fn take(
        &self,
        store: &Store,
        collection: &CollectionName,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response {
        let Inner { address, bucket, key, seen, env, .. } = &*self.inner;
        let message = Message { to: address, bucket, collection, body: &body };
        let stamp = key.verify(headers, message);
        let Some(stamp) = stamp.filter(|stamp| seen.admits(*stamp, env.now().0)) else {
            self.inner.forged.increase();
            let why =
                "not signed for this replica with its secret, come before, or of another minute";
            return (StatusCode::UNAUTHORIZED, why).into_response();
        };
        match store.carry(collection, body).await {
            Ok(Carriage::Committed { seq, commits }) => {
                let body = answer::encode(seq, &commits);
                ([key.sign_answer(stamp.nonce, &body)], body).into_response()
            }
            Ok(Carriage::NotCarried | Carriage::Failed) => {
                (StatusCode::CONFLICT, "this replica does not write").into_response()
            }
            Err(error) => {
                self.inner.refused.increase();
                tracing::warn!(%collection, %error, "a batch of another replica is refused");
                (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response()
            }
        }
    }
}

/// Whether it is a host and a port: it stands in every commit and becomes part of a URL.
pub(crate) fn is_address(text: &str) -> bool {
    let authority = text.parse::<http::uri::Authority>();
    authority.is_ok_and(|authority| authority.port_u16().is_some()) && !text.contains('@')
}

impl Peers for HttpPeers {
    fn address(&self) -> &str {
        &self.inner.address
    }

    fn forward(
        &self,
        address: &str,
        collection: &CollectionName,
        message: Bytes,
    ) -> BoxFuture<'static, Carriage> {
        let Inner { bucket, key, client, env, .. } = &*self.inner;
        if !is_address(address) {
            tracing::warn!(%collection, address, "a commit names no address of a replica");
            return std::future::ready(Carriage::Failed).boxed();
        }
        let stamp = Stamp { at_ms: env.now().0, nonce: env.uuid() };
        let signed = key.sign(stamp, Message { to: address, bucket, collection, body: &message });
        let mut headers: HeaderMap = signed.into_iter().collect();
        let mut span = spans::call("forward");
        if let Some(span) = &mut span {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            span.set("server.address", host.trim_matches(['[', ']']).to_owned());
            span.set("server.port", port.parse::<u64>().unwrap_or_default());
            // Until it is answered.
            span.set(OUTCOME, "abandoned");
            headers.insert(TRACEPARENT, Traceparent::kept(span.context()).header());
        }
        let request = client.post(format!("http://{address}{PATH}{collection}"));
        let request = request.headers(headers).body(message);
        let (to, collection, peers) = (address.to_owned(), collection.clone(), self.clone());
        async move {
            let answer = async {
                let mut answer = request.send().await?;
                let mut body = BytesMut::new();
                while body.len() <= ANSWER_BYTES_MAX
                    && let Some(chunk) = answer.chunk().await?
                {
                    body.extend_from_slice(&chunk);
                }
                let body = body.freeze();
                let is_signed = peers.inner.key.is_answer(stamp.nonce, answer.headers(), &body);
                Ok::<_, reqwest::Error>((answer.status(), body, is_signed))
            };
            let carriage = match answer.await {
                Ok((StatusCode::OK, body, true)) => match answer::decode(body) {
                    Some((seq, commits)) => Carriage::Committed { seq, commits },
                    None => Carriage::Failed,
                },
                Ok((StatusCode::CONFLICT, ..)) => Carriage::NotCarried,
                Ok((status, body, _)) => {
                    let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
                    tracing::warn!(%collection, to, %status, text, "a replica refuses a batch");
                    Carriage::Failed
                }
                Err(error) => {
                    tracing::debug!(%collection, to, %error, "a replica cannot be reached");
                    Carriage::Failed
                }
            };
            if let Some(span) = &mut span {
                let (outcome, is_failed) = match &carriage {
                    Carriage::Committed { .. } => ("committed", false),
                    Carriage::NotCarried => ("not carried", false),
                    Carriage::Failed => ("failed", true),
                };
                span.set(OUTCOME, outcome);
                if is_failed {
                    span.set("error.type", outcome);
                    span.fail();
                }
            }
            carriage
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_more() {
        for address in ["movies-0.movies:5001", "[::1]:5001", "10.0.0.1:5001"] {
            assert!(is_address(address), "{address}");
        }
        for wrong in
            ["movies-0", "http://movies-0:5001", "a b:1", "user@host:1", "", "host:x", "h:1/x"]
        {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
