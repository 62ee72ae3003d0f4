//! What goes wrong on the way to the bucket and back, drawn from one seeded generator.
//!
//! Owns the chances and the latency model; never decides what a request does once it arrives.

use std::time::Duration;

use object_store::path::Path;
use rand::{Rng, RngExt};

/// The chance of each fault, in a thousand requests. Far denser than life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The connection breaks before the bucket has seen the request.
    pub broken: u32,
    /// The bucket asks to slow down; nothing happened.
    pub slow_down: u32,
    /// The request takes effect, its answer is lost.
    pub lost_answer: u32,
    /// An error is answered; the request takes effect seconds or minutes later.
    pub late_effect: u32,
    /// A create was stored, and its own repetition by a client library is answered "exists".
    pub false_conflict: u32,
    /// S3's 409 `ConditionalRequestConflict`, which `object_store` calls "exists": nothing is stored.
    pub idle_conflict: u32,
    /// An ingress answers a GET with a 404 of its own.
    pub false_absence: u32,
    /// The request or its answer hangs for seconds.
    pub hang: u32,
}

impl Faults {
    /// A bucket that always works.
    pub const NONE: Self = Self {
        broken: 0,
        slow_down: 0,
        lost_answer: 0,
        late_effect: 0,
        false_conflict: 0,
        idle_conflict: 0,
        false_absence: 0,
        hang: 0,
    };

    /// Each kind of fault is absent in some seeds and frequent in others.
    pub fn draw(rng: &mut impl Rng) -> Self {
        let mut chance =
            |most: u32| if rng.random_bool(0.4) { 0 } else { rng.random_range(1..most) };
        Self {
            broken: chance(60),
            slow_down: chance(60),
            lost_answer: chance(120),
            late_effect: chance(80),
            false_conflict: chance(120),
            idle_conflict: chance(80),
            false_absence: chance(100),
            hang: chance(60),
        }
    }
}

/// How far a replica is from the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// The usual time of one way, in milliseconds.
    pub way_ms: u64,
    /// How many times as long one way in forty takes.
    pub tail: u64,
}

impl Distance {
    /// On the bucket's own machine.
    pub const NONE: Self = Self { way_ms: 0, tail: 10 };

    /// In the next room.
    pub const NEAR: Self = Self { way_ms: 2, tail: 10 };

    /// One way: half to one and a half times the usual, now and then much longer.
    fn way(self, rng: &mut impl Rng) -> Duration {
        if self.way_ms == 0 {
            return Duration::ZERO;
        }
        let usual = rng.random_range(self.way_ms / 2..=self.way_ms + self.way_ms / 2);
        Duration::from_millis(if rng.random_ratio(1, 40) { usual * self.tail } else { usual })
    }
}

/// The kinds of request that meet faults of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Put,
    Get,
    List,
    Delete,
    Copy,
}

impl Kind {
    pub(crate) fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// What the client sees instead of the bucket's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    Broken,
    SlowDown,
    Exists,
    UnprovenAbsence,
    Unreachable,
}

impl Trouble {
    pub(crate) fn error(self, location: &Path) -> object_store::Error {
        let generic = |source: Box<dyn std::error::Error + Send + Sync>| {
            object_store::Error::Generic { store: "sim", source }
        };
        match self {
            Self::Broken => generic("the connection was reset".into()),
            Self::SlowDown => generic("503 SlowDown".into()),
            Self::Unreachable => generic("the bucket cannot be reached".into()),
            Self::UnprovenAbsence => generic(Box::new(movies_store::UnprovenAbsence {
                said: "404 page not found".to_owned(),
            })),
            Self::Exists => object_store::Error::AlreadyExists {
                path: location.to_string(),
                source: "the object exists".into(),
            },
        }
    }
}

/// How one request fares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trip {
    /// From the start until it takes effect; `None`: never.
    pub(crate) arrives: Option<Duration>,
    /// From its effect, or from when it would have been, until the client has the answer.
    pub(crate) back: Duration,
    /// When the answer is an error, though not the bucket's: how long until the client has it.
    pub(crate) trouble: Option<(Trouble, Duration)>,
}

impl Trip {
    /// Draws the fate of a request. The draws do not depend on what is in the bucket.
    pub(crate) fn draw(rng: &mut impl Rng, kind: Kind, faults: Faults, distance: Distance) -> Self {
        let (mut out, mut back) = (distance.way(rng), distance.way(rng));
        let mut happens = |chance: u32| chance > 0 && rng.random_ratio(chance, 1_000);
        let writes = kind.is_write();
        let create = kind == Kind::Create;
        let fault = [
            (true, faults.broken, Fault::Broken),
            (true, faults.slow_down, Fault::SlowDown),
            (writes, faults.lost_answer, Fault::LostAnswer),
            (writes, faults.late_effect, Fault::LateEffect),
            (create, faults.false_conflict, Fault::FalseConflict),
            (create, faults.idle_conflict, Fault::IdleConflict),
            (kind == Kind::Get, faults.false_absence, Fault::FalseAbsence),
        ]
        .into_iter()
        .find_map(|(concerned, chance, fault)| (concerned && happens(chance)).then_some(fault));
        if happens(faults.hang) {
            let hang = Duration::from_millis(rng.random_range(1_000..20_000));
            *if rng.random() { &mut out } else { &mut back } += hang;
        }
        let arrives = match fault {
            Some(Fault::Broken | Fault::SlowDown | Fault::IdleConflict) => None,
            Some(Fault::LateEffect) if rng.random_ratio(1, 4) => {
                Some(out + Duration::from_millis(rng.random_range(20_000..180_000)))
            }
            Some(Fault::LateEffect) => {
                Some(out + Duration::from_millis(rng.random_range(20..5_000)))
            }
            _ => Some(out),
        };
        let trouble = fault.map(|fault| (fault.seen_as(), out + back));
        Self { arrives, back, trouble }
    }

    /// The same, but the request leaves its replica later.
    pub(crate) fn delayed(mut self, by: Duration) -> Self {
        self.arrives = self.arrives.map(|arrives| arrives + by);
        self.trouble = self.trouble.map(|(trouble, after)| (trouble, after + by));
        self
    }

    /// A request that leaves its replica's network never.
    pub(crate) fn unreachable(rng: &mut impl Rng) -> Self {
        let given_up = Duration::from_millis(rng.random_range(100..5_000));
        Self {
            arrives: None,
            back: Duration::ZERO,
            trouble: Some((Trouble::Unreachable, given_up)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Broken,
    SlowDown,
    LostAnswer,
    LateEffect,
    FalseConflict,
    IdleConflict,
    FalseAbsence,
}

impl Fault {
    fn seen_as(self) -> Trouble {
        match self {
            Self::Broken | Self::LostAnswer | Self::LateEffect => Trouble::Broken,
            Self::SlowDown => Trouble::SlowDown,
            Self::FalseConflict | Self::IdleConflict => Trouble::Exists,
            Self::FalseAbsence => Trouble::UnprovenAbsence,
        }
    }
}
