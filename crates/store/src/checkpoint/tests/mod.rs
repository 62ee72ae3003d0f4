//! Checkpoints against the log: what is written is the state, whatever is damaged is passed over.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::load::{self, Newest};
use super::manifest::Manifest;
use super::retention;
use super::write::{Draft, KEYS_A_FILE, Written};
use crate::apply;
use crate::bucket::Created;
use crate::check::check;
use crate::commit::{self, Action, Batch, Code, Commit, FORMAT, Group, Op, UNTIL_WINDOW};
use crate::invariants::{checkpoint_is_the_state, states_agree};
use crate::key::{CollectionName, LogId, MovieKey, Print, Seq, Timestamp, Year};
use crate::log::Log;
use crate::movie::{Movie, MovieLimits};
use crate::prune::{Before, PruneOptions, Stop, prune};
use crate::state::State;
use crate::{Absent, Bucket, CheckpointOptions, Env, Error, Freshness, Options, Store};

mod meanwhile;

/// A log in memory, written by hand, with every state that it went through.
struct World {
    log: Log,
    states: Vec<State>,
}

fn key(name: u16) -> MovieKey {
    MovieKey::parse(&format!("Movie {name:03}"), Year::new(2000).unwrap()).unwrap()
}

fn put(name: u16, text: &str) -> Op {
    let body = format!("{{\"text\":\"{text}\"}}");
    let movie = Movie::parse(key(name), body.as_bytes(), MovieLimits::default()).unwrap();
    Op::new(Action::Put(movie))
}

fn group(ops: Vec<Op>) -> Group {
    Group { by: None, key: None, ops }
}

impl World {
    /// A log with a genesis.
    async fn new() -> Self {
        Self::on(Bucket::open("memory://").unwrap()).await
    }

    async fn on(bucket: Bucket) -> Self {
        let log = Log::new(bucket, CollectionName::default(), Env::real());
        let mut world = Self { log, states: vec![State::empty(LogId([7; 16]))] };
        let adoption = commit::Adoption { from: None, to: None, changes: vec![] };
        world.commit(vec![Group::of(Action::Adopt(adoption))]).await;
        world
    }

    /// The last state.
    fn state(&self) -> &State {
        self.states.last().unwrap()
    }

    async fn commit(&mut self, groups: Vec<Group>) {
        let state = self.state();
        let seq = state.seq.next();
        let commit = Commit {
            format: FORMAT,
            log: LogId([7; 16]),
            seq,
            at: Timestamp(1_700_000_000_000 + i64::try_from(seq.0).unwrap() * 3_600_000),
            writer: "hand".into(),
            forward: None,
            prev: state.hash,
            batches: vec![Batch {
                id: self.log.env().batch_id(),
                until: Seq(seq.0 + UNTIL_WINDOW.min(5)),
                from: "hand".into(),
                groups,
            }],
        };
        let (_, bytes, applied) = apply::prepare(state, commit, None).unwrap();
        assert!(matches!(self.log.create(seq, bytes).await, Created::Yes));
        self.states.push(applied.state);
    }

    /// Movies 1 to `count`, one a commit.
    async fn movies(count: u16) -> Self {
        Self::new().await.with_movies(count).await
    }

    async fn with_movies(mut self, count: u16) -> Self {
        let world = &mut self;
        for name in 1..=count {
            world.commit(vec![group(vec![put(name, "x")])]).await;
        }
        self
    }

    async fn checkpoint(&self, seq: u64, base: Option<&Manifest>) -> Written {
        self.try_checkpoint(seq, base).await.unwrap()
    }

    async fn try_checkpoint(&self, seq: u64, base: Option<&Manifest>) -> Result<Written, Error> {
        let state = &self.states[usize::try_from(seq).unwrap()];
        let draft = Draft {
            log: &self.log,
            state,
            base,
            file_bytes: 200,
            writer: "hand".into(),
            press: Semaphore::new(1),
        };
        draft.write(state.hash.unwrap()).await
    }

