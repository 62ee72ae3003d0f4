//! Reads: how old a state may be, and how it is proved that it is not older.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Collection, Inner};
use crate::env::Mutant;
use crate::error::{Error, Result};
use crate::follower::ProbeWaiter;
use crate::pins::{Pin, Pins};
use crate::spans;
use crate::state::State;

/// How long a read waits that may be stale, once the bucket is known not to answer.
const AWAY_DEADLINE: Duration = Duration::from_millis(250);

/// How old a read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What the operator chose: linearizable, or within `max_staleness`; within `serve_stale` while
    /// the bucket does not answer.
    Configured,
    /// At most this old, if that is tighter; zero is linearizable.
    AtMost(Duration),
}

/// A state to read from.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The state.
    pub state: Arc<State>,
    /// How long ago the probe that proved it current began; zero for a linearizable read.
    pub age: Duration,
    /// Whether it is older than reads may be as a rule: the bucket does not answer.
    pub is_stale: bool,
    pins: Arc<Pins>,
}

impl Reading {
    /// Holds the state for an answer that takes as long as its reader.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.pins.pin(Arc::clone(&self.state))
    }
}

impl Collection {
    /// A state as fresh as asked.
    ///
    /// Strong reads share one probe of the bucket; on a folder a `stat` is enough. Cancel safe:
    /// dropping the future strands no other reader.
    ///
    /// # Errors
    /// `Unavailable` when the bucket gives no proof within the deadline, `Overloaded`, `Closing`,
    /// or the error that stopped the collection.
    pub async fn read(&self, freshness: Freshness) -> Result<Reading> {
        let Inner { log, shared, max_staleness, serve_stale, read_deadline, .. } = &*self.inner;
        let (bound, stale_bound) = match freshness {
            Freshness::Configured => (*max_staleness, *serve_stale),
            Freshness::AtMost(bound) => (bound.min(*max_staleness), None),
        };
        shared.check()?;
        let now = log.env().instant();
        shared.used(now);
        if log.env().has(Mutant::SkipProbe) {
            return Ok(self.reading(shared.state.load_full(), Duration::ZERO));
        }
        if !bound.is_zero() {
            // The age is read before the state: the state is never older than it says.
            let age = shared.age(now);
            if age <= bound {
                return Ok(self.reading(shared.state.load_full(), age));
            }
        }
        let state = shared.state.load_full();
        if log.is_absent(state.seq().next(), now) == Some(true) {
            return Ok(self.reading(state, Duration::ZERO));
        }
        // Who takes what there is does not wait long for a bucket that is known to be away.
        let is_away = stale_bound.is_some() && self.trouble().is_some();
        let deadline = if is_away { AWAY_DEADLINE.min(*read_deadline) } else { *read_deadline };
        match self.probe(deadline).await {
            Ok(state) => Ok(self.reading(state, Duration::ZERO)),
            Err(error @ Error::Unavailable { .. }) => {
                let age = shared.age(log.env().instant());
                if stale_bound.is_none_or(|bound| age > bound) {
                    return Err(error);
                }
                shared.meters.stale_reads.increase();
                let state = shared.state.load_full();
                Ok(Reading { is_stale: true, ..self.reading(state, age) })
            }
            Err(error) => Err(error),
        }
    }

    fn reading(&self, state: Arc<State>, age: Duration) -> Reading {
        Reading { state, age, is_stale: false, pins: Arc::clone(&self.inner.shared.pins) }
    }

    /// Joins the next probe.
    async fn probe(&self, deadline: Duration) -> Result<Arc<State>> {
        let Inner { log, shared, probes, .. } = &*self.inner;
        let (reply, answer) = oneshot::channel();
        match probes.try_send(ProbeWaiter { reply, wait: spans::wait("proof") }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(Error::Overloaded { what: "the queue of readers" });
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(shared.why_stopped()),
        }
        match log.env().timeout(deadline, answer).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(shared.why_stopped()),
            None => {
                let reason = self.trouble().unwrap_or_else(|| "it does not answer".into());
                Err(Error::unavailable(
                    "read",
                    log.object(shared.state.load().seq().next()),
                    reason,
                ))
            }
        }
    }
}
