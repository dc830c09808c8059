//! The log of a service as text, stdout and stderr in one.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::app::App;
use crate::cut;
use crate::problem::problem;
use crate::runtime::LogOptions;

/// Streams the log of a container, stdout and stderr in one.
pub(super) async fn logs(
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
            let body = Body::from_stream(cut::when_stopped(lines, app.token));
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
