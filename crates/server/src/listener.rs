//! One listening socket and its connections: how many, how large a head, how long a silence.
//!
//! HTTP/1.1 and HTTP/2 share the port, over TLS or without. Never looks into a request; what a
//! request may be is decided in `http/`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower_http::timeout::TimeoutBody;
use tracing::{debug, warn};

use crate::app::Endpoint;
use crate::outgoing::{Outgoing, Pace};
use crate::tls::{Opened, Tls};
use crate::workers::Workers;

/// The most headers of a request; hyper itself answers 431 over it.
const HEADERS_MAX: usize = 100;
/// The most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 200;
/// The most streams of one HTTP/2 connection that were reset before they were looked at
/// (CVE-2023-44487, "rapid reset").
const RESET_STREAMS_MAX: usize = 20;
/// How often a silent HTTP/2 peer is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// The most clients that are being told that there are too many.
const REFUSALS_MAX: usize = 64;
/// How long a refused client may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long nothing is accepted after the system had no file or memory left for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

const TOO_MANY: Refusal = Refusal {
    head: "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n",
    body: concat!(
        r#"{"type":"/problems/overloaded","title":"Too many connections","status":503,"#,
        r#""detail":"as many connections are open as this server takes; try again in a moment"}"#,
        "\n"
    ),
};
const NOT_TLS: Refusal = Refusal {
    head: "HTTP/1.1 400 Bad Request\r\n",
    body: concat!(
        r#"{"type":"about:blank","title":"Bad Request","status":400,"#,
        r#""detail":"this port takes HTTPS only; write https:// for http://"}"#,
        "\n"
    ),
};

/// Whoever is at the other end of a connection: a client, or a gateway. Known to requests that
/// need it: those by POST, and all where proxies are believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections open at once; one more is told 503.
    pub connections_max: usize,
    /// Bytes of a request's line and headers together.
    pub head_bytes_max: usize,
    /// How long a client may send nothing of a request, or take nothing of an answer.
    pub stall_timeout: Duration,
}

/// Serves `endpoint` on `socket`, over TLS where there is a certificate, until `stop` is done; then accepts nothing more and ends when the
/// last request in flight is answered. Dropping the future stops accepting and leaves the open
/// connections to `workers`.
pub async fn serve(
    socket: TcpListener,
    tls: Option<Tls>,
    endpoint: Endpoint,
    limits: ConnectionLimits,
    workers: Arc<Workers>,
    stop: impl Future<Output = ()>,
) {
    let (accepting, closing) = watch::channel(());
    let acceptor = Acceptor {
        tls,
        closing,
        endpoint,
        workers,
        builder: Arc::new(builder(limits)),
        limits,
        permits: Arc::new(Semaphore::new(limits.connections_max)),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        graceful: GracefulShutdown::new(),
    };
    let mut stop = pin!(stop);
    let mut exhausted = false;
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    exhausted = false;
                    acceptor.take(stream, Peer(peer.ip()));
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    if !exhausted {
                        warn!(%error, "cannot accept connections until others close");
                    }
                    exhausted = true;
                    sleep(EXHAUSTED_PAUSE).await;
                }
            },
        }
    }
    drop((socket, accepting));
    acceptor.graceful.shutdown().await;
}

/// A client that went away before it was accepted is nothing. Everything else is the system's
/// want of files or memory: accepting on would spin, giving up would end a service that recovers
/// as soon as a connection closes.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn builder(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The head's buffer has slack so that a head somewhat over the limit still reaches `http/`,
    // whose 414 or 431 says what to do; hyper's own has no body.
    let buffer = (2 * limits.head_bytes_max).max(64 * 1024);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.stall_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(buffer);
    let header_list = u32::try_from(buffer).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(header_list)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.stall_timeout);
    builder
}

/// What new connections get.
struct Acceptor {
    tls: Option<Tls>,
    /// Its sender is dropped when nothing more is accepted.
    closing: watch::Receiver<()>,
    endpoint: Endpoint,
    workers: Arc<Workers>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    limits: ConnectionLimits,
    permits: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Acceptor {
    /// Gives a new connection to a worker, or refuses it.
    fn take(&self, stream: TcpStream, peer: Peer) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.endpoint.meters().turned_away.increase();
            // Over TLS it would cost a handshake to say so: it is only closed.
            if self.tls.is_none()
                && let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned()
            {
                tokio::spawn(refuse(stream, permit));
            }
            return;
        };
        let connection = Connection {
            tls: self.tls.clone(),
            closing: self.closing.clone(),
            endpoint: self.endpoint.clone(),
            builder: Arc::clone(&self.builder),
            limits: self.limits,
            peer,
            watcher: self.graceful.watcher(),
        };
        self.workers.spawn(stream, async move |stream| {
            let endpoint = connection.endpoint.clone();
            let open = endpoint.meters().connection();
            connection.run(stream).await;
            drop((open, permit));
        });
    }
}

/// Says 503.
async fn refuse(stream: TcpStream, permit: OwnedSemaphorePermit) {
    TOO_MANY.tell(stream).await;
    drop(permit);
}

/// An answer to a client whose request is not looked at.
struct Refusal {
    head: &'static str,
    body: &'static str,
}

