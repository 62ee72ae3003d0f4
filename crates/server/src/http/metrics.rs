//! `/metrics`: what this replica counts, for Prometheus. On the listener of `--admin-listen` where
//! there is one, for everybody who reaches it; else beside the API, for those who may see all of it.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::authorize::{self, CalledByAdmin};
use super::caching::NO_STORE;
use super::problem::Problem;
use crate::app::App;
use crate::auth::caller::Action;
use crate::openapi::ReadProblems;
use crate::telemetry::metrics::{Told, render};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Metrics for Prometheus
///
/// Names of collections and how much they are used stand in it: where callers must log in, it takes
/// an administrator of every open collection. On the address of `--admin-listen` where there is
/// one; there it needs no token.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "service",
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "Prometheus's text format.", body = String,
            content_type = "text/plain"),
        ReadProblems,
    )
)]
pub(crate) async fn guarded(
    CalledByAdmin(caller): CalledByAdmin,
    State(app): State<App>,
) -> Result<Response, Problem> {
    authorize::check(&app, &caller, Action::Admin, app.default_collection())?;
    for collection in app.store().opened() {
        authorize::check(&app, &caller, Action::Admin, collection.name())?;
    }
    Ok(answer(&app))
}

/// For a listener that only operators reach.
pub(crate) async fn open(State(app): State<App>) -> Response {
    answer(&app)
}

fn answer(app: &App) -> Response {
    let settings = app.settings();
    let text = render(&Told {
        meters: app.meters(),
        store: app.store(),
        auth: app.auth(),
        purges: settings.purges.as_ref(),
        peers: settings.peers.as_ref(),
        traces: settings.traces.as_ref(),
        certificate: settings.certificate.as_ref(),
        build: settings.build,
        connections_max: settings.connections_max,
    });
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
