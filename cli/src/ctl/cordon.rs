//! `cordon` and `uncordon`: close a node for new projects, and open it again.

use cara_api::client::Terms;
use cara_api::paths;

use super::args::{self, DryRun};
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
pub async fn run(context: &Context, options: args::Gate, gate: Gate) -> Result<(), Failure> {
    let node = &options.node;
    let (verb, done, pattern) = match gate {
        Gate::Close => ("cordon", "cordoned", paths::NODE_CORDON),
        Gate::Open => ("uncordon", "uncordoned", paths::NODE_UNCORDON),
    };
    let path = paths::fill(pattern, &[node]);
    let dry_run = options.trial.dry_run;
    if dry_run != DryRun::Client {
        let (terms, nothing) = (Terms::tried(dry_run.is_dry()), serde_json::json!({}));
        let posted = context.client.post_on(&path, terms, &nothing).await;
        posted.map_err(|error| Failure::of(&format!("{verb} node {node:?}"), &error))?;
    }
    out(&format!("node/{node} {done}{}\n", dry_run.mark()))
}
