//! Between a replica and its bucket: one listener a replica, whose requests are delayed, refused,
//! cut off before or after they took effect, or carried out when nobody waits any more.
//!
//! Takes requests and answers whole and changes nothing in them, signatures included. What goes
//! wrong follows from a seed and the order in which a replica's requests arrive.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::wire::{Reset, Wire};

/// What stands in the name of every commit object.
const COMMIT: &str = ".log/commit/";
/// A request that takes effect late does so within this time.
const LATE_MS_MAX: u64 = 3_000;

/// How a replica's requests fare; chances are in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weather {
    /// Every request takes this long on its way to the bucket, and every answer back.
    pub(super) way: Duration,
    /// And up to this much longer.
    pub(super) jitter: Duration,
    /// The connection is reset and the request is never carried out.
    pub(super) reset_before: u16,
    /// It is carried out, then the connection is reset.
    pub(super) reset_after: u16,
    /// 503 `SlowDown`; it is never carried out.
    pub(super) slow_down: u16,
    /// It is carried out and answered by 500.
    pub(super) error_after: u16,
    /// The connection is reset and the request is carried out later.
    pub(super) late: u16,
}

impl Weather {
    /// Everything that can go wrong does.
    pub(super) const STORM: Self = Self {
        way: Duration::ZERO,
        jitter: Duration::from_millis(20),
        reset_before: 10,
        reset_after: 10,
        slow_down: 15,
        error_after: 10,
        late: 5,
    };
}

/// Whether a replica reaches the bucket at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It does.
    Up,
    /// Its connections are reset, new ones at once.
    Refused,
    /// Its connections are reset; nobody speaks on new ones.
    Silent,
}

/// What the proxy says that is not true: with it the checker must find something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// "Created", about a commit that was never sent on.
    Created,
    /// "There is no such object", about a commit that is there.
    Absent,
}

/// What a proxy has seen.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// All requests that reached it.
    pub(super) requests: AtomicU64,
    /// Those that would create a commit.
    pub(super) commit_puts: AtomicU64,
    /// Those that met a fault other than delay.
    pub(super) faults: AtomicU64,
}

/// The listener of one replica. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    bucket: String,
    client: Client<HttpConnector, Full<Bytes>>,
    link: watch::Sender<Link>,
    weather: Mutex<Weather>,
    lie: Mutex<Option<Lie>>,
    rng: Mutex<ChaCha12Rng>,
    counts: Counts,
    /// Requests on their way to the bucket.
    under_way: AtomicU64,
    /// What conditional writes must hold, of all replicas together.
    turn: Option<Arc<Semaphore>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    ResetBefore,
    ResetAfter,
    SlowDown,
    ErrorAfter,
    Late(Duration),
}

impl Proxy {
    /// Listens for one replica. With `turn` conditional writes wait for each other: for servers
    /// that check and write in two steps.
    ///
    /// # Errors
    /// Where the system gives no port.
    pub(super) async fn start(
        bucket: String,
        seed: u64,
        turn: Option<Arc<Semaphore>>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            bucket,
            // A request that failed is the replica's to repeat.
            client: Client::builder(TokioExecutor::new())
                .retry_canceled_requests(false)
                .build_http(),
            link: watch::Sender::new(Link::Up),
            weather: Mutex::default(),
            lie: Mutex::default(),
            rng: Mutex::new(ChaCha12Rng::seed_from_u64(seed)),
            counts: Counts::default(),
            under_way: AtomicU64::new(0),
            turn,
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Where its replica finds the bucket.
    #[must_use]
    pub(super) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// From now on it is like this.
    pub(super) fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
    }

    /// Connects or cuts off.
    pub(super) fn link(&self, link: Link) {
        self.shared.link.send_replace(link);
    }

    /// From now on it lies.
    pub(super) fn lie(&self, lie: Option<Lie>) {
        *lock(&self.shared.lie) = lie;
    }

