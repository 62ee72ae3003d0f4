//! Real processes of the service on one real bucket, while everything goes wrong; what their
//! clients saw goes to the checker of the simulation.
//!
//! Three phases: without faults but with one replica farther away, for the figures; with faults
//! on every way and blows on whole replicas; and quiet, in which every replica must serve. Then
//! all end, the log is read past them, and the history is judged. Real processes repeat no run:
//! the seed gives the same requests and faults, not the same order.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use blows::{SERVICE_WITHIN, Unrest};
use caller::Names;
use client::{Client, Habit};
pub use figures::{Costs, Counts, Outage, Report, Share};
use figures::{longest_gap, outages, ratio, shares};
pub use proxy::Lie;
use proxy::{Proxy, Weather};
use replica::{Launch, Replica};
use trial::Trial;

mod blows;
mod caller;
mod client;
mod figures;
mod log;
mod metrics;
mod proxy;
mod replica;
mod trial;
mod wire;
pub mod witness;

/// How many replicas there are.
const REPLICAS: usize = 3;
/// The ways to the bucket while figures are taken: one is twice as far as the others.
const WAYS: [Duration; REPLICAS] =
    [Duration::from_millis(10), Duration::from_millis(10), Duration::from_millis(20)];
/// Of the whole time, without faults.
const FIGURES_SHARE: f64 = 0.25;
/// When a lie is told, the clients go on for so long.
const LIE_LASTS: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything that is ours to choose follows from it.
    pub seed: u64,
    /// How long clients make requests.
    pub lasts: Duration,
    /// How many there are.
    pub clients: u8,
    /// The built service.
    pub binary: PathBuf,
    /// Where logs and the history go.
    pub folder: PathBuf,
    /// Host and port of the S3 server.
    pub endpoint: String,
    /// The bucket, which is empty.
    pub bucket: String,
    /// Options of every replica's `serve`.
    pub serve: Vec<String>,
    /// Whether no replica can reach another: then each is a deployment of its own.
    pub alone: bool,
    /// Whether conditional writes go to the server one at a time.
    pub one_write_at_a_time: bool,
    /// What the bucket is to say that is not true.
    pub lie: Option<Lie>,
}

/// Runs it, telling what happens line by line.
///
/// # Errors
/// Where it cannot be run at all; what is wrong with the service is in the report.
pub async fn run(setup: &Setup, say: &dyn Fn(String)) -> Result<Report> {
    let mut rng = ChaCha12Rng::seed_from_u64(setup.seed);
    let names = Names::start()?;
    let providers = setup.folder.join("identity-providers.toml");
    std::fs::write(&providers, names.file())?;
    let turn = setup.one_write_at_a_time.then(|| Arc::new(Semaphore::new(1)));
    let mut serve = setup.serve.clone();
    serve.extend(["--auth", "oidc", "--request-timeout", "5s"].map(str::to_owned));
    serve.extend(["--identity-providers".to_owned(), providers.to_string_lossy().into_owned()]);
    let launch = Arc::new(Launch {
        binary: setup.binary.clone(),
        folder: setup.folder.clone(),
        store: format!("s3://{}", setup.bucket),
        alone: setup.alone,
        serve,
    });
    let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
    for number in 1..=REPLICAS {
        let seed = rng.random();
        let proxy = Proxy::start(setup.endpoint.clone(), seed, turn.clone()).await?;
        replicas.push(Replica::new(number, &launch, proxy.address())?);
        proxies.push(proxy);
    }
    for replica in &mut replicas {
        replica.start().await?;
    }
    let addresses = replicas.iter().map(|replica| replica.address).collect();
    let trial = Arc::new(Trial::new(names, addresses));
    let clients = (0..setup.clients).map(|number| Client::new(number, &trial, own(&mut rng)));
    let clients: Vec<Client> = clients.collect();

    let mut stage = Stage { trial, replicas, proxies, clients, rng, say };
    let costs = stage.figures(setup.lasts.mul_f64(FIGURES_SHARE)).await?;
    let from = Instant::now();
    let lasts = setup.lasts.mul_f64(1.0 - FIGURES_SHARE);
    let kills = match setup.lie {
        Some(lie) => stage.lies(lie).await?,
        None => stage.unrest(lasts).await?,
    };
    let until = Instant::now();
    if setup.lie.is_none() {
        stage.quiet().await;
        stage.end().await?;
    } else {
        stage.break_off().await?;
    }
    let count = |of: fn(&proxy::Counts) -> u64| stage.proxies.iter().map(|p| of(p.counts())).sum();
    let observed = std::mem::take(&mut *stage.trial.observed());
    let outages = outages(&kills, &stage.trial.acks(), REPLICAS);
    let mut report = Report {
        seed: setup.seed,
        counts: Counts::of(&observed),
        commits: 0,
        bucket_requests: count(|counts| counts.requests.load(Ordering::Relaxed)),
        faults: count(|counts| counts.faults.load(Ordering::Relaxed)),
        longest_gap: longest_gap(&stage.trial.acks(), from, until),
        outages,
        costs,
        findings: Vec::new(),
    };
    for outage in report.outages.iter().filter(|outage| outage.any > SERVICE_WITHIN) {
        let replica = outage.replica;
        report.findings.push(format!("r{replica} was killed: nobody served for {:?}", outage.any));
    }
    log::judge(setup, &observed, &mut report).await?;
    report.findings.extend(stage.trial.findings());
    Ok(report)
}

