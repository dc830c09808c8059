//! The agent's own API: health and logs, as the older system's command line knows them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cara_api::paths;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::runtime::{Engine, LogOptions};

#[derive(Clone)]
struct App {
    engine: Arc<Engine>,
    token: CancellationToken,
}

/// The agent's API.
pub(crate) fn router(engine: Arc<Engine>, token: CancellationToken) -> Router {
    Router::new()
        .route(paths::AGENT_HEALTHZ, get(|| async { "OK" }))
        .route(paths::AGENT_LOGS, get(logs))
        .with_state(App { engine, token })
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
        Ok(Some((false, _))) if follow => plain(
            StatusCode::CONFLICT,
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
        Ok(None) => plain(
            StatusCode::NOT_FOUND,
            format!("container {project}/{service}: container not found"),
        ),
        Err(error) => plain(StatusCode::BAD_GATEWAY, error.message()),
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    (
        status,
        [(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )],
        text + "\n",
    )
        .into_response()
}
