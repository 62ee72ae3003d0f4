//! What replicas get of a log that they share, in virtual time and without faults: shares, waits, and
//! what it costs in requests to the bucket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use movies_store::commit::{Action, Commit, Group, SERVICE};
use movies_store::key::{MovieKey, Year};
use movies_store::movie::{Movie, MovieLimits};
use movies_store::{Collection, Freshness, Options};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::{Distance, Faults};
use crate::parallel::in_order;
use crate::peers::Ways;
use crate::settings::Settings;
use crate::trace::{Telling, Trace};
use crate::world::World;

/// One way to the bucket, in milliseconds: a PUT of S3 takes some 50 there and back.
const WAY_MS: u64 = 25;
/// One way in forty takes three times as long, as S3's slowest of a hundred do.
const TAIL: u64 = 3;
/// One way between replicas.
const PEER_WAY_MS: u64 = 2;
/// What is not counted at the beginning, and what is.
const WARM_UP: Duration = Duration::from_secs(5);
const COUNTED: Duration = Duration::from_secs(30);
/// How long a client waits at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who writes and reads, each client one request after the other.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// One way to the bucket for each replica, in milliseconds.
    pub ways_ms: &'static [u64],
    /// Whether replicas know of one another.
    pub forwarding: bool,
    /// Clients of each replica that write.
    pub writers: u16,
    /// Clients of each replica that read.
    pub readers: u16,
}

impl Load {
    const fn of(ways_ms: &'static [u64], writers: u16) -> Self {
        Self { ways_ms, forwarding: true, writers, readers: 0 }
    }

    /// Three replicas, one of them twice as far from the bucket.
    pub const THREE: Self = Self::of(&[WAY_MS, WAY_MS, 2 * WAY_MS], 16);
    /// The same, where they do not know of one another.
    pub const THREE_RACING: Self = Self { forwarding: false, ..Self::THREE };
    /// Three, one of them eight times as far: longer than the others take for several commits.
    pub const FAR: Self = Self::of(&[WAY_MS, WAY_MS, 8 * WAY_MS], 16);
    /// Ten that are alike.
    pub const TEN: Self = Self::of(&[WAY_MS; 10], 16);
    /// Three that are alike.
    pub const THREE_ALIKE: Self = Self::of(&[WAY_MS; 3], 16);
    /// One, and 64 clients that write.
    pub const WRITERS: Self = Self::of(&[WAY_MS], 64);
    /// One, and 64 clients that read.
    pub const READERS: Self = Self { readers: 64, ..Self::of(&[WAY_MS], 0) };
}

/// What one replica got.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The usual time to the bucket and back.
    pub round_trip: Duration,
    /// Requests that were answered.
    pub answered: usize,
    /// Of all that were.
    pub share: f64,
    /// How long half of them took at most.
    pub p50: Duration,
    /// How long 99 of 100 took at most, those in vain included.
    pub p99: Duration,
    /// How long the longest took.
    pub longest: Duration,
}

impl Share {
    /// The slowest but one in a hundred, in round trips.
    #[must_use]
    pub fn p99_round_trips(&self) -> f64 {
        self.p99.as_secs_f64() / self.round_trip.as_secs_f64()
    }
}

/// What came of a load.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Which.
    pub load: Load,
    /// One for each replica.
    pub shares: Vec<Share>,
    /// Requests answered in a second, by all.
    pub per_second: f64,
    /// Creates of commits for each batch that came into the log.
    pub creates_a_batch: f64,
    /// Requests of clients for each of the bucket.
    pub answered_a_request: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { ways_ms, forwarding, writers, readers } = self.load;
        let how = if forwarding { "forwarding" } else { "racing" };
        writeln!(
            f,
            "{} replicas {how}, {writers} writers and {readers} readers each: {:.0} a second, \
             {:.2} creates a batch, {:.1} answers a bucket request",
            ways_ms.len(),
            self.per_second,
            self.creates_a_batch,
            self.answered_a_request
        )?;
        for (number, share) in (1..).zip(&self.shares) {
            writeln!(
                f,
                "  r{number}, {} ms to the bucket and back: {:.1} %, p50 {} ms, p99 {} ms ({:.1} round trips), at most {} ms",
                share.round_trip.as_millis(),
                share.share * 100.0,
                share.p50.as_millis(),
                share.p99.as_millis(),
                share.p99_round_trips(),
                share.longest.as_millis()
            )?;
        }
        Ok(())
    }
}

