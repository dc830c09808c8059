//! Which node takes a project: filter, score, pick.

use std::cmp::Reverse;
use std::fmt;

use cara_api::node::NodeState;
use cara_api::{Node, NodeName};

use super::World;
use cara_api::quantity::milli;

/// How good a node is; the smallest wins. The order of the fields is the policy, and the name
/// comes last so that ties are decided the same way each time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    projects: u32,
    memory: Reverse<u128>,
    cpu: Reverse<u128>,
    name: NodeName,
}

/// Why a node cannot take a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No sign of life.
    NotReady,
    /// The operator closed it.
    Unschedulable,
    /// It is being emptied.
    Draining,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "is not ready",
            Self::Unschedulable => "takes no new projects",
            Self::Draining => "is being drained",
        })
    }
}

/// No node can take a project; says why for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaceable {
    /// Every node with its reason, sorted by name.
    pub reasons: Vec<(NodeName, Refusal)>,
}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("there are no nodes: start an agent that joins this server");
        }
        f.write_str("no node can take the project: ")?;
        for (index, (node, reason)) in self.reasons.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}node {node} {reason}")?;
        }
        Ok(())
    }
}

/// Picks the node for a project.
///
/// # Errors
/// No node can take it.
pub fn place(world: &World<'_>) -> Result<NodeName, Unplaceable> {
    let mut reasons = Vec::new();
    let mut best: Option<Score> = None;
    for (name, node) in world.nodes {
        match refusal(node) {
            Some(reason) => reasons.push((name.clone(), reason)),
            None => {
                let score = score(name, node, world);
                if best.as_ref().is_none_or(|b| score < *b) {
                    best = Some(score);
                }
            }
        }
    }
    best.map(|score| score.name).ok_or(Unplaceable { reasons })
}

fn refusal(node: &Node) -> Option<Refusal> {
    match node.status.state {
        NodeState::NotReady => Some(Refusal::NotReady),
        NodeState::Draining => Some(Refusal::Draining),
        NodeState::Ready => node.spec.unschedulable.then_some(Refusal::Unschedulable),
    }
}

fn score(name: &NodeName, node: &Node, world: &World<'_>) -> Score {
    let amount = |resource: &str| {
        node.status
            .allocatable
            .get(resource)
            .and_then(|text| milli(text))
            .unwrap_or(0)
    };
    Score {
        projects: world.load.get(name).copied().unwrap_or(0),
        memory: Reverse(amount("memory")),
        cpu: Reverse(amount("cpu")),
        name: name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    fn node(state: NodeState, unschedulable: bool, memory: &str) -> Arc<Node> {
        let mut node = Node::default();
        node.status.state = state;
        node.spec.unschedulable = unschedulable;
        node.status
            .allocatable
            .insert("memory".into(), memory.into());
        Arc::new(node)
    }

    fn nodes(list: &[(&str, Arc<Node>)]) -> BTreeMap<NodeName, Arc<Node>> {
        list.iter()
            .map(|(name, node)| (NodeName::trusted(name), Arc::clone(node)))
            .collect()
    }

    fn placed(nodes: &BTreeMap<NodeName, Arc<Node>>, load: &BTreeMap<NodeName, u32>) -> String {
        let world = World {
            now: cara_api::Timestamp::UNIX_EPOCH,
            nodes,
            load,
        };
        place(&world).map_or_else(|error| error.to_string(), |name| name.to_string())
    }

    #[test]
    fn sixty_projects_spread_evenly_over_three_equal_nodes() {
        let ready = || node(NodeState::Ready, false, "4Gi");
        let nodes = nodes(&[("a", ready()), ("b", ready()), ("c", ready())]);
        let mut load = BTreeMap::new();
        for _ in 0..60 {
            let chosen = NodeName::trusted(&placed(&nodes, &load));
            *load.entry(chosen).or_insert(0) += 1;
        }
        assert_eq!(load.into_values().collect::<Vec<_>>(), [20, 20, 20]);
    }

    #[test]
    fn fewest_projects_win_then_headroom_then_the_name() {
        let nodes = nodes(&[
            ("a", node(NodeState::Ready, false, "1Gi")),
            ("b", node(NodeState::Ready, false, "2Gi")),
            ("c", node(NodeState::Ready, false, "2Gi")),
        ]);
        let load = |list: &[(&str, u32)]| {
            list.iter()
                .map(|(n, c)| (NodeName::trusted(n), *c))
                .collect()
        };
        assert_eq!(placed(&nodes, &load(&[])), "b");
        assert_eq!(placed(&nodes, &load(&[("b", 1)])), "c");
        assert_eq!(placed(&nodes, &load(&[("b", 1), ("c", 1)])), "a");
    }

    #[test]
    fn a_project_that_fits_nowhere_learns_why_for_each_node() {
        let closed = nodes(&[
            ("a", node(NodeState::NotReady, false, "1Gi")),
            ("b", node(NodeState::Ready, true, "1Gi")),
            ("c", node(NodeState::Draining, false, "1Gi")),
        ]);
        assert_eq!(
            placed(&closed, &BTreeMap::new()),
            "no node can take the project: node a is not ready; node b takes no new projects; node c is being drained"
        );
        assert_eq!(
            placed(&nodes(&[]), &BTreeMap::new()),
            "there are no nodes: start an agent that joins this server"
        );
    }
}
