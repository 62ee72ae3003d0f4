//! The table of routes and layers, in order. Never decides anything itself.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::openapi::Base;
use envelope::Envelope;
use problem::{METHOD_NOT_ALLOWED, Problem};

mod about;
mod access;
pub(crate) mod caching;
mod collections;
mod encoding;
mod envelope;
mod extract;
mod filter;
mod health;
mod idempotency;
mod limits;
mod movies;
mod negotiate;
mod precondition;
pub(crate) mod problem;
mod suggest;
#[cfg(test)]
mod tests;

/// Every route that is documented, with the document.
fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(movies::list))
        .routes(routes!(movies::query))
        .routes(routes!(movies::get, movies::put, movies::delete))
        .routes(routes!(collections::list))
        .routes(routes!(collections::get, collections::put, collections::delete))
        .routes(routes!(about::start))
        .routes(routes!(about::api))
        .routes(routes!(about::openapi))
        .routes(routes!(about::docs))
        .routes(routes!(about::problems))
        .routes(routes!(about::problem))
        .merge(health())
}

fn health() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health::live)).routes(routes!(health::ready))
}

/// The document alone.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

pub(crate) fn router(app: App) -> Router {
    let (router, _document) = documented().split_for_parts();
    let router = router.route("/docs/{*file}", axum::routing::get(about::docs_asset));
    finish(router, app)
}

pub(crate) fn health_router(app: App) -> Router {
    let (router, _document) = health().split_for_parts();
    finish(router, app)
}

/// What is around the routes, from the inside out.
fn finish(router: Router<App>, app: App) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(Envelope { app: app.clone() })
        .with_state(app)
}

/// `OPTIONS` of a known path, or a method that it does not take. Axum adds `Allow` to both.
async fn unknown_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(&METHOD_NOT_ALLOWED, format!("this path does not take {method}; see Allow"))
        .into_response()
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
