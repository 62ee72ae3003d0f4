//! What other replicas ask of this one, on the listener of `--internal-listen`.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use movies_store::FORWARD_BYTES_MAX;
use movies_store::key::CollectionName;

use super::limits;
use super::problem::Problem;
use crate::app::App;
use crate::peers::{HttpPeers, PATH};

/// The one route.
pub(super) fn router(peers: HttpPeers) -> Router<App> {
    let take = move |State(app), Path(file), request| take(app, peers.clone(), file, request);
    Router::new().route(&format!("{PATH}{{*file}}"), axum::routing::post(take))
}

async fn take(
    app: App,
    peers: HttpPeers,
    file: String,
    request: Request,
) -> Result<Response, Problem> {
    let time_max = app.settings().request_deadline;
    let (parts, body) = request.into_parts();
    let body = limits::read_body(&parts.headers, body, FORWARD_BYTES_MAX, time_max).await?;
    let Ok(collection) = CollectionName::parse(&file) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    Ok(peers.take(app.store(), &collection, &parts.headers, body).await)
}
