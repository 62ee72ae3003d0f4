//! stub
use crate::commit::{Group, Outcome};
use crate::key::{CollectionName, Seq};
use crate::{Error, Result, State};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How old a read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// What the operator chose: linearizable, or within `max_staleness`.
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
}

/// What became of a submitted group.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// A state that contains the group's effect.
    pub state: Arc<State>,
    /// One for each op, in order; for a replay those of the first request.
    pub results: Vec<OpResult>,
    /// The commit in which it was judged; `None` where it needed none (identical content, or a
    /// precondition that fails already). For a replay the first request's.
    pub seq: Option<Seq>,
    /// Whether the idempotency key had been used by the same request before.
    pub replayed: bool,
}

/// What became of one op.
#[derive(Clone, Debug)]
pub struct OpResult {
    /// The outcome. (`Code::KeyReused` on every op when the key belongs to another request.)
    pub outcome: Outcome,
    /// The movie that a put stored.
    pub movie: Option<Bytes>,
}

/// One open collection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Collection;
impl Collection {
    /// Its name.
    pub fn name(&self) -> &CollectionName {
        todo!()
    }
    /// A state as fresh as asked.
    pub async fn read(&self, _freshness: Freshness) -> Result<Reading> {
        todo!()
    }
    /// Submits one request and waits until it is judged, at most `deadline`.
    /// Once accepted it is committed even when this future is dropped.
    pub async fn submit(&self, _group: Group, _deadline: Duration) -> Result<Judgement> {
        todo!()
    }
    /// The state in memory, however old.
    pub fn latest(&self) -> Arc<State> {
        todo!()
    }
    /// Why it serves nothing any more, if so.
    pub fn failure(&self) -> Option<Error> {
        todo!()
    }
}