/// All loads that are told of.
#[must_use]
pub fn measure() -> Vec<Figures> {
    let loads = [
        Load::THREE,
        Load::THREE_RACING,
        Load::FAR,
        Load::THREE_ALIKE,
        Load::TEN,
        Load::WRITERS,
        Load::READERS,
    ];
    let mut all = Vec::new();
    let keep = |figures| {
        all.push(figures);
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(()) = in_order(loads.into_iter(), figures, keep);
    all
}

/// Runs a load on this thread, in virtual time.
///
/// # Panics
/// Where no runtime can be made, or inside one.
#[must_use]
pub fn figures(load: Load) -> Figures {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread needs no resources").block_on(run(load))
}

/// A world without faults and enemies, whose replicas live as long as the set.
fn world(
    ways_ms: &[u64],
    forwarding: bool,
    options: Options,
    rng: &mut ChaCha12Rng,
) -> (Arc<World>, JoinSet<()>) {
    let distance = |way_ms: &u64| Distance { way_ms: *way_ms, tail: TAIL };
    let ways = Ways { way_ms: PEER_WAY_MS, ..Ways::default() };
    let settings = Settings {
        distances: ways_ms.iter().map(distance).collect(),
        clients: 0,
        requests_a_client: 0,
        pause_ms_max: 0,
        faults: Faults::NONE,
        blows: None,
        peer: None,
        editor: None,
        ways: forwarding.then_some(ways),
        week: false,
        file: None,
        options,
    };
    let world = World::new(settings, Trace::start(Telling::Quiet), None, rng);
    let mut lives = JoinSet::new();
    for replica in world.replicas() {
        lives.spawn(Arc::clone(&world).live(replica));
    }
    (world, lives)
}

/// What came of more writes than a replica can take, none of which waited for another.
#[derive(Clone, Debug)]
pub struct Overload {
    /// How many times as many came.
    pub times: u32,
    /// Writes stored in a second.
    pub stored_per_second: f64,
    /// The slowest of these.
    pub slowest: Duration,
    /// Writes that were refused.
    pub refused: usize,
    /// The slowest refusal.
    pub slowest_refusal: Duration,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, stored_per_second, slowest, refused, slowest_refusal } = self;
        writeln!(
            f,
            "{times} times as many writes as one replica takes: {stored_per_second:.0} a second stored, within {} ms; {refused} refused, within {} ms",
            slowest.as_millis(),
            slowest_refusal.as_millis()
        )
    }
}

/// Sends `times` as many writes as a replica can take that may put ten into a commit, and holds a
/// hundred; on this thread, in virtual time.
///
/// # Panics
/// Where no runtime can be made, or inside one.
#[must_use]
pub fn overload(times: u32) -> Overload {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread needs no resources").block_on(overloaded(times))
}

async fn overloaded(times: u32) -> Overload {
    let options = Options { batch_ops_max: 10, queue_groups_max: 100, ..Options::default() };
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (world, _lives) = world(&[WAY_MS], false, options, &mut rng);
    let replica = world.replicas().next().expect("there is one");
    let collection = world.served(replica).await;
    // Ten in each round trip.
    let between = Duration::from_millis(2 * WAY_MS) / 10 / times;
    let (begin, mut writes) = (Instant::now(), JoinSet::new());
    while begin.elapsed() < COUNTED {
        let collection = collection.clone();
        let name = format!("movie {}", writes.len());
        writes.spawn(async move {
            let asked = Instant::now();
            let stored = collection.submit(put(&name, 0), PATIENCE).await;
            (stored.map(drop), asked.elapsed())
        });
        sleep_until(begin + between * u32::try_from(writes.len()).unwrap_or(u32::MAX)).await;
    }
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for (answer, took) in writes.join_all().await {
        match answer {
            Ok(()) => stored.push(took),
            // One that waited in vain would show by how long it took.
            Err(_) => refused.push(took),
        }
    }
    Overload {
        times,
        stored_per_second: stored.len() as f64 / begin.elapsed().as_secs_f64(),
        slowest: stored.into_iter().max().unwrap_or_default(),
        slowest_refusal: refused.iter().max().copied().unwrap_or_default(),
        refused: refused.len(),
    }
}

