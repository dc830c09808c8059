//! The log of a service as text, stdout and stderr in one, as the older command line reads it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::client::Error;
use cara_api::{Node, paths};
use futures_util::{Stream, StreamExt};

use super::super::App;
use super::super::failure::Failure;
use super::super::flow::{self, READ_LIMIT};
use super::super::streams::{PATIENCE, agent_url, with_query};
use crate::tunnels::Kind;

/// Through the tunnel, or from the agent's own port if it opens no tunnel.
pub(super) async fn log(
    app: &App,
    name: &str,
    service: &str,
    pairs: &[(String, String)],
) -> Result<Response, Failure> {
    let place = app.place(name, &[service])?;
    let known = app
        .shared
        .cache
        .read(|state| state.node(place.node.as_str()).cloned());
    let door = known.as_deref().and_then(agent_url_of);
    // Agents of the older system never come; ours may be on their way back.
    let patience = if door.is_some() {
        Duration::from_secs(1)
    } else {
        PATIENCE
    };
    let path = paths::fill(paths::AGENT_LOGS, &[name, service]);
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let is_connected = app.shared.tunnels.is_connected(&place.node, patience).await;
    if let Some(door) = door.filter(|_| !is_connected) {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        app.must_still()?;
        let counted = app
            .shared
            .tunnels
            .count(&place.node, (Kind::Logs, &app.sharer))?;
        let agents = app.shared.agents.with_base(&door);
        let answer = agents.stream(&path, &pairs).await;
        let stream = answer.map_err(|error| from_agent(error, place.node.as_str()))?;
        let stream = stream.map(move |piece| {
            let _counted = &counted;
            piece
        });
        return Ok((headers, body(app, stream)).into_response());
    }
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    let ask = Request::get(agent_url(&with_query(&path, &pairs))).body(Body::empty());
    let ask = ask.map_err(Failure::internal)?;
    let answer = app.ask_agent(&place.node, Kind::Logs, ask).await?;
    Ok((headers, body(app, answer.pieces())).into_response())
}

fn body<S, E>(app: &App, source: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::fmt::Display + Send,
{
    let tasks = &app.shared.tunnels.tasks;
    flow::body(source, READ_LIMIT, tasks, app.token.clone())
}

fn agent_url_of(node: &Node) -> Option<String> {
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
        | Error::Stalled { .. }
        | Error::Unexpected { .. }
        | Error::Unreadable { .. } => {
            tracing::warn!(node, error = %error, "agent does not answer");
            Failure::bad_gateway(format!("the agent of node {node:?} does not answer"))
        }
    }
}
