//! The health of a node.

use std::time::Duration;

use cara_api::condition::{self, Condition, READY};
use cara_api::node::{NodeState, NodeStatus};
use cara_api::{Node, Timestamp};

use super::{Action, Decision};

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
        jiff::SignedDuration::try_from(self.valid)
            .ok()
            .and_then(|valid| self.at.checked_add(valid).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

/// What to do with a node now. Ready while signs of life come; a draining node stays draining,
/// but its condition tells when it is lost.
pub fn health(node: &Node, seen: Seen, now: Timestamp) -> Decision<NodeStatus> {
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
    status.state = match (status.state, is_alive) {
        (NodeState::Draining, _) => NodeState::Draining,
        (NodeState::Ready | NodeState::NotReady, true) => NodeState::Ready,
        (NodeState::Ready | NodeState::NotReady, false) => NodeState::NotReady,
    };
    condition::set(
        &mut status.conditions,
        Condition::new(READY, is_alive, reason, message, now),
    );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_while_signs_of_life_come() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let seen = Seen {
            at: at(100),
            valid: Duration::from_secs(15),
        };
        for (state, now, expected, reason, wake_at) in [
            (
                NodeState::NotReady,
                100,
                NodeState::Ready,
                "AgentReady",
                Some(115),
            ),
            (
                NodeState::Ready,
                114,
                NodeState::Ready,
                "AgentReady",
                Some(115),
            ),
            (
                NodeState::Ready,
                115,
                NodeState::NotReady,
                "HeartbeatTimeout",
                None,
            ),
            (
                NodeState::Draining,
                115,
                NodeState::Draining,
                "HeartbeatTimeout",
                None,
            ),
        ] {
            let mut node = Node::default();
            node.status.state = state;
            let decision = health(&node, seen, at(now));
            let Action::Write(status) = decision.action else {
                panic!("the condition is new")
            };
            assert_eq!(status.state, expected, "{state} at {now}");
            assert_eq!(status.conditions[0].reason, reason);
            assert_eq!(decision.wake_at.map(Timestamp::as_second), wake_at);
            node.status = status;
            assert_eq!(
                health(&node, seen, at(now)).action,
                Action::Keep,
                "deciding again changes nothing"
            );
        }
    }
}
