//! Which node takes a project: filter, score, pick.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use cara_api::node::{Taint, TaintEffect};
use cara_api::project::Toleration;
use cara_api::{NodeName, Project};

use super::fleet::{Amounts, Closed, Fleet, Slot};

/// Nodes that are named with their reasons when none fits; the rest is only counted, since the
/// text is kept with every project that waits.
const NAMED_MAX: usize = 20;

/// How good a node is; the smallest wins. The order of the fields is the policy. Nodes are
/// looked at by name, so that ties are decided the same way each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    group_members: u32,
    shunned_by: usize,
    projects: u32,
    memory: Reverse<u128>,
    cpu: Reverse<u128>,
}

/// Why a node cannot take a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It takes no project at all.
    Closed(Closed),
    /// The project is to leave it.
    Left,
    /// It lacks a label of the project's `nodeSelector`.
    Label {
        /// The label's key.
        key: String,
        /// The value that is asked for.
        value: String,
    },
    /// It has a taint that the project does not tolerate.
    Taint(Taint),
    /// Not enough is left of a resource.
    TooLittle {
        /// `cpu` or `memory`.
        resource: &'static str,
        /// What is asked for, in thousandths of the unit.
        asked_milli: u128,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Closed::NotReady) => f.write_str("is not ready"),
            Self::Closed(Closed::Unschedulable) => f.write_str("takes no new projects"),
            Self::Closed(Closed::Draining) => f.write_str("is being drained"),
            Self::Closed(Closed::DiskPressure) => f.write_str("runs out of disk"),
            Self::Closed(Closed::MemoryPressure) => f.write_str("runs out of memory"),
            Self::Left => f.write_str("is the one that the project leaves"),
            Self::Label { key, value } => write!(f, "has no label {key}={value}"),
            Self::Taint(taint) => write!(f, "has taint {}", shown(taint)),
            Self::TooLittle {
                resource,
                asked_milli,
            } => {
                let amount = shown_amount(resource, *asked_milli);
                write!(f, "has too little {resource} left for {amount}")
            }
        }
    }
}

/// A taint as people write it: `key=value:Effect`.
pub fn shown(taint: &Taint) -> String {
    let Taint { key, value, effect } = taint;
    match value.as_str() {
        "" => format!("{key}:{effect}"),
        value => format!("{key}={value}:{effect}"),
    }
}

fn shown_amount(resource: &str, amount_milli: u128) -> String {
    const MIB_MILLI: u128 = 1_000 << 20;
    match resource {
        "memory" => format!("{}Mi", amount_milli.div_ceil(MIB_MILLI)),
        _ => format!("{amount_milli}m"),
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
        for (index, (node, reason)) in self.reasons.iter().take(NAMED_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}node {node} {reason}")?;
        }
        match self.reasons.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more nodes"),
        }
    }
}

/// Picks the node for a project, other than the one that it leaves.
///
/// # Errors
/// No node can take it.
pub fn place(
    fleet: &Fleet,
    project: &Project,
    leaves: Option<&str>,
) -> Result<NodeName, Unplaceable> {
    let ask = Ask::new(fleet, project, leaves);
    let mut best: Option<(Score, &NodeName)> = None;
    for (name, slot) in fleet.slots() {
        if ask.refusal(name, slot).is_none() {
            let score = ask.score(slot);
            if best.as_ref().is_none_or(|(b, _)| score < *b) {
                best = Some((score, name));
            }
        }
    }
    if let Some((_, name)) = best {
        return Ok(name.clone());
    }
    let exist = fleet.slots().iter().filter(|(_, s)| s.node.is_some());
    let reasons = exist.filter_map(|(name, slot)| {
        let why = ask.refusal(name, slot)?;
        Some((name.clone(), why.into_owned()))
    });
    Err(Unplaceable {
        reasons: reasons.collect(),
    })
}

/// A refusal that is cheap to make, since most are never shown.
enum Why<'a> {
    Absent,
    Closed(Closed),
    Left,
    Label(&'a str, &'a str),
    Taint(&'a Taint),
    TooLittle(&'static str, u128),
}

impl Why<'_> {
    fn into_owned(self) -> Refusal {
        match self {
            Why::Absent => Refusal::Closed(Closed::NotReady),
            Why::Closed(closed) => Refusal::Closed(closed),
            Why::Left => Refusal::Left,
            Why::Label(key, value) => Refusal::Label {
                key: key.to_owned(),
                value: value.to_owned(),
            },
            Why::Taint(taint) => Refusal::Taint(taint.clone()),
            Why::TooLittle(resource, asked_milli) => Refusal::TooLittle {
                resource,
                asked_milli,
            },
        }
    }
}

