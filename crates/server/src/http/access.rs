//! From a request to a collection and back: reads that find or miss it, writes and their outcome.
//!
//! The only file of the HTTP side that submits to the store.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use http::header::{ETAG, Entry, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use movies_store::commit::{Action as StoreAction, Code, Group, Op, Outcome};
use movies_store::key::{CollectionName, Print, Tag, Version};
use movies_store::{Absent, Collection, Freshness, Judgement, Opened, Reading, State};

use super::authorize;
use super::caching::{MOVIES_VERSION, quoted, version_header};
use super::precondition::WriteConditions;
use super::problem::{
    ALREADY_EXISTS, BUCKET_UNAVAILABLE, COLLECTION_NOT_FOUND, KEY_REUSED, OUTCOME_UNKNOWN,
    PRECONDITION_FAILED, PRECONDITION_REQUIRED, Problem, READ_ONLY, VERSION_CONFLICT,
    VERSION_NOT_REACHED,
};
use crate::app::{App, PreconditionStatus};
use crate::audit::Line;
use crate::auth::caller::{Action, Caller};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The least time that is left for an opening and for a commit, however long the body took to
/// arrive.
const COMMIT_TIME_MIN: Duration = Duration::from_secs(1);

/// A state of the collection, as fresh as the operator asks and of `min_version` or later, for a
/// caller who may see it. Nothing is created, but for the default collection, which always exists.
/// The envelope holds the deadline of reads.
///
/// # Errors
/// 403 where the caller may not, 404 where there is no such collection, 503 where the version is not
/// reached; what the store says.
pub(crate) async fn read(
    app: &App,
    caller: &Caller,
    name: &CollectionName,
    min_version: Option<Version>,
) -> Result<Fetched, Problem> {
    authorize::check(app, caller, Action::Read, name)?;
    let started = Instant::now();
    let is_default = name == app.default_collection();
    let absent = if is_default { Absent::Create } else { Absent::Leave };
    let opened = app.store().open(name, absent).await?;
    let collection = opened.collection().ok_or_else(|| no_collection(name))?;
    let mut reading = collection.read(Freshness::Configured).await?;
    if let Some(min) = min_version.filter(|min| reading.state.version() < *min) {
        reading = collection.read(Freshness::AtMost(Duration::ZERO)).await?;
        if reading.state.version() < min {
            return Err(version_not_reached(&reading.state, min));
        }
    }
    if reading.state.is_dropped() && !is_default {
        return Err(no_collection(name).with_header(MOVIES_VERSION, version_header(&reading.state)));
    }
    Ok(Fetched { reading, probe_time: started.elapsed() })
}

