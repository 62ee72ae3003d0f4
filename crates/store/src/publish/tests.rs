//! Publication on a folder and in memory, with edits by others in between.

use bytes::Bytes;
use object_store::path::Path;

use super::*;
use crate::aside;
use crate::commit::Op;
use crate::key::{CollectionName, MovieKey, Year};
use crate::movie::{Movie, MovieLimits};
use crate::{Absent, Bucket, CheckpointOptions, Env, Options, Store};

/// A bucket, and what people do to the file in it.
pub(super) struct World {
    pub(super) bucket: Bucket,
    path: Path,
}

impl World {
    pub(super) fn new() -> Self {
        let bucket = Bucket::open("memory://").unwrap();
        let path = bucket.path(CollectionName::DEFAULT);
        Self { bucket, path }
    }

    /// A replica that loses no time, and leaves edits as they are.
    async fn replica(&self, publish: Option<Duration>) -> Collection {
        self.with(Options { publish, adopt: None, ..Options::default() }).await
    }

    pub(super) async fn with(&self, options: Options) -> Collection {
        let moment = Duration::from_millis(1);
        let checkpoints = CheckpointOptions {
            quiet: moment,
            quiet_period: moment,
            patience: moment,
            ..CheckpointOptions::default()
        };
        let options = Options { checkpoints, ..options };
        let store = Store::start(self.bucket.clone(), Env::real(), options).await.unwrap();
        let opened = store.open(&CollectionName::default(), Absent::Create).await.unwrap();
        opened.collection().expect("it is created")
    }

    pub(super) async fn file(&self) -> Option<(String, String)> {
        let found = self.bucket.get(&self.path, &Env::real()).await.unwrap()?;
        let tag = unquoted(found.meta.e_tag.as_deref().unwrap()).to_owned();
        Some((String::from_utf8(found.bytes.to_vec()).unwrap(), tag))
    }

    pub(super) async fn upload(&self, text: &str) -> String {
        self.bucket.put(&self.path, text.to_owned().into()).await.unwrap();
        self.file().await.expect("it was uploaded").1
    }
}

pub(super) async fn put(collection: &Collection, name: &str) {
    let key = MovieKey::parse(name, Year::new(2000).unwrap()).unwrap();
    let movie = Movie::parse(key, b"{}", MovieLimits::default()).unwrap();
    let group = Group { by: None, key: None, ops: vec![Op::new(Action::Put(movie))] };
    collection.submit(group, Duration::from_secs(10)).await.unwrap();
}

