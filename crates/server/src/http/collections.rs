//! The collections: which there are and how they stand; creating an empty one, dropping one.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use movies_store::commit::{Action as StoreAction, Code};
use movies_store::key::{CollectionName, Seq};
use movies_store::{Absent, Collection, Opened};
use serde::Serialize;
use utoipa::ToSchema;

use super::access;
use super::authorize::CalledBy;
use super::caching::{Answer, JSON, MOVIES_VERSION, NO_CACHE, quoted, version_header};
use super::extract::{CollectionTarget, collection_href, parameters};
use super::limits;
use super::precondition::{ReadConditions, WriteConditions};
use super::problem::{Problem, to_line};
use crate::app::App;
use crate::auth::caller::Action;
use crate::openapi::{
    CollectionParameters, CollectionPreconditions, ReadHeaders, ReadProblems, WriteProblems,
};

/// How a collection stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Its name: the object that it is published as.
    #[schema(example = "movies.json")]
    name: String,
    /// Where it is.
    #[schema(example = "/api/collections/movies.json")]
    href: String,
    /// Whether this replica has it open, has not needed it yet, or serves it no more.
    state: Standing,
    /// How many movies. This and what follows is known of an open one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    count: Option<u64>,
    /// The bytes of the movies as they are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes: Option<u64>,
    /// The number of the last commit that changed a movie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<u64>,
    /// The number of the last commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// The tag of lists, without quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "c-00112233445566778899aabbccddeeff-42")]
    tag: Option<String>,
    /// When a movie last changed; absent before the first change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    changed_at: Option<String>,
    /// The number of the last commit that the published file shows; absent before it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    published: Option<u64>,
    /// The number of the last commit in the newest checkpoint that this replica knows of. Only in
    /// the list, and absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    checkpoint: Option<u64>,
}

/// Whether this replica has a collection open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It is in memory and kept up to date.
    Open,
    /// It is in the bucket; the first request for it opens it, and finds out if it was dropped.
    Closed,
    /// It was deleted and is not there any more.
    Dropped,
    /// Its log is damaged or newer than this program; the log of the replica says more.
    Failed,
}

impl Status {
    fn known(name: &CollectionName, state: &movies_store::State) -> Self {
        Self {
            state: if state.is_dropped() { Standing::Dropped } else { Standing::Open },
            count: Some(state.movies().count()),
            bytes: Some(state.movies().wire_bytes()),
            version: Some(state.version().0.0),
            seq: Some(state.seq().0),
            tag: Some(state.tag().to_string()),
            changed_at: (state.version().0 > Seq::ZERO).then(|| state.changed_at().to_string()),
            published: state.file().map(|file| file.seq.0).filter(|shown| *shown > 0),
            ..Self::closed(name)
        }
    }

    fn closed(name: &CollectionName) -> Self {
        Self {
            name: name.to_string(),
            href: collection_href(name),
            state: Standing::Closed,
            count: None,
            bytes: None,
            version: None,
            seq: None,
            tag: None,
            changed_at: None,
            published: None,
            checkpoint: None,
        }
    }

    fn opened(collection: &Collection) -> Self {
        let checkpoint = collection.checkpoint().seq.map(|seq| seq.0);
        let status = Self { checkpoint, ..Self::known(collection.name(), &collection.latest()) };
        match collection.failure() {
            Some(_) => Self { state: Standing::Failed, ..status },
            None => status,
        }
    }
}