fn version_not_reached(state: &State, min: Version) -> Problem {
    let detail = format!("the catalogue is at version {}, not at {min} yet", state.version());
    Problem::new(&VERSION_NOT_REACHED, detail)
        .with_header(MOVIES_VERSION, version_header(state))
        .retry_after(1)
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

/// A write that its caller may make: without one there is no way to the store.
#[derive(Debug)]
pub(crate) struct Write {
    started: Instant,
    collection: CollectionName,
    conditions: WriteConditions,
    by: Option<Arc<str>>,
}

/// Checks what every write needs, before its body is read.
///
/// # Errors
/// 403 where the caller may not or the replica is read-only, 428 where the operator asks for a
/// precondition.
pub(crate) fn begin_write(
    app: &App,
    caller: &Caller,
    action: Action,
    collection: &CollectionName,
    conditions: WriteConditions,
) -> Result<Write, Problem> {
    let started = Instant::now();
    authorize::check(app, caller, action, collection)?;
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
    Ok(Write { started, collection: collection.clone(), conditions, by: caller.actor().cloned() })
}

impl Write {
    /// The preconditions that its op carries.
    pub(crate) fn conditions(&self) -> &WriteConditions {
        &self.conditions
    }

    /// The answer to a write that needed no op, since the collection came to be by opening it.
    pub(crate) fn audited(self, app: &App, state: &State, mut response: Response) -> Response {
        if app.auth().is_on() {
            let what = in_a_word(&StoreAction::Create);
            let line = Line::write(self.by, what, state.version().0.0).about(&self.collection);
            response.extensions_mut().insert(line);
        }
        response
    }
}

/// Opens a collection to write a movie to it or to drop it.
///
/// # Errors
/// 404 where it is absent and not to be created, 409 where `If-Match` asks for what can only be
/// in one that exists, 503 where it does not open in time; what the store says.
pub(crate) async fn open(app: &App, write: &Write, absent: Absent) -> Result<Collection, Problem> {
    let name = &write.collection;
    match open_in_time(app, write, absent).await? {
        Some(opened) => opened.collection().ok_or_else(|| no_collection(name)),
        None => {
            let detail = format!(
                "{name} did not open in time, which goes on; nothing was stored, try again soon"
            );
            Err(Problem::new(&BUCKET_UNAVAILABLE, detail).retry_after(1))
        }
    }
}

/// Opens a collection that may be absent, and then creates it.
///
/// # Errors
/// 409 where it is absent and `If-Match` asks for what exists, 504 where it does not open in time;
/// what the store says.
pub(crate) async fn create(app: &App, write: &Write) -> Result<Opened, Problem> {
    let name = &write.collection;
    open_in_time(app, write, Absent::Create).await?.ok_or_else(|| {
        let detail = format!(
            "{name} did not open in time, which goes on and may create it; look whether it is there, or send the request again"
        );
        Problem::new(&OUTCOME_UNKNOWN, detail).retry_after(1)
    })
}

/// `None` where the request's time is up; the opening goes on.
async fn open_in_time(app: &App, write: &Write, absent: Absent) -> Result<Option<Opened>, Problem> {
    // Nothing in an absent collection has a tag: the request fails, and creates nothing for that.
    let asks_for_what_exists = write.conditions.if_match.is_some();
    let absent = if asks_for_what_exists { Absent::Leave } else { absent };
    let opening = app.store().open(&write.collection, absent);
    match tokio::time::timeout(time_left(app, write.started), opening).await {
        Ok(Ok(Opened::Absent)) if asks_for_what_exists => Err(version_conflict(app)),
        Ok(opened) => Ok(Some(opened?)),
        Err(_elapsed) => Ok(None),
    }
}

/// What is left of a write's time; a moment in any case.
fn time_left(app: &App, started: Instant) -> Duration {
    app.settings().request_deadline.saturating_sub(started.elapsed()).max(COMMIT_TIME_MIN)
}

/// A judged write.
pub(crate) struct Judged {
    pub(crate) judgement: Judgement,
    /// What became of its one op.
    pub(crate) outcome: Outcome,
    commit_time: Duration,
    audit: Option<Line>,
}

impl Judged {
    /// The answer, with its audit line.
    pub(crate) fn audited(self, mut response: Response) -> Response {
        if let Some(line) = self.audit {
            response.extensions_mut().insert(line);
        }
        response
    }

    /// Tells how long it waited and how long the commit took.
    pub(crate) fn time(&self, headers: &mut HeaderMap) {
        add_timing(headers, "queue", self.judgement.queued);
        add_timing(headers, "commit", self.commit_time);
    }
}

/// Submits one op in the caller's name. It is committed even when this future is dropped after the
/// store has accepted it.
///
/// # Errors
/// Refused preconditions and keys as the answers that they are; what the store says.
pub(crate) async fn submit(
    app: &App,
    write: Write,
    collection: &Collection,
    key: Option<(Arc<str>, Print)>,
    action: StoreAction,
) -> Result<Judged, Problem> {
    let submitted = Instant::now();
    let Write { started, collection: name, conditions, by } = write;
    let is_about_all = action.key().is_none();
    let what = in_a_word(&action);
    let WriteConditions { if_match, if_none_match } = conditions.clone();
    let op = Op { if_match, if_none_match, ..Op::new(action) };
    let purge =
        app.settings().purges.as_ref().map(|purges| purges.before_change(&name, op.action.key()));
    let group = Group { by: by.clone(), key, ops: vec![op] };
    let judged = collection.submit(group, time_left(app, started)).await;
    if let Some(purge) = purge {
        purge.became(&judged);
    }
    let judgement = judged?;
    let commit_time = submitted.elapsed().saturating_sub(judgement.queued);
    let outcome = judgement.results.first().expect("one result for the one op").outcome;
    let Some(problem) = refusal(app, outcome, &conditions) else {
        let is_change = matches!(outcome.code, Code::Created | Code::Replaced | Code::Deleted);
        let version = judgement.state.version().0.0;
        let audit = (app.auth().is_on() && is_change && !judgement.replayed)
            .then(|| Line::write(by, what, version).about(&name));
        return Ok(Judged { judgement, outcome, commit_time, audit });
    };
    let current = if is_about_all || conditions.guards_collection() {
        Some(judgement.state.tag())
    } else {
        outcome.tag.map(Tag::Movie)
    };
    let problem = mark(problem, &judgement);
    Err(match current {
        Some(tag) => problem.with_header(ETAG, quoted(&tag.to_string())),
        None => problem,
    })
}

/// What an op does, for audit lines.
fn in_a_word(action: &StoreAction) -> &'static str {
    match action {
        StoreAction::Put(_) => "put movie",
        StoreAction::Delete(_) => "delete movie",
        StoreAction::Create => "create collection",
        StoreAction::Drop => "drop collection",
        _ => "other",
    }
}

