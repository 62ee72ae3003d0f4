//! How often somebody may guess: a bucket of attempts for each user and each address, which a
//! failed attempt empties by one and time fills again. Whether the user exists makes no
//! difference.
//!
//! An attempt whose end is not known yet takes its place in the bucket, or those who come together
//! could guess more often than one after the other. It is not held against anybody, though: who
//! finds no place for that reason alone waits until one of them has ended.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

/// The most users and addresses that are watched; they are far more than honest ones fail.
const WATCHED_MAX: usize = 16 * 1024;
/// The most attempts that wait for others to end.
const WAITING_MAX: usize = 64;

/// How many may be tried at once, and how long until one more may.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    refill: Duration,
}

const USER: Rate = Rate { burst: 10, refill: Duration::from_secs(6) };
/// More than for a user: there may be many behind one address.
const ADDRESS: Rate = Rate { burst: 30, refill: Duration::from_secs(2) };

/// Who has tried how often.
#[derive(Debug)]
pub(super) struct Throttle {
    /// By a digest, so that neither names nor addresses are kept.
    digest: RandomState,
    watched: Mutex<HashMap<u64, Watched>>,
    /// Told whenever an attempt has ended.
    ended: Notify,
    waiting: Semaphore,
}

/// The bucket of one user or address.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// When it is full again, by the attempts that have failed.
    full_at: Instant,
    /// How many are on their way.
    pending: u32,
}

/// Why an attempt is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many have failed.
    Failures {
        /// When to come back.
        seconds: u32,
    },
    /// Too many wait for others to end.
    Crowd,
}

/// An attempt that was let through: it counts as failed unless it is given back.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    throttle: &'a Throttle,
    keys: Keys,
    at: Instant,
    has_failed: bool,
}

/// Whose buckets an attempt is in: a user's, an address's.
type Keys = [Option<(u64, Rate)>; 2];

/// What became of an attempt at once.
enum Judged<'a> {
    Through(Attempt<'a>),
    Refused(u32),
    /// Others must end first.
    Wait,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self {
            digest: RandomState::new(),
            watched: Mutex::default(),
            ended: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    /// Lets an attempt of a user whose name was told, or of whoever it is, through, maybe after
    /// others have ended; or tells why not. Dropping the future takes nothing.
    pub(super) async fn attempt(
        &self,
        user: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Attempt<'_>, Refused> {
        let keys = self.keys(user, from);
        let mut place = None;
        loop {
            // Before the look, so that no end of another is missed in between.
            let ended = self.ended.notified();
            match self.judge(keys, Instant::now()) {
                Judged::Through(attempt) => return Ok(attempt),
                Judged::Refused(seconds) => return Err(Refused::Failures { seconds }),
                Judged::Wait if place.is_none() => {
                    let free = self.waiting.try_acquire();
                    place = Some(free.map_err(|_none_is_free| Refused::Crowd)?);
                }
                Judged::Wait => {}
            }
            ended.await;
        }
    }

    fn keys(&self, user: Option<&str>, from: Option<IpAddr>) -> Keys {
        [
            user.map(|user| (self.digest.hash_one(("user", user)), USER)),
            from.map(|from| (self.digest.hash_one(("address", network(from))), ADDRESS)),
        ]
    }

    fn judge(&self, keys: Keys, now: Instant) -> Judged<'_> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let found = |key: &u64| watched.get(key).copied();
        let failed = keys.iter().flatten().map(|(key, rate)| rate.wait(found(key), now));
        let failed = failed.max().unwrap_or_default();
        if failed > Duration::ZERO {
            let seconds = u32::try_from(failed.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            return Judged::Refused(seconds);
        }
        if !keys.iter().flatten().all(|(key, rate)| rate.has_place(found(key), now)) {
            return Judged::Wait;
        }
        for (key, _) in keys.iter().flatten() {
            watched.entry(*key).or_insert(Watched { full_at: now, pending: 0 }).pending += 1;
        }
        if watched.len() > WATCHED_MAX {
            make_room(&mut watched, now);
        }
        Judged::Through(Attempt { throttle: self, keys, at: now, has_failed: true })
    }
}

impl Attempt<'_> {
    /// Gives back what it took.
    pub(super) fn give_back(mut self) {
        self.has_failed = false;
    }
}

/// Also where whoever asked has gone away: nobody guesses more often by not waiting for answers.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut watched = self.throttle.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, rate) in self.keys.iter().flatten() {
            if let Some(bucket) = watched.get_mut(key) {
                bucket.pending = bucket.pending.saturating_sub(1);
                if self.has_failed {
                    bucket.full_at = bucket.full_at.max(self.at) + rate.refill;
                }
            }
        }
        drop(watched);
        self.throttle.ended.notify_waiters();
    }
}

impl Rate {
    /// How long until one more may be tried, by the failures alone.
    fn wait(self, bucket: Option<Watched>, now: Instant) -> Duration {
        let missing = bucket.map(|bucket| bucket.full_at.saturating_duration_since(now));
        // All but one may be missing.
        missing.unwrap_or_default().saturating_sub(self.refill * (self.burst - 1))
    }

