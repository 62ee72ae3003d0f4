//! What befalls whole replicas, one after the other: killed, paused, cut off from the bucket,
//! restarted in turn.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha12Rng;
use tokio::time::{Instant, sleep, sleep_until};

use super::proxy::{Link, Proxy};
use super::replica::Replica;
use super::trial::Trial;

/// A replica that was killed stays away for at least as long as the others may take to serve.
pub(super) const SERVICE_WITHIN: Duration = Duration::from_secs(2);

/// One kill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) replica: usize,
    pub(super) at: Instant,
    /// When it was started again: until then only the others can have served.
    pub(super) until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    Pause,
    Cut(Link),
    Roll,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "is killed",
            Self::Pause => "is paused",
            Self::Cut(Link::Silent) => "hears nothing from the bucket",
            Self::Cut(_) => "is refused by the bucket",
            Self::Roll => "is the first of a rolling restart",
        })
    }
}

/// Whom blows fall on.
pub(super) struct Unrest<'a> {
    pub(super) trial: &'a Arc<Trial>,
    pub(super) replicas: &'a mut [Replica],
    pub(super) proxies: &'a [Proxy],
    pub(super) rng: ChaCha12Rng,
    pub(super) say: &'a dyn Fn(String),
}

impl Unrest<'_> {
    /// Strikes until then; every kind of blow comes once before any comes again.
    pub(super) async fn run(mut self, until: Instant) -> Result<Vec<Kill>> {
        let mut kills = Vec::new();
        let mut hand = Vec::new();
        while Instant::now() < until {
            if hand.is_empty() {
                hand = vec![
                    Blow::Kill,
                    Blow::Pause,
                    Blow::Cut(Link::Refused),
                    Blow::Cut(Link::Silent),
                    Blow::Roll,
                    Blow::Kill,
                ];
                hand.shuffle(&mut self.rng);
            }
            sleep(self.draw(200..1_000)).await;
            for replica in &mut *self.replicas {
                replica.still_runs()?;
            }
            let whom = self.rng.random_range(0..self.replicas.len());
            if let Some(blow) = hand.pop() {
                kills.extend(self.strike(blow, whom).await?);
            }
        }
        Ok(kills)
    }

    fn draw(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(ms))
    }

    async fn strike(&mut self, blow: Blow, whom: usize) -> Result<Option<Kill>> {
        let long = self.draw(500..6_000);
        let away = SERVICE_WITHIN + self.draw(0..1_500);
        (self.say)(format!("r{} {blow}", whom + 1));
        let Some(replica) = self.replicas.get_mut(whom) else { return Ok(None) };
        match blow {
            Blow::Kill => {
                let at = Instant::now();
                replica.kill()?;
                sleep_until(at + away).await;
                let until = Instant::now();
                let took = replica.start().await?;
                (self.say)(format!(
                    "r{} serves again, {} ms after its start",
                    whom + 1,
                    took.as_millis()
                ));
                return Ok(Some(Kill { replica: whom, at, until }));
            }
            Blow::Pause => {
                replica.pause()?;
                sleep(long).await;
                replica.go_on()?;
            }
            Blow::Cut(link) => {
                let Some(proxy) = self.proxies.get(whom) else { return Ok(None) };
                proxy.link(link);
                sleep(long).await;
                proxy.link(Link::Up);
            }
            Blow::Roll => {
                // From this one on, each in turn.
                let count = self.replicas.len();
                for place in (whom..whom + count).map(|place| place % count) {
                    let Some(replica) = self.replicas.get_mut(place) else { continue };
                    let ended = replica.stop().await?;
                    if !ended.success() {
                        self.trial.found(format!("r{} did not end well: {ended}", place + 1));
                    }
                    replica.start().await?;
                }
            }
        }
        Ok(None)
    }
}
