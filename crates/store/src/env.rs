//! The one door to clock, randomness, ids and spawning, so that the store replays from a seed.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the door; everything else in the store must come through it"
)]

use std::future::{Future, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::key::{BatchId, LogId, Timestamp};
use crate::spans::{SpanId, TraceId};

/// How long a look at a simulated clock takes.
const LOOK: Duration = Duration::from_micros(1);

/// The world outside, for one replica. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    inner: Arc<Inner>,
}

struct Inner {
    rng: Mutex<ChaCha12Rng>,
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    compute: Compute,
    /// The latest moment that a simulated replica has seen.
    seen: Mutex<Option<Instant>>,
    mutant: Option<Mutant>,
    /// What a simulated replica has spawned, so that it can crash.
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

/// Where work over a millisecond goes.
#[derive(Clone, Debug)]
enum Compute {
    /// To the blocking threads of the runtime that the store was started on, which also has its
    /// tasks, whichever runtime its caller is on.
    Threads(Handle),
    /// On the caller's thread: one thread, one order of events.
    Inline,
}

/// A deliberate bug that the simulation must catch. Only builds with the feature `mutants` can
/// be given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Waiters are answered when the create is sent.
    AnswerBeforeDurable,
    /// A conflict is taken for a failure, without reading what is there.
    ConflictIsFailure,
    /// Strong reads are served from memory.
    SkipProbe,
    /// A read joins a probe that is already in flight.
    JoinProbeInFlight,
    /// The ids of judged batches are not remembered.
    ForgetJudged,
    /// `if_match` is not looked at when a commit is applied.
    IgnorePrecondition,
    /// A refused group keeps the ops before the refused one.
    HalfGroup,
    /// A batch judged ahead is sent whatever came to stand before it.
    TrustForesight,
    /// Any 404 is taken for absence.
    AnyNotFoundIsAbsence,
    /// A checkpoint does not hold the ids of judged batches.
    ForgetJudgedInCheckpoint,
    /// A checkpoint says that a movie last changed at the effective time of its own commit.
    ForgetChangeTimeInCheckpoint,
    /// An edit is adopted whatever the register says.
    AdoptTwice,
    /// An edit is taken to be made from the movies of now.
    EditsAreOfNow,
    /// A file that is not ours is published over.
    PublishOverEdit,
    /// A number that is taken is taken for our own create.
    TakenIsOurs,
    /// A batch that one commit does not hold is sent under another id.
    VoidTooSoon,
    /// A batch that a peer has not put into the log in time is created under another id.
    RenewHedged,
    /// Whatever a peer sends is taken along, also what was judged before.
    CarryAnything,
    /// A peer is sent the commit of its batch before that is durable.
    ShipBeforeDurable,
    /// A commit that a peer has sent counts as a proof that the state is current.
    ShippedIsProof,
    /// `if_none_match` is not looked at when a commit is applied.
    IgnoreIfNoneMatch,
    /// Idempotency keys are not remembered.
    ForgetKeys,
    /// An idempotency key answers whatever comes with it.
    IgnorePrint,
    /// A checkpoint does not hold the idempotency keys.
    ForgetKeysInCheckpoint,
    /// The movies of a dropped collection come back with it.
    DropKeepsMovies,
    /// A state is taken to be as old as its probe's answer.
    AgeFromAnswer,
    /// A request that changes nothing is judged on the state in memory.
    ForeseeFromMemory,
    /// An edit is taken over without a copy.
    KeepNoCopy,
}

impl Env {
    /// The real world.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn real() -> Self {
        let wall = || {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        };
        Self::new(rand::make_rng(), Box::new(wall), Compute::Threads(Handle::current()), None)
    }

    /// A world that replays: randomness from `seed`, the wall clock from `wall`, everything on
    /// the caller's thread. tokio's clock should be paused.
    #[must_use]
    pub fn simulated(
        seed: u64,
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        mutant: Option<Mutant>,
    ) -> Self {
        Self::new(ChaCha12Rng::seed_from_u64(seed), Box::new(wall), Compute::Inline, mutant)
    }

    fn new(
        rng: ChaCha12Rng,
        wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
        compute: Compute,
        mutant: Option<Mutant>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                rng: Mutex::new(rng),
                wall,
                compute,
                seen: Mutex::default(),
                mutant,
                tasks: Mutex::default(),
            }),
        }
    }

    /// The wall clock, for commits; it may jump.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.inner.wall)()
    }

    /// The monotonic clock, for deadlines and ages.
    #[must_use]
    pub fn instant(&self) -> Instant {
        match self.inner.compute {
            Compute::Threads(_) => Instant::now(),
            // No two looks are at one moment in life either.
            Compute::Inline => {
                let mut seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let later = seen.map(|seen| seen + LOOK);
                *seen.insert(later.map_or_else(Instant::now, |later| later.max(Instant::now())))
            }
        }
    }

    /// Waits. Cancel safe.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until `at`. Cancel safe.
    pub async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at).await;
    }

    /// `future`'s output, or `None` when `limit` is over; then `future` is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }

    /// Runs a task beside the caller's. The runtime must be tokio's.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.inner.compute {
            Compute::Inline => self.tasks().push(tokio::spawn(task).abort_handle()),
            Compute::Threads(runtime) => drop(runtime.spawn(task)),
        }
    }

    /// Ends every task that a simulated replica has spawned, at whatever point it is: a crash.
    pub fn crash(&self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<tokio::task::AbortHandle>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work that may take over a millisecond off the runtime's threads. It begins at once,
    /// whenever the future is awaited, and dropping that does not stop it.
    pub fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let begun = match &self.inner.compute {
            Compute::Inline => Either::Left(ready(work())),
            Compute::Threads(runtime) => Either::Right(runtime.spawn_blocking(work)),
        };
        async {
            match begun {
                Either::Left(done) => done.await,
                Either::Right(working) => match working.await {
                    Ok(done) => done,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime ends, and with it whoever waits.
                        Err(_ended) => std::future::pending().await,
                    },
                },
            }
        }
    }

    /// `duration`, half to one and a half times: so that replicas do not march in step.
    #[must_use]
    pub fn jittered(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.with_rng(|rng| rng.random_range(0.5..1.5)))
    }

    pub(crate) fn log_id(&self) -> LogId {
        LogId(self.with_rng(|rng| rng.random()))
    }

    pub(crate) fn batch_id(&self) -> BatchId {
        BatchId(self.uuid())
    }

    /// A random one, so that it is none of zeros as good as always; those name nothing.
    pub(crate) fn trace_id(&self) -> TraceId {
        TraceId(self.with_rng(|rng| rng.random()))
    }

    pub(crate) fn span_id(&self) -> SpanId {
        SpanId(self.with_rng(|rng| rng.random()))
    }

    /// A random (version 4) UUID.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        self.with_rng(|rng| rng.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut ChaCha12Rng) -> T) -> T {
        draw(&mut self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this replica has that bug; always `false` without the feature `mutants`.
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && self.inner.mutant == Some(mutant)
    }

    /// The bugs that `apply` must know, as it is pure.
    pub(crate) fn mutant(&self) -> Option<Mutant> {
        if cfg!(feature = "mutants") { self.inner.mutant } else { None }
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("compute", &self.inner.compute).finish_non_exhaustive()
    }
}
