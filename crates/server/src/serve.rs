//! `movies-api serve`: from the parsed options to a service, and back to nothing without losing a
//! write.
//!
//! Owns the order of start and stop. Never looks into a request (`http/`) or a connection
//! (`listener.rs`).

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::OptionFuture;
use movies_store::key::CollectionName;
use movies_store::{Absent, Bucket, Env, Options, Peers, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::app::{self, App};
use crate::auth;
use crate::config::{BUILD, Kinds, LimitArgs, ServeArgs};
use crate::listener::{self, ConnectionLimits};
use crate::peers::HttpPeers;
use crate::purge::Purging;
use crate::telemetry::traces::Tracing;
use crate::tls::{Renewal, Tls};
use crate::workers::Workers;

/// File descriptors beside those of connections: the bucket's, listeners, standard streams.
const SPARE_FILES: u64 = 256;
/// Those of a worker's runtime: its epoll and what wakes it.
const WORKER_FILES: u64 = 4;
/// How long answers that are being written get before a process that must stop is gone.
const FAREWELL: Duration = Duration::from_millis(100);

/// Serves until SIGTERM or SIGINT; then finishes what is in flight and returns.
///
/// # Errors
/// One sentence on why it cannot start, or on what was cut off when it had to stop.
pub async fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot listen to signals")?;
    raise_open_files_limit(args);
    // The sockets come first: that an address is taken should be known before anything is
    // written. Clients that connect now wait.
    let doors = Doors::open(args).await?;
    let address = doors.api.local_addr().context("cannot tell the address")?;
    let mut settings = args.settings(address.ip())?;
    let purging = args.purging()?;
    settings.purges = purging.as_ref().map(|purging| purging.purges.clone());
    let options = args.store_options();
    let tracing = args.tracing(&options.replica)?;
    settings.traces = tracing.as_ref().map(|tracing| tracing.traces.clone());
    settings.certificate = doors.tls.as_ref().map(|(tls, _)| tls.expiry());
    let kinds = args.auth.kinds(address.ip())?;
    let bucket = open_bucket(args)?;
    settings.peers = doors.peers(args, bucket.url())?;
    let started = auth::start(&args.auth, kinds, &bucket)?;
    let store = tokio::select! {
        biased;
        () = signals.next() => return Ok(()),
        store = start(&bucket, options, settings.peers.clone()) => store?,
    };
    let app = App::new(store.clone(), settings, started.auth.clone());
    tokio::spawn(started.keep_fresh(store.clone()));
    announce(address, &doors, &bucket, kinds);
    serve(app, store, doors, args, signals).await?;
    let last_purges = OptionFuture::from(purging.map(Purging::finish));
    let last_spans = OptionFuture::from(tracing.map(Tracing::finish));
    tokio::join!(last_purges, last_spans);
    info!("stopped");
    Ok(())
}

/// Where requests come in.
struct Doors {
    api: TcpListener,
    /// Where the API speaks HTTPS.
    tls: Option<(Tls, Renewal)>,
    admin: Option<TcpListener>,
    internal: Option<TcpListener>,
}

impl Doors {
    async fn open(args: &ServeArgs) -> anyhow::Result<Self> {
        let api = bind(&args.listen.listen, "--listen").await?;
        let admin = match &args.listen.admin_listen {
            Some(address) => Some(bind(address, "--admin-listen").await?),
            None => None,
        };
        let internal = match args.peers.listen() {
            Some(address) => Some(bind(address, "--internal-listen").await?),
            None => None,
        };
        let tls = args.listen.tls_files().map(Tls::read).transpose()?;
        Ok(Self { api, tls, admin, internal })
    }

    /// The other replicas, where they may hand over writes.
    fn peers(&self, args: &ServeArgs, bucket: &str) -> anyhow::Result<Option<HttpPeers>> {
        let Some(internal) = &self.internal else { return Ok(None) };
        let address = internal.local_addr().context("cannot tell the address")?;
        args.peers.start(address, bucket).map(Some)
    }
}

/// Serves until a signal, then drains.
async fn serve(
    app: App,
    store: Store,
    doors: Doors,
    args: &ServeArgs,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let limits = connection_limits(&args.limits);
    let workers = Arc::new(Workers::start(args.listen.workers()).context("cannot start threads")?);
    let Doors { api, tls, admin, internal } = doors;
    if let Some((internal, peers)) = internal.zip(app.settings().peers.clone()) {
        // Until the very end as well: a batch that is refused goes elsewhere.
        let endpoint = app::batches_endpoint(app.clone(), peers);
        let workers = Arc::clone(&workers);
        let for_ever = std::future::pending();
        tokio::spawn(listener::serve(internal, None, endpoint, limits, workers, for_ever));
    }
    if let Some(admin) = admin {
        // It answers until the very end, so that the drain can be watched.
        let endpoint = app::health_endpoint(app.clone());
        let workers = Arc::clone(&workers);
        let for_ever = std::future::pending();
        tokio::spawn(listener::serve(admin, None, endpoint, limits, workers, for_ever));
    }
    let tls = tls.map(|(tls, renewal)| {
        tokio::spawn(renewal.run());
        tls
    });
    let (stop, mut stopped) = watch::channel(());
    let stopped = async move {
        // A dropped sender is a reason to stop as well.
        let _: Result<(), watch::error::RecvError> = stopped.changed().await;
    };
    let endpoint = app::endpoint(app.clone());
    let serving = tokio::spawn(listener::serve(api, tls, endpoint, limits, workers, stopped));
    tokio::select! {
        biased;
        () = signals.next() => {}
        error = distrusted(&store) => bail!("{error}; stopped at once, look at the disk"),
    }
    app.drain();
    let delay = args.listen.drain_delay;
    if !delay.is_zero() {
        info!("draining: /readyz says so, and requests are taken for another {delay:?}");
    }
    let drained = async {
        sleep(delay).await;
        info!("stopping: no new connections; requests and writes in flight are finished");
        drop(stop);
        serving.await.context("the listener failed")?;
        store.close().await;
        anyhow::Ok(())
    };
    tokio::select! {
        biased;
        drained = drained => drained?,
        error = distrusted(&store) => bail!("{error}; stopped at once, look at the disk"),
        () = signals.next() => bail!("stopped by a second signal; requests in flight were cut off"),
        () = sleep(delay + args.listen.drain_timeout) => bail!(
            "stopped after --drain-timeout {:?}; requests in flight were cut off",
            args.listen.drain_timeout
        ),
    }
    Ok(())
}