/// `Movies-Version`, and whether it is a replay.
pub(crate) fn mark(problem: Problem, judgement: &Judgement) -> Problem {
    let problem = problem.with_header(MOVIES_VERSION, version_header(&judgement.state));
    if judgement.replayed { problem.with_header(REPLAYED, TRUE) } else { problem }
}

pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("movies-replayed");
pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// `If-Match` does not hold.
fn version_conflict(app: &App) -> Problem {
    let problem = Problem::new(&VERSION_CONFLICT, "Version conflict");
    match app.settings().precondition_status {
        PreconditionStatus::Conflict => problem,
        PreconditionStatus::PreconditionFailed => problem.status(StatusCode::PRECONDITION_FAILED),
    }
}

/// The answer to a refused op; none where it was not refused, or refused for being absent, which
/// the caller knows to put better.
fn refusal(app: &App, outcome: Outcome, conditions: &WriteConditions) -> Option<Problem> {
    Some(match outcome.code {
        Code::Mismatch => version_conflict(app),
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
    })
}

/// The longest entry of `Server-Timing`: a word, and the longest number that there is.
const TIMING_BYTES_MAX: usize = 48;
/// The most entries of an answer.
const TIMINGS_MAX: usize = 4;

/// One more entry of `Server-Timing`, in milliseconds, on its one line; one over the most is left
/// out. Every answer has some: with `format!` they were one instruction in thirteen of a point read.
pub(crate) fn add_timing(headers: &mut HeaderMap, what: &str, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    // Three digits behind the point, of a number that has four.
    let (mut whole, mut fraction) = (itoa::Buffer::new(), itoa::Buffer::new());
    let whole = whole.format(micros / 1_000);
    let fraction = fraction.format(1_000 + micros % 1_000).get(1..).unwrap_or_default();
    let told = headers.entry(SERVER_TIMING);
    let before = match &told {
        Entry::Occupied(told) => told.get().as_bytes(),
        Entry::Vacant(_) => b"",
    };
    let separator = if before.is_empty() { "" } else { ", " };
    let mut line = [0; TIMING_BYTES_MAX * TIMINGS_MAX];
    let mut free = line.as_mut_slice();
    let parts = [separator, what, ";dur=", whole, ".", fraction].map(str::as_bytes);
    if free.write_all(before).is_err() || parts.iter().any(|part| free.write_all(part).is_err()) {
        return;
    }
    let left = free.len();
    let line = line.get(..line.len() - left).unwrap_or_default();
    let line = HeaderValue::from_bytes(line).expect("words and numbers");
    match told {
        Entry::Occupied(mut told) => drop(told.insert(line)),
        Entry::Vacant(place) => drop(place.insert(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timing_is_in_milliseconds_with_three_digits() {
        for (micros, text) in [
            (0, "x;dur=0.000"),
            (7, "x;dur=0.007"),
            (1_050, "x;dur=1.050"),
            (12_345_678, "x;dur=12345.678"),
        ] {
            let mut headers = HeaderMap::new();
            add_timing(&mut headers, "x", Duration::from_micros(micros));
            assert_eq!(headers[SERVER_TIMING], text);
        }
    }

    #[test]
    fn timings_stand_on_one_line() {
        let mut headers = HeaderMap::new();
        add_timing(&mut headers, "x", Duration::from_micros(7));
        add_timing(&mut headers, "y", Duration::MAX);
        let lines: Vec<_> = headers.get_all(SERVER_TIMING).iter().collect();
        assert_eq!(lines, ["x;dur=0.007, y;dur=18446744073709551.615"]);
    }
}
