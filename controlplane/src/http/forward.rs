//! Connections to ports of services.

use axum::extract::{Path, Request};
use axum::response::Response;
use cara_api::{Project, paths};
use serde_json::json;

use super::asking::Asking;
use super::failure::Failure;
use crate::audit::{Caller, Op, Operation, Verb};
use crate::tunnels::Kind;

/// Connects to a port of a service's container.
#[utoipa::path(get, path = "/api/v1/projects/{name}/services/{service}/forward/{port}", tag = "streams",
    params(("name" = String, Path), ("service" = String, Path), ("port" = u16, Path)),
    responses((status = 101, description = "A WebSocket whose binary messages begin with a channel"),
        (status = 400, body = cara_api::Problem), (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn forward(
    Asking(app): Asking,
    Path((name, service, port)): Path<(String, String, String)>,
    by: Caller,
    request: Request,
) -> Result<Response, Failure> {
    let number: Option<u16> = port.parse().ok().filter(|port| *port != 0);
    let number = number.ok_or_else(|| {
        Failure::bad_request(format!("port {port:?} is not a number from 1 to 65535"))
    })?;
    let place = app.place(&name, &[&service])?;
    let path = paths::fill(
        paths::STREAM_FORWARD,
        &[&name, &service, &number.to_string()],
    );
    let operation = Operation {
        op: Op::Add,
        path: "/forward".to_owned(),
        old: None,
        new: Some(json!({"service": service, "port": number})),
    };
    // Before it is tried: whoever goes away meanwhile may have been let through.
    app.audit_operations::<Project>(&by, Verb::Forward, &place.project.metadata, vec![operation]);
    app.carry(&place.node, Kind::Forward, &path, request).await
}