/// Ends when the process must stop, whoever still waits: what it would say cannot be relied on.
async fn distrusted(store: &Store) -> movies_store::Error {
    let error = store.bucket().distrusted().await;
    // Those whose write's outcome is unknown are being told so right now.
    sleep(FAREWELL).await;
    error
}

async fn bind(address: &str, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: another process does; stop it or choose another {option}"
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}; choose another {option}"),
    })
}

fn open_bucket(args: &ServeArgs) -> anyhow::Result<Bucket> {
    Ok(Bucket::open(&args.store.url())?)
}

/// Tests the bucket and opens the default collection.
async fn start(
    bucket: &Bucket,
    options: Options,
    peers: Option<HttpPeers>,
) -> anyhow::Result<Store> {
    let peers = peers.map(|peers| -> Arc<dyn Peers> { Arc::new(peers) });
    let options = Options { peers, ..options };
    info!(build = BUILD, replica = options.replica, store = bucket.url(), "starting");
    let store = Store::start(bucket.clone(), Env::real(), options)
        .await
        .with_context(|| format!("cannot start on {}", bucket.url()))?;
    for warning in store.warnings() {
        warn!("{warning}");
    }
    let default = CollectionName::default();
    store
        .open(&default, Absent::Create)
        .await
        .with_context(|| format!("cannot open {default} in {}", bucket.url()))?;
    Ok(store)
}

/// Tells on standard output where the service is, where its data is and what to try. That nobody
/// reads it is no reason not to serve.
fn announce(address: SocketAddr, doors: &Doors, bucket: &Bucket, kinds: Kinds) {
    if !address.ip().is_loopback() && kinds.is_none() {
        warn!(
            %address,
            "listening without authentication: everyone who reaches this address can change and \
             delete movies; put a gateway before it, or listen on 127.0.0.1"
        );
    } else if !address.ip().is_loopback() && doors.tls.is_none() {
        warn!(
            %address,
            "listening without encryption: whoever is on the way can read passwords and tokens; \
             name a certificate with --tls-cert, put a gateway with TLS before it, or listen on \
             127.0.0.1"
        );
    }
    let scheme = if doors.tls.is_some() { "https" } else { "http" };
    let mut text = format!("listening on {scheme}://{address}\n");
    let admin = doors.admin.as_ref().and_then(|socket| socket.local_addr().ok());
    if let Some(admin) = admin {
        text += &format!("livez, readyz and metrics on http://{admin}\n");
    }
    // The unspecified address is every one of this machine; loopback is one that curl can take.
    let host = match address.ip() {
        ip if ip.is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => address.to_string(),
    };
    let api = format!("{scheme}://{host}/api/movies");
    text += &format!(
        "data in {}

Try:
  curl -X GET {api}
  curl -X PUT {api}/Inception2/2010 -H 'Content-Type: application/json' -d '{{ \"director\": \"me\", \"genre\": \"nothing\" }}'
  curl -X GET {api}/query?year=2010
  curl -X GET {api}/query?name=Inception2
  curl -X GET '{api}/query?name=Inception2&year=2010'
Documentation: {scheme}://{host}/docs
",
        bucket.url()
    );
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        info!("standard output is closed");
    }
}

fn connection_limits(limits: &LimitArgs) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: limits.connections_max(),
        head_bytes_max: limits.head_bytes_max(),
        stall_timeout: limits.stall_timeout(),
    }
}

/// Systems start a process with 1,024 open files and let it have far more: without this,
/// `--connections-max` would be a promise that the system breaks.
fn raise_open_files_limit(args: &ServeArgs) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let connections = u64::try_from(args.limits.connections_max()).unwrap_or(u64::MAX);
    let workers = u64::try_from(args.listen.workers().get()).unwrap_or(u64::MAX);
    let spare = workers.saturating_mul(WORKER_FILES).saturating_add(SPARE_FILES);
    let wanted = connections.saturating_add(spare);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    limit.current = Some(possible);
    if setrlimit(Resource::Nofile, limit).is_err() || possible < wanted {
        warn!(
            wanted,
            possible,
            "the system allows fewer open files than --connections-max needs; raise `ulimit -n`"
        );
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next of either. Cancel safe.
    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
