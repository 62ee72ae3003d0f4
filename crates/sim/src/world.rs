//! What the actors of one run share: the bucket, the replicas' lives, the history, the findings.
//!
//! Owns a replica's life (start, crash, start again). Makes no requests of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use movies_store::key::{CollectionName, Timestamp};
use movies_store::{Absent, Bucket, Collection, Env, Error, Mutant, Peers, Store};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::bucket::{Replica, SimBucket};
use crate::edits::Edits;
use crate::faults::Distance;
use crate::history::History;
use crate::model::{Violation, violation};
use crate::peers::SimPeers;
use crate::settings::Settings;
use crate::trace::Trace;

/// How long a replica waits before it tries to start again.
const START_PAUSE: Duration = Duration::from_millis(700);

/// One run's world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) trace: Trace,
    pub(crate) bucket: SimBucket,
    mutant: Option<Mutant>,
    lives: BTreeMap<Replica, Life>,
    history: Mutex<History>,
    findings: Mutex<Vec<Violation>>,
    edits: Mutex<Edits>,
    /// How many batches one replica has put into the log for another.
    pub(crate) carried: AtomicUsize,
}

/// The published file.
pub(crate) const FILE: &str = "movies.json";

/// A replica as others see it.
#[derive(Debug)]
struct Life {
    distance: Distance,
    seed: u64,
    /// How far its clock is off, in milliseconds.
    clock_off: Arc<AtomicI64>,
    /// Its collection; none while it is down.
    serving: Mutex<Option<Collection>>,
    /// Tells of every change of `serving`. Not a `watch` channel: tokio's wakes its receivers in
    /// an order drawn by chance, and a seed would not replay.
    changed: Notify,
    /// Each message kills it; how long it then stays down.
    kill: mpsc::Sender<Duration>,
    killed: Mutex<Option<mpsc::Receiver<Duration>>>,
}

impl Life {
    fn serve(&self, collection: Option<Collection>) {
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = collection;
        self.changed.notify_waiters();
    }
}

impl World {
    pub(crate) fn new(
        settings: Settings,
        trace: Trace,
        mutant: Option<Mutant>,
        rng: &mut ChaCha12Rng,
    ) -> Arc<Self> {
        let bucket = SimBucket::new(rng.random(), trace.clone());
        let lives = settings.replicas().map(|(replica, distance)| {
            let (kill, killed) = mpsc::channel(1);
            let life = Life {
                distance,
                seed: rng.random(),
                clock_off: Arc::new(AtomicI64::new(rng.random_range(-5_000..5_000))),
                serving: Mutex::default(),
                changed: Notify::new(),
                kill,
                killed: Mutex::new(Some(killed)),
            };
            (replica, life)
        });
        Arc::new(Self {
            lives: lives.collect(),
            settings,
            trace,
            bucket,
            mutant,
            history: Mutex::default(),
            findings: Mutex::default(),
            edits: Mutex::default(),
            carried: AtomicUsize::new(0),
        })
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = Replica> + '_ {
        self.lives.keys().copied()
    }

    /// What a replica serves now.
    pub(crate) fn serving(&self, replica: Replica) -> Option<Collection> {
        self.life(replica).serving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends when it serves.
    pub(crate) async fn served(&self, replica: Replica) -> Collection {
        loop {
            let changed = self.changed(replica);
            if let Some(collection) = self.serving(replica) {
                return collection;
            }
            changed.await;
        }
    }

    /// Ends at the next change of what a replica serves after this call.
    pub(crate) fn changed(&self, replica: Replica) -> Notified<'_> {
        self.life(replica).changed.notified()
    }

    /// Kills a replica at whatever point it is; it starts again after `down`.
    pub(crate) fn kill(&self, replica: Replica, down: Duration) {
        self.trace.event(format_args!("{replica} is killed for {down:?}"));
        if self.life(replica).kill.try_send(down).is_err() {
            self.trace.event(format_args!("{replica} was down already"));
        }
    }

