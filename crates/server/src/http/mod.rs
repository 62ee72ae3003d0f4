//! The table of routes and layers, in order. Never decides anything itself.

use axum::Router;

use crate::app::App;

pub(crate) fn router(app: App) -> Router {
    Router::new().with_state(app)
}

pub(crate) fn health_router(app: App) -> Router {
    Router::new().with_state(app)
}
