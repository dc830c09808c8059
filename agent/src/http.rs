//! The agent's own API: health, logs and forwarded ports, as the older system's command line
//! knows them.

mod forward;
pub(crate) mod pages;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cara_api::problem::CONTENT_TYPE;
use cara_api::{Problem, paths};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::{Engine, LogOptions};

#[derive(Clone)]
struct App {
    engine: Arc<Engine>,
    tasks: TaskTracker,
    token: CancellationToken,
}

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
        .route(paths::AGENT_LOGS, get(logs))
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

/// Streams the log of a container, stdout and stderr in one.
async fn logs(
    State(app): State<App>,
    Path((project, service)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let value = |key: &str| {
        query
            .iter()
            .find(|(k, _)| k == key)
            .map_or("", |(_, v)| v.as_str())
    };
    // Truth as the older agent reads it; anything else is false.
    let is_set = |key: &str| matches!(value(key), "1" | "t" | "T" | "true" | "TRUE" | "True");
    let options = LogOptions {
        follow: is_set("follow"),
        timestamps: is_set("timestamps"),
        tail: value("tail").to_owned(),
    };
    let follow = options.follow;
    match app.engine.logs(&project, &service, options).await {
        Ok(Some((false, _))) if follow => problem(
            409,
            format!("container {project}/{service}: container not running"),
        ),
        Ok(Some((_, lines))) => {
            let body = Body::from_stream(lines.take_until(app.token.cancelled_owned()));
            let headers = [
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                ),
                (
                    header::X_CONTENT_TYPE_OPTIONS,
                    HeaderValue::from_static("nosniff"),
                ),
            ];
            (headers, body).into_response()
        }
        Ok(None) => problem(
            404,
            format!("container {project}/{service}: container not found"),
        ),
        Err(error) => problem(502, error.message()),
    }
}

/// Errors of routing are plain text, as clients of the older system know them.
fn plain(status: StatusCode, text: &'static str) -> Response {
    let nosniff = (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    (status, [nosniff], text).into_response()
}

/// All other errors are problem documents.
pub(crate) fn problem(status: u16, detail: String) -> Response {
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&Problem::new(status, detail)).unwrap_or_default();
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    (status_code, [kind], body).into_response()
}