    async fn newest(&self) -> Newest {
        load::newest_good(&self.log).await.unwrap()
    }

    async fn overwrite(&self, object: &str, bytes: impl Into<Bytes>) {
        self.log.bucket().put(&self.log.bucket().path(object), bytes.into()).await.unwrap();
    }

    async fn delete(&self, object: &str) {
        self.log.bucket().delete(&self.log.bucket().path(object)).await.unwrap();
    }

    fn page(&self, manifest: &Manifest, index: usize) -> String {
        load::file_object(&self.log, manifest.pages[index].file)
    }

    async fn open(&self, options: Options) -> Result<crate::Collection, Error> {
        let store = Store::start(self.log.bucket().clone(), Env::real(), options).await?;
        Ok(store.open(self.log.name(), Absent::Leave).await?.collection().expect("there is a log"))
    }
}

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story)
}

fn an_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_u16..20, "[a-z]{0,40}").prop_map(|(name, text)| put(name, &text)),
        3 => (0_u16..20).prop_map(|name| Op::new(Action::Delete(key(name)))),
        1 => Just(Op::new(Action::Drop)),
        1 => Just(Op::new(Action::Create)),
    ]
}

fn a_group() -> impl Strategy<Value = Group> {
    let key = prop::option::of((0_u8..9, any::<u8>()));
    (vec(an_op(), 1..4), key, prop::option::of(Just("me"))).prop_map(|(ops, key, by)| Group {
        by: by.map(Arc::from),
        key: key.map(|(key, print)| (format!("key {key}").into(), Print([print; 32]))),
        ops,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Invariant 8: checkpoint(n) + commits n+1..m = state m.
    #[test]
    fn a_checkpoint_and_the_log_behind_it_are_the_log(
        commits in vec((vec(a_group(), 1..4), any::<bool>()), 1..14),
    ) {
        run(async {
            let mut world = World::new().await;
            let mut manifests: Vec<Manifest> = Vec::new();
            for (groups, is_checkpointed) in commits {
                world.commit(groups).await;
                if is_checkpointed {
                    let written = world.checkpoint(world.state().seq.0, manifests.last()).await;
                    manifests.push(written.manifest);
                }
            }
            for manifest in manifests {
                let mut state = load::state(&world.log, &manifest).await.unwrap();
                let at = usize::try_from(manifest.seq.0).unwrap();
                checkpoint_is_the_state(&state, &world.states[at]).unwrap();
                for later in &world.states[at + 1..] {
                    let object = world.log.object(later.seq);
                    let bytes = world.log.read(later.seq).await.unwrap().unwrap();
                    state = apply::apply(&state, &object, &bytes, None).unwrap().1.state;
                    states_agree(&state, later).unwrap();
                }
            }
            let report = check(world.log.bucket(), world.log.name(), |_| ()).await.unwrap();
            assert_eq!(report.problems, Vec::<String>::new());
        });
    }
}

#[tokio::test]
async fn unchanged_files_are_not_written_again() {
    let mut world = World::movies(30).await;
    let first = world.checkpoint(31, None).await;
    assert!(first.files > 5, "{}", first.files);
    world.commit(vec![group(vec![put(15, "another text")])]).await;
    let next = world.checkpoint(32, Some(&first.manifest)).await;
    // The page in memory holds all: so every file is written, though most under the same name.
    let names = |manifest: &Manifest| manifest.files().collect::<Vec<_>>();
    let same = names(&next.manifest).iter().filter(|f| names(&first.manifest).contains(f)).count();
    assert_eq!(same, names(&first.manifest).len() - 1, "one file has another name");
    let again = world.checkpoint(32, Some(&next.manifest)).await;
    assert_eq!((again.files, again.manifest), (0, next.manifest));
}

#[tokio::test]
async fn a_reused_file_that_is_gone_is_written_again() {
    let world = World::movies(9).await;
    let first = world.checkpoint(10, None).await;
    world.delete(&world.page(&first.manifest, 1)).await;
    assert_eq!(world.checkpoint(10, Some(&first.manifest)).await.files, 1);
    states_agree(world.newest().await.state.as_ref().unwrap(), world.state()).unwrap();
}

#[tokio::test]
async fn many_keys_lie_in_files_that_are_reused() {
    let mut world = World::new().await;
    let keyed = |n: usize| Group {
        key: Some((format!("key {n}").into(), Print([1; 32]))),
        ..group(vec![Op::new(Action::Delete(key(1)))])
    };
    world.commit((0..KEYS_A_FILE + 10).map(keyed).collect()).await;
    let first = world.checkpoint(2, None).await.manifest;
    assert_eq!((first.key_files.len(), first.recent_keys.len()), (1, 10));
    world.commit((KEYS_A_FILE + 10..KEYS_A_FILE + 20).map(keyed).collect()).await;
    let next = world.checkpoint(3, Some(&first)).await;
    assert_eq!((next.files, next.manifest.recent_keys.len()), (0, 20));
    assert_eq!(next.manifest.key_files, first.key_files);
    states_agree(&load::state(&world.log, &next.manifest).await.unwrap(), world.state()).unwrap();
    // A day of effective time later all but the newest have expired, and so has the file.
    for _ in 0..24 {
        world.commit(vec![keyed(99_999)]).await;
    }
    let last = world.checkpoint(world.state().seq.0, Some(&next.manifest)).await.manifest;
    assert_eq!(last.key_files, []);
    assert!(last.keys < 20, "{}", last.keys);
    states_agree(&load::state(&world.log, &last).await.unwrap(), world.state()).unwrap();
}

/// Damages the newer of two checkpoints; the older one serves, and the object is named.
async fn passed_over(damage: impl AsyncFn(&World, &Manifest), told: &str) {
    let world = World::movies(9).await;
    let older = world.checkpoint(5, None).await.manifest;
    let newer = world.checkpoint(10, Some(&older)).await.manifest;
    damage(&world, &newer).await;
    let newest = world.newest().await;
    states_agree(newest.state.as_ref().unwrap(), &world.states[5]).unwrap();
    assert_eq!(newest.damaged.len(), 1, "{:?}", newest.damaged);
    assert!(newest.damaged[0].contains(told), "{:?}", newest.damaged);
    let movies = world.open(silent()).await.unwrap();
    states_agree(&movies.latest(), world.state()).unwrap();
    assert!(movies.notes()[0].contains(told), "{:?}", movies.notes());
    let report = check(world.log.bucket(), world.log.name(), |_| ()).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains(told)), "{report:?}");
    assert_eq!(report.commits, 10);
}