impl Refusal {
    /// Tells it and waits until the client has heard it: closing at once, with the request still
    /// unread, would reset the connection and lose the answer.
    async fn tell(&self, mut stream: TcpStream) {
        let told = timeout(REFUSAL_TIMEOUT, async {
            let Self { head, body } = self;
            let answer = format!(
                "{head}content-type: application/problem+json\r\ncache-control: no-store\r\n\
                 connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            let mut unread = [0; 1024];
            while stream.read(&mut unread).await? > 0 {}
            io::Result::Ok(())
        });
        if !matches!(told.await, Ok(Ok(()))) {
            debug!("a refused client did not wait for the answer");
        }
    }
}

/// One accepted connection.
struct Connection {
    tls: Option<Tls>,
    closing: watch::Receiver<()>,
    endpoint: Endpoint,
    builder: Arc<auto::Builder<TokioExecutor>>,
    limits: ConnectionLimits,
    peer: Peer,
    watcher: Watcher,
}

impl Connection {
    async fn run(mut self, stream: TcpStream) {
        // Without this, an answer in two segments waits for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = self.tls.take() else { return self.serve(stream).await };
        let opened = tokio::select! {
            biased;
            // No request has come yet, so nothing is cut off.
            _ = self.closing.changed() => return,
            opened = timeout(self.limits.stall_timeout, tls.open(stream)) => opened,
        };
        match opened {
            Ok(Ok(Opened::Tls(stream))) => Box::pin(self.serve(*stream)).await,
            Ok(Ok(Opened::Clear(stream))) => NOT_TLS.tell(stream).await,
            Ok(Err(error)) => debug!(%error, "a handshake failed"),
            Err(_elapsed) => debug!("a handshake that took too long was cut"),
        }
    }

    /// Of a type for each kind of stream, so that one without TLS pays nothing for it.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let stall = self.limits.stall_timeout;
        let mut socket = TimeoutStream::new(stream);
        socket.set_write_timeout(Some(stall));
        let movement = Arc::new(Movement::new());
        // Held as a whole, by this thread alone: counting who holds what all connections share
        // would have the threads wait for each other.
        let client = Arc::new(Client {
            endpoint: self.endpoint,
            movement: Arc::clone(&movement),
            stall,
            peer: self.peer,
        });
        let service = service_fn(|request| answer(Arc::clone(&client), request));
        let served = self.builder.serve_connection(TokioIo::new(Box::pin(socket)), service);
        let mut served = pin!(self.watcher.watch(served));
        loop {
            tokio::select! {
                biased;
                ended = &mut served => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = sleep(stall / 2) => {
                    if movement.has_stopped_for(stall) {
                        debug!("a connection on which nothing moved was cut");
                        return;
                    }
                }
            }
        }
    }
}

/// What the requests of a connection share.
struct Client {
    endpoint: Endpoint,
    movement: Arc<Movement>,
    stall: Duration,
    peer: Peer,
}

async fn answer(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let Client { endpoint, movement, stall, peer } = &*client;
    let http2 = request.version() == Version::HTTP_2;
    let running = Running::new(movement, http2);
    // The time-out hides that a body is empty, by which a DELETE with a body is told from one without.
    let mut request = request.map(|body| match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(TimeoutBody::new(*stall, body)),
    });
    if *request.method() == Method::POST || endpoint.believes_proxies() {
        request.extensions_mut().insert(*peer);
    }
    let response = endpoint.answer(request).await;
    drop(running);
    let pace = if http2 { Pace::Watched(Arc::clone(movement)) } else { Pace::Gathered };
    Ok(response.map(|body| Outgoing::new(body, pace)))
}

/// When something last moved on a connection, for what no time-out of the libraries sees: a
/// client that connects and never sends a whole request, and an HTTP/2 client that idles, or that
/// answers pings but never opens its window. (After its first request an HTTP/1.1 connection is
/// held by hyper's time-out for heads and the socket's for writes.)
#[derive(Debug)]
pub(crate) struct Movement {
    born: Instant,
    /// Milliseconds after `born`.
    moved_ms: AtomicU64,
    /// Requests whose answer has not begun; they have a deadline of their own.
    running: AtomicUsize,
    /// Whether an HTTP/1.1 request has arrived.
    http1: AtomicBool,
}

impl Movement {
    fn new() -> Self {
        Self {
            born: Instant::now(),
            moved_ms: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            http1: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn moved(&self) {
        self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn has_stopped_for(&self, limit: Duration) -> bool {
        let still_ms = self.now_ms().saturating_sub(self.moved_ms.load(Ordering::Relaxed));
        Duration::from_millis(still_ms) >= limit
            && self.running.load(Ordering::Relaxed) == 0
            && !self.http1.load(Ordering::Relaxed)
    }
}

/// Counts a request as running until it is dropped.
struct Running<'a>(&'a Movement);

impl<'a> Running<'a> {
    fn new(movement: &'a Movement, http2: bool) -> Self {
        if !http2 {
            movement.http1.store(true, Ordering::Relaxed);
        }
        movement.running.fetch_add(1, Ordering::Relaxed);
        Self(movement)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // What HTTP/1.1 connections do is watched elsewhere.
        if !self.0.http1.load(Ordering::Relaxed) {
            self.0.moved();
        }
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