    /// What it has seen.
    #[must_use]
    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Whether requests are on their way, late ones included.
    #[must_use]
    pub(super) fn is_busy(&self) -> bool {
        self.shared.under_way.load(Ordering::Acquire) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// One connection, until it ends or its replica is cut off.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it, Nagle against delayed ACK makes every answer 40 ms late.
    stream.set_nodelay(true).unwrap_or(());
    let reset = Reset::default();
    let wire = Wire::new(stream, reset.clone());
    let mut link = shared.link.subscribe();
    let now = *link.borrow_and_update();
    if now != Link::Up {
        reset.set();
        if now == Link::Silent {
            drop(link.wait_for(|link| *link == Link::Up).await);
        }
        return;
    }
    let service = service_fn({
        let reset = reset.clone();
        move |request| answer(Arc::clone(&shared), reset.clone(), request)
    });
    let mut protocol = http1::Builder::new();
    let connection = protocol.half_close(true).serve_connection(TokioIo::new(wire), service);
    tokio::select! {
        biased;
        _ = link.wait_for(|link| *link != Link::Up) => reset.set(),
        // An error is a replica that went away, or a reset of ours.
        ended = connection => ended.unwrap_or(()),
    }
}

/// A request that has come whole is carried out whatever becomes of its connection: so it is with
/// every real bucket.
async fn answer(
    shared: Arc<Shared>,
    reset: Reset,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, body.collect().await?.to_bytes());
    match tokio::spawn(shared.carry_out(request)).await {
        Ok(Some(response)) => Ok(response),
        _ => {
            reset.set();
            Err("the connection is reset".into())
        }
    }
}

impl Shared {
    async fn carry_out(self: Arc<Self>, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let is_commit = request.uri().path().contains(COMMIT);
        if is_commit && request.method() == Method::PUT {
            self.counts.commit_puts.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(lie) = is_commit.then(|| self.lied(request.method())).flatten() {
            return Some(lie);
        }
        let weather = *lock(&self.weather);
        let (fate, there, back) = self.draw(&weather);
        if fate != Fate::Answered {
            self.counts.faults.fetch_add(1, Ordering::Relaxed);
        }
        sleep(there).await;
        let answer = match fate {
            Fate::ResetBefore => return None,
            Fate::SlowDown => return Some(xml(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Fate::Late(after) => {
                let late = Arc::clone(&self);
                self.under_way.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(async move {
                    sleep(after).await;
                    late.forward(request).await;
                    late.under_way.fetch_sub(1, Ordering::AcqRel);
                });
                return None;
            }
            Fate::Answered | Fate::ResetAfter | Fate::ErrorAfter => {
                self.under_way.fetch_add(1, Ordering::AcqRel);
                let answer = self.forward(request).await;
                self.under_way.fetch_sub(1, Ordering::AcqRel);
                answer
            }
        };
        sleep(back).await;
        match fate {
            Fate::ResetAfter => None,
            Fate::ErrorAfter => Some(xml(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            _ => answer,
        }
    }

    fn draw(&self, weather: &Weather) -> (Fate, Duration, Duration) {
        let mut rng = lock(&self.rng);
        let mut way = || weather.way + weather.jitter.mul_f64(rng.random_range(0.0..1.0));
        let (there, back) = (way(), way());
        let late = Duration::from_millis(rng.random_range(100..LATE_MS_MAX));
        let mut left = rng.random_range(0..1_000_u16);
        let chances = [
            (weather.reset_before, Fate::ResetBefore),
            (weather.reset_after, Fate::ResetAfter),
            (weather.slow_down, Fate::SlowDown),
            (weather.error_after, Fate::ErrorAfter),
            (weather.late, Fate::Late(late)),
        ];
        for (chance, fate) in chances {
            match left.checked_sub(chance) {
                None => return (fate, there, back),
                Some(rest) => left = rest,
            }
        }
        (Fate::Answered, there, back)
    }

    /// `None` where the bucket gave no whole answer.
    async fn forward(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        let is_write = request.method() == Method::PUT;
        let _turn = match &self.turn {
            Some(turn) if is_write => turn.acquire().await.ok(),
            _ => None,
        };
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        head.uri = format!("http://{}{target}", self.bucket).parse::<Uri>().ok()?;
        let request = Request::from_parts(head, Full::new(body));
        let (mut head, body) = self.client.request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        // The body is whole by now, and connections are each side's own.
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.remove(CONNECTION);
        head.version = http::Version::HTTP_11;
        Some(Response::from_parts(head, Full::new(body)))
    }

    fn lied(&self, method: &Method) -> Option<Response<Full<Bytes>>> {
        match (*lock(&self.lie), method) {
            (Some(Lie::Created), &Method::PUT) => {
                let created = Response::builder().header("etag", "\"d41d8cd98f00b204\"");
                created.body(Full::default()).ok()
            }
            (Some(Lie::Absent), &Method::GET) => Some(xml(StatusCode::NOT_FOUND, "NoSuchKey")),
            _ => None,
        }
    }
}

/// An error as S3 words it.
fn xml(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
    response
}
