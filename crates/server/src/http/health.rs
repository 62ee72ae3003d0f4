//! `/livez` and `/readyz`: whether to restart this replica, whether to send it requests. On the
//! listener of `--admin-listen` where there is one, else beside the API.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use movies_store::{Adopted, CheckpointStatus, Edited, Error, Freshness, Publication};
use serde::Serialize;
use utoipa::ToSchema;

use super::caching::{JSON, NO_STORE};
use super::problem::to_line;
use crate::app::App;
use crate::auth::caller::{Action, Caller, Grants, Role};

/// The bucket is taken for reachable where it was reached this recently.
const REACHED_AGE_MAX: Duration = Duration::from_secs(5);
/// How long the bucket may take to answer: probes of orchestrators wait a second.
const REACH_TIME_MAX: Duration = Duration::from_millis(900);

/// Whether a replica lives or is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `alive`, `ready` or `unready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// Why it is not ready; only with `?verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reasons: Option<Vec<String>>,
    /// What a person should know though it is ready; only with `?verbose`, and beside the API only of
    /// the collections that the caller may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    notes: Option<Vec<String>>,
}

/// Whether the process answers
///
/// Says nothing about the bucket: a replica that cannot reach it must not be restarted for that.
/// On the address of `--admin-listen` where there is one.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = "service",
    responses((status = 200, description = "It answers.", body = Health))
)]
pub(crate) async fn live() -> Response {
    answer(StatusCode::OK, &Health { status: "alive", reasons: None, notes: None })
}

/// Whether to send requests here
///
/// Not while this replica drains, its default collection is not open or has failed, or the bucket
/// does not answer. On the address of `--admin-listen` where there is one.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "service",
    params(("verbose" = Option<String>, Query, description = "Give the reasons.")),
    responses(
        (status = 200, description = "Send requests.", body = Health),
        (status = 503, description = "Send them elsewhere.", body = Health),
    )
)]
pub(crate) async fn ready(State(app): State<App>, request: Request) -> Response {
    let Reached { reasons, mut trouble } = reach(&app).await;
    let parameters = request.uri().query().unwrap_or_default().split('&');
    let is_verbose = parameters.map(|pair| pair.split('=').next()).any(|p| p == Some("verbose"));
    let (code, status) = if reasons.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unready")
    };
    let notes = match is_verbose {
        true => {
            trouble.extend(notes(&app, &reader(&app, request.headers()).await));
            Some(trouble)
        }
        false => None,
    };
    answer(code, &Health { status, reasons: is_verbose.then_some(reasons), notes })
}

/// Whoever asks, as far as what stands in collections is concerned. Beside the API those hear of one
/// who may read it; a listener of its own is reached by operators alone.
async fn reader(app: &App, headers: &HeaderMap) -> Caller {
    if app.settings().health_apart {
        return Caller::anonymous(Grants::everywhere(Role::Reader));
    }
    // A probe is answered, whatever its token is.
    let nobody = |_refused| Caller::anonymous(Grants::default());
    app.auth().authenticate(headers).await.unwrap_or_else(nobody)
}

/// What is not well, but keeps nobody from being served; of the collections that the caller may read.
fn notes(app: &App, caller: &Caller) -> Vec<String> {
    let mut notes = Vec::new();
    // It is of no collection, so that only who may see the metrics hears of it.
    let is_operator =
        app.settings().health_apart || caller.may(Action::Admin, app.default_collection());
    let purges = app.settings().purges.as_ref().filter(|_| is_operator);
    if let Some(trouble) = purges.and_then(|purges| purges.figures().trouble) {
        notes
            .push(format!("caches are not told what has changed, which is tried again: {trouble}"));
    }
    for collection in app.store().opened() {
        let name = collection.name();
        if !caller.may(Action::Read, name) {
            continue;
        }
        notes.extend(collection.notes().iter().map(|note| format!("{name}: {note}")));
        let CheckpointStatus { trouble, damaged, .. } = collection.checkpoint();
        notes.extend(damaged.iter().map(|found| {
            format!(
                "{name}: no file of old checkpoints is deleted, since one cannot be read: {found}"
            )
        }));
        if let Some(trouble) = trouble {
            notes.push(format!("{name}: the last checkpoint could not be written: {trouble}"));
        }
        let Publication { foreign, trouble, look_trouble, recovered, edit, .. } =
            collection.publication();
        notes.extend(edit.and_then(|edit| Some(format!("{name}: {}", about(&edit)?))));
        notes.extend(look_trouble.map(|trouble| {
            format!(
                "{name}: whether somebody has edited the published file is not known: {trouble}"
            )
        }));
        notes.extend(recovered.iter().map(|kept| {
            format!(
                "{name}: a publication was cut off that had somebody's edit of the published file \
                 in its hands; the edit is kept as {kept}"
            )
        }));
        if let Some(foreign) = foreign {
            let aside = foreign.aside.as_deref().unwrap_or("nowhere, it is too large for that");
            notes.push(format!(
                "{name}: the published file is not ours and is kept as it is (a copy: {aside}); \
                 nothing is published until it is moved away"
            ));
        }
        if let Some(trouble) = trouble {
            notes.push(format!("{name}: the file could not be published: {trouble}"));
        }
    }
    notes
}

