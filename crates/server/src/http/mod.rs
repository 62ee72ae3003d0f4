//! The table of routes and layers, in order. Never decides anything itself.

use std::future::{Ready, ready};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use utoipa::OpenApi as _;
use utoipa::openapi::PathItem;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::app::App;
use crate::openapi::Base;
use crate::peers::HttpPeers;
pub use envelope::Endpoint;
use envelope::Hosts;
use problem::{METHOD_NOT_ALLOWED, Problem};

mod about;
mod access;
mod authorize;
mod batches;
pub(crate) mod caching;
mod collections;
pub(crate) mod cors;
mod encoding;
mod envelope;
mod extract;
mod filter;
pub(crate) mod forwarded;
mod health;
mod idempotency;
mod limits;
mod lines;
mod login;
mod login_aws;
mod metrics;
mod movies;
mod negotiate;
mod precondition;
pub(crate) mod problem;
pub(crate) mod shared;
mod suggest;
#[cfg(test)]
mod tests;
mod well_known;

/// Every route of the API that is documented, with the document.
fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(route(routes!(movies::list)))
        .routes(route(routes!(movies::query)))
        .routes(route(routes!(movies::get, movies::put, movies::delete)))
        .routes(route(routes!(collections::list)))
        .routes(route(routes!(collections::get, collections::put, collections::delete)))
        .routes(route(routes!(login::login)))
        .routes(route(routes!(login_aws::login)))
        .routes(route(routes!(well_known::jwks)))
        .routes(route(routes!(well_known::protected_resource)))
        .routes(route(routes!(about::start)))
        .routes(route(routes!(about::api)))
        .routes(route(routes!(about::openapi)))
        .routes(route(routes!(about::docs)))
        .routes(route(routes!(about::problems)))
        .routes(route(routes!(about::problem)))
}

fn health() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(route(routes!(health::live))).routes(route(routes!(health::ready)))
}

/// What operators ask beside the API, where they have no listener of their own.
fn operations() -> OpenApiRouter<App> {
    health().routes(route(routes!(metrics::guarded)))
}

/// The document alone.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    documented().merge(operations()).into_openapi()
}

pub(crate) fn endpoint(app: App) -> Endpoint {
    let apart = app.settings().health_apart;
    let operations = if apart { OpenApiRouter::new() } else { operations() };
    let (router, _document) = documented().merge(operations).split_for_parts();
    let docs = axum::routing::get(about::docs_asset).fallback(other_method(GET_ONLY));
    let metadata = axum::routing::get(well_known::protected_resource_behind_a_path)
        .fallback(other_method(GET_ONLY));
    let router = router
        .route("/docs/{*file}", docs)
        .route(&format!("{}/{{*path}}", authorize::METADATA_PATH), metadata);
    finish(router, app, Hosts::Configured)
}

/// What other replicas ask of this one; their signatures say who they are.
pub(crate) fn batches_endpoint(app: App, peers: HttpPeers) -> Endpoint {
    finish(batches::router(peers), app, Hosts::Any)
}

pub(crate) fn health_endpoint(app: App) -> Endpoint {
    let (router, _document) = health().split_for_parts();
    let metrics = axum::routing::get(metrics::open).fallback(other_method(GET_ONLY));
    finish(router.route("/metrics", metrics), app, Hosts::Any)
}

fn finish(router: Router<App>, app: App, hosts: Hosts) -> Endpoint {
    Endpoint::new(app.clone(), hosts, router.fallback(unknown_path).with_state(app))
}

/// A route that answers `OPTIONS`, and methods that it does not take.
fn route(routes: UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    let (schemas, paths, methods) = routes;
    let takes = |method: fn(&PathItem) -> bool| paths.paths.values().any(method);
    let allow = if takes(|path| path.put.is_some()) {
        GET_PUT_DELETE
    } else if takes(|path| path.post.is_some()) {
        POST_ONLY
    } else {
        GET_ONLY
    };
    (schemas, paths, methods.fallback(other_method(allow)))
}

const GET_ONLY: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const POST_ONLY: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
const GET_PUT_DELETE: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, DELETE, OPTIONS");

/// `OPTIONS` of a known path, or a method that it does not take. Axum's own `Allow` would leave
/// `OPTIONS` out.
fn other_method(allow: HeaderValue) -> impl Fn(Method) -> Ready<Response> + Clone + Send {
    move |method| {
        ready(if method == Method::OPTIONS {
            (StatusCode::NO_CONTENT, [(ALLOW, allow.clone())]).into_response()
        } else {
            let detail = format!("this path does not take {method}; see Allow");
            Problem::new(&METHOD_NOT_ALLOWED, detail)
                .with_header(ALLOW, allow.clone())
                .into_response()
        })
    }
}

/// A path with a slash too many goes to the one without; any other is explained.
async fn unknown_path(request: Request) -> Response {
    match without_slash(&request) {
        Some(location) => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response(),
        None => extract::explain_unknown(request.uri().path()).into_response(),
    }
}

/// The path without its last slash, and the query. A path that begins with two slashes would send
/// the client to another host.
fn without_slash(request: &Request) -> Option<HeaderValue> {
    let path = request.uri().path().strip_suffix('/').filter(|path| !path.is_empty())?;
    if path.starts_with("//") || path.starts_with("/\\") {
        return None;
    }
    let location = match request.uri().query() {
        Some(query) => HeaderValue::try_from(format!("{path}?{query}")),
        None => HeaderValue::from_str(path),
    };
    location.ok()
}
