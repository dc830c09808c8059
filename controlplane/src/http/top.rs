//! What services and nodes use.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request};
use cara_api::stream::{NodeUsage, Usage};
use cara_api::{NodeName, Project, paths};
use futures_util::future::join_all;

use super::App;
use super::asking::Asking;
use super::failure::Failure;
use super::streams::agent_url;
use crate::tunnels::Kind;

/// How long a node may take; others wait for it so long. An agent that was not asked of late looks
/// twice, half a second apart.
const LIMIT: Duration = Duration::from_secs(3);
/// Longest answer of a node, in bytes.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Asks all nodes at once; one that does not answer says why.
#[utoipa::path(get, path = "/api/v1/usage", tag = "streams",
    params(("project" = Option<String>, Query, description = "Only services of this project, on the nodes where it is")),
    responses((status = 200, body = Usage), (status = 404, body = cara_api::Problem)))]
pub(super) async fn usage(
    Asking(app): Asking,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Usage>, Failure> {
    app.must_be_live()?;
    let project = pairs.iter().find(|(key, _)| key == "project");
    let project = project.map(|(_, name)| name.as_str());
    let nodes: Vec<NodeName> = match project {
        Some(name) => {
            let found = app.shared.cache.read(|state| state.project(name).cloned());
            let found = found.ok_or_else(|| Failure::not_found::<Project>(name))?;
            nodes_of(&found)
        }
        None => app
            .shared
            .cache
            .read(|state| state.nodes().keys().cloned().collect()),
    };
    let asked = nodes.iter().map(|node| async {
        let mut usage = match tokio::time::timeout(LIMIT, ask(&app, node)).await {
            Ok(Ok(usage)) => usage,
            Ok(Err(error)) => unknown(error),
            Err(_) => unknown(format!("no answer within {} s", LIMIT.as_secs())),
        };
        node.as_str().clone_into(&mut usage.node);
        usage
            .containers
            .retain(|c| project.is_none_or(|name| c.project == name));
        usage
    });
    let mut nodes = join_all(asked).await;
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(Json(Usage { nodes }))
}

/// Where a project is, also while it moves.
pub(super) fn nodes_of(project: &Project) -> Vec<NodeName> {
    let status = &project.status;
    let moving = status
        .moving
        .as_ref()
        .map(|moving| moving.node_ref.as_str());
    let all = [status.node_ref.as_str()].into_iter().chain(moving);
    all.filter(|name| !name.is_empty())
        .map(NodeName::trusted)
        .collect()
}

fn unknown(error: String) -> NodeUsage {
    NodeUsage {
        error: Some(error),
        ..NodeUsage::default()
    }
}

async fn ask(app: &App, node: &NodeName) -> Result<NodeUsage, String> {
    let request = Request::get(agent_url(paths::STREAM_USAGE)).body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let answer = app.ask_connected(node, Kind::Usage, request).await;
    let answer = answer.map_err(|failure| failure.detail().to_owned())?;
    let status = answer.head().status();
    let text = answer.text(ANSWER_MAX, LIMIT).await;
    if !status.is_success() {
        return Err(format!("the agent answered {status}"));
    }
    serde_json::from_slice(&text)
        .map_err(|error| format!("the agent's answer cannot be read: {error}"))
}
