//! Actors that mean no good: one hits replicas, one offers copies of their batches, and one saves over
//! the published file.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use movies_store::commit::{Batch, SERVICE};
use movies_store::key::CollectionName;
use movies_store::prune::{Before, PruneOptions, prune};
use movies_store::{Bucket, Env};
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Client;
use crate::faults::Distance;
use crate::model::Model;
use crate::run::AUDITOR;
use crate::world::{FILE, World};

/// How far a clock may jump: the store's own limit is 60 s.
const CLOCK_OFF_MS_MAX: i64 = 25_000;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// How many requests a client makes on each day of a week.
const REQUESTS_A_DAY: u32 = 20;

/// Cuts, stalls and kills replicas and sets their clocks, until the task is aborted.
pub(crate) async fn blows(world: Arc<World>, mut rng: ChaCha12Rng) {
    let Some(quiet) = world.settings.blows else { return };
    let replicas: Vec<_> = world.replicas().collect();
    loop {
        sleep(quiet.mul_f64(rng.random_range(0.1..1.0))).await;
        let replica = *replicas.choose(&mut rng).expect("there is a replica");
        let long = Duration::from_millis(rng.random_range(100..15_000));
        match rng.random_range(0..5) {
            0 => {
                world.trace.event(format_args!("{replica} is cut off for {long:?}"));
                world.bucket.cut(replica);
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    sleep(long).await;
                    world.bucket.join(replica);
                });
            }
            1 => {
                world.trace.event(format_args!("{replica} is stalled for {long:?}"));
                world.bucket.stall(replica, long);
            }
            2 | 3 => world.kill(replica, long / 3),
            _ => world.set_clock(replica, rng.random_range(-CLOCK_OFF_MS_MAX..CLOCK_OFF_MS_MAX)),
        }
    }
}

/// A peer that has copies of others' batches (forwarded ones, say) and commits some, with the
/// same ids and the same `until`: whether their owners have sent them already or not, and whether
/// they live or not. Its commits are valid: they are judged by the model.
pub(crate) async fn peer(world: Arc<World>, mut rng: ChaCha12Rng) {
    let Some(pause) = world.settings.peer else { return };
    let mut model = Model::default();
    loop {
        sleep(pause.mul_f64(rng.random_range(0.1..1.0))).await;
        let commits = world.bucket.commits();
        let taken = usize::try_from(model.seq().0).unwrap_or(usize::MAX);
        for commit in commits.iter().skip(taken) {
            if let Err(violation) = model.take(commit) {
                return world.found(violation);
            }
        }
        if commits.is_empty() {
            continue;
        }
        let batches = copies(&world, &model, &mut rng);
        if batches.is_empty() {
            continue;
        }
        let ids: Vec<_> = batches.iter().map(|batch| batch.id.to_string()).collect();
        match model.write("peer", world.trace.wall(), batches) {
            Ok(bytes) => {
                world.trace.event(format_args!("the peer commits {} with {ids:?}", model.seq()));
                world.bucket.append(bytes);
            }
            Err(violation) => return world.found(violation),
        }
    }
}

/// A person who edits the published file as it stands: most of the time a little, now and then an old
/// copy of it, what they saved last, or beyond all reason. Saves whatever stands there by then.
pub(crate) async fn editor(world: Arc<World>, mut rng: ChaCha12Rng) {
    let Some(pause) = world.settings.editor else { return };
    let mut opened = None;
    let mut is_of_log = false;
    for number in 1.. {
        sleep(pause.mul_f64(rng.random_range(0.1..1.0))).await;
        // What is not opened anew is an old copy. None from before the log, which never knew it.
        let is_born = world.bucket.commit_count() > 0;
        if opened.is_none() || is_of_log != is_born || rng.random_bool(0.8) {
            opened = world.bucket.content(FILE);
            is_of_log = is_born;
        }
        let Some(old) = opened.clone() else { continue };
        sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
        if is_of_log != (world.bucket.commit_count() > 0) {
            continue;
        }
        let edit = match rng.random_range(0..12) {
            0 => Bytes::from_static(b"[{}]"),
            // No log is born from this one until somebody corrects it.
            1 if is_born => Bytes::from_static(b"[{\"name\":"),
            _ => edited(&old, number, &mut rng),
        };
        world.trace.event(format_args!("the editor saves edit {number}"));
        world.edit(&old, edit.clone());
        // Some never close what they work at, and see nothing of what others write.
        if rng.random_bool(0.3) {
            opened = Some(edit);
        }
    }
}

