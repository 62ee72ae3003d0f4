//! What others do between two requests of ours: a checkpoint goes, comes, or is put again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::*;

/// What happens after a request, before its answer arrives.
type Deed = Box<dyn FnOnce(Arc<InMemory>) -> BoxFuture<'static, ()> + Send>;

/// A bucket in memory in which somebody else is at work.
#[derive(Default)]
struct Shared {
    objects: Arc<InMemory>,
    /// After the next request for an object or a folder whose name ends so.
    next: Mutex<Option<(&'static str, Deed)>>,
    /// Whether every listing fails.
    hides: AtomicBool,
}

impl Shared {
    /// After the next request that concerns `name`, `deed` is done.
    fn after<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        deed: impl FnOnce(Arc<InMemory>) -> F + Send + 'static,
    ) {
        let deed: Deed = Box::new(|objects| Box::pin(deed(objects)));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, deed));
    }

    async fn asked_for(&self, path: &Path) {
        let deed = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.take_if(|(name, _)| path.as_ref().ends_with(*name))
        };
        if let Some((_, deed)) = deed {
            deed(Arc::clone(&self.objects)).await;
        }
    }

    fn is_over(&self) -> bool {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

#[derive(Clone)]
struct Client(Arc<Shared>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a shared bucket")
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a shared bucket")
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, at: &Path, body: PutPayload, how: PutOptions) -> Result<PutResult> {
        let done = self.0.objects.put_opts(at, body, how).await;
        self.0.asked_for(at).await;
        done
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.objects.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        let got = self.0.objects.get_opts(at, how).await;
        self.0.asked_for(at).await;
        got
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.objects.delete_stream(paths)
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (client, folder) = (self.clone(), folder.cloned().unwrap_or_default());
        let listed = async move {
            if client.0.hides.load(Ordering::Relaxed) {
                let source = "503 SlowDown".into();
                return Err(object_store::Error::Generic { store: "shared", source });
            }
            let listed: Vec<_> = client.0.objects.list(Some(&folder)).try_collect().await?;
            client.0.asked_for(&folder).await;
            Ok(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.0.objects.list_with_delimiter(folder).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.0.objects.copy_opts(from, to, how).await
    }
}

/// Ten commits in a bucket that others use.
async fn shared_world() -> (World, Arc<Shared>) {
    let shared = Arc::new(Shared::default());
    let bucket = Bucket::simulated(Arc::new(Client(Arc::clone(&shared))));
    (World::on(bucket).await.with_movies(9).await, shared)
}

impl World {
    /// Another deletes the manifest of a checkpoint, as retention does, right after it was listed.
    fn thinned_after_listing(&self, shared: &Shared, seq: u64) {
        let manifest = Path::from(load::object(&self.log, Seq(seq)));
        shared.after("/checkpoint", move |objects| async move {
            objects.delete(&manifest).await.unwrap();
        });
    }

    /// So that what is written next has a later date.
    async fn a_moment_passes(&self) {
        let began = self.log.env().now();
        while self.log.env().now() <= began.plus_ms(2) {
            tokio::task::yield_now().await;
        }
    }

    async fn are_there(&self, manifest: &Manifest) -> bool {
        for file in manifest.files() {
            let path = self.log.bucket().path(&load::file_object(&self.log, file));
            if self.log.bucket().head(&path).await.unwrap().is_none() {
                return false;
            }
        }
        true
    }
}

#[tokio::test]
async fn a_checkpoint_that_goes_while_a_replica_starts_is_no_damage() {
    let (world, shared) = shared_world().await;
    world.checkpoint(5, None).await;
    world.checkpoint(10, None).await;
    world.thinned_after_listing(&shared, 10);
    let newest = world.newest().await;
    assert!(shared.is_over());
    assert_eq!(newest.damaged, Vec::<String>::new());
    states_agree(newest.state.as_ref().unwrap(), &world.states[5]).unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_goes_while_a_log_is_checked_is_no_damage() {
    let (world, shared) = shared_world().await;
    for seq in [5, 7, 10] {
        world.checkpoint(seq, None).await;
    }
    world.thinned_after_listing(&shared, 5);
    let report = check(world.log.bucket(), world.log.name(), |_| ()).await.unwrap();
    assert!(shared.is_over());
    assert_eq!((report.problems, report.checkpoints), (Vec::new(), 2));
}

#[tokio::test]
async fn a_pruned_log_is_checked_though_its_oldest_checkpoint_goes_meanwhile() {
    let (world, shared) = shared_world().await;
    for seq in [5, 7, 8, 10] {
        world.checkpoint(seq, None).await;
    }
    let (bucket, name) = (world.log.bucket(), world.log.name());
    let pruned = prune(bucket, name, prune_all(false), Env::real(), |_| ()).await.unwrap();
    assert_eq!(pruned.commits, 6);
    // Of what is listed nothing stays: only a later look finds what has come since.
    let all = [5, 7, 8, 10].map(|seq| Path::from(load::object(&world.log, Seq(seq))));
    let newer = world.states[9].clone();
    let (log, bytes) = (world.log.clone(), {
        let written = world.checkpoint(9, None).await.manifest;
        world.delete(&load::object(&world.log, newer.seq)).await;
        written.encode()
    });
    shared.after("/checkpoint", move |objects| async move {
        for manifest in all {
            objects.delete(&manifest).await.unwrap();
        }
        let manifest = Path::from(load::object(&log, newer.seq));
        objects.put(&manifest, bytes.into()).await.unwrap();
    });
    let report = check(bucket, name, |_| ()).await.unwrap();
    assert_eq!((report.problems, report.checkpoints), (Vec::new(), 1));
}

#[tokio::test]
async fn a_checkpoint_that_goes_while_it_is_read_is_no_damage() {
    let (world, shared) = shared_world().await;
    let manifest = world.checkpoint(5, None).await.manifest;
    world.checkpoint(10, None).await;
    let objects = [load::object(&world.log, Seq(5)), world.page(&manifest, 0)];
    shared.after("checkpoint/00000000000000000005.json", move |bucket| async move {
        for object in objects {
            bucket.delete(&Path::from(object)).await.unwrap();
        }
    });
    let report = check(world.log.bucket(), world.log.name(), |_| ()).await.unwrap();
    assert!(shared.is_over());
    assert_eq!((report.problems, report.checkpoints), (Vec::new(), 1));
}

#[tokio::test]
async fn a_checkpoint_that_goes_while_a_log_is_pruned_is_no_damage() {
    let (world, shared) = shared_world().await;
    for seq in [3, 5, 7, 10] {
        world.checkpoint(seq, None).await;
    }
    world.thinned_after_listing(&shared, 3);
    let (bucket, name) = (world.log.bucket(), world.log.name());
    let report = prune(bucket, name, prune_all(false), Env::real(), |_| ()).await.unwrap();
    assert!(shared.is_over());
    assert_eq!((report.commits, report.checkpoints, report.stop), (4, 3, Stop::Checkpoints));
}

#[tokio::test]
async fn what_a_checkpoint_names_that_was_written_meanwhile_stays() {
    let (world, shared) = shared_world().await;
    let first = world.checkpoint(5, None).await.manifest;
    world.delete(&load::object(&world.log, first.seq)).await;
    world.a_moment_passes().await;
    world.checkpoint(10, None).await;
    let (manifest, bytes) = (Path::from(load::object(&world.log, first.seq)), first.encode());
    shared.after("/page", move |objects| async move {
        objects.put(&manifest, bytes.into()).await.unwrap();
    });
    retention::sweep(&world.log, Duration::ZERO).await.unwrap();
    assert!(shared.is_over());
    assert!(world.are_there(&first).await);
}

#[tokio::test]
async fn what_is_put_again_meanwhile_stays() {
    let (world, shared) = shared_world().await;
    let first = world.checkpoint(5, None).await.manifest;
    world.delete(&load::object(&world.log, first.seq)).await;
    world.a_moment_passes().await;
    world.checkpoint(10, None).await;
    // A checkpoint of the same movies again, whose manifest is not written yet.
    let files: Vec<_> =
        first.files().map(|file| Path::from(load::file_object(&world.log, file))).collect();
    shared.after("/page", move |objects| async move {
        for file in files {
            let content = objects.get(&file).await.unwrap().bytes().await.unwrap();
            objects.put(&file, content.into()).await.unwrap();
        }
    });
    retention::sweep(&world.log, Duration::ZERO).await.unwrap();
    assert!(shared.is_over());
    assert!(world.are_there(&first).await);
}

#[tokio::test]
async fn a_checkpoint_reuses_nothing_of_one_that_goes_meanwhile() {
    for moment in [".zst", "checkpoint/00000000000000000011.json"] {
        let (mut world, shared) = shared_world().await;
        let base = world.checkpoint(10, None).await.manifest;
        world.commit(vec![group(vec![Op::new(Action::Delete(key(99)))])]).await;
        let manifest = Path::from(load::object(&world.log, base.seq));
        shared.after(moment, move |objects| async move {
            objects.delete(&manifest).await.unwrap();
        });
        let error = world.try_checkpoint(11, Some(&base)).await.unwrap_err();
        assert!(error.to_string().contains("deleted meanwhile"), "{error}");
    }
}

/// Only a listing shows that a log has lost its end: without one, a start would take the commits
/// that are left for all there are, and write the next one anew.
#[tokio::test(start_paused = true)]
async fn without_a_listing_nothing_is_opened_but_what_is_open_goes_on() {
    let (world, shared) = shared_world().await;
    world.checkpoint(10, None).await;
    let movies = world.open(silent()).await.unwrap();
    shared.hides.store(true, Ordering::Relaxed);
    let judged = movies.submit(group(vec![put(1, "new")]), Duration::from_secs(30)).await.unwrap();
    assert_eq!(judged.seq, Some(Seq(11)));
    let error = world.open(silent()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    // As a lifecycle rule does. It is no tail, and nothing says so but the checkpoint behind it.
    for seq in 6..=11 {
        world.delete(&world.log.object(Seq(seq))).await;
    }
    let error = world.open(silent()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    shared.hides.store(false, Ordering::Relaxed);
    let error = world.open(silent()).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}
