//! Commands in services.

use axum::extract::{Path, Query, Request};
use axum::response::Response;
use cara_api::stream::ExecQuery;
use cara_api::{Project, paths};
use serde_json::json;

use super::asking::Asking;
use super::failure::Failure;
use super::streams::with_query;
use crate::audit::{Caller, Op, Operation, Verb};
use crate::tunnels::Kind;

/// Runs a command in a service's container.
#[utoipa::path(get, path = "/api/v1/projects/{name}/services/{service}/exec", tag = "streams",
    params(("name" = String, Path), ("service" = String, Path),
        ("command" = Vec<String>, Query, description = "The program and its arguments, each once"),
        ("tty" = Option<bool>, Query, description = "Give it a terminal"),
        ("stdin" = Option<bool>, Query, description = "Give it an input"),
        ("taken" = Option<bool>, Query, description = "Tell on channel 7 how much of the input the command read"),
        ("cols" = Option<u16>, Query, description = "Width of the terminal"),
        ("rows" = Option<u16>, Query, description = "Height of the terminal")),
    responses((status = 101, description = "A WebSocket whose binary messages begin with a channel"),
        (status = 400, body = cara_api::Problem), (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn exec(
    Asking(app): Asking,
    Path((name, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    by: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let query = ExecQuery::parse(&pairs).map_err(Failure::bad_request)?;
    let place = app.place(&name, &[&service])?;
    let path = paths::fill(paths::STREAM_EXEC, &[&name, &service]);
    let path = with_query(&path, &query.pairs());
    let what = json!({"service": service, "command": query.command, "tty": query.tty});
    let operation = Operation {
        op: Op::Add,
        path: "/exec".to_owned(),
        old: None,
        new: Some(what),
    };
    // Before it is tried: whoever goes away meanwhile may have had it done.
    app.audit_operations::<Project>(&by, Verb::Exec, &place.project.metadata, vec![operation]);
    app.carry(&place.node, Kind::Exec, &path, request).await
}