#[tokio::test]
async fn a_damaged_manifest_is_passed_over() {
    let object = "checkpoint/00000000000000000010.json";
    let cut = async |world: &World, newer: &Manifest| {
        let bytes = newer.encode();
        world.overwrite(&load::object(&world.log, newer.seq), bytes.slice(..bytes.len() / 2)).await;
    };
    passed_over(cut, object).await;
    let another = async |world: &World, newer: &Manifest| {
        let other = Manifest { hash: commit_hash(9), ..newer.clone() };
        world.overwrite(&load::object(&world.log, newer.seq), other.encode()).await;
    };
    passed_over(another, object).await;
    let misplaced = async |world: &World, newer: &Manifest| {
        let other = Manifest { seq: Seq(9), ..newer.clone() };
        world.overwrite(&load::object(&world.log, newer.seq), other.encode()).await;
    };
    passed_over(misplaced, object).await;
    let too_many = async |world: &World, newer: &Manifest| {
        let other = Manifest { movies: 10, ..newer.clone() };
        world.overwrite(&load::object(&world.log, newer.seq), other.encode()).await;
    };
    passed_over(too_many, object).await;
}

fn commit_hash(byte: u8) -> crate::key::CommitHash {
    crate::key::CommitHash([byte; 32])
}

#[tokio::test]
async fn a_damaged_or_missing_page_file_is_passed_over() {
    passed_over(async |world, newer| world.delete(&world.page(newer, 2)).await, ".zst").await;
    passed_over(async |world, newer| world.overwrite(&world.page(newer, 2), "x").await, ".zst")
        .await;
}