    /// Whether there is still one if all that are on their way fail.
    fn has_place(self, bucket: Option<Watched>, now: Instant) -> bool {
        let worst = bucket.map(|bucket| Watched {
            full_at: bucket.full_at.max(now) + self.refill * bucket.pending,
            pending: 0,
        });
        self.wait(worst, now) == Duration::ZERO
    }
}

/// An address, or what one customer of a provider has of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

/// Those who are full again go; where that is nobody, those who have failed least. Whoever is being
/// tried stays.
fn make_room(watched: &mut HashMap<u64, Watched>, now: Instant) {
    watched.retain(|_, bucket| bucket.pending > 0 || bucket.full_at > now);
    if watched.len() > WATCHED_MAX {
        let mut times: Vec<Instant> = watched.values().map(|bucket| bucket.full_at).collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        watched.retain(|_, bucket| bucket.pending > 0 || bucket.full_at > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const HOME: [u8; 4] = [192, 0, 2, 1];

    /// An attempt that is let through at once.
    fn through<'a>(
        throttle: &'a Throttle,
        user: &str,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Option<Attempt<'a>> {
        match throttle.judge(throttle.keys(Some(user), from), now) {
            Judged::Through(attempt) => Some(attempt),
            Judged::Refused(_) | Judged::Wait => None,
        }
    }

    /// How often somebody fails before they are stopped.
    fn tries(throttle: &Throttle, user: &str, from: IpAddr, now: Instant) -> usize {
        (0..1_000).take_while(|_| through(throttle, user, Some(from), now).is_some()).count()
    }

    #[test]
    fn a_user_may_be_tried_ten_times_and_then_once_in_six_seconds() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let home = IpAddr::from(HOME);
        assert_eq!(tries(&throttle, "ann", home, now), 10);
        let refused = throttle.judge(throttle.keys(Some("ann"), Some(home)), now);
        assert!(matches!(refused, Judged::Refused(7)), "tried ten times");
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(tries(&throttle, "ann", elsewhere, now), 0, "the user is watched from anywhere");
        assert_eq!(tries(&throttle, "ann", elsewhere, now + USER.refill), 1);
        assert_eq!(tries(&throttle, "ann", elsewhere, now + USER.refill * 100), 10);
    }

    #[test]
    fn an_address_may_try_thirty_times_whoever_it_says_to_be() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let tried = |from: IpAddr| {
            (0..1_000)
                .take_while(|n| through(&throttle, &n.to_string(), Some(from), now).is_some())
                .count()
        };
        assert_eq!(tried(HOME.into()), 30);
        assert_eq!(tried("2001:db8::1".parse().unwrap()), 30);
        assert_eq!(tried("2001:db8::2".parse().unwrap()), 0, "a /64 is one address");
    }

    #[test]
    fn whoever_knows_the_password_is_never_throttled() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for _ in 0..1_000 {
            through(&throttle, "ann", Some(HOME.into()), now).unwrap().give_back();
        }
        assert_eq!(tries(&throttle, "ann", HOME.into(), now), 10);
    }

    #[test]
    fn right_passwords_that_come_together_wait_for_one_another() {
        let throttle = Throttle::new();
        let attempt = || Box::pin(throttle.attempt(Some("ann"), None));
        let mut on_their_way: Vec<_> =
            (0..10).map(|_| attempt().now_or_never().unwrap().unwrap()).collect();
        let mut late = attempt();
        assert!(late.as_mut().now_or_never().is_none(), "nobody has failed yet");
        on_their_way.pop().unwrap().give_back();
        late.now_or_never().unwrap().unwrap().give_back();
        on_their_way.into_iter().for_each(Attempt::give_back);
    }

    #[test]
    fn guesses_that_come_together_are_no_more_than_those_one_after_the_other() {
        let throttle = Throttle::new();
        let attempt = || Box::pin(throttle.attempt(Some("ann"), None));
        let on_their_way: Vec<_> =
            (0..10).map(|_| attempt().now_or_never().unwrap().unwrap()).collect();
        let mut late: Vec<_> = (0..WAITING_MAX).map(|_| attempt()).collect();
        assert!(late.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        let crowd = attempt().now_or_never().unwrap();
        assert_eq!(crowd.unwrap_err(), Refused::Crowd);
        drop(on_their_way);
        for one in late {
            let refused = one.now_or_never().unwrap().unwrap_err();
            assert!(matches!(refused, Refused::Failures { .. }), "{refused:?}");
        }
        assert_eq!(throttle.waiting.available_permits(), WAITING_MAX);
    }

    #[test]
    fn however_many_try_only_so_many_are_watched() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        assert_eq!(tries(&throttle, "ann", HOME.into(), now), 10);
        for number in 0..3 * WATCHED_MAX {
            drop(through(&throttle, &number.to_string(), None, now));
        }
        assert!(throttle.watched.lock().unwrap().len() <= WATCHED_MAX);
        assert_eq!(tries(&throttle, "ann", HOME.into(), now), 0, "who tried most is watched on");
    }
}
