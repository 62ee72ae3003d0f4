//! What all clients of a run share: the order of events, what was seen, what was found.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::caller::{Caller, Names};
use super::witness::Observed;
use crate::trace::Moment;

/// One write that was judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    pub(super) replica: usize,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    pub(super) is_refusal: bool,
}

/// The record of one run.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) names: Arc<Names>,
    addresses: Vec<SocketAddr>,
    /// Requests and answers in the order in which this process sent and got them.
    clock: AtomicU64,
    observed: Mutex<Observed>,
    acks: Mutex<Vec<Ack>>,
    findings: Mutex<Vec<String>>,
}

impl Trial {
    pub(super) fn new(names: Names, addresses: Vec<SocketAddr>) -> Self {
        Self {
            names: Arc::new(names),
            addresses,
            clock: AtomicU64::new(0),
            observed: Mutex::default(),
            acks: Mutex::default(),
            findings: Mutex::default(),
        }
    }

    /// One for each replica.
    pub(super) fn callers(&self) -> impl Iterator<Item = Caller> {
        self.addresses.iter().map(|address| Caller::new(*address, &self.names))
    }

    /// Now: after all that was given out before, before all that will be.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.clock.fetch_add(1, Ordering::SeqCst) + 1)
    }

    pub(super) fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn acks(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records something that must not be.
    pub(super) fn found(&self, what: String) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub(super) fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