#[tokio::test]
async fn a_replica_that_met_damage_heals_it() {
    let world = World::movies(9).await;
    let older = world.checkpoint(5, None).await.manifest;
    let newer = world.checkpoint(10, Some(&older)).await.manifest;
    world.overwrite(&world.page(&newer, 0), "x").await;
    assert_eq!(world.newest().await.damaged.len(), 1);
    let _movies = world.open(often()).await.unwrap();
    loop {
        let newest = world.newest().await;
        if newest.damaged.is_empty() {
            break states_agree(&newest.state.unwrap(), world.state()).unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_a_good_checkpoint_the_whole_log_is_read() {
    let world = World::movies(4).await;
    let only = world.checkpoint(5, None).await.manifest;
    world.delete(&world.page(&only, 0)).await;
    let movies = world.open(silent()).await.unwrap();
    states_agree(&movies.latest(), world.state()).unwrap();
    assert_eq!(movies.checkpoint().seq, None);
}

#[tokio::test]
async fn page_files_without_a_manifest_are_nothing() {
    let world = World::movies(4).await;
    let crashed = world.checkpoint(5, None).await.manifest;
    world.delete(&load::object(&world.log, crashed.seq)).await;
    assert!(world.newest().await.state.is_none());
    states_agree(&world.open(silent()).await.unwrap().latest(), world.state()).unwrap();
}

#[tokio::test]
async fn two_that_write_at_once_do_no_harm() {
    let world = World::movies(9).await;
    let base = world.checkpoint(5, None).await.manifest;
    let (one, other) = tokio::join!(world.checkpoint(10, Some(&base)), world.checkpoint(10, None));
    assert_eq!(one.manifest.movies, other.manifest.movies);
    states_agree(world.newest().await.state.as_ref().unwrap(), world.state()).unwrap();
}

#[tokio::test]
async fn a_log_that_lost_commits_is_not_served_from_a_checkpoint() {
    for lost in [1, 10] {
        let world = World::movies(9).await;
        world.checkpoint(5, None).await;
        world.checkpoint(10, None).await;
        world.delete(&world.log.object(Seq(lost))).await;
        let error = world.open(silent()).await.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&world.log.object(Seq(lost))), "{error}");
    }
}

#[tokio::test]
async fn garbage_goes_and_what_is_named_stays() {
    let mut world = World::movies(9).await;
    let first = world.checkpoint(10, None).await.manifest;
    world.commit(vec![group((1..=9).map(|name| put(name, "new")).collect())]).await;
    world.delete(&load::object(&world.log, first.seq)).await;
    let day = std::time::Duration::from_secs(24 * 3_600);
    let began = world.log.env().now();
    while world.log.env().now() <= began.plus_ms(2) {
        tokio::task::yield_now().await;
    }
    let last = world.checkpoint(11, Some(&first)).await.manifest;
    let young = retention::sweep(&world.log, day).await.unwrap();
    assert_eq!(young.files, 0, "it is too young");
    let swept = retention::sweep(&world.log, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(swept.files, first.pages.len() as u64);
    states_agree(world.newest().await.state.as_ref().unwrap(), world.state()).unwrap();
    world.overwrite(&load::object(&world.log, Seq(9)), "{}").await;
    world.delete(&load::object(&world.log, last.seq)).await;
    let swept = retention::sweep(&world.log, std::time::Duration::ZERO).await.unwrap();
    assert_eq!((swept.files, swept.unreadable.len()), (0, 1), "what it names is not known");
}

#[tokio::test]
async fn an_old_checkpoint_that_cannot_be_read_is_told_and_keeps_every_file() {
    let world = World::movies(9).await;
    let damaged = world.checkpoint(5, None).await.manifest;
    world.checkpoint(10, None).await;
    world.overwrite(&load::object(&world.log, Seq(5)), "{}").await;
    let movies = world.open(often()).await.unwrap();
    let deadline = std::time::Duration::from_secs(30);
    movies.submit(group(vec![put(1, "by the api")]), deadline).await.unwrap();
    let told = async {
        while movies.checkpoint().damaged.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    world.log.env().timeout(std::time::Duration::from_secs(10), told).await.expect("it is told");
    let told = movies.checkpoint().damaged;
    assert!(told.len() == 1 && told[0].contains("00000000000000000005.json"), "{told:?}");
    for index in 0..damaged.pages.len() {
        let path = world.log.bucket().path(&world.page(&damaged, index));
        assert!(world.log.bucket().head(&path).await.unwrap().is_some());
    }
}

/// Publication adds commits of its own.
fn silent() -> Options {
    Options { publish: None, ..Options::default() }
}

fn often() -> Options {
    let checkpoints = CheckpointOptions {
        quiet: std::time::Duration::from_millis(1),
        quiet_period: std::time::Duration::ZERO,
        patience: std::time::Duration::from_millis(1),
        file_bytes: 200,
        ..CheckpointOptions::default()
    };
    Options { checkpoints, ..silent() }
}

#[tokio::test]
async fn a_quiet_moment_after_a_change_ends_in_a_checkpoint() {
    let world = World::movies(1).await;
    let movies = world.open(often()).await.unwrap();
    for name in 1..=5 {
        let deadline = std::time::Duration::from_secs(30);
        let judged = movies.submit(group(vec![put(name, "by the api")]), deadline).await.unwrap();
        let seq = judged.seq.unwrap();
        while movies.checkpoint().seq != Some(seq) {
            tokio::task::yield_now().await;
        }
    }
    let listed = load::list(&world.log).await.unwrap();
    // None has gone: the published file, which nobody writes here, might show them.
    let listed: Vec<_> = listed.iter().map(|listed| listed.seq.0).collect();
    assert_eq!(listed.get(..5), Some(&[7, 6, 5, 4, 3][..]));
    let fresh = world.open(silent()).await.unwrap();
    assert_eq!(fresh.checkpoint().seq, Some(Seq(7)));
    states_agree(&fresh.latest(), &movies.latest()).unwrap();
}

fn prune_all(dry_run: bool) -> PruneOptions {
    PruneOptions { before: Before::Seq(Seq(1_000)), spared: std::time::Duration::ZERO, dry_run }
}

async fn pruned_world() -> World {
    let world = World::movies(12).await;
    for seq in [3, 8, 10, 13] {
        world.checkpoint(seq, None).await;
    }
    let (bucket, name) = (world.log.bucket(), world.log.name());
    let dry = prune(bucket, name, prune_all(true), Env::real(), |_| ()).await.unwrap();
    // The log is written by a clock of its own, which is ahead of ours or not.
    let options = PruneOptions { spared: std::time::Duration::ZERO, ..prune_all(false) };
    let report = prune(bucket, name, options, Env::real(), |_| ()).await.unwrap();
    assert_eq!((dry.commits, dry.stop), (report.commits, report.stop));
    assert_eq!((report.commits, report.checkpoints, report.stop), (7, 4, Stop::Checkpoints));
    let again = prune(bucket, name, prune_all(false), Env::real(), |_| ()).await.unwrap();
    assert_eq!((again.commits, again.before), (0, 7));
    world
}

#[tokio::test]
async fn a_pruned_log_is_served_from_its_checkpoints() {
    let world = pruned_world().await;
    let movies = world.open(silent()).await.unwrap();
    states_agree(&movies.latest(), world.state()).unwrap();
    let report = check(world.log.bucket(), world.log.name(), |_| ()).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!((report.pruned, report.commits, report.checkpoints), (7, 13, 3));
    let stub = world.log.read(Seq(7)).await.unwrap().unwrap();
    assert_eq!(stub, "{\"pruned_to\":8}\n");
    assert!(matches!(world.log.create(Seq(7), "x".into()).await, Created::Taken));
}

#[tokio::test]
async fn a_pruned_log_without_a_checkpoint_is_damaged() {
    let world = pruned_world().await;
    for listed in load::list(&world.log).await.unwrap() {
        world.delete(&load::object(&world.log, listed.seq)).await;
    }
    let error = world.open(silent()).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("pruned in favour of checkpoint 8"), "{error}");
}

#[tokio::test]
async fn pruning_needs_three_checkpoints_and_all_of_them_sound() {
    let world = World::movies(12).await;
    let (bucket, name) = (world.log.bucket(), world.log.name());
    world.checkpoint(5, None).await;
    let last = world.checkpoint(9, None).await.manifest;
    let report = prune(bucket, name, prune_all(false), Env::real(), |_| ()).await.unwrap();
    assert_eq!((report.commits, report.stop), (0, Stop::Checkpoints));
    world.checkpoint(13, None).await;
    world.overwrite(&world.page(&last, 0), "x").await;
    let error = prune(bucket, name, prune_all(false), Env::real(), |_| ()).await.unwrap_err();
    assert!(error.is_final(), "{error}");
    assert!(commit::pruned_to(&world.log.read(Seq(1)).await.unwrap().unwrap()).is_none());
}

#[tokio::test]
async fn pruning_stops_where_it_is_told() {
    let world = World::movies(12).await;
    let (bucket, name) = (world.log.bucket(), world.log.name());
    for seq in [9, 11, 13] {
        world.checkpoint(seq, None).await;
    }
    let young = PruneOptions { spared: std::time::Duration::from_secs(3_600), ..prune_all(false) };
    let report = prune(bucket, name, young, Env::real(), |_| ()).await.unwrap();
    assert_eq!((report.commits, report.stop), (0, Stop::Young));
    let at = world.states[4].at;
    let early = PruneOptions { before: Before::Time(at), ..prune_all(false) };
    let report = prune(bucket, name, early, Env::real(), |_| ()).await.unwrap();
    assert_eq!((report.commits, report.stop), (3, Stop::Done));
    let few = PruneOptions { before: Before::Seq(Seq(6)), ..prune_all(false) };
    let report = prune(bucket, name, few, Env::real(), |_| ()).await.unwrap();
    assert_eq!((report.commits, report.before), (2, 3));
}

#[tokio::test]
async fn a_replica_that_meets_a_stub_reloads_and_repeats_nothing() {
    let mut world = World::movies(2).await;
    let poll = std::time::Duration::from_secs(3_600);
    let movies = world.open(Options { poll, ..silent() }).await.unwrap();
    for name in 3..=9 {
        world.commit(vec![group(vec![put(name, "meanwhile")])]).await;
    }
    for seq in [8, 9, 10] {
        world.checkpoint(seq, None).await;
    }
    let (bucket, name) = (world.log.bucket(), world.log.name());
    let report = prune(bucket, name, prune_all(false), Env::real(), |_| ()).await.unwrap();
    assert_eq!(report.commits, 7);
    let deadline = std::time::Duration::from_secs(30);
    let error = movies.submit(group(vec![put(20, "mine")]), deadline).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    let read = movies.read(Freshness::AtMost(std::time::Duration::ZERO)).await.unwrap();
    states_agree(&read.state, world.state()).unwrap();
    let judged = movies.submit(group(vec![put(20, "mine")]), deadline).await.unwrap();
    assert_eq!(judged.results[0].outcome.code, Code::Created);
    assert_eq!(judged.seq, Some(Seq(11)));
}