/// The catalogue as the file shows it.
pub(super) fn text(names: &[&str]) -> String {
    let line = |name: &&str| format!("{{\"name\":\"{name}\",\"year\":2000}}");
    format!("[\n{}\n]\n", names.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

/// Waits, in virtual time.
pub(super) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if condition().await {
            return;
        }
        Env::real().sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

pub(super) async fn shows(world: &World, collection: &Collection, names: &[&str]) {
    until("the file shows it and the log knows", async || {
        let file = world.file().await;
        let recorded = collection.latest().file().and_then(|file| file.etag.clone());
        file.is_some_and(|(content, tag)| {
            content == text(names) && recorded.as_deref() == Some(&*tag)
        })
    })
    .await;
}

pub(super) const NO_PAUSE: Option<Duration> = Some(Duration::ZERO);

#[tokio::test(start_paused = true)]
async fn the_file_is_the_catalogue_and_the_version_stays() {
    let world = World::new();
    let collection = world.replica(NO_PAUSE).await;
    for names in [&["a"][..], &["a", "b"]] {
        put(&collection, names[names.len() - 1]).await;
        let version = collection.latest().version();
        shows(&world, &collection, names).await;
        assert_eq!(collection.latest().version(), version);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_ours_is_kept_until_it_is_moved_away() {
    let world = World::new();
    let collection = world.replica(NO_PAUSE).await;
    put(&collection, "a").await;
    shows(&world, &collection, &["a"]).await;
    let tag = world.upload("[{\"name\":\"theirs\",\"year\":1}]").await;
    put(&collection, "b").await;
    until("it is told", async || collection.publication().foreign.is_some()).await;
    let foreign = collection.publication().foreign.expect("told");
    assert_eq!(*foreign.etag, *tag);
    let copy = world.bucket.path(&foreign.aside.expect("it is copied"));
    let copy = world.bucket.get(&copy, &Env::real()).await.unwrap().expect("it is there");
    assert_eq!(world.file().await.expect("it stays").0.as_bytes(), copy.bytes);
    world.bucket.delete(&world.path).await.unwrap();
    shows(&world, &collection, &["a", "b"]).await;
    let publication = collection.publication();
    assert!(publication.at.is_some(), "it was written");
    assert_eq!(Publication { at: None, ..publication }, Publication::default());
}

#[tokio::test(start_paused = true)]
async fn one_copy_is_kept_however_often_a_replica_starts() {
    let world = World::new();
    let theirs = "[{\"name\":\"theirs\",\"year\":1}]";
    let mut copies = std::collections::BTreeSet::new();
    for name in ["a", "b", "c"] {
        let collection = world.replica(NO_PAUSE).await;
        if name == "a" {
            put(&collection, name).await;
            shows(&world, &collection, &["a"]).await;
            world.upload(theirs).await;
        }
        put(&collection, name).await;
        put(&collection, &format!("{name} again")).await;
        until("it is told", async || collection.publication().foreign.is_some()).await;
        copies.insert(collection.publication().foreign.unwrap().aside.expect("it is copied"));
    }
    let aside = world.bucket.list(&world.bucket.path("movies.json.log/aside")).await.unwrap();
    assert_eq!((aside.len(), copies.len()), (1, 1));
}

#[tokio::test]
async fn what_a_publication_left_that_was_cut_off_is_brought_aside() {
    let home = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(home.path().to_str().unwrap()).unwrap();
    let world = World { path: bucket.path(CollectionName::DEFAULT), bucket };
    let collection = world.replica(NO_PAUSE).await;
    put(&collection, "a").await;
    shows(&world, &collection, &["a"]).await;
    collection.close().await;
    // Two edits, one edition of ours, and what is another collection's.
    let left = [
        ("publish-0b5e7a4e-54c3-4b8e-9b59-5ab3a3a1e000", "[1]".to_owned()),
        ("publish-0b5e7a4e-54c3-4b8e-9b59-5ab3a3a1e001-8d1f2c26d2b1a9f3", "[2]".to_owned()),
        ("publish-0b5e7a4e-54c3-4b8e-9b59-5ab3a3a1e002", text(&["a"])),
    ];
    for (name, content) in &left {
        std::fs::write(home.path().join(".movies-api").join(name), content).unwrap();
    }
    let next = world.replica(None).await;
    until("it is told", async || !next.publication().recovered.is_empty()).await;
    let recovered = next.publication().recovered;
    assert_eq!(recovered.len(), 1, "{recovered:?}");
    assert_eq!(std::fs::read(home.path().join(&*recovered[0])).unwrap(), b"[1]");
    let stays = world.bucket.list(&world.bucket.path(".movies-api")).await.unwrap();
    let stays: Vec<_> = stays.iter().filter_map(|meta| meta.location.filename()).collect();
    assert_eq!(stays, [left[1].0]);
    assert_eq!(world.file().await.expect("it is there").0, text(&["a"]));
    // Once more with the same edit: it is there already.
    drop(next);
    std::fs::write(home.path().join(".movies-api").join(left[0].0), "[1]").unwrap();
    let last = world.replica(None).await;
    until("it is told", async || !last.publication().recovered.is_empty()).await;
    assert_eq!(last.publication().recovered, recovered);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_somebody_changed_does_not_count() {
    let bucket = Bucket::open("memory://").unwrap();
    let (name, env) = (CollectionName::default(), Env::real());
    let keep = async || aside::keep(&bucket, &name, &env, "edit".into()).await.unwrap();
    let first = keep().await;
    assert_eq!(keep().await, first);
    bucket.put(&bucket.path(&first), "changed".into()).await.unwrap();
    // Its own name is taken for as long as the clock stands.
    let began = env.now();
    while env.now() <= began.plus_ms(2) {}
    let second = keep().await;
    assert_ne!(second, first);
    let kept = bucket.get(&bucket.path(&second), &env).await.unwrap();
    assert_eq!(kept.unwrap().bytes, "edit");
}

#[tokio::test(start_paused = true)]
async fn a_file_over_what_one_put_carries_is_told_and_not_tried_again() {
    let mut world = World::new();
    world.bucket = Bucket::open("memory://").unwrap().limited(50);
    let collection = world.replica(NO_PAUSE).await;
    put(&collection, "a").await;
    shows(&world, &collection, &["a"]).await;
    put(&collection, "b").await;
    until("it is told", async || collection.publication().trouble.is_some()).await;
    let trouble = collection.publication().trouble.expect("told");
    assert!(trouble.contains("over the 50 bytes"), "{trouble}");
    assert_eq!(world.file().await.expect("it stays").0, text(&["a"]));
    let deletion = Op::new(Action::Delete(MovieKey::parse("a", Year::new(2000).unwrap()).unwrap()));
    collection
        .submit(Group { by: None, key: None, ops: vec![deletion] }, OP_DEADLINE)
        .await
        .unwrap();
    shows(&world, &collection, &["b"]).await;
    until("it is well", async || collection.publication().trouble.is_none()).await;
}

/// The file of a large catalogue is sent from the pages: a copy would double the memory.
#[tokio::test(start_paused = true)]
async fn what_is_sent_are_the_pages_themselves() {
    let collection = World::new().replica(None).await;
    for name in ["a", "b"] {
        put(&collection, name).await;
    }
    let state = collection.latest();
    let pages: Vec<_> = state.movies().pages().map(|page| page.wire().as_ptr_range()).collect();
    let pieces: Vec<_> = state.movies().array().collect();
    let payload: object_store::PutPayload = pieces.into_iter().collect();
    let shared = |piece: &Bytes| pages.iter().any(|page| page.contains(&piece.as_ptr()));
    assert_eq!(payload.iter().filter(|piece| shared(piece)).count(), pages.len());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_file_with_another_tag_is_ours() {
    let world = World::new();
    let collection = world.replica(NO_PAUSE).await;
    put(&collection, "a").await;
    shows(&world, &collection, &["a"]).await;
    world.upload(&text(&["a"])).await;
    put(&collection, "b").await;
    shows(&world, &collection, &["a", "b"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_edition_whose_op_was_lost_is_recognised_by_its_checkpoint() {
    let world = World::new();
    let silent = world.replica(None).await;
    put(&silent, "a").await;
    until("there is a checkpoint", async || silent.checkpoint().seq.is_some()).await;
    // Written, and then the replica died.
    let tag = world.upload(&text(&["a"])).await;
    let next = world.replica(NO_PAUSE).await;
    shows(&world, &next, &["a"]).await;
    assert_eq!(world.file().await.expect("it is there").1, tag, "it was not written again");
}

#[tokio::test(start_paused = true)]
async fn what_was_left_unpublished_is_published_after_a_start() {
    let world = World::new();
    let silent = world.replica(None).await;
    put(&silent, "a").await;
    until("there is a checkpoint", async || silent.checkpoint().seq.is_some()).await;
    assert_eq!(world.file().await, None);
    shows(&world, &world.replica(NO_PAUSE).await, &["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_collection_leaves_its_file() {
    let world = World::new();
    let collection = world.replica(NO_PAUSE).await;
    put(&collection, "a").await;
    shows(&world, &collection, &["a"]).await;
    let drop = Group::of(Action::Drop);
    collection.submit(drop, Duration::from_secs(10)).await.unwrap();
    let seq = collection.latest().seq();
    until("its checkpoint is written", async || collection.checkpoint().seq >= Some(seq)).await;
    assert_eq!(world.file().await.expect("it stays").0, text(&["a"]));
}
