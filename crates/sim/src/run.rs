//! One seed, from birth to verdict.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use movies_store::apply::apply;
use movies_store::check::check_in;
use movies_store::invariants::states_agree;
use movies_store::key::{LogId, Seq};
use movies_store::{Bucket, Env, Error, Freshness, Mutant, Options, State, Store};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::bucket::Replica;
use crate::chaos;
use crate::checker;
use crate::client::Client;
use crate::faults::Distance;
use crate::model::{Model, Violation, violation};
use crate::peers::Ways;
use crate::seeds::Case;
use crate::settings::Settings;
use crate::trace::{Telling, Trace};
use crate::world::{FILE, World};

/// How long clients may take for all their requests, in virtual time.
const CLIENTS_END: Duration = Duration::from_secs(4 * 3_600);
/// After the last fault every request must have taken effect by then.
const QUIET_AFTER: Duration = Duration::from_secs(600);

/// Whoever looks at the bucket from outside.
pub(crate) const AUDITOR: Replica = Replica(0);

/// Every deliberate bug that the store can be given.
pub const MUTANTS: [Mutant; 28] = [
    Mutant::AnswerBeforeDurable,
    Mutant::ConflictIsFailure,
    Mutant::SkipProbe,
    Mutant::JoinProbeInFlight,
    Mutant::ForgetJudged,
    Mutant::IgnorePrecondition,
    Mutant::HalfGroup,
    Mutant::TrustForesight,
    Mutant::AnyNotFoundIsAbsence,
    Mutant::ForgetJudgedInCheckpoint,
    Mutant::ForgetChangeTimeInCheckpoint,
    Mutant::AdoptTwice,
    Mutant::EditsAreOfNow,
    Mutant::PublishOverEdit,
    Mutant::TakenIsOurs,
    Mutant::VoidTooSoon,
    Mutant::RenewHedged,
    Mutant::CarryAnything,
    Mutant::ShipBeforeDurable,
    Mutant::ShippedIsProof,
    Mutant::IgnoreIfNoneMatch,
    Mutant::ForgetKeys,
    Mutant::IgnorePrint,
    Mutant::ForgetKeysInCheckpoint,
    Mutant::DropKeepsMovies,
    Mutant::AgeFromAnswer,
    Mutant::ForeseeFromMemory,
    Mutant::KeepNoCopy,
];

/// Quiet, period and patience of a checkpoint are shorter, and its pace without faults, too.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(60);

/// Quiet, period, patience and interval are shorter; what has failed is tried again by then.
const PUBLISHED_AFTER: Duration = Duration::from_secs(300);

/// By then no request hangs any more, nor a retry that waits for its turn, and cuts are over.
const HANGS_END: Duration = Duration::from_secs(45);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The seed, and how much of what it draws.
    pub case: Case,
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
    /// Batches that a replica asked another for and that it put into the log.
    pub carried: usize,
    /// Checkpoints that were written.
    pub checkpoints: usize,
    /// Commits that were pruned.
    pub pruned: usize,
    /// The hash of all events.
    pub hash: u64,
    /// How long it took in virtual time.
    pub lasted: Duration,
    /// The first rule that was broken.
    pub finding: Option<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, requests, commits, carried, checkpoints, pruned, hash, lasted, finding } =
            self;
        write!(
            f,
            "seed {seed}: {requests} requests, {commits} commits, {carried} carried, {checkpoints} checkpoints, {pruned} pruned, {} s, {hash:016x}",
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
    let Case { seed, requests, .. } = run.case;
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut settings = Settings::draw(&mut rng, requests);
    // Drawn apart, so that without it a seed stays what it was.
    let mut apart = ChaCha12Rng::seed_from_u64(!seed);
    settings.ways = Ways::draw(&mut apart);
    settings.draw_week(&mut apart);
    run.case.leave_out(&mut settings);
    trace.event(format_args!("{settings:?}"));
    let world = World::new(settings, trace, run.mutant, &mut rng);
    if let Some(file) = world.settings.file {
        world.bucket.place(FILE, file.into());
    }
    let mut lives = JoinSet::new();
    for replica in world.replicas() {
        lives.spawn(Arc::clone(&world).live(replica));
    }
    unrest(&world, &mut rng).await;
    if world.finding().is_none() {
        quiet(&world, &mut rng).await;
    }
    if world.finding().is_none() {
        verdict(&world).unwrap_or_else(|violation| world.found(violation));
    }
    let commits = world.bucket.commit_count();
    if world.finding().is_none() {
        rebirth(&world).await.unwrap_or_else(|violation| world.found(violation));
    }
    if world.finding().is_none() {
        edition(&world).await.unwrap_or_else(|violation| world.found(violation));
    }
    if world.finding().is_none() {
        world.judge_edits().unwrap_or_else(|violation| world.found(violation));
    }
    if world.finding().is_none() {
        soundness(&world).await.unwrap_or_else(|violation| world.found(violation));
    }
    if world.finding().is_none() {
        forgery(&world).await.unwrap_or_else(|violation| world.found(violation));
    }
    let history = world.history();
    Report {
        seed,
        requests: history.writes.len() + history.reads.len(),
        commits,
        carried: world.carried.load(Ordering::Relaxed),
        checkpoints: world.bucket.checkpoint_count(),
        pruned: world.bucket.pruned_count(),
        hash: world.trace.hash(),
        lasted: world.trace.elapsed(),
        finding: world.finding(),
    }
}