/// A generator of its own for everybody, so that one's draws do not move another's.
fn own(rng: &mut ChaCha12Rng) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(rng.random())
}

/// Everybody who takes part.
struct Stage<'a> {
    trial: Arc<Trial>,
    replicas: Vec<Replica>,
    proxies: Vec<Proxy>,
    clients: Vec<Client>,
    rng: ChaCha12Rng,
    say: &'a dyn Fn(String),
}

impl Stage<'_> {
    /// One replica is farther away than the others; nothing else is wrong.
    async fn figures(&mut self, lasts: Duration) -> Result<Costs> {
        (self.say)(format!("{lasts:?} without faults, one replica twice as far from the bucket"));
        for (proxy, way) in self.proxies.iter().zip(WAYS) {
            proxy.set(Weather { way, ..Weather::default() });
        }
        let before = self.scrape().await?;
        let requests = self.bucket_requests();
        let began = Instant::now();
        self.work(Habit::PutsAtHome, sleep(lasts)).await?;
        let lasted = began.elapsed();
        let requests = self.bucket_requests() - requests;
        let after = self.scrape().await?;
        for proxy in &self.proxies {
            proxy.set(Weather::default());
        }
        let shares = shares(&self.trial.acks(), &WAYS);
        let acknowledged = shares.iter().map(|share| share.acknowledged).sum();
        let [puts, batches, races_lost, forwarded] = [0, 1, 2, 3].map(|figure| {
            let sum = |scraped: &[[u64; 4]]| -> u64 {
                scraped.iter().filter_map(|figures| figures.get(figure)).sum()
            };
            sum(&after).saturating_sub(sum(&before))
        });
        let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Costs {
            shares,
            lasted,
            requests_a_write: ratio(whole(requests), acknowledged),
            puts_a_batch: ratio(whole(puts), whole(batches)),
            races_lost,
            forwarded,
        })
    }

    async fn scrape(&self) -> Result<Vec<[u64; 4]>> {
        let mut scraped = Vec::new();
        for replica in &self.replicas {
            scraped.push(metrics::scrape(replica.admin, &self.trial.names).await?);
        }
        Ok(scraped)
    }

    fn bucket_requests(&self) -> u64 {
        let requests = |proxy: &Proxy| proxy.counts().requests.load(Ordering::Relaxed);
        self.proxies.iter().map(requests).sum()
    }

    /// All clients are at work while `meanwhile` runs, and come back.
    async fn work<T>(&mut self, habit: Habit, meanwhile: impl Future<Output = T>) -> Result<T> {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut working = JoinSet::new();
        for mut client in self.clients.drain(..) {
            let is_over = Arc::clone(&is_over);
            working.spawn(async move {
                client.run(habit, &is_over).await;
                client
            });
        }
        let done = meanwhile.await;
        is_over.store(true, Ordering::Relaxed);
        while let Some(client) = working.join_next().await {
            self.clients.push(client.context("a client")?);
        }
        Ok(done)
    }

    async fn unrest(&mut self, lasts: Duration) -> Result<Vec<blows::Kill>> {
        (self.say)(format!("{lasts:?} with faults"));
        for proxy in &self.proxies {
            proxy.set(Weather::STORM);
        }
        let mut replicas = std::mem::take(&mut self.replicas);
        let unrest = Unrest {
            trial: &Arc::clone(&self.trial),
            replicas: &mut replicas,
            proxies: &self.proxies.clone(),
            rng: own(&mut self.rng),
            say: self.say,
        };
        let kills = self.work(Habit::Anything, unrest.run(Instant::now() + lasts)).await?;
        self.replicas = replicas;
        kills
    }

    /// The bucket of one replica lies; no fault, no blow.
    async fn lies(&mut self, lie: Lie) -> Result<Vec<blows::Kill>> {
        (self.say)(format!("a lie of the bucket: {lie:?}"));
        if let Some(proxy) = self.proxies.first() {
            proxy.lie(Some(lie));
        }
        self.work(Habit::Anything, sleep(LIE_LASTS)).await?;
        Ok(Vec::new())
    }

    /// All faults have ended: every replica must serve, twice, so that the first one reads what
    /// the last one wrote.
    async fn quiet(&mut self) {
        (self.say)("all faults end".to_owned());
        for proxy in &self.proxies {
            proxy.set(Weather::default());
        }
        for round in 0..2_u8 {
            let mut settling = JoinSet::new();
            for (replica, number) in (0..REPLICAS).zip(200 + round * 10..) {
                let mut client = Client::new(number, &self.trial, own(&mut self.rng));
                settling.spawn(async move { client.settle(replica).await });
            }
            while settling.join_next().await.is_some() {}
        }
    }

    /// Ends all replicas and waits for what is still on its way, so that the log is what it is.
    async fn end(&mut self) -> Result<()> {
        for (place, replica) in self.replicas.iter_mut().enumerate() {
            let ended = replica.stop().await?;
            if !ended.success() {
                self.trial.found(format!("r{} did not end well: {ended}", place + 1));
            }
        }
        self.on_its_way().await;
        Ok(())
    }

    /// Whoever was lied to may never finish.
    async fn break_off(&mut self) -> Result<()> {
        for replica in &mut self.replicas {
            replica.kill()?;
        }
        self.on_its_way().await;
        Ok(())
    }

    async fn on_its_way(&self) {
        while self.proxies.iter().any(Proxy::is_busy) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}
