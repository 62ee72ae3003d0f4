//! The movies: the whole catalogue, the seed's query, one movie read, stored and deleted.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use movies_store::Absent;
use movies_store::commit::{Action as StoreAction, Code};
use movies_store::key::{MovieKey, Tag};
use movies_store::movie::Movie;

use super::access::{self, Judged, REPLAYED, TRUE, add_timing};
use super::authorize::CalledBy;
use super::caching::{Answer, JSON, MOVIES_VERSION, NO_CACHE, quoted, version_header};
use super::encoding;
use super::extract::{Catalogue, MovieTarget, movie_href};
use super::filter::{Filter, Search};
use super::idempotency::IdempotencyKey;
use super::limits;
use super::negotiate::Coding;
use super::precondition::{ReadConditions, WriteConditions};
use super::problem::{MOVIE_NOT_FOUND, Problem};
use super::shared::{Audience, CacheTag};
use super::suggest::suggest;
use crate::app::App;
use crate::auth::caller::Action;
use crate::openapi::{
    CatalogueParameters, MovieBody, MovieParameters, ReadHeaders, ReadProblems, SearchParameters,
    StoredMovie, WriteHeaders, WriteProblems,
};

const MOVIES_OUTCOME: HeaderName = HeaderName::from_static("movies-outcome");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RETURN_MINIMAL: &str = "return=minimal";

/// All movies
///
/// The whole catalogue at one moment, sorted by name and year, one movie a line. The answer is
/// linearizable unless the operator allows staleness: it holds every write that was acknowledged
/// before the request arrived.
///
/// With `Accept-Encoding: gzip` it comes compressed, under a tag of its own (`…-gzip`) that every
/// write takes as well. Queries and single movies are small, and always come as they are.
#[utoipa::path(
    get,
    path = "/api/movies",
    operation_id = "listMovies",
    tag = "movies",
    security((), ("bearer" = [])),
    params(CatalogueParameters, ReadHeaders),
    responses(
        (status = 200, description = "Every movie; `[]` where there is none.", body = Vec<StoredMovie>,
            headers(
                ("ETag" = String, description = "The collection's tag, `c-<log>-<version>`, with `-gzip` where that is the coding: for If-None-Match on reads and If-Match on any write"),
                ("Content-Encoding" = String, description = "`gzip`, or absent"),
                ("Vary" = String, description = "`Accept-Encoding`"),
                ("Movies-Version" = u64, description = "The number of the last commit that changed a movie"),
            )),
        (status = 304, description = "The client has it already."),
        ReadProblems,
    )
)]
pub(crate) async fn list(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    Catalogue(collection): Catalogue,
    conditions: ReadConditions,
    coding: Coding,
    audience: Audience,
) -> Result<Response, Problem> {
    let fetched = access::read(&app, &caller, &collection, conditions.min_version()).await?;
    let mut response = Answer::new(&app, &fetched).catalogue(&conditions, coding).await?;
    audience.apply(&app, &fetched, response.headers_mut(), || vec![CacheTag::lists(&collection)]);
    Ok(response)
}

/// Movies of a name, a year, or both
///
/// Exact matches; names are compared after Unicode normalisation (NFC), with case. An empty
/// filter is none.
#[utoipa::path(
    get,
    path = "/api/movies/query",
    operation_id = "queryMovies",
    tag = "movies",
    security((), ("bearer" = [])),
    params(SearchParameters, ReadHeaders),
    responses(
        (status = 200, description = "The movies that match; `[]` where none does.", body = Vec<StoredMovie>,
            headers(
                ("ETag" = String, description = "The collection's tag"),
                ("Movies-Version" = u64, description = "The number of the last commit that changed a movie"),
            )),
        (status = 304, description = "The client has it already."),
        ReadProblems,
    )
)]
pub(crate) async fn query(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    search: Search,
    conditions: ReadConditions,
    audience: Audience,
) -> Result<Response, Problem> {
    let fetched = access::read(&app, &caller, &search.collection, conditions.min_version()).await?;
    let is_scan = !matches!(search.filter, Filter::One(_));
    let mut scan_time = None;
    let body = || {
        let started = is_scan.then(Instant::now);
        let body = encoding::matches(&fetched.reading, search.filter);
        scan_time = started.map(|started| started.elapsed());
        body
    };
    let mut response = Answer::new(&app, &fetched).collection(&conditions, body)?;
    if let Some(time) = scan_time {
        add_timing(response.headers_mut(), "scan", time);
    }
    audience.apply(&app, &fetched, response.headers_mut(), || {
        vec![CacheTag::lists(&search.collection)]
    });
    Ok(response)
}

