//! Logs of services, passed through from their agents.

mod follow;
mod text;

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use cara_api::stream::{JSON_LINES, LogQuery};

use super::App;
use super::asking::Asking;
use super::failure::Failure;
use follow::lines;

/// Streams the log of a service.
#[utoipa::path(get, path = "/api/v1/projects/{name}/services/{service}/logs", tag = "projects",
    params(("name" = String, Path), ("service" = String, Path),
        ("follow" = Option<bool>, Query, description = "Go on as lines are written"),
        ("tail" = Option<u32>, Query, description = "Only the last lines"),
        ("timestamps" = Option<bool>, Query, description = "Begin each line with its time")),
    responses((status = 200, description = "Lines of text; with `Accept: application/x-ndjson` JSON lines, as of all services of a project"),
        (status = 404, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn of_service(
    Asking(app): Asking,
    Path((name, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if accept.is_some_and(|accept| accept.contains(JSON_LINES)) {
        let mut query = LogQuery::parse(&pairs).map_err(Failure::bad_request)?;
        query.services = vec![service];
        return of(app, name, query).await;
    }
    text::log(&app, &name, &service, &pairs).await
}

/// Streams the logs of a project's services.
#[utoipa::path(get, path = "/api/v1/projects/{name}/logs", tag = "streams",
    params(("name" = String, Path),
        ("service" = Option<Vec<String>>, Query, description = "Only these services; may be repeated"),
        ("follow" = Option<bool>, Query, description = "Go on as lines are written, over restarts, replacements and moves"),
        ("tail" = Option<u32>, Query, description = "Only the last lines of each service"),
        ("since" = Option<String>, Query, description = "Only lines of this time or later (RFC 3339)"),
        ("previous" = Option<bool>, Query, description = "What was written before each service was last replaced or started"),
        ("resume" = Option<bool>, Query, description = "Read all containers on from `after`, those that it does not name from `since`"),
        ("after" = Option<Vec<String>>, Query, description = "How far the reader came: container,stream,time,count; may be repeated")),
    responses((status = 200, description = "JSON lines: {stream, time, service, line, container}, and {begin}, {keepalive}, {note} between them; the last is {end}: what ends without it was cut off", content_type = "application/x-ndjson"),
        (status = 400, body = cara_api::Problem), (status = 404, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn of_project(
    Asking(app): Asking,
    Path(name): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let query = LogQuery::parse(&pairs).map_err(Failure::bad_request)?;
    of(app, name, query).await
}

async fn of(app: App, name: String, query: LogQuery) -> Result<Response, Failure> {
    let receiver = lines(app, name, query).await?;
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    let kind = [(header::CONTENT_TYPE, JSON_LINES)];
    Ok((kind, Body::from_stream(pieces)).into_response())
}
