//! What goes on with a project or node, in sentences. Pure.

use cara_api::condition::{self, Condition, NOT_READY_AT, ROLLED_BACK, TERMINATING_AT};
use cara_api::{Node, Project, Timestamp};

use super::super::table::{age, or};

/// What goes on with a project that is not as usual, a sentence each.
pub(super) fn of_project(project: &Project, now: Timestamp) -> Vec<String> {
    let status = &project.status;
    let find = |kind| condition::find(&status.conditions, kind).filter(|c| c.status != "False");
    let since = |c: &Condition| age(c.last_transition_time, now);
    let node = or(&status.node_ref, "<none>");
    let mut all = Vec::new();
    if let Some(found) = find(NOT_READY_AT) {
        all.push(format!(
            "node {node} has not been ready for {}; after the server's --reschedule-grace the project is placed on another one",
            since(found)
        ));
    }
    if let Some(found) = find(TERMINATING_AT) {
        all.push(format!(
            "node {node}, which has to remove the project, has not been ready for {}; after the server's --force-terminate-after the project counts as removed",
            since(found)
        ));
    }
    if let Some(found) = find(ROLLED_BACK) {
        all.push(rolled_back(project, found, now));
    }
    if let Some(moving) = &status.moving {
        let since = age(moving.since, now);
        let step = match moving.node_ref.as_str() {
            "" => "its old copy is removed first".to_owned(),
            to => format!("node {to} starts the new copy"),
        };
        let trouble = match moving.message.as_str() {
            "" => String::new(),
            message => format!("; so far in vain: {message}"),
        };
        all.push(format!(
            "it has been moving away from node {node} for {since} ({}): {step}{trouble}",
            or(&moving.reason, "no reason given")
        ));
    }
    all
}

fn rolled_back(project: &Project, found: &Condition, now: Timestamp) -> String {
    let status = &project.status;
    let rejected = match status.rejected_generation {
        none if none.is_zero() => "the newest generation".to_owned(),
        rejected => format!("generation {}", rejected.0),
    };
    let instead = match status.stable_generation {
        none if none.is_zero() => "an earlier one".to_owned(),
        stable => format!("generation {}", stable.0),
    };
    // The whole message, with the lines of the log, stands among the conditions.
    let first = found.message.lines().next().unwrap_or_default();
    let why = match first {
        "" => found.reason.clone(),
        first => format!("{}: {first}", found.reason),
    };
    format!(
        "{rejected} failed {} ago ({why}); {instead} runs instead",
        age(found.last_transition_time, now)
    )
}

/// Whether and how a node is being emptied.
pub(super) fn drain(node: &Node) -> &'static str {
    match &node.spec.drain {
        None => "no",
        Some(drain) if drain.delete_ephemeral_data => {
            "yes, also projects whose Ephemeral volumes are lost by it"
        }
        Some(_) => "yes, but for projects whose Ephemeral volumes would be lost by it",
    }
}
