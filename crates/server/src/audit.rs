//! What a person must be able to look up later: who logged in, who was refused and why, who wrote
//! what. One line each, with the id of its request.
//!
//! No token, password or address stands in one, and no name that was typed and is nobody's: people
//! type passwords there.

use std::sync::Arc;

use movies_store::key::CollectionName;

use crate::telemetry::meters::{Audited, Meters};

/// The target of these lines, to be named in `--log-level`.
const AUDIT: &str = "movies_api::audit";

/// What is done for a token.
const LOGIN: &str = "login";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Login,
    Refused,
    Write,
}

/// A line that is written when its request is answered.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    event: Event,
    actor: Option<Arc<str>>,
    action: &'static str,
    collection: Option<CollectionName>,
    version: Option<u64>,
    reason: &'static str,
}

impl Line {
    /// Somebody has a token now.
    pub(crate) fn login(actor: Arc<str>) -> Self {
        Self::new(Event::Login, Some(actor), LOGIN, "")
    }

    /// Somebody was not let in, or not allowed to.
    pub(crate) fn refused(
        actor: Option<&Arc<str>>,
        action: &'static str,
        reason: &'static str,
    ) -> Self {
        Self::new(Event::Refused, actor.cloned(), action, reason)
    }

    /// Something is in the log.
    pub(crate) fn write(actor: Option<Arc<str>>, action: &'static str, version: u64) -> Self {
        Self { version: Some(version), ..Self::new(Event::Write, actor, action, "") }
    }

    fn new(
        event: Event,
        actor: Option<Arc<str>>,
        action: &'static str,
        reason: &'static str,
    ) -> Self {
        Self { event, actor, action, collection: None, version: None, reason }
    }

    /// In which collection.
    pub(crate) fn about(self, collection: &CollectionName) -> Self {
        Self { collection: Some(collection.clone()), ..self }
    }

    /// Writes and counts it.
    pub(crate) fn tell(&self, request_id: &str, meters: &Meters) {
        let Self { event, actor, action, collection, version, reason } = self;
        match (event, *action) {
            (Event::Login, _) => meters.audited(Audited::Login("ok")),
            (Event::Refused, LOGIN) => meters.audited(Audited::Login(reason)),
            (Event::Refused, _) => meters.audited(Audited::Refused(reason)),
            (Event::Write, _) => {}
        }
        let (actor, collection) =
            (actor.as_deref(), collection.as_ref().map(CollectionName::as_str));
        let version = *version;
        match event {
            Event::Login => tracing::info!(target: AUDIT, request_id, actor, "logged in"),
            Event::Refused => tracing::info!(
                target: AUDIT, request_id, actor, action, collection, reason, "refused"
            ),
            Event::Write => tracing::info!(
                target: AUDIT, request_id, actor, action, collection, version, "written"
            ),
        }
    }
}
