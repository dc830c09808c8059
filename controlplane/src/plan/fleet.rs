//! All nodes, each with what the projects on it ask for. Pure.
//!
//! Kept up to date change by change, so that choosing a node never counts projects. A pass
//! works on a copy that also counts what it decided and did not write yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cara_api::condition::{self, DISK_PRESSURE, MEMORY_PRESSURE};
use cara_api::node::{Taint, TaintEffect};
use cara_api::project::{ProjectPhase, ProjectSpec};
use cara_api::quantity::milli;
use cara_api::{Node, NodeName, Project, ProjectName};

/// What a project reserves, in thousandths of a core and of a byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu_milli: u128,
    /// Thousandths of a byte.
    pub memory_milli: u128,
}

impl Amounts {
    /// What all services of a project reserve together.
    pub fn reserved(spec: &ProjectSpec) -> Self {
        let sum = |resource: &str| {
            let each = spec.services.iter();
            each.map(|s| s.resources.reserved_milli(resource))
                .fold(0_u128, u128::saturating_add)
        };
        Self {
            cpu_milli: sum("cpu"),
            memory_milli: sum("memory"),
        }
    }
}

/// What the projects on a node add up to; those that move to it count as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// How many there are.
    pub projects: u32,
    /// What they reserve.
    pub reserved: Amounts,
    /// How many carry a label, by key and value.
    labels: BTreeMap<String, BTreeMap<String, u32>>,
    /// Those that are on their way to another node, and whose move goes well.
    leaving: BTreeSet<ProjectName>,
}

/// Why a node takes no project at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// No sign of life.
    NotReady,
    /// The operator closed it.
    Unschedulable,
    /// It is being emptied.
    Draining,
    /// It runs out of disk.
    DiskPressure,
    /// It runs out of memory.
    MemoryPressure,
}

/// A node with its load.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    /// The node; none for one that is gone while projects are still bound to it.
    pub node: Option<Arc<Node>>,
    /// Why it takes no project at all, if so.
    pub closed: Option<Closed>,
    /// Taints with their effects.
    pub taints: Vec<(Taint, TaintEffect)>,
    /// Cores that projects may use, in thousandths; none when the node does not say.
    pub cpu_milli: Option<u128>,
    /// Bytes that projects may use, in thousandths; none when the node does not say.
    pub memory_milli: Option<u128>,
    /// What is there.
    pub load: Load,
}

/// All nodes with their loads.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    slots: BTreeMap<NodeName, Slot>,
}

impl Fleet {
    /// All nodes and what is known of them, sorted by name.
    pub fn slots(&self) -> &BTreeMap<NodeName, Slot> {
        &self.slots
    }

    /// A node that exists.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.slots.get(name)?.node.as_deref()
    }

    /// True when a project other than `project` is on its way away from a node.
    pub fn is_another_leaving(&self, node: &str, project: &str) -> bool {
        let slot = self.slots.get(node);
        slot.is_some_and(|s| s.load.leaving.iter().any(|name| name.as_str() != project))
    }

    /// Takes in the new state of a node; none when it is gone.
    pub fn set_node(&mut self, name: &NodeName, node: Option<Arc<Node>>) {
        let slot = self.slots.entry(name.clone()).or_default();
        slot.describe(node);
        self.tidy(name);
    }

    /// Takes in that a project changed, came (`before` is none) or went (`after` is none).
    pub fn change(&mut self, before: Option<&Project>, after: Option<&Project>) {
        if let Some(project) = before {
            self.count(project, Direction::Away);
        }
        if let Some(project) = after {
            self.count(project, Direction::In);
        }
    }

    fn count(&mut self, project: &Project, direction: Direction) {
        let status = &project.status;
        if status.phase == ProjectPhase::Terminated {
            return;
        }
        let target = status.moving.as_ref().map(|m| m.node_ref.as_str());
        for node in [Some(status.node_ref.as_str()), target]
            .into_iter()
            .flatten()
            .filter(|node| !node.is_empty())
        {
            let name = NodeName::trusted(node);
            let slot = self.slots.entry(name.clone()).or_default();
            slot.load.count(project, direction);
            let goes_well = status.moving.as_ref().is_some_and(|m| m.message.is_empty());
            if goes_well && node == status.node_ref {
                slot.load.note_leaving(project.name(), direction);
            }
            self.tidy(&name);
        }
    }

    /// Drops a slot that says nothing.
    fn tidy(&mut self, name: &NodeName) {
        let is_empty = |slot: &Slot| slot.node.is_none() && slot.load.projects == 0;
        if self.slots.get(name).is_some_and(is_empty) {
            self.slots.remove(name);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Away,
}

impl Load {
    /// How many projects carry a label with this value.
    pub fn labelled(&self, key: &str, value: &str) -> u32 {
        let values = self.labels.get(key);
        values
            .and_then(|v| v.get(value))
            .copied()
            .unwrap_or_default()
    }

    // Wrapping, so that what goes is exactly what came.
    fn count(&mut self, project: &Project, direction: Direction) {
        let amounts = Amounts::reserved(&project.spec);
        let (reserved, labels) = (&mut self.reserved, &project.metadata.labels);
        match direction {
            Direction::In => {
                self.projects = self.projects.wrapping_add(1);
                reserved.cpu_milli = reserved.cpu_milli.wrapping_add(amounts.cpu_milli);
                reserved.memory_milli = reserved.memory_milli.wrapping_add(amounts.memory_milli);
                for (key, value) in labels {
                    let values = self.labels.entry(key.clone()).or_default();
                    *values.entry(value.clone()).or_default() += 1;
                }
            }
            Direction::Away => {
                self.projects = self.projects.wrapping_sub(1);
                reserved.cpu_milli = reserved.cpu_milli.wrapping_sub(amounts.cpu_milli);
                reserved.memory_milli = reserved.memory_milli.wrapping_sub(amounts.memory_milli);
                for (key, value) in labels {
                    self.unlabel(key, value);
                }
            }
        }
    }

    fn unlabel(&mut self, key: &str, value: &str) {
        let Some(values) = self.labels.get_mut(key) else {
            return;
        };
        if let Some(count) = values.get_mut(value) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.labels.remove(key);
        }
    }

    fn note_leaving(&mut self, project: ProjectName, direction: Direction) {
        match direction {
            Direction::In => self.leaving.insert(project),
            Direction::Away => self.leaving.remove(&project),
        };
    }
}