/// One replica hears and says nothing for a week: what it had sent arrives only then. Meanwhile others
/// write a little each day, and what is older than a day is pruned. Gives the clients that may still
/// wait.
pub(crate) async fn week(world: &Arc<World>, rng: &mut ChaCha12Rng) -> JoinSet<()> {
    let replicas: Vec<_> = world.replicas().collect();
    let stalled = *replicas.choose(rng).expect("there is a replica");
    world.trace.event(format_args!("{stalled} is stalled for a week"));
    let mut clients = JoinSet::new();
    let mut client = |number, home, rng: &mut ChaCha12Rng| {
        let own = ChaCha12Rng::seed_from_u64(rng.random());
        clients.spawn(Client::new(number, world, own).at(home).request(REQUESTS_A_DAY));
    };
    client(200, stalled, rng);
    // Some of what these ask for is under way then.
    sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
    world.bucket.stall(stalled, 7 * DAY);
    for day in 1..=7 {
        let others = replicas.iter().filter(|replica| **replica != stalled);
        if let Some(other) = others.choose(rng) {
            client(200 + day, *other, rng);
        }
        sleep(DAY).await;
        let env = Env::simulated(
            rng.random(),
            {
                let trace = world.trace.clone();
                move || trace.wall()
            },
            None,
        );
        let bucket = Bucket::simulated(world.bucket.client(AUDITOR, Distance::NONE));
        let before = Before::Time(env.now().plus_ms(-i64::try_from(DAY.as_millis()).unwrap_or(0)));
        let options = PruneOptions { before, spared: DAY, dry_run: false };
        match prune(&bucket, &CollectionName::default(), options, env, |_| ()).await {
            Ok(report) => world.trace.event(format_args!("{report:?}")),
            // Faults go on; tomorrow is another day.
            Err(error) => world.trace.event(format_args!("nothing is pruned: {error}")),
        };
    }
    clients
}

/// A movie more, and perhaps one less and one changed.
fn edited(file: &Bytes, number: u64, rng: &mut ChaCha12Rng) -> Bytes {
    let mut movies: Vec<String> = serde_json::from_slice::<Vec<&RawValue>>(file)
        .map(|movies| movies.iter().map(|movie| movie.get().to_owned()).collect())
        .unwrap_or_default();
    movies.retain(|movie| movie != "{}");
    if !movies.is_empty() {
        let (gone, changed) =
            (rng.random_range(0..movies.len()), rng.random_range(0..movies.len()));
        if let Some(movie) = movies.get_mut(changed).filter(|_| rng.random_bool(0.5)) {
            movie.insert_str(movie.len() - 1, &format!(",\"edit\":{number}"));
        }
        if rng.random_bool(0.3) {
            movies.remove(gone);
        }
    }
    let name = format!(r#"{{"name":"Edit {}""#, number % 5);
    movies.retain(|movie| !movie.starts_with(&name));
    movies.push(format!(r#"{name},"year":2000,"edit":{number}}}"#));
    format!("[{}]", movies.join(",")).into()
}

/// Some of the batches that were tried last and may still count.
fn copies(world: &World, model: &Model, rng: &mut ChaCha12Rng) -> Vec<Batch> {
    let mut seen = BTreeSet::new();
    let mut batches: Vec<Batch> = world
        .bucket
        .attempts()
        .iter()
        .flat_map(|commit| &commit.batches)
        .filter(|batch| model.may_count(batch) && seen.insert(batch.id))
        // The file that a log is born from is nobody's request.
        .filter(|batch| batch.groups.iter().all(|group| group.by.as_deref() != Some(SERVICE)))
        .cloned()
        .collect();
    batches.retain(|_| rng.random_bool(0.6));
    batches
}