/// What a project asks for, prepared once for all nodes.
struct Ask<'a> {
    project: &'a Project,
    leaves: Option<&'a str>,
    amounts: Amounts,
    group: Option<Group<'a>>,
}

/// The projects that this one is to be kept apart from.
struct Group<'a> {
    label: &'a str,
    value: &'a str,
    topology: &'a str,
    /// Members by the value of the topology's label.
    members: BTreeMap<&'a str, u32>,
}

impl<'a> Ask<'a> {
    fn new(fleet: &'a Fleet, project: &'a Project, leaves: Option<&'a str>) -> Self {
        Self {
            project,
            leaves,
            amounts: Amounts::reserved(&project.spec),
            group: group(fleet, project, leaves),
        }
    }

    fn refusal<'b>(&'b self, name: &NodeName, slot: &'b Slot) -> Option<Why<'b>> {
        let Some(node) = slot.node.as_deref() else {
            return Some(Why::Absent);
        };
        if self.leaves.is_some_and(|left| left == name.as_str()) {
            return Some(Why::Left);
        }
        if let Some(closed) = slot.closed {
            return Some(Why::Closed(closed));
        }
        let spec = &self.project.spec;
        let lacks =
            |(key, value): &(&String, &String)| node.metadata.labels.get(*key) != Some(value);
        if let Some((key, value)) = spec.node_selector.iter().find(lacks) {
            return Some(Why::Label(key, value));
        }
        let mut taints = slot.taints.iter();
        if let Some((taint, _)) = taints.find(|(taint, effect)| {
            *effect != TaintEffect::PreferNoSchedule && !is_tolerated(&spec.tolerations, taint)
        }) {
            return Some(Why::Taint(taint));
        }
        let lacks = |free: Option<u128>, asked: u128| asked > 0 && free.is_some_and(|f| f < asked);
        let Amounts {
            cpu_milli,
            memory_milli,
        } = self.amounts;
        if lacks(slot.free_memory_milli(), memory_milli) {
            return Some(Why::TooLittle("memory", memory_milli));
        }
        if lacks(slot.free_cpu_milli(), cpu_milli) {
            return Some(Why::TooLittle("cpu", cpu_milli));
        }
        None
    }

    fn score(&self, slot: &Slot) -> Score {
        let tolerations = &self.project.spec.tolerations;
        let shuns = |(taint, _): &&(Taint, TaintEffect)| !is_tolerated(tolerations, taint);
        Score {
            group_members: self
                .group
                .as_ref()
                .map_or(0, |group| group.members_at(slot)),
            shunned_by: slot.taints.iter().filter(shuns).count(),
            projects: slot.load.projects,
            memory: Reverse(slot.free_memory_milli().unwrap_or(0)),
            cpu: Reverse(slot.free_cpu_milli().unwrap_or(0)),
        }
    }
}

fn group<'a>(fleet: &'a Fleet, project: &'a Project, leaves: Option<&str>) -> Option<Group<'a>> {
    let spread = project.spec.spread.as_ref()?;
    let value = project.metadata.labels.get(&spread.label)?;
    let mut group = Group {
        label: &spread.label,
        value,
        topology: &spread.topology,
        members: BTreeMap::new(),
    };
    if !group.topology.is_empty() {
        for (name, slot) in fleet.slots() {
            if let Some(place) = group.place_of(slot) {
                // A project is not kept apart from itself.
                let itself = u32::from(leaves == Some(name.as_str()));
                let count = slot.load.labelled(group.label, group.value);
                *group.members.entry(place).or_default() += count.saturating_sub(itself);
            }
        }
    }
    Some(group)
}

impl<'a> Group<'a> {
    /// A node without the topology's label is a place of its own.
    fn place_of(&self, slot: &'a Slot) -> Option<&'a str> {
        let labels = &slot.node.as_deref()?.metadata.labels;
        labels.get(self.topology).map(String::as_str)
    }

    fn members_at(&self, slot: &Slot) -> u32 {
        let labels = slot.node.as_deref().map(|n| &n.metadata.labels);
        let place = labels.and_then(|l| l.get(self.topology));
        match place.and_then(|p| self.members.get(p.as_str())) {
            Some(members) => *members,
            None => slot.load.labelled(self.label, self.value),
        }
    }
}

/// True when one of the tolerations matches a taint; what a toleration leaves out matches
/// everything.
pub fn is_tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    let matches = |asked: &str, found: &str| asked.is_empty() || asked == found;
    tolerations.iter().any(|t| {
        matches(&t.key, &taint.key)
            && matches(&t.value, &taint.value)
            && matches(&t.effect, &taint.effect)
    })
}

#[cfg(test)]
mod tests;