/// One movie
///
/// By its exact name and year. Where there is none, the answer may suggest others.
#[utoipa::path(
    get,
    path = "/api/movies/{name}/{year}",
    operation_id = "getMovie",
    tag = "movies",
    security((), ("bearer" = [])),
    params(MovieParameters, CatalogueParameters, ReadHeaders),
    responses(
        (status = 200, description = "The movie as it is stored.", body = StoredMovie,
            headers(
                ("ETag" = String, description = "The movie's tag, `m-<hash>`"),
                ("Movies-Version" = u64, description = "The number of the last commit that changed a movie"),
            )),
        (status = 304, description = "The client has it already."),
        ReadProblems,
    )
)]
pub(crate) async fn get(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    target: MovieTarget,
    conditions: ReadConditions,
    audience: Audience,
) -> Result<Response, Problem> {
    let fetched = access::read(&app, &caller, &target.collection, conditions.min_version()).await?;
    let Some(row) = fetched.reading.state.movies().get(&target.key) else {
        return Err(missing(&target, &fetched.reading.state));
    };
    let tag = Tag::Movie(movies_store::key::MovieTag::of(&row.json));
    let body = || Body::from(encoding::line(&row.json));
    let mut response = Answer::new(&app, &fetched).movie(&conditions, &tag, body)?;
    let MovieTarget { collection, key } = &target;
    audience.apply(&app, &fetched, response.headers_mut(), || {
        vec![CacheTag::movie(collection, key), CacheTag::movies(collection)]
    });
    Ok(response)
}

/// Store a movie
///
/// Creates the movie, or replaces it as a whole. `name` and `year` come from the path; where the
/// body has them they must be equal. All other members are kept as they are, in their order.
/// The collection is created where it is absent.
#[utoipa::path(
    put,
    path = "/api/movies/{name}/{year}",
    operation_id = "putMovie",
    tag = "movies",
    security((), ("bearer" = [])),
    params(MovieParameters, CatalogueParameters, WriteHeaders),
    request_body(content = MovieBody, content_type = "application/json",
        description = "One JSON object."),
    responses(
        (status = 200, description = "Replaced, or stored already (`Movies-Outcome: unchanged`).", body = StoredMovie,
            headers(
                ("ETag" = String, description = "The movie's new tag"),
                ("Movies-Outcome" = String, description = "`replaced` or `unchanged`"),
                ("Movies-Version" = u64, description = "The collection's version; reads from it on see the write"),
            )),
        (status = 201, description = "Created.", body = StoredMovie,
            headers(
                ("ETag" = String, description = "The movie's tag"),
                ("Location" = String, description = "Where it is"),
                ("Movies-Outcome" = String, description = "`created`"),
                ("Movies-Version" = u64, description = "The collection's version; reads from it on see the write"),
            )),
        (status = 204, description = "Replaced, or stored already; `Prefer: return=minimal` asked for no body."),
        WriteProblems,
    )
)]
pub(crate) async fn put(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    target: MovieTarget,
    conditions: WriteConditions,
    key: IdempotencyKey,
    request: Request,
) -> Result<Response, Problem> {
    let write = access::begin_write(&app, &caller, Action::Write, &target.collection, conditions)?;
    limits::check_json(request.headers())?;
    let settings = app.settings();
    let (parts, body) = request.into_parts();
    let body =
        limits::read_body(&parts.headers, body, settings.movie.bytes, settings.request_deadline)
            .await?;
    let movie = Movie::parse(target.key.clone(), &body, settings.movie)?;
    let key = key.with_print(&parts.method, &parts.uri, write.conditions(), movie.json());
    let collection = access::open(&app, &write, Absent::Create).await?;
    let op = StoreAction::Put(movie);
    let judged = access::submit(&app, write, &collection, key, op).await?;
    let response = stored(&target, &judged, &parts.headers);
    Ok(judged.audited(response))
}

