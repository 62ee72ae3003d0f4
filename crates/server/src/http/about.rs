//! What the service says about itself: the start page, `/api`, the API's description and its
//! pages, the kinds of problem. Everything is embedded; nothing is loaded from elsewhere.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    VARY,
};
use http::{HeaderMap, HeaderValue};
use movies_store::key::{NAME_BYTES_MAX, YEAR_MAX};
use serde::Serialize;
use utoipa::ToSchema;

use super::caching::{JSON, NO_CACHE};
use super::negotiate::{Form, HTML_POLICY, NO_REFERRER, accept};
use super::precondition::TAGS_MAX;
use super::problem::{self, Kind, NOT_FOUND, Problem, ProblemType, escape, page, to_line};
use crate::app::{App, Settings};
use crate::openapi::{PathProblems, ProblemParameters};

/// The start page
///
/// The address book of the service: a page for browsers, JSON otherwise.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "start",
    tag = "service",
    responses((status = 200, description = "Where everything is.",
        content((About = "application/json"), (String = "text/html"))))
)]
pub(crate) async fn start(State(app): State<App>, request: Request) -> Response {
    match form(&request) {
        Form::Html => {
            let Settings { build, health_apart, https, .. } = app.settings();
            let ready = if *health_apart { "" } else { READY_ROW };
            let page = include_str!("../../ui/start.html")
                .replace("{{build}}", &escape(build))
                .replace("{{scheme}}", if *https { "https" } else { "http" })
                .replace("{{host}}", &escape(host(&request)))
                .replace("{{ready}}", ready);
            html(page)
        }
        Form::Json => vary(json_line(&about(&app))),
    }
}

/// How the client has called this server.
fn host(request: &Request) -> &str {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = || request.headers().get(HOST)?.to_str().ok();
    authority.or_else(host).unwrap_or("127.0.0.1:5000")
}

/// A row of the start page.
const READY_ROW: &str = "<tr><td><a href=\"/readyz?verbose\">/readyz</a></td><td>whether this replica is ready</td></tr>\n";

/// What this service is
///
/// Name, build, limits, features and links.
#[utoipa::path(
    get,
    path = "/api",
    operation_id = "about",
    tag = "service",
    responses((status = 200, description = "Name, build, limits, features and links.", body = About))
)]
pub(crate) async fn api(State(app): State<App>) -> Response {
    json_line(&about(&app))
}

/// What this service is.
#[derive(Serialize, ToSchema)]
pub(crate) struct About<'a> {
    /// Its name.
    #[schema(example = "movies-api")]
    name: &'a str,
    /// Version and commit.
    build: &'a str,
    limits: Limits,
    features: Features<'a>,
    links: Links,
}

/// What a client may take.
#[derive(Serialize, ToSchema)]
struct Limits {
    /// Path and query.
    url_bytes: usize,
    /// Names and values of headers.
    headers_bytes: usize,
    /// One movie, as it is sent.
    movie_bytes: usize,
    /// How deep a movie may nest.
    movie_depth: usize,
    /// A movie's name.
    name_bytes: usize,
    /// A movie's year.
    year: u16,
    /// Tags of one precondition.
    tags: usize,
    /// Milliseconds to the first byte of an answer.
    request_ms: u64,
    /// Milliseconds for which a client may send or take nothing.
    stall_ms: u64,
    /// Open connections.
    connections: usize,
}

/// What the operator has chosen.
#[derive(Serialize, ToSchema)]
struct Features<'a> {
    /// Globs of the objects that are collections.
    collections: &'a [String],
    /// Whether writes are refused.
    read_only: bool,
    /// How old a read may be; `null` where every read is linearizable.
    max_staleness_ms: Option<u64>,
    /// How old a read may be while the bucket does not answer; `null` where it is 503 then.
    serve_stale_ms: Option<u64>,
    /// Whether a write needs `If-Match` or `If-None-Match`.
    precondition_required: bool,
    /// Whether `Idempotency-Key` is honoured.
    idempotency_key: bool,
    /// Whose web pages may use the API; `*` is everybody's.
    cors_origins: Vec<&'a str>,
    /// Whether callers must say who they are.
    authentication: bool,
    /// Whether those who do not may read.
    public_read: bool,
    /// Versions of HTTP.
    http: [&'a str; 2],
}

/// Where everything is; some are URI templates (RFC 6570).
#[derive(Serialize, ToSchema)]
struct Links {
    movies: &'static str,
    query: &'static str,
    movie: &'static str,
    collections: &'static str,
    /// Absent where nobody logs in here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    login: Option<&'static str>,
    /// Absent where principals of AWS do not log in here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    login_aws: Option<&'static str>,
    openapi: &'static str,
    docs: &'static str,
    problems: &'static str,
    /// Absent where health is on a listener of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    live: Option<&'static str>,
    /// Absent where health is on a listener of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ready: Option<&'static str>,
}

