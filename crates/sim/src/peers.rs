//! The way from one replica to another, in memory, with faults of its own.
//!
//! A message that has left takes effect whatever becomes of its sender; it may be lost, come late or
//! twice, and so may its answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use movies_store::key::CollectionName;
use movies_store::{Carriage, Peers};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha12Rng;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::bucket::Replica;
use crate::world::World;

/// The chance of each fault, in a thousand messages, and how far replicas are from one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The usual time of one way, in milliseconds.
    pub way_ms: u64,
    /// The message is lost.
    pub lost: u32,
    /// The answer is lost.
    pub lost_answer: u32,
    /// It comes once more, seconds or minutes later, and to whichever replica.
    pub twice: u32,
    /// It comes seconds later.
    pub late: u32,
    /// Whether a replica that is cut off from the bucket is cut off from the others, too.
    pub cut_together: bool,
}

impl Ways {
    /// The same, where nothing is lost, late or doubled.
    #[must_use]
    pub fn sound(self) -> Self {
        Self { lost: 0, lost_answer: 0, twice: 0, late: 0, ..self }
    }

    /// Each kind of fault is absent in some seeds and frequent in others; in some the replicas do not
    /// know of one another.
    pub fn draw(rng: &mut impl Rng) -> Option<Self> {
        if rng.random_bool(0.25) {
            return None;
        }
        let mut chance =
            |most: u32| if rng.random_bool(0.4) { 0 } else { rng.random_range(1..most) };
        let (lost, lost_answer, twice, late) = (chance(100), chance(100), chance(200), chance(100));
        let way_ms = rng.random_range(1..60);
        Some(Self { way_ms, lost, lost_answer, twice, late, cut_together: rng.random() })
    }
}

/// How one replica reaches the others.
#[derive(Debug)]
pub(crate) struct SimPeers {
    world: Weak<World>,
    replica: Replica,
    address: String,
    ways: Ways,
    rng: Mutex<ChaCha12Rng>,
}

impl SimPeers {
    pub(crate) fn new(world: Weak<World>, replica: Replica, ways: Ways, rng: ChaCha12Rng) -> Self {
        Self { world, replica, address: replica.to_string(), ways, rng: Mutex::new(rng) }
    }

    /// Whether nothing goes from here to there.
    fn is_cut(&self, world: &World, to: Replica) -> bool {
        let is_cut = |replica| self.ways.cut_together && world.bucket.is_cut(replica);
        [self.replica, to].into_iter().any(|it| is_cut(it) || world.bucket.is_stalled(it))
    }
}

impl Peers for SimPeers {
    fn address(&self) -> &str {
        &self.address
    }

    fn forward(
        &self,
        address: &str,
        _: &CollectionName,
        message: Bytes,
    ) -> BoxFuture<'static, Carriage> {
        let failed = |after| async move {
            sleep(after).await;
            Carriage::Failed
        };
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ms = |from: u64, to: u64| Duration::from_millis(rng.random_range(from..=to));
        let Ways { way_ms, lost, lost_answer, twice, late, .. } = self.ways;
        let (mut there, back) = (ms(way_ms / 2, way_ms * 2), ms(way_ms / 2, way_ms * 2));
        let (much_later, later) = (ms(1_000, 90_000), ms(200, 9_000));
        let mut happens = |chance: u32| chance > 0 && rng.random_ratio(chance, 1_000);
        let (is_lost, loses_answer) = (happens(lost), happens(lost_answer));
        let comes_again = happens(twice).then_some(much_later);
        if happens(late) {
            there += later;
        }
        let whoever = rng.random_range(0..=u8::MAX);
        drop(rng);
        let Some(world) = self.world.upgrade() else { return failed(back).boxed() };
        let to = world.replicas().find(|replica| replica.to_string() == address);
        let Some(to) = to.filter(|to| !is_lost && !self.is_cut(&world, *to)) else {
            // Told at once, or never.
            return failed(if is_lost { later } else { back }).boxed();
        };
        world.trace.event(format_args!("{} asks {to} to take a batch along", self.replica));
        let (reply, answer) = oneshot::channel();
        if let Some(much_later) = comes_again {
            let count = world.replicas().count();
            let again = world.replicas().nth(usize::from(whoever) % count).unwrap_or(to);
            let (world, message) = (Arc::clone(&world), message.clone());
            tokio::spawn(deliver(world, again, there + much_later, message, None));
        }
        tokio::spawn(deliver(world, to, there, message, Some(reply)));
        async move {
            match answer.await {
                Ok(carriage) if !loses_answer => {
                    sleep(back).await;
                    carriage
                }
                _ => failed(later).await,
            }
        }
        .boxed()
    }
}

async fn deliver(
    world: Arc<World>,
    to: Replica,
    after: Duration,
    message: Bytes,
    reply: Option<oneshot::Sender<Carriage>>,
) {
    sleep(after).await;
    let carriage = match world.serving(to) {
        Some(collection) => match collection.carry(message).await {
            Ok(carriage) => carriage,
            Err(error) => {
                world.trace.event(format_args!("{to} refuses a batch: {error}"));
                Carriage::Failed
            }
        },
        None => Carriage::Failed,
    };
    world.trace.event(format_args!("{to} says {carriage:?}"));
    if matches!(carriage, Carriage::Committed { .. }) {
        world.carried.fetch_add(1, Ordering::Relaxed);
    }
    // Nobody may wait any more.
    let _ = reply.map(|reply| reply.send(carriage));
}
