//! The health of a node, and how far its draining is.
//!
//! ```text
//!             sign of life
//! NotReady <---------------> Ready ----drain----> Draining --uncordon--> Ready or NotReady
//!            no sign of life
//! ```
//!
//! A draining node stays Draining whatever is heard of it; its condition `Ready` tells whether
//! it is alive.

use std::time::Duration;

use cara_api::condition::{self, Condition, DISK_PRESSURE, DRAINED, MEMORY_PRESSURE, READY};
use cara_api::node::{Drain, Heartbeat, NodeSpec, NodeState, NodeStatus};
use cara_api::{Node, Project, Timestamp};

use super::assign::stops_first;
use super::evict::{Way, way};
use super::{Action, Decision, later};

/// Projects of a node that are named one by one; the rest is only counted.
const NAMED_MAX: usize = 20;

/// The last sign of life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When it came.
    pub at: Timestamp,
    /// How long it counts.
    pub valid: Duration,
}

impl Seen {
    /// When the node counts as lost if nothing more comes.
    pub fn lost_at(&self) -> Timestamp {
        later(self.at, self.valid)
    }
}

/// True unless the node is known to be silent; what runs there can be steered.
pub fn is_alive(node: &Node) -> bool {
    match node.status.state {
        NodeState::Ready => true,
        NodeState::NotReady => false,
        NodeState::Draining => {
            condition::find(&node.status.conditions, READY).is_none_or(|c| c.status == "True")
        }
    }
}

/// What to write about a node now. `projects` are those that are bound to it, sorted by name.
pub fn settle<'a>(
    node: &Node,
    seen: Seen,
    projects: impl Iterator<Item = &'a Project>,
    now: Timestamp,
) -> Decision<NodeStatus> {
    let lost_at = seen.lost_at();
    let is_alive = now < lost_at;
    let mut status = node.status.clone();
    let (reason, message) = if is_alive {
        ("AgentReady", "the agent is alive".to_owned())
    } else {
        (
            "HeartbeatTimeout",
            format!("no sign of life for {} s", seen.valid.as_secs()),
        )
    };
    status.state = state(node, is_alive);
    condition::set(
        &mut status.conditions,
        Condition::new(READY, is_alive, reason, message, now),
    );
    match &node.spec.drain {
        Some(drain) => condition::set(&mut status.conditions, drained(drain, projects, now)),
        None => condition::clear(&mut status.conditions, DRAINED),
    }
    let action = if status == node.status {
        Action::Keep
    } else {
        Action::Write(status)
    };
    Decision {
        action,
        wake_at: is_alive.then_some(lost_at),
    }
}

fn state(node: &Node, is_alive: bool) -> NodeState {
    let healthy = if is_alive {
        NodeState::Ready
    } else {
        NodeState::NotReady
    };
    // An agent of the older system may say Draining by heartbeat; a drain that an operator took
    // back leaves the condition behind, by which the two are told apart.
    let was_drained = condition::find(&node.status.conditions, DRAINED).is_some();
    match (node.status.state, &node.spec.drain) {
        (_, Some(_)) => NodeState::Draining,
        (NodeState::Draining, None) if !was_drained => NodeState::Draining,
        (NodeState::Draining | NodeState::Ready | NodeState::NotReady, None) => healthy,
    }
}

/// How far the draining is.
fn drained<'a>(
    drain: &Drain,
    projects: impl Iterator<Item = &'a Project>,
    now: Timestamp,
) -> Condition {
    let (mut left, mut blocked) = (Vec::new(), Vec::new());
    for project in projects {
        let name = project.metadata.name.as_str();
        let is_ending = project.status.phase.is_ending();
        match (way(&project.spec, Some(drain)), &project.status.moving) {
            (Way::Blocked(why), None) if !is_ending => blocked.push(why.explain(name)),
            (_, Some(moving)) if !moving.message.is_empty() => {
                let (node, message) = (&moving.node_ref, &moving.message);
                blocked.push(if stops_first(moving) {
                    format!("project {name} cannot be removed: {message}")
                } else {
                    format!("project {name} does not start on node {node}: {message}")
                });
            }
            (_, Some(moving)) if !stops_first(moving) => {
                left.push(format!("{name} (moving to node {})", moving.node_ref));
            }
            (_, Some(_)) => left.push(format!("{name} (being removed first)")),
            (_, None) => match condition::find(&project.status.conditions, condition::PLACED) {
                Some(placed) if !is_ending => {
                    blocked.push(format!("project {name} cannot move: {}", placed.message));
                }
                Some(_) | None => left.push(name.to_owned()),
            },
        }
    }
    let count = left.len() + blocked.len();
    if count == 0 {
        return Condition::new(DRAINED, true, "Drained", "no project is left", now);
    }
    let reason = if left.is_empty() {
        "Blocked"
    } else {
        "Draining"
    };
    let mut parts = Vec::new();
    if !left.is_empty() {
        parts.push(listed(&left, ", "));
    }
    if !blocked.is_empty() {
        parts.push(listed(&blocked, "; "));
    }
    let noun = if count == 1 { "project" } else { "projects" };
    let message = format!("{count} {noun} left: {}", parts.join("; "));
    Condition::new(DRAINED, false, reason, message, now)
}

fn listed(items: &[String], separator: &str) -> String {
    let named: Vec<&str> = items.iter().take(NAMED_MAX).map(String::as_str).collect();
    let text = named.join(separator);
    match items.len().saturating_sub(NAMED_MAX) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The node after a heartbeat, but for its health, which [`settle`] adds.
pub fn merge(node: &Node, beat: &Heartbeat, now: Timestamp) -> Node {
    let mut node = node.clone();
    beat.merge_into(&mut node.status);
    for told in &beat.conditions {
        let is_known = matches!(told.kind.as_str(), DISK_PRESSURE | MEMORY_PRESSURE);
        let is_sound = matches!(told.status.as_str(), "True" | "False" | "Unknown");
        let old = condition::find(&node.status.conditions, &told.kind);
        // The message may carry a figure that changes all the time; alone it is no news.
        let is_news = old.is_none_or(|o| o.status != told.status || o.reason != told.reason);
        if is_known && is_sound && is_news {
            let mut fresh = told.clone();
            (fresh.last_heartbeat_time, fresh.last_transition_time) = (None, Some(now));
            condition::set(&mut node.status.conditions, fresh);
        }
    }
    node
}

/// The node closed for new projects.
pub fn cordon(node: &Node) -> Node {
    let mut node = node.clone();
    node.spec.unschedulable = true;
    node
}

/// The node open again, and no longer drained.
pub fn uncordon(node: &Node) -> Node {
    let mut node = node.clone();
    node.spec = NodeSpec {
        unschedulable: false,
        drain: None,
        ..node.spec
    };
    if node.status.state == NodeState::Draining {
        // Its health says what it is instead.
        node.status.state = NodeState::NotReady;
    }
    node
}

/// The node that is being emptied.
pub fn drain(node: &Node, drain: &Drain) -> Node {
    let mut node = cordon(node);
    node.spec.drain = Some(drain.clone());
    node
}

#[cfg(test)]
mod tests;