/// A write of one movie.
fn put(name: &str, number: u64) -> Group {
    let year = Year::new(2_000).expect("it is one");
    let key = MovieKey::parse(name, year).expect("it is one");
    let body = format!(r#"{{"number":{number}}}"#);
    let movie = Movie::parse(key, body.as_bytes(), MovieLimits::default()).expect("it is one");
    Group::of(Action::Put(movie))
}

async fn run(load: Load) -> Figures {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (world, _lives) = world(load.ways_ms, load.forwarding, Options::default(), &mut rng);
    let begin = Instant::now() + WARM_UP;
    let mut clients = JoinSet::new();
    for (home, replica) in world.replicas().enumerate() {
        let collection = world.served(replica).await;
        for number in 0..load.writers + load.readers {
            let client = Client { collection: collection.clone(), home, begin };
            let movie = (number < load.writers).then(|| format!("{home} {number}"));
            let pause = Duration::from_millis(rng.random_range(0..200));
            clients.spawn(client.run(movie, pause));
        }
    }
    sleep(begin.duration_since(Instant::now())).await;
    let (before, commits) = (world.bucket.requests(), world.bucket.commit_count());
    sleep(COUNTED).await;
    let after = world.bucket.requests();
    let batches = batches(&world.bucket.commits().split_off(commits));
    let mut waits = vec![Vec::new(); load.ways_ms.len()];
    for (home, answered) in clients.join_all().await {
        waits.get_mut(home).into_iter().for_each(|waits| waits.extend_from_slice(&answered));
    }
    let answered = |waits: &Vec<Duration>| waits.iter().filter(|wait| **wait < PATIENCE).count();
    let all: usize = waits.iter().map(answered).sum();
    let share = |(way_ms, waits): (&u64, Vec<Duration>)| Share::of(*way_ms, waits, all);
    Figures {
        load,
        shares: load.ways_ms.iter().zip(waits).map(share).collect(),
        per_second: all as f64 / COUNTED.as_secs_f64(),
        creates_a_batch: (after.1 - before.1) as f64 / batches as f64,
        answered_a_request: all as f64 / (after.0 - before.0) as f64,
    }
}

impl Share {
    fn of(way_ms: u64, mut waits: Vec<Duration>, all: usize) -> Self {
        waits.sort_unstable();
        let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
        let answered = waits.partition_point(|wait| *wait < PATIENCE);
        Self {
            round_trip: Duration::from_millis(2 * way_ms),
            answered,
            share: answered as f64 / all as f64,
            p50: at(50),
            p99: at(99),
            longest: waits.last().copied().unwrap_or_default(),
        }
    }
}

/// How many batches of clients commits hold.
fn batches(commits: &[Bytes]) -> usize {
    let decoded = commits.iter().filter_map(|bytes| Commit::decode("a commit", bytes).ok());
    let by_client = |group: &Group| group.by.as_deref() != Some(SERVICE);
    decoded
        .flat_map(|commit| commit.batches)
        .filter(|batch| batch.groups.iter().any(by_client))
        .count()
}

/// One that makes one request after the other.
struct Client {
    collection: Collection,
    home: usize,
    begin: Instant,
}

impl Client {
    /// Writes that movie again and again, or reads; gives what was counted: how long each answer
    /// took that came in time.
    async fn run(self, movie: Option<String>, pause: Duration) -> (usize, Vec<Duration>) {
        let (mut waits, end) = (Vec::new(), self.begin + COUNTED);
        sleep(pause).await;
        for number in 0.. {
            let asked = Instant::now();
            let is_answered = match &movie {
                Some(name) => self.write(name, number).await,
                None => self.collection.read(Freshness::Configured).await.is_ok(),
            };
            let answered = Instant::now();
            if answered > end {
                break;
            }
            // Who never wins a number waits in vain.
            if answered >= self.begin {
                let wait = if is_answered { answered - asked } else { PATIENCE };
                waits.push(wait);
            }
        }
        (self.home, waits)
    }

    async fn write(&self, name: &str, number: u64) -> bool {
        self.collection.submit(put(name, number), PATIENCE).await.is_ok()
    }
}