/// Delete a movie
///
/// A movie that is missing is 404, or 409 where `If-Match` asked for one.
#[utoipa::path(
    delete,
    path = "/api/movies/{name}/{year}",
    operation_id = "deleteMovie",
    tag = "movies",
    security((), ("bearer" = [])),
    params(MovieParameters, CatalogueParameters, WriteHeaders),
    responses(
        (status = 204, description = "Deleted.",
            headers(("Movies-Version" = u64, description = "The collection's version; reads from it on do not see the movie"))),
        WriteProblems,
    )
)]
pub(crate) async fn delete(
    CalledBy(caller): CalledBy,
    State(app): State<App>,
    target: MovieTarget,
    conditions: WriteConditions,
    key: IdempotencyKey,
    request: Request,
) -> Result<Response, Problem> {
    let write = access::begin_write(&app, &caller, Action::Write, &target.collection, conditions)?;
    let (parts, body) = request.into_parts();
    limits::check_no_body(&body)?;
    let key = key.with_print(&parts.method, &parts.uri, write.conditions(), b"");
    let collection = access::open(&app, &write, Absent::Leave).await?;
    let op = StoreAction::Delete(target.key.clone());
    let judged = access::submit(&app, write, &collection, key, op).await?;
    if judged.outcome.code == Code::Missing {
        return Err(access::mark(missing(&target, &judged.judgement.state), &judged.judgement));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = outcome_headers(&judged);
    Ok(judged.audited(response))
}

fn missing(target: &MovieTarget, state: &movies_store::State) -> Problem {
    let MovieTarget { collection, key } = target;
    Problem::new(&MOVIE_NOT_FOUND, format!("there is no movie {key} in {collection}"))
        .with_suggestions(suggest(state, collection, key))
        .with_header(MOVIES_VERSION, version_header(state))
}

/// The answer to a PUT that was not refused.
fn stored(target: &MovieTarget, judged: &Judged, request: &HeaderMap) -> Response {
    let is_created = judged.outcome.code == Code::Created;
    let mut headers = outcome_headers(judged);
    if is_created {
        headers.insert(LOCATION, location(target));
    }
    let prefers_minimal = request.get_all(PREFER).iter().any(asks_for_minimal);
    let movie = judged.judgement.results.first().and_then(|result| result.movie.as_ref());
    let (status, body) = match movie {
        Some(json) if !prefers_minimal => {
            headers.insert(CONTENT_TYPE, JSON);
            (StatusCode::OK, Body::from(encoding::line(json)))
        }
        _ => {
            headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(RETURN_MINIMAL));
            (StatusCode::NO_CONTENT, Body::empty())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = if is_created { StatusCode::CREATED } else { status };
    *response.headers_mut() = headers;
    response
}

fn location(target: &MovieTarget) -> HeaderValue {
    let MovieTarget { collection, key } = target;
    let href = movie_href(collection, MovieKey::name(key), key.year().get());
    HeaderValue::try_from(href).expect("percent-encoded text is ASCII")
}

/// What every answer to a write carries.
fn outcome_headers(judged: &Judged) -> HeaderMap {
    let Judged { judgement, outcome, .. } = judged;
    let mut headers = HeaderMap::with_capacity(12);
    if let Some(tag) = outcome.tag {
        headers.insert(ETAG, quoted(&Tag::Movie(tag).to_string()));
    }
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(MOVIES_OUTCOME, HeaderValue::from_static(outcome.code.as_str()));
    headers.insert(MOVIES_VERSION, version_header(&judgement.state));
    judged.time(&mut headers);
    if judgement.replayed {
        headers.insert(REPLAYED, TRUE);
    }
    headers
}

/// Whether a line of `Prefer` (RFC 7240) has `return=minimal`.
fn asks_for_minimal(line: &HeaderValue) -> bool {
    line.to_str().is_ok_and(|line| {
        line.split(',').any(|preference| {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            name.trim().eq_ignore_ascii_case("return")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("minimal")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_found_among_others() {
        for minimal in ["return=minimal", "wait=1, return=minimal; x=1", "Return = \"minimal\""] {
            assert!(asks_for_minimal(&HeaderValue::from_static(minimal)), "{minimal}");
        }
        for other in ["", "return=representation", "minimal", "return"] {
            assert!(!asks_for_minimal(&HeaderValue::from_static(other)), "{other}");
        }
    }
}
