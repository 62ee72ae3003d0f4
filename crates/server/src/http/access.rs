//! From a request to a collection and back: reads that find or miss it, writes and their outcome.
//!
//! The only file of the HTTP side that submits to the store.

use std::time::{Duration, Instant};

use http::header::{ETAG, HeaderName};
use http::{HeaderValue, StatusCode};
use movies_store::commit::{Code, Group, Outcome};
use movies_store::key::{CollectionName, Tag};
use movies_store::{Absent, Collection, Freshness, Judgement, Reading};

use super::caching::{MOVIES_VERSION, quoted, version_header};
use super::precondition::WriteConditions;
use super::problem::{
    ALREADY_EXISTS, COLLECTION_NOT_FOUND, KEY_REUSED, PRECONDITION_FAILED, PRECONDITION_REQUIRED,
    Problem, READ_ONLY, VERSION_CONFLICT,
};
use crate::app::{App, PreconditionStatus};

pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The least time that is left for a commit, however long its body took to arrive.
const COMMIT_TIME_MIN: Duration = Duration::from_secs(1);

/// A state of the collection, as fresh as the operator asks. Nothing is created, but for the
/// default collection, which always exists.
///
/// # Errors
/// 404 where there is no such collection; what the store says.
pub(crate) async fn read(app: &App, name: &CollectionName) -> Result<Fetched, Problem> {
    let started = Instant::now();
    let is_default = name == app.default_collection();
    let absent = if is_default { Absent::Create } else { Absent::Leave };
    let Some(collection) = app.store().open(name, absent).await? else {
        return Err(no_collection(name));
    };
    let reading = collection.read(Freshness::Configured).await?;
    if reading.state.is_dropped() && !is_default {
        return Err(no_collection(name).with_header(MOVIES_VERSION, version_header(&reading.state)));
    }
    Ok(Fetched { reading, probe_time: started.elapsed() })
}

/// A state to answer from.
pub(crate) struct Fetched {
    pub(crate) reading: Reading,
    /// How long it took to prove it current.
    pub(crate) probe_time: Duration,
}

pub(crate) fn no_collection(name: &CollectionName) -> Problem {
    Problem::new(
        &COLLECTION_NOT_FOUND,
        format!("there is no collection {name}; a PUT of a movie to it creates it"),
    )
}

/// Checks what every write needs, before its body is read.
///
/// # Errors
/// 403 on a read-only replica, 428 where the operator asks for a precondition.
pub(crate) fn check_write(app: &App, conditions: &WriteConditions) -> Result<(), Problem> {
    let settings = app.settings();
    if settings.read_only {
        return Err(Problem::new(&READ_ONLY, movies_store::Error::ReadOnly.to_string()));
    }
    if settings.require_preconditions && conditions.is_none() {
        return Err(Problem::new(
            &PRECONDITION_REQUIRED,
            "send If-Match with the tag that you read, or If-None-Match: * to create",
        ));
    }
    Ok(())
}

/// Opens a collection to write to it.
///
/// # Errors
/// 404 where it is absent and not to be created; what the store says.
pub(crate) async fn open(
    app: &App,
    name: &CollectionName,
    absent: Absent,
) -> Result<Collection, Problem> {
    app.store().open(name, absent).await?.ok_or_else(|| no_collection(name))
}

/// A judged write.
pub(crate) struct Judged {
    pub(crate) judgement: Judgement,
    /// What became of its one op.
    pub(crate) outcome: Outcome,
    pub(crate) commit_time: Duration,
}

/// Submits a group of one op; `started` is when its request began. The op is committed even
/// when this future is dropped after the store has accepted it.
///
/// # Errors
/// Refused preconditions and keys as the answers that they are; what the store says.
pub(crate) async fn submit(
    app: &App,
    collection: &Collection,
    group: Group,
    conditions: &WriteConditions,
    started: Instant,
) -> Result<Judged, Problem> {
    let submitted = Instant::now();
    let left = app.settings().request_deadline.saturating_sub(submitted - started);
    let judgement = collection.submit(group, left.max(COMMIT_TIME_MIN)).await?;
    let commit_time = submitted.elapsed();
    let outcome = judgement.results.first().expect("one result for the one op").outcome;
    match refusal(app, &judgement, outcome, conditions) {
        Some(problem) => Err(mark(problem, &judgement)),
        None => Ok(Judged { judgement, outcome, commit_time }),
    }
}

/// `Movies-Version`, and whether it is a replay.
pub(crate) fn mark(problem: Problem, judgement: &Judgement) -> Problem {
    let problem = problem.with_header(MOVIES_VERSION, version_header(&judgement.state));
    if judgement.replayed { problem.with_header(REPLAYED, TRUE) } else { problem }
}

pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("movies-replayed");
pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The answer to a refused op; none where it was not refused, or refused for being absent, which
/// the caller knows to put better.
fn refusal(
    app: &App,
    judgement: &Judgement,
    outcome: Outcome,
    conditions: &WriteConditions,
) -> Option<Problem> {
    let problem = match outcome.code {
        Code::Mismatch => match app.settings().precondition_status {
            PreconditionStatus::Conflict => Problem::new(&VERSION_CONFLICT, "Version conflict"),
            PreconditionStatus::PreconditionFailed => {
                Problem::new(&VERSION_CONFLICT, "Version conflict")
                    .status(StatusCode::PRECONDITION_FAILED)
            }
        },
        Code::Exists if conditions.only_creates() => Problem::new(
            &ALREADY_EXISTS,
            "it exists already and If-None-Match: * asks to create only; nothing was stored",
        ),
        Code::Exists => Problem::new(
            &PRECONDITION_FAILED,
            "it has the tag that If-None-Match excludes; nothing was stored",
        ),
        Code::KeyReused => Problem::new(
            &KEY_REUSED,
            "this Idempotency-Key was used by another request; nothing was stored, use a new key",
        ),
        _ => return None,
    };
    let current = if conditions.guards_collection() {
        Some(judgement.state.tag())
    } else {
        outcome.tag.map(Tag::Movie)
    };
    Some(match current {
        Some(tag) => problem.with_header(ETAG, quoted(&tag.to_string())),
        None => problem,
    })
}

/// One entry of `Server-Timing`.
pub(crate) fn timing(what: &str, time: Duration) -> HeaderValue {
    let micros = time.as_micros();
    let text = format!("{what};dur={}.{:03}", micros / 1_000, micros % 1_000);
    HeaderValue::try_from(text).expect("a word and a number")
}
