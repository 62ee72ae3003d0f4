//! One seed, from birth to verdict.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use movies_store::Mutant;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::chaos;
use crate::checker;
use crate::client::Client;
use crate::faults::Faults;
use crate::model::Violation;
use crate::settings::Settings;
use crate::trace::{Telling, Trace};
use crate::world::World;

/// How long clients may take for all their requests, in virtual time.
const CLIENTS_END: Duration = Duration::from_secs(4 * 3_600);
/// After the last fault every request must have taken effect by then.
const QUIET_AFTER: Duration = Duration::from_secs(600);

/// Every deliberate bug that the store can be given.
pub const MUTANTS: [Mutant; 8] = [
    Mutant::AnswerBeforeDurable,
    Mutant::ConflictIsFailure,
    Mutant::SkipProbe,
    Mutant::JoinProbeInFlight,
    Mutant::ForgetJudged,
    Mutant::IgnorePrecondition,
    Mutant::HalfGroup,
    Mutant::AnyNotFoundIsAbsence,
];

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Everything follows from it.
    pub seed: u64,
    /// About how many requests the clients make.
    pub requests: u32,
    /// The bug that the replicas have.
    pub mutant: Option<Mutant>,
    /// Whether to print events.
    pub telling: Telling,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Writes and reads that were checked.
    pub requests: usize,
    /// Commits in the log.
    pub commits: usize,
    /// The hash of all events.
    pub hash: u64,
    /// How long it took in virtual time.
    pub lasted: Duration,
    /// The first rule that was broken.
    pub finding: Option<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, requests, commits, hash, lasted, finding } = self;
        write!(
            f,
            "seed {seed}: {requests} requests, {commits} commits, {} s, {hash:016x}",
            lasted.as_secs()
        )?;
        finding.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// Runs a seed on this thread, in virtual time.
///
/// # Panics
/// Where no runtime can be made, or inside one.
#[must_use]
pub fn run(run: Run) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread needs no resources").block_on(simulate(run))
}

async fn simulate(run: Run) -> Report {
    let trace = Trace::start(run.telling);
    let mut rng = ChaCha12Rng::seed_from_u64(run.seed);
    let settings = Settings::draw(&mut rng, run.requests);
    trace.event(format_args!("{settings:?}"));
    let world = World::new(settings, trace, run.mutant, &mut rng);
    if let Some(file) = world.settings.file {
        world.bucket.place("movies.json", file.into());
    }
    let mut lives = JoinSet::new();
    for replica in world.replicas() {
        lives.spawn(Arc::clone(&world).live(replica));
    }
    unrest(&world, &mut rng).await;
    if world.finding().is_none() {
        quiet(&world, &mut rng).await;
    }
    let finding = world.finding().or_else(|| verdict(&world).err());
    if let Some(finding) = &finding {
        world.trace.event(format_args!("FOUND {finding}"));
    }
    let history = world.history();
    Report {
        seed: run.seed,
        requests: history.writes.len() + history.reads.len(),
        commits: world.bucket.commit_count(),
        hash: world.trace.hash(),
        lasted: world.trace.elapsed(),
        finding,
    }
}

/// Clients make their requests while everything goes wrong.
async fn unrest(world: &Arc<World>, rng: &mut ChaCha12Rng) {
    world.bucket.set_faults(world.settings.faults);
    let mut enemies = JoinSet::new();
    enemies.spawn(chaos::blows(Arc::clone(world), own(rng)));
    enemies.spawn(chaos::peer(Arc::clone(world), own(rng)));
    let mut clients = JoinSet::new();
    for number in 1..=world.settings.clients {
        clients.spawn(Client::new(number, world, own(rng)).run());
    }
    join(world, clients).await;
    enemies.shutdown().await;
}

/// All faults have ended: whoever is there must serve, and all must agree.
async fn quiet(world: &Arc<World>, rng: &mut ChaCha12Rng) {
    world.bucket.set_faults(Faults::NONE);
    for replica in world.replicas() {
        world.bucket.join(replica);
    }
    let settled = async {
        while world.bucket.writes_in_flight() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        for replica in world.replicas() {
            let mut serving = world.serving(replica);
            // The sender lives in the world.
            drop(serving.wait_for(Option::is_some).await);
        }
    };
    if timeout(QUIET_AFTER, settled).await.is_err() {
        return world
            .found(Violation("a replica does not start though all faults have ended".into()));
    }
    // Twice, so that the first replica reads what the last one wrote.
    for round in 0..2_u8 {
        let mut clients = JoinSet::new();
        for (number, replica) in (100 + round * 50..).zip(world.replicas()) {
            clients.spawn(Client::new(number, world, own(rng)).settle(replica));
        }
        join(world, clients).await;
    }
}

async fn join(world: &Arc<World>, mut clients: JoinSet<()>) {
    let all = async {
        while let Some(ended) = clients.join_next().await {
            if let Err(error) = ended {
                world.found(Violation(format!("a client panicked: {error}")));
            }
        }
    };
    if timeout(CLIENTS_END, all).await.is_err() {
        world.found(Violation("a request is never answered".into()));
    }
}

fn verdict(world: &World) -> Result<(), Violation> {
    if let Some(broken) = world.bucket.broken_promises().into_iter().next() {
        return Err(Violation(broken));
    }
    for replica in world.replicas() {
        let serving = world.serving(replica).borrow().clone();
        if let Some(error) = serving.and_then(|collection| collection.failure()) {
            return Err(Violation(format!("{replica} has stopped: {error}")));
        }
    }
    checker::check(&world.bucket.commits(), &world.history())
}

/// A generator of its own for each actor, so that one actor's draws do not shift another's.
fn own(rng: &mut ChaCha12Rng) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(rng.random())
}
