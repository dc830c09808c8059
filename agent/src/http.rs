//! The agent's own API: health, logs and forwarded ports, as the older system's command line
//! knows them.

mod app;
mod forward;
mod logs;
pub(crate) mod pages;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use cara_api::paths;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::problem::plain;
use crate::runtime::Engine;
use app::App;

/// The agent's API, to which more can be added that needs a state of its own.
pub(crate) fn router<S>(
    engine: Arc<Engine>,
    tasks: TaskTracker,
    token: CancellationToken,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route(paths::AGENT_HEALTHZ, get(|| async { "OK" }))
        .route(paths::AGENT_LOGS, get(logs::logs))
        .route(paths::AGENT_FORWARD, get(forward::forward))
        .method_not_allowed_fallback(|| async {
            plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
        })
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "404 page not found\n") })
        .with_state(App {
            engine,
            tasks,
            token,
        })
}
