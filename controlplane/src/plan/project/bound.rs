//! A project that is bound to a node: the node may be gone, silent, or to be left.

use cara_api::condition::{self, NOT_READY_AT};
use cara_api::project::{ProjectPhase, ProjectStatus};
use cara_api::{Project, Timestamp};

use super::{moves, since, unbind, write_if_changed};
use crate::plan::evict::is_pinned;
use crate::plan::node::is_alive;
use crate::plan::{Action, World, later};

/// What to do with a bound project, and when time alone changes that.
pub(super) fn keep(
    project: &Project,
    world: &World<'_>,
) -> (Action<ProjectStatus>, Option<Timestamp>) {
    let mut status = project.status.clone();
    let moment = match world.fleet.node(&project.status.node_ref) {
        None => {
            gone(project, &mut status, world.now);
            None
        }
        Some(node) if is_alive(node) => {
            // A later outage gets its full grace again.
            condition::clear(&mut status.conditions, NOT_READY_AT);
            moves::settle(project, node, world, &mut status);
            None
        }
        Some(_) => silent(project, &mut status, world),
    };
    (write_if_changed(project, status), moment)
}

fn gone(project: &Project, status: &mut ProjectStatus, now: Timestamp) {
    let data = if is_pinned(&project.spec) {
        ", without the data that it had there"
    } else {
        ""
    };
    let node = &project.status.node_ref;
    let message = format!("node {node} is gone; placing the project again{data}");
    unbind(status, "NodeGone", message, now);
}

/// The node does not answer: what runs there may still run.
fn silent(project: &Project, status: &mut ProjectStatus, world: &World<'_>) -> Option<Timestamp> {
    let node = &project.status.node_ref;
    let message = format!("node {node} is not ready; placing the project again");
    if is_pinned(&project.spec) {
        let message = format!(
            "node {node} is not ready; the project waits for it, since its Persistent volumes or HostPaths are there"
        );
        since(status, NOT_READY_AT, message, world.now);
        return None;
    }
    if project.status.phase == ProjectPhase::Scheduled {
        unbind(status, "NodeNotReady", message, world.now);
        return None;
    }
    let grace = world.patience.reschedule_grace;
    let waits = format!(
        "node {node} is not ready; the project is placed again when that lasts {} s",
        grace.as_secs()
    );
    let due = later(since(status, NOT_READY_AT, waits, world.now), grace);
    if due <= world.now {
        unbind(status, "NodeNotReady", message, world.now);
        return None;
    }
    Some(due)
}