fn about(app: &App) -> About<'_> {
    let settings = app.settings();
    let health = |path| (!settings.health_apart).then_some(path);
    About {
        name: "movies-api",
        build: settings.build,
        limits: Limits {
            url_bytes: settings.url_bytes_max,
            headers_bytes: settings.headers_bytes_max,
            movie_bytes: settings.movie.bytes,
            movie_depth: settings.movie.depth,
            name_bytes: NAME_BYTES_MAX,
            year: YEAR_MAX,
            tags: TAGS_MAX,
            request_ms: millis(settings.request_deadline),
            stall_ms: millis(settings.stall_timeout),
            connections: settings.connections_max,
        },
        features: Features {
            collections: settings.collections.patterns(),
            read_only: settings.read_only,
            max_staleness_ms: settings.max_staleness.map(millis),
            serve_stale_ms: settings.serve_stale.map(millis),
            precondition_required: settings.require_preconditions,
            idempotency_key: true,
            cors_origins: settings.cors_origins.texts(),
            authentication: app.auth().is_on(),
            public_read: app.auth().is_public_read(),
            http: ["1.1", "2"],
        },
        links: Links {
            movies: "/api/movies",
            query: "/api/movies/query{?name,year,filename}",
            movie: "/api/movies/{name}/{year}",
            collections: "/api/collections",
            login: app.auth().has_login().then_some("/login"),
            login_aws: app.auth().has_aws_login().then_some("/login/aws"),
            openapi: "/openapi.json",
            docs: "/docs",
            problems: "/problems",
            live: health("/livez"),
            ready: health("/readyz"),
        },
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// This description
///
/// Generated from the code that answers.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "service",
    responses((status = 200, description = "OpenAPI 3.1.", body = Value))
)]
pub(crate) async fn openapi() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| crate::openapi::openapi_json().into());
    json_answer(DOCUMENT.clone())
}

/// The description as pages
///
/// Swagger UI, embedded: it loads nothing from elsewhere.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "docs",
    tag = "service",
    responses((status = 200, description = "Swagger UI.", body = String, content_type = "text/html"))
)]
pub(crate) async fn docs() -> Response {
    docs_file("index.html")
}

/// A file of the pages.
pub(crate) async fn docs_asset(request: Request) -> Response {
    docs_file(request.uri().path().strip_prefix("/docs/").unwrap_or_default())
}

/// Swagger UI sets styles and draws images from data URLs; its scripts are its own files.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

fn docs_file(path: &str) -> Response {
    static CONFIG: LazyLock<Arc<utoipa_swagger_ui::Config<'static>>> = LazyLock::new(|| {
        Arc::new(utoipa_swagger_ui::Config::from("/openapi.json").validator_url("none"))
    });
    let file = utoipa_swagger_ui::serve(path, Arc::clone(&CONFIG)).ok().flatten();
    let Some(file) = file.filter(|_| !path.is_empty()) else {
        return Problem::new(&NOT_FOUND, "the documentation has no such file; it begins at /docs")
            .into_response();
    };
    let bytes = file.bytes.into_owned();
    let bytes = match path {
        // The page stands at /docs, its files under /docs/.
        "index.html" => String::from_utf8_lossy(&bytes)
            .replace("href=\"./", "href=\"docs/")
            .replace("src=\"./", "src=\"docs/")
            .replace("href=\"index.css\"", "href=\"docs/index.css\"")
            .into_bytes(),
        _ => bytes,
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let content_type = HeaderValue::try_from(file.content_type).expect("a media type is ASCII");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(CONTENT_SECURITY_POLICY, DOCS_POLICY);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    response
}

/// The kinds of problem
///
/// Each `type` of an `application/problem+json` answer, with its status and what to do.
#[utoipa::path(
    get,
    path = "/problems",
    operation_id = "listProblems",
    tag = "service",
    responses((status = 200, description = "Every kind that an answer may have.",
        content((Vec<Kind> = "application/json"), (String = "text/html"))))
)]
pub(crate) async fn problems(request: Request) -> Response {
    match form(&request) {
        Form::Json => {
            let all: Vec<Kind> = problem::ALL.iter().map(|kind| Kind::of(kind)).collect();
            vary(json_line(&all))
        }
        Form::Html => {
            let mut rows = String::new();
            for ProblemType { slug, status, title, .. } in problem::ALL {
                let status = status.as_u16();
                let title = escape(title);
                let _ = write!(
                    rows,
                    "<tr><td>{status}</td><td><a href=\"/problems/{slug}\">{title}</a></td></tr>"
                );
            }
            html(page("Problems", &format!("<table>{rows}</table>")))
        }
    }
}

/// One kind of problem
///
/// What it means and what to do.
#[utoipa::path(
    get,
    path = "/problems/{slug}",
    operation_id = "getProblem",
    tag = "service",
    params(ProblemParameters),
    responses(
        (status = 200, description = "The kind, explained.",
            content((Kind = "application/json"), (String = "text/html"))),
        PathProblems,
    )
)]
pub(crate) async fn problem(request: Request) -> Result<Response, Problem> {
    let slug = request.uri().path().split('/').nth(2).unwrap_or_default();
    let kind = problem::find(slug).ok_or_else(|| {
        Problem::new(&NOT_FOUND, "there is no such kind of problem; /problems lists them")
    })?;
    Ok(match form(&request) {
        Form::Json => vary(json_line(&Kind::of(kind))),
        Form::Html => {
            let title = format!("{} {}", kind.status.as_u16(), kind.title);
            let about = escape(kind.about);
            html(page(&title, &format!("<p>{about}</p><p><a href=\"/problems\">All kinds</a></p>")))
        }
    })
}

fn form(request: &Request) -> Form {
    Form::preferred(accept(request.headers()).as_ref())
}

fn json_line(value: &impl Serialize) -> Response {
    json_answer(to_line(value))
}

fn json_answer(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response
}

fn html(page: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.extend(HTML_POLICY);
    let mut response = Response::new(Body::from(page));
    *response.headers_mut() = headers;
    vary(response)
}

/// The form depends on what the client accepts.
fn vary(mut response: Response) -> Response {
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}
