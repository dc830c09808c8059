//! Logs of a service, passed through from its agent.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use cara_api::client::Error;
use cara_api::{Node, Project, paths};

use super::App;
use super::failure::Failure;

/// Streams the log of a service.
#[utoipa::path(get, path = "/api/v1/projects/{name}/services/{service}/logs", tag = "projects",
    params(("name" = String, Path), ("service" = String, Path),
        ("follow" = Option<bool>, Query, description = "Go on as lines are written"),
        ("tail" = Option<u32>, Query, description = "Only the last lines"),
        ("timestamps" = Option<bool>, Query, description = "Begin each line with its time")),
    responses((status = 200, description = "Lines of text"), (status = 404, body = cara_api::Problem),
        (status = 502, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn logs(
    State(app): State<App>,
    Path((name, service)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let (project, node) = app.shared.cache.read(|state| {
        let project = state.project(&name).map(Arc::clone);
        let node = project
            .as_ref()
            .and_then(|p| state.node(&p.status.node_ref))
            .map(Arc::clone);
        (project, node)
    });
    let project = project.ok_or_else(|| Failure::not_found::<Project>(&name))?;
    if !project.spec.services.iter().any(|s| s.name == service) {
        let all: Vec<&str> = project
            .spec
            .services
            .iter()
            .map(|s| s.name.as_str())
            .collect();
        let detail = format!(
            "project {name:?} has no service {service:?}: it has {}",
            all.join(", ")
        );
        return Err(Failure::missing(detail));
    }
    let node =
        node.ok_or_else(|| Failure::unavailable(format!("project {name:?} is not on a node yet")))?;
    let base = agent_url(&node).ok_or_else(|| {
        Failure::unavailable(format!(
            "the agent of node {:?} has not said how to reach it",
            node.metadata.name
        ))
    })?;
    let path = paths::fill(paths::AGENT_LOGS, &[&name, &service]);
    let pairs: Vec<(String, String)> = query
        .and_then(|text| {
            axum::extract::Query::try_from_uri(&format!("/?{text}").parse().ok()?).ok()
        })
        .map(|axum::extract::Query(pairs)| pairs)
        .unwrap_or_default();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let answer = app
        .shared
        .agents
        .with_base(&base)
        .stream(&path, &pairs)
        .await;
    let stream = answer.map_err(|error| from_agent(error, &node.metadata.name))?;
    let body = Body::from_stream(cancel_with(stream, app.token.clone()));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// Ends the stream when the server stops.
fn cancel_with(
    stream: cara_api::client::ByteStream,
    token: tokio_util::sync::CancellationToken,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, Error>> {
    use futures_util::StreamExt;
    stream.take_until(token.cancelled_owned())
}

fn agent_url(node: &Node) -> Option<String> {
    let network = &node.status.network;
    let ip: std::net::IpAddr = network.ip.parse().ok()?;
    let port = u16::try_from(network.agent_port)
        .ok()
        .filter(|port| *port != 0)?;
    Some(format!("http://{}", std::net::SocketAddr::new(ip, port)))
}

fn from_agent(error: Error, node: &str) -> Failure {
    match error {
        Error::Problem(problem) => Failure::passed_on(*problem),
        Error::Unexpected { status: 404, body } => Failure::missing(body),
        Error::Unexpected { status: 409, body } => Failure::conflict(body),
        Error::Unreachable { .. }
        | Error::TimedOut { .. }
        | Error::Unexpected { .. }
        | Error::Unreadable { .. } => {
            tracing::warn!(node, error = %error, "agent does not answer");
            Failure::bad_gateway(format!("the agent of node {node:?} does not answer"))
        }
    }
}