    pub(crate) fn set_clock(&self, replica: Replica, off_ms: i64) {
        self.trace.event(format_args!("{replica} has its clock {off_ms} ms off"));
        self.life(replica).clock_off.store(off_ms, Ordering::Relaxed);
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A person saves over the published file what they made of `opened`.
    pub(crate) fn edit(&self, opened: &Bytes, content: Bytes) {
        self.edits().save(self.bucket.content(FILE), opened, &content);
        self.bucket.place(FILE, content);
    }

    /// No edit is lost, and none did what its author did not.
    pub(crate) fn judge_edits(&self) -> Result<(), Violation> {
        let copies: BTreeSet<Bytes> = self.bucket.contents("movies.json.log/aside/").collect();
        if let Some(edit) = self.edits().lost(self.bucket.content(FILE).as_ref(), &copies) {
            let edit = String::from_utf8_lossy(&edit);
            return violation!("an edit vanished without a copy: {edit}");
        }
        self.edits().judge(&self.bucket.commits())
    }

    fn edits(&self) -> MutexGuard<'_, Edits> {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a rule was broken; the run ends soon.
    pub(crate) fn found(&self, violation: Violation) {
        self.trace.event(format_args!("FOUND {violation}"));
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(violation);
    }

    /// The first rule that was broken.
    pub(crate) fn finding(&self) -> Option<Violation> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    fn life(&self, replica: Replica) -> &Life {
        self.lives.get(&replica).expect("replicas are named by the world")
    }

    /// Lives, is killed, and lives again, until the task is aborted.
    pub(crate) async fn live(self: Arc<Self>, replica: Replica) {
        let life = self.life(replica);
        let killed = life.killed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut killed = killed.expect("a replica lives once at a time");
        let mut seeds = ChaCha12Rng::seed_from_u64(life.seed);
        loop {
            let (trace, off) = (self.trace.clone(), Arc::clone(&life.clock_off));
            let wall = move || -> Timestamp { trace.wall().plus_ms(off.load(Ordering::Relaxed)) };
            let env = Env::simulated(seeds.random(), wall, self.mutant);
            let serve = async {
                let collection = self.start(replica, &env).await;
                self.trace.event(format_args!("{replica} serves"));
                life.serve(collection);
                std::future::pending::<()>().await;
            };
            let down = tokio::select! {
                biased;
                down = killed.recv() => down.unwrap_or_default(),
                () = serve => Duration::ZERO,
            };
            env.crash();
            life.serve(None);
            sleep(down).await;
        }
    }

    /// How it reaches the others in this life.
    fn peers(self: &Arc<Self>, replica: Replica, env: &Env) -> Option<Arc<dyn Peers>> {
        let ways = self.settings.ways?;
        let rng = ChaCha12Rng::seed_from_u64(env.uuid().as_u64_pair().0);
        Some(Arc::new(SimPeers::new(Arc::downgrade(self), replica, ways, rng)))
    }

    /// Starts until it succeeds, as an orchestrator would; `None` where it never can.
    async fn start(self: &Arc<Self>, replica: Replica, env: &Env) -> Option<Collection> {
        let life = self.life(replica);
        loop {
            let bucket = Bucket::simulated(self.bucket.client(replica, life.distance));
            let options = movies_store::Options {
                replica: replica.to_string(),
                peers: self.peers(replica, env),
                ..self.settings.options.clone()
            };
            // The self-test may misjudge a bucket that misbehaves; it must not for ever.
            let opened = match Store::start(bucket, env.clone(), options).await {
                Ok(store) => store.open(&CollectionName::default(), Absent::Create).await,
                Err(Error::Unsupported { found, .. }) => Err(Error::Unavailable {
                    operation: "test",
                    object: "the bucket".to_owned(),
                    reason: found,
                }),
                Err(error) => Err(error),
            };
            match opened {
                Ok(opened) => return opened.collection(),
                Err(error) if error.is_final() => {
                    self.found(Violation(format!("{replica} refuses to serve: {error}")));
                    return None;
                }
                Err(error) => {
                    self.trace.event(format_args!("{replica} cannot start: {error}"));
                    env.crash();
                    sleep(START_PAUSE).await;
                }
            }
        }
    }
}