/// All collections
///
/// Those in the bucket that the operator allows and the caller may read. Numbers of an open one are as this replica last
/// knew them; ask for the collection itself for the current ones. One that is not
/// open on this replica may have been dropped: only its log tells, which a list does not read.
#[utoipa::path(
    get,
    path = "/api/collections",
    operation_id = "listCollections",
    tag = "collections",
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The collections, by name.", body = Vec<Status>),
        ReadProblems,
    )
)]
pub(crate) async fn list(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    request: Request,
) -> Result<Response, Problem> {
    let [] = parameters(request.uri(), &[])?;
    let opened = app.store().opened();
    let mut names = app.store().names().await?;
    names.extend(opened.iter().map(|collection| collection.name().clone()));
    names.retain(|name| app.settings().collections.allows(name) && caller.may(Action::Read, name));
    names.sort();
    names.dedup();
    let status = |name: &CollectionName| {
        let open = opened.iter().find(|collection| collection.name() == name);
        open.map_or_else(|| Status::closed(name), Status::opened)
    };
    // A dropped one is not there, though its log is; the default one is always there.
    let is_there = |status: &Status| {
        status.state != Standing::Dropped || status.name == CollectionName::DEFAULT
    };
    let all: Vec<Status> = names.iter().map(status).filter(is_there).collect();
    let mut response = Response::new(Body::from(to_line(&all)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    Ok(response)
}

/// How one collection stands
///
/// Its count, size and version, as fresh as any read.
#[utoipa::path(
    get,
    path = "/api/collections/{file}",
    operation_id = "getCollection",
    tag = "collections",
    security((), ("bearer" = [])),
    params(CollectionParameters, ReadHeaders),
    responses(
        (status = 200, description = "Its numbers as of now.", body = Status,
            headers(("ETag" = String, description = "The collection's tag, weak: for If-Match on writes"))),
        ReadProblems,
    )
)]
pub(crate) async fn get(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    CollectionTarget(name): CollectionTarget,
    conditions: ReadConditions,
) -> Result<Response, Problem> {
    let fetched = access::read(&app, &caller, &name, conditions.min_version()).await?;
    let state = &fetched.reading.state;
    let body = || Body::from(to_line(&Status::known(&name, state)));
    // The tag is that of the movies, for writes; other numbers move without it.
    let mut response =
        Answer::new(&app, &fetched).collection(&conditions.not_for_a_cache(), body)?;
    let tag = HeaderValue::try_from(format!("W/\"{}\"", state.tag())).expect("a tag is ASCII");
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

/// Create a collection
///
/// Empty, where there is none; an existing one stays as it is.
#[utoipa::path(
    put,
    path = "/api/collections/{file}",
    operation_id = "putCollection",
    tag = "collections",
    security((), ("bearer" = [])),
    params(CollectionParameters, CollectionPreconditions),
    responses(
        (status = 201, description = "Created.", body = Status,
            headers(
                ("ETag" = String, description = "The collection's tag"),
                ("Location" = String, description = "Where it is"),
            )),
        (status = 204, description = "It was there already.",
            headers(("ETag" = String, description = "The collection's tag"))),
        WriteProblems,
    )
)]
pub(crate) async fn put(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    CollectionTarget(name): CollectionTarget,
    conditions: WriteConditions,
    request: Request,
) -> Result<Response, Problem> {
    let write = access::begin_write(&app, &caller, Action::Write, &name, conditions)?;
    limits::check_no_body(request.body())?;
    let collection = match access::create(&app, &write).await? {
        Opened::Born(collection) => {
            let state = collection.latest();
            let response = created(&name, &state, Code::Created);
            return Ok(write.audited(&app, &state, response));
        }
        // It may have been dropped, and be there again by the op.
        found => found.collection().ok_or_else(|| access::no_collection(&name))?,
    };
    let judged = access::submit(&app, write, &collection, None, StoreAction::Create).await?;
    let response = created(&name, &judged.judgement.state, judged.outcome.code);
    Ok(judged.audited(response))
}

/// Drop a collection
///
/// Needs the scope `movies:admin`. All its movies go; its log stays in the bucket, and its numbers go on if it is created again.
#[utoipa::path(
    delete,
    path = "/api/collections/{file}",
    operation_id = "deleteCollection",
    tag = "collections",
    security((), ("bearer" = [])),
    params(CollectionParameters, CollectionPreconditions),
    responses(
        (status = 204, description = "Dropped."),
        WriteProblems,
    )
)]
pub(crate) async fn delete(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    CollectionTarget(name): CollectionTarget,
    conditions: WriteConditions,
    request: Request,
) -> Result<Response, Problem> {
    let write = access::begin_write(&app, &caller, Action::Admin, &name, conditions)?;
    limits::check_no_body(request.body())?;
    let collection = access::open(&app, &write, Absent::Leave).await?;
    let judged = access::submit(&app, write, &collection, None, StoreAction::Drop).await?;
    if judged.outcome.code == Code::Missing {
        return Err(access::no_collection(&name));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(MOVIES_VERSION, version_header(&judged.judgement.state));
    judged.time(headers);
    Ok(judged.audited(response))
}

fn created(name: &CollectionName, state: &movies_store::State, code: Code) -> Response {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(ETAG, quoted(&state.tag().to_string()));
    headers.insert(MOVIES_VERSION, version_header(state));
    let (status, body) = if code == Code::Created {
        let href = collection_href(name);
        let location = HeaderValue::try_from(href).expect("percent-encoded text is ASCII");
        headers.insert(LOCATION, location);
        headers.insert(CONTENT_TYPE, JSON);
        (StatusCode::CREATED, Body::from(to_line(&Status::known(name, state))))
    } else {
        (StatusCode::NO_CONTENT, Body::empty())
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