/// What a person should know of the edit that was seen last; nothing where all of it was taken over.
fn about(edit: &Edited) -> Option<String> {
    let copy = &edit.copy;
    match &edit.judged {
        Err(reason) => Some(format!(
            "an edit of the published file changed nothing: {reason}; it is kept as {copy}, and if \
             it was meant, `movies-api adopt {copy}` takes over what it can"
        )),
        Ok(Adopted { stored: 0, deleted: 0, lost: 0, .. }) => Some(format!(
            "an edit of the published file changed nothing: it has nothing new; it is kept as {copy}"
        )),
        Ok(Adopted { lost: 0, .. }) => None,
        Ok(Adopted { lost, lost_first, .. }) => {
            let first: Vec<_> = lost_first.iter().map(ToString::to_string).collect();
            let first = first.join(", ");
            Some(format!(
                "of an edit of the published file {lost} movies were left out, since others had \
                 written them meanwhile: {first}; the edit is kept as {copy}"
            ))
        }
    }
}

/// Whether requests can be answered.
#[derive(Default)]
struct Reached {
    /// Why this replica is not ready; empty where it is.
    reasons: Vec<String>,
    /// What is wrong, but does not keep reads from being answered.
    trouble: Vec<String>,
}

async fn reach(app: &App) -> Reached {
    let Reached { mut reasons, mut trouble } = Reached::default();
    if app.is_draining() {
        reasons.push("this replica is draining: it finishes what it has and stops".to_owned());
    }
    let name = app.default_collection();
    let opened = app.store().opened();
    let Some(collection) = opened.iter().find(|collection| collection.name() == name) else {
        reasons.push(format!("{name} is not open"));
        return Reached { reasons, trouble };
    };
    if let Some(failure) = collection.failure() {
        reasons.push(format!("{name} is served no more: {}", in_a_word(&failure)));
        return Reached { reasons, trouble };
    }
    let read = collection.read(Freshness::AtMost(REACHED_AGE_MAX));
    let away = match tokio::time::timeout(REACH_TIME_MAX, read).await {
        Ok(Ok(_)) => return Reached { reasons, trouble },
        Ok(Err(error)) => in_a_word(&error),
        Err(_elapsed) => "the bucket does not answer in time",
    };
    // Whoever sends no reads here because of that would have none answered anywhere.
    let age = collection.age();
    match app.settings().serve_stale.filter(|bound| age <= *bound) {
        Some(_) => trouble.push(format!(
            "{away}: reads are answered from memory, {} s old, and writes are not",
            age.as_secs()
        )),
        None => reasons.push(away.to_owned()),
    }
    Reached { reasons, trouble }
}

/// For everyone who may ask; the log of the replica names the object.
fn in_a_word(error: &Error) -> &'static str {
    match error {
        Error::Overloaded { .. } => "too many requests are waiting",
        Error::Unavailable { .. } | Error::OutcomeUnknown { .. } => {
            "the bucket does not answer as it should"
        }
        Error::Damaged { .. } => "its log is damaged; the log of this replica names the object",
        Error::Unsupported { .. } => "its log needs a newer version of this program",
        Error::Pruned { .. } => "a commit that was asked for was pruned",
        Error::Unprocessable { .. } => "its file cannot become a collection",
        Error::ReadOnly => "this replica is read-only",
        Error::Closing => "this replica is shutting down",
    }
}

fn answer(status: StatusCode, health: &Health) -> Response {
    let mut response = Response::new(Body::from(to_line(health)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