impl Slot {
    fn describe(&mut self, node: Option<Arc<Node>>) {
        let found = node.as_deref();
        let amount = |resource: &str| milli(found?.status.allocatable.get(resource)?);
        (self.cpu_milli, self.memory_milli) = (amount("cpu"), amount("memory"));
        self.closed = found.and_then(closed);
        let taints = found.into_iter().flat_map(|n| &n.spec.taints);
        self.taints = taints
            .filter_map(|t| Some((t.clone(), TaintEffect::parse(&t.effect)?)))
            .collect();
        self.node = node;
    }

    /// Cores that are left, in thousandths; none when the node does not say.
    pub fn free_cpu_milli(&self) -> Option<u128> {
        let reserved = self.load.reserved.cpu_milli;
        Some(self.cpu_milli?.saturating_sub(reserved))
    }

    /// Bytes that are left, in thousandths; none when the node does not say.
    pub fn free_memory_milli(&self) -> Option<u128> {
        let reserved = self.load.reserved.memory_milli;
        Some(self.memory_milli?.saturating_sub(reserved))
    }
}

fn closed(node: &Node) -> Option<Closed> {
    use cara_api::node::NodeState;
    let has = |kind: &str| {
        condition::find(&node.status.conditions, kind).is_some_and(|c| c.status == "True")
    };
    match node.status.state {
        NodeState::NotReady => Some(Closed::NotReady),
        _ if node.spec.drain.is_some() => Some(Closed::Draining),
        NodeState::Draining => Some(Closed::Draining),
        NodeState::Ready if node.spec.unschedulable => Some(Closed::Unschedulable),
        NodeState::Ready if has(DISK_PRESSURE) => Some(Closed::DiskPressure),
        NodeState::Ready if has(MEMORY_PRESSURE) => Some(Closed::MemoryPressure),
        NodeState::Ready => None,
    }
}

#[cfg(test)]
mod tests {
    use cara_api::project::Move;

    use super::*;

    fn project(name: &str, node: &str, target: Option<&str>) -> Project {
        let mut project = Project::default();
        project.metadata.name = name.into();
        project.metadata.labels.insert("team".into(), "blue".into());
        project.status.node_ref = node.into();
        project.status.moving = target.map(|to| Move {
            node_ref: to.into(),
            ..Move::default()
        });
        project
    }

    #[test]
    fn a_project_that_moves_counts_on_both_nodes_until_it_is_gone() {
        let mut fleet = Fleet::default();
        let count = |fleet: &Fleet, node: &str| {
            let slot = fleet.slots().get(node);
            slot.map_or((0, 0), |s| {
                (s.load.projects, s.load.labelled("team", "blue"))
            })
        };
        let (still, moving) = (project("a", "n1", None), project("a", "n1", Some("n2")));
        fleet.change(None, Some(&still));
        assert_eq!((count(&fleet, "n1"), count(&fleet, "n2")), ((1, 1), (0, 0)));
        fleet.change(Some(&still), Some(&moving));
        assert_eq!((count(&fleet, "n1"), count(&fleet, "n2")), ((1, 1), (1, 1)));
        assert!(fleet.is_another_leaving("n1", "b") && !fleet.is_another_leaving("n1", "a"));
        let arrived = project("a", "n2", None);
        fleet.change(Some(&moving), Some(&arrived));
        assert_eq!((count(&fleet, "n1"), count(&fleet, "n2")), ((0, 0), (1, 1)));
        fleet.change(Some(&arrived), None);
        assert!(fleet.slots().is_empty(), "nothing is left behind");
    }
}
