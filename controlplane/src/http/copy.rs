//! Files in services, as tar streams.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::stream::files::{KIND, SIZE, path_of};
use cara_api::{Project, paths};
use futures_util::StreamExt;
use serde_json::json;

use super::App;
use super::asking::Asking;
use super::failure::Failure;
use super::flow::{self, TAKE_LIMIT};
use super::rehearse::Writing;
use super::streams::{Place, agent_url, with_query};
use crate::audit::{Caller, Op, Operation, Verb};
use crate::tunnels::Kind;

/// How long a user may send nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Reads a file or directory with all that is in it.
#[utoipa::path(get, path = "/api/v1/projects/{name}/services/{service}/files", tag = "streams",
    params(("name" = String, Path), ("service" = String, Path),
        ("path" = String, Query, description = "Absolute path in the container")),
    responses((status = 200, description = "A tar stream; x-cara-kind is file, directory or link, x-cara-size the size of a file", content_type = "application/x-tar"),
        (status = 400, body = cara_api::Problem), (status = 404, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn read(
    Asking(app): Asking,
    Path((name, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    by: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let path = path_of(&pairs).map_err(Failure::bad_request)?;
    let place = app.place(&name, &[&service])?;
    let is_look = request.method() == axum::http::Method::HEAD;
    let ask = Request::builder()
        .method(request.method())
        .uri(url(&name, &service, path))
        .body(Body::empty())
        .map_err(Failure::internal)?;
    if !is_look {
        // Before anything is read: whoever goes away meanwhile may have had it.
        record(&app, &by, &place, json!({"service": service, "read": path}));
    }
    let answer = app.ask_agent(&place.node, Kind::Files, ask).await?;
    let mut response = Response::new(Body::empty());
    for name in [
        header::CONTENT_TYPE,
        HeaderName::from_static(KIND),
        HeaderName::from_static(SIZE),
    ] {
        if let Some(value) = answer.head().headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if !is_look {
        let tasks = &app.shared.tunnels.tasks;
        let (pieces, token) = (answer.pieces(), app.token.clone());
        *response.body_mut() = flow::body(pieces, TAKE_LIMIT, tasks, token);
    }
    Ok(response)
}

/// Puts what a tar stream holds into a directory that exists.
#[utoipa::path(put, path = "/api/v1/projects/{name}/services/{service}/files", tag = "streams",
    params(("name" = String, Path), ("service" = String, Path),
        ("path" = String, Query, description = "Absolute path of a directory in the container")),
    responses((status = 204, description = "All of it is there"),
        (status = 400, body = cara_api::Problem), (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn write(
    Writing(app): Writing,
    Path((name, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    let path = path_of(&pairs).map_err(Failure::bad_request)?;
    let place = app.place(&name, &[&service])?;
    // What stops coming must not stay open for ever.
    let pieces = futures_util::stream::unfold(Some(body.into_data_stream()), |body| async {
        let mut body = body?;
        match tokio::time::timeout(IDLE_LIMIT, body.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(Some(Err(error))) => Some((Err(std::io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(std::io::ErrorKind::TimedOut.into()), None)),
        }
    });
    let ask = Request::put(url(&name, &service, path))
        .body(Body::from_stream(pieces))
        .map_err(Failure::internal)?;
    // Before it is tried: what ends early may have written some of it.
    record(
        &app,
        &by,
        &place,
        json!({"service": service, "write": path}),
    );
    app.put_files(&place, ask).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl App {
    async fn put_files(&self, place: &Place, ask: Request) -> Result<(), Failure> {
        tokio::select! {
            answer = self.ask_agent(&place.node, Kind::Files, ask) => answer.map(drop),
            () = self.token.cancelled() => Err(Failure::unavailable("the server stops; try again")),
            // Whoever may not do it any more does not go on with it.
            () = self.until_lost() => self.must_still(),
        }
    }
}

fn url(name: &str, service: &str, path: &str) -> String {
    let at = paths::fill(paths::STREAM_FILES, &[name, service]);
    agent_url(&with_query(&at, &[("path", path.to_owned())]))
}

fn record(app: &App, by: &Caller, place: &Place, what: serde_json::Value) {
    let operation = Operation {
        op: Op::Add,
        path: "/files".to_owned(),
        old: None,
        new: Some(what),
    };
    app.audit_operations::<Project>(by, Verb::Copy, &place.project.metadata, vec![operation]);
}
