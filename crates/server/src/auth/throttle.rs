//! How often somebody may guess: a bucket of attempts for each user and each address, which a
//! failed attempt empties by one and time fills again. Whether the user exists makes no
//! difference.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most users and addresses that are watched; they are far more than honest ones fail.
const WATCHED_MAX: usize = 16 * 1024;

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
    full_at: Mutex<HashMap<u64, Instant>>,
}

/// An attempt that was let through: it counts as failed unless it is given back.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    throttle: &'a Throttle,
    keys: [Option<(u64, Rate)>; 2],
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self { digest: RandomState::new(), full_at: Mutex::default() }
    }

    /// Lets an attempt of a user whose name was told, or of whoever it is, through; or tells after how many seconds to come back.
    pub(super) fn attempt(
        &self,
        user: Option<&str>,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<Attempt<'_>, u32> {
        let keys = [
            user.map(|user| (self.digest.hash_one(("user", user)), USER)),
            from.map(|from| (self.digest.hash_one(("address", network(from))), ADDRESS)),
        ];
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = keys.iter().flatten().map(|(key, rate)| rate.wait(full_at.get(key), now));
        let wait = waits.max().unwrap_or_default();
        if wait > Duration::ZERO {
            return Err(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1));
        }
        for (key, rate) in keys.iter().flatten() {
            let full = full_at.get(key).map_or(now, |full| (*full).max(now));
            full_at.insert(*key, full + rate.refill);
        }
        if full_at.len() > WATCHED_MAX {
            make_room(&mut full_at, now);
        }
        Ok(Attempt { throttle: self, keys })
    }
}

impl Attempt<'_> {
    /// Gives back what it took.
    pub(super) fn give_back(self) {
        let mut full_at = self.throttle.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, rate) in self.keys.iter().flatten() {
            if let Some(full) = full_at.get_mut(key) {
                *full = full.checked_sub(rate.refill).unwrap_or(*full);
            }
        }
    }
}

impl Rate {
    /// How long until one more may be tried, of a bucket that is full again at `full_at`.
    fn wait(self, full_at: Option<&Instant>, now: Instant) -> Duration {
        let missing = full_at.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        // All but one may be missing.
        missing.saturating_sub(self.refill * (self.burst - 1))
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

/// Those who are full again go; where that is nobody, those who have tried least.
fn make_room(full_at: &mut HashMap<u64, Instant>, now: Instant) {
    full_at.retain(|_, full| *full > now);
    if full_at.len() > WATCHED_MAX {
        let mut times: Vec<Instant> = full_at.values().copied().collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        full_at.retain(|_, full| *full > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: [u8; 4] = [192, 0, 2, 1];

    fn tries(throttle: &Throttle, user: &str, from: IpAddr, now: Instant) -> usize {
        (0..1_000).take_while(|_| throttle.attempt(Some(user), from.into(), now).is_ok()).count()
    }

    #[test]
    fn a_user_may_be_tried_ten_times_and_then_once_in_six_seconds() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let home = IpAddr::from(HOME);
        assert_eq!(tries(&throttle, "ann", home, now), 10);
        assert_eq!(throttle.attempt(Some("ann"), Some(home), now).unwrap_err(), 7);
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
                .take_while(|n| throttle.attempt(Some(&n.to_string()), Some(from), now).is_ok())
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
            throttle.attempt(Some("ann"), Some(HOME.into()), now).unwrap().give_back();
        }
        assert_eq!(tries(&throttle, "ann", HOME.into(), now), 10);
    }

    #[test]
    fn however_many_try_only_so_many_are_watched() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        assert_eq!(tries(&throttle, "ann", HOME.into(), now), 10);
        for number in 0..3 * WATCHED_MAX {
            drop(throttle.attempt(Some(&number.to_string()), None, now));
        }
        assert!(throttle.full_at.lock().unwrap().len() <= WATCHED_MAX);
        assert_eq!(tries(&throttle, "ann", HOME.into(), now), 0, "who tried most is watched on");
    }
}
