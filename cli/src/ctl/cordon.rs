//! `cordon` and `uncordon`: close a node for new projects, and open it again.

use cara_api::paths;

use super::args::NodeName;
use super::failure::Failure;
use super::{Context, out};

/// What shall be done to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It takes no new projects.
    Close,
    /// It takes new projects, and is not emptied any more.
    Open,
}

/// Closes or opens a node. Doing it again changes nothing.
pub async fn run(context: &Context, options: NodeName, gate: Gate) -> Result<(), Failure> {
    let node = &options.node;
    let (verb, done, pattern) = match gate {
        Gate::Close => ("cordon", "cordoned", paths::NODE_CORDON),
        Gate::Open => ("uncordon", "uncordoned", paths::NODE_UNCORDON),
    };
    let path = paths::fill(pattern, &[node]);
    let posted = context.client.post(&path, &serde_json::json!({})).await;
    posted.map_err(|error| Failure::of(&format!("{verb} node {node:?}"), &error))?;
    out(&format!("node/{node} {done}\n"))
}