/// Clients make their requests while everything goes wrong.
async fn unrest(world: &Arc<World>, rng: &mut ChaCha12Rng) {
    world.bucket.set_faults(world.settings.faults);
    let mut enemies = JoinSet::new();
    enemies.spawn(chaos::blows(Arc::clone(world), own(rng)));
    enemies.spawn(chaos::peer(Arc::clone(world), own(rng)));
    enemies.spawn(chaos::editor(Arc::clone(world), own(rng)));
    let mut clients = JoinSet::new();
    for number in 1..=world.settings.clients {
        clients.spawn(Client::new(number, world, own(rng)).run());
    }
    join(world, clients).await;
    enemies.shutdown().await;
    if world.settings.week {
        let clients = chaos::week(world, rng).await;
        join(world, clients).await;
    }
}

/// All faults have ended: whoever is there must serve, and all must agree.
async fn quiet(world: &Arc<World>, rng: &mut ChaCha12Rng) {
    world.bucket.calm();
    // Reads that hang already may go on to.
    sleep(HANGS_END).await;
    world.bucket.calm();
    let settled = async {
        while world.bucket.writes_in_flight() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        for replica in world.replicas() {
            while world.serving(replica).is_none() {
                world.changed(replica).await;
            }
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

/// Every replica starts once more, from a checkpoint if there is one: it must come to the state
/// that the whole log adds up to (invariant 8).
async fn rebirth(world: &World) -> Result<(), Violation> {
    // What was written last is in a checkpoint by then, if it ever comes to be.
    sleep(CHECKPOINT_AFTER).await;
    for replica in world.replicas() {
        let again = async {
            // What is awaited must be seen before it can happen.
            let mut changed = world.changed(replica);
            world.kill(replica, Duration::ZERO);
            loop {
                changed.await;
                if world.serving(replica).is_some() {
                    break;
                }
                changed = world.changed(replica);
            }
        };
        in_time(format_args!("{replica} does not start again"), again).await?;
    }
    let started: Vec<_> = world
        .replicas()
        .filter_map(|replica| Some((replica, world.serving(replica)?.latest())))
        .collect();
    // Publication goes on meanwhile, so that they need not stand at the same commit.
    let replayed = replay(&world.bucket.commits())?;
    let mut model = Model::default();
    for commit in world.bucket.commits() {
        model.take(&commit)?;
    }
    let expected = model.catalogue();
    for (replica, state) in started {
        let rows = state.movies().rows().map(|row| (row.json, row.seq));
        let stored = expected.movies.values().map(|stored| (stored.json.clone(), stored.seq));
        if !rows.eq(stored)
            || state.version() != expected.version
            || state.is_dropped() != expected.dropped
        {
            return violation!("{replica} starts with another state than that of the log");
        }
        let same = replayed.iter().find(|replayed| replayed.seq() == state.seq());
        let Some(same) = same else {
            return violation!("{replica} starts at {}, where no commit is", state.seq());
        };
        states_agree(&state, same)
            .map_err(|found| Violation(format!("{replica} starts, but {found}")))?;
    }
    Ok(())
}

/// What the log adds up to after each of its commits.
fn replay(commits: &[Bytes]) -> Result<Vec<State>, Violation> {
    let mut states = vec![State::empty(LogId::ZERO)];
    for (number, commit) in commits.iter().enumerate() {
        let applied = states.last().map(|state| {
            apply(state, &format!("commit {}", number + 1), commit, None)
                .map_err(|error| Violation(error.to_string()))
        });
        states.extend(applied.transpose()?.map(|(_, applied)| applied.state));
    }
    Ok(states)
}

/// Whoever verifies the bucket from outside finds nothing: each log is sound, and every checkpoint
/// is what its log adds up to.
async fn soundness(world: &World) -> Result<(), Violation> {
    let objects = world.bucket.client(AUDITOR, Distance::NONE);
    let (bucket, trace) = (Bucket::simulated(objects), world.trace.clone());
    let env = Env::simulated(0, move || trace.wall(), None);
    let options = Options { read_only: true, ..Options::default() };
    let commits = world.bucket.commit_count() as u64;
    let verified = async {
        let store = Store::start(bucket.clone(), env.clone(), options).await?;
        let mut reports = Vec::new();
        for name in store.names().await? {
            reports.push(check_in(&bucket, &name, env.clone(), |_| ()).await?);
        }
        Ok::<_, Error>(reports)
    };
    let verified = in_time(format_args!("a check of the bucket does not end"), verified).await?;
    env.crash();
    let reports = verified.map_err(|error| Violation(format!("a check says that {error}")))?;
    if let Some(problem) = reports.iter().flat_map(|report| &report.problems).next() {
        return violation!("a check finds that {problem}");
    }
    if !reports.iter().any(|report| report.commits >= commits) {
        return violation!("a check does not see the {commits} commits of the log");
    }
    Ok(())
}

/// What `work` brings, if it comes to an end at all.
async fn in_time<T>(
    what: fmt::Arguments<'_>,
    work: impl Future<Output = T>,
) -> Result<T, Violation> {
    let late = |_| Violation(format!("{what} within {QUIET_AFTER:?} though all faults have ended"));
    timeout(QUIET_AFTER, work).await.map_err(late)
}

/// With no more writes the published file comes to show the catalogue, and the log says so.
async fn edition(world: &World) -> Result<(), Violation> {
    if world.settings.options.publish.is_none() {
        return Ok(());
    }
    sleep(PUBLISHED_AFTER).await;
    let mut model = Model::default();
    for commit in world.bucket.commits() {
        model.take(&commit)?;
    }
    let (expected, file) = (model.catalogue(), model.file());
    // A dropped collection leaves its file; the one that it was born from is as good until a
    // movie changes.
    if expected.dropped || expected.version.0 <= Seq(1) {
        return Ok(());
    }
    let lines: Vec<_> = expected.movies.values().map(|stored| &*stored.json).collect();
    let text = match lines.is_empty() {
        true => b"[]\n".to_vec(),
        false => [b"[\n".as_slice(), &lines.join(&b",\n"[..]), b"\n]\n"].concat(),
    };
    if file.is_none_or(|file| file.seq < expected.version.0) {
        return violation!("the log does not say that version {} is published", expected.version);
    }
    if world.bucket.content(FILE).as_deref() != Some(&text) {
        return violation!("the published file does not show version {}", expected.version);
    }
    Ok(())
}

/// A peer that has forgotten what was judged commits a batch again: every replica must stop
/// there rather than count it twice (invariant 4).
async fn forgery(world: &World) -> Result<(), Violation> {
    let mut model = Model::default();
    let mut judged = None;
    for commit in world.bucket.commits() {
        judged = model.take(&commit)?.batches.pop().or(judged);
    }
    model.forget_judged();
    let again = judged.into_iter().collect();
    world.bucket.append(model.write("forger", world.trace.wall(), again)?);
    // Every replica has polled by then, so that only what it makes of the commit counts.
    sleep(world.settings.options.poll * 3).await;
    for replica in world.replicas() {
        let serving = world.serving(replica);
        let Some(collection) = serving else { continue };
        let stopped = async {
            loop {
                match collection.read(Freshness::AtMost(Duration::ZERO)).await {
                    Ok(_) => return false,
                    Err(error) if error.is_final() => return true,
                    // Its bucket is slow today.
                    Err(_) => {}
                }
            }
        };
        if !in_time(format_args!("{replica} does not stop"), stopped).await? {
            return violation!("{replica} goes on after a batch was committed twice");
        }
    }
    Ok(())
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
        let serving = world.serving(replica);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_a_finding() {
        let waits = in_time(format_args!("it waits"), std::future::pending::<()>()).await;
        let said = waits.unwrap_err().to_string();
        assert_eq!(said, "it waits within 600s though all faults have ended");
    }
}
