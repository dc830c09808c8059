//! Objects in columns.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::condition::{self, DISK_PRESSURE, MEMORY_PRESSURE, PHASE, PLACED, ROLLED_BACK};
use cara_api::node::Taint;
use cara_api::project::{ServiceState, ServiceStatus};
use cara_api::{Condition, Node, Project, Resource, Secret, Timestamp};

use super::super::table::{age, cores, mebibytes, moment, or};

/// What projects have reserved on each node; none when that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved(Option<BTreeMap<String, Amounts>>);

/// Thousandths of a core, and of a byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    cpu_milli: u128,
    memory_milli: u128,
}

impl Reserved {
    /// Adds up the projects. One that moves counts on both nodes, since both hold a copy.
    pub fn of(projects: &[Project]) -> Self {
        let mut all: BTreeMap<String, Amounts> = BTreeMap::new();
        for project in projects {
            let status = &project.status;
            let target = status.moving.as_ref().map_or("", |m| m.node_ref.as_str());
            for node in [status.node_ref.as_str(), target] {
                if node.is_empty() {
                    continue;
                }
                let sum = all.entry(node.to_owned()).or_default();
                for service in &project.spec.services {
                    sum.cpu_milli += service.resources.reserved_milli("cpu");
                    sum.memory_milli += service.resources.reserved_milli("memory");
                }
            }
        }
        Self(Some(all))
    }

    /// What is reserved on a node, in words: `cpu` and `memory`.
    pub fn on(&self, node: &str) -> [(&'static str, String); 2] {
        let (cpu, memory) = match &self.0 {
            None => ("<unknown>".to_owned(), "<unknown>".to_owned()),
            Some(all) => {
                let amounts = all.get(node).copied().unwrap_or_default();
                (cores(amounts.cpu_milli), mebibytes(amounts.memory_milli))
            }
        };
        [("cpu", cpu), ("memory", memory)]
    }
}

/// A taint as it is shown: `gpu=yes:NoSchedule`.
pub fn taint(taint: &Taint) -> String {
    match taint.value.as_str() {
        "" => format!("{}:{}", taint.key, taint.effect),
        value => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

/// A kind that can be shown in columns.
pub trait Rows: Resource {
    /// Headers of the columns that are always shown.
    const HEADER: &'static [&'static str];
    /// Headers of the others.
    const WIDE: &'static [&'static str];
    /// How wide the columns that are always shown may get while one looks on.
    const ROOM: &'static [usize] = &[];
    /// Whether the other columns need what projects have reserved.
    const SHOWS_RESERVED: bool = false;
    /// The columns that are always shown.
    fn row(&self, now: Timestamp) -> Vec<String>;
    /// The others.
    fn wide(&self, reserved: &Reserved) -> Vec<String>;
    /// Takes out what must not be shown, should the server send it.
    fn conceal(&mut self) {}
}

/// What a condition is shown as in a column.
fn reason(condition: &Condition) -> &str {
    match condition.kind.as_str() {
        ROLLED_BACK => ROLLED_BACK,
        _ => condition.reason.as_str(),
    }
}

impl Rows for Project {
    const HEADER: &'static [&'static str] = &["NAME", "PHASE", "NODE", "CONDITIONS", "AGE"];
    const ROOM: &'static [usize] = &[16, 11, 8, 17];
    const WIDE: &'static [&'static str] = &[
        "READY",
        "URLS",
        "GENERATION",
        "STABLE",
        "RESTARTS",
        "CREATED",
        "MOVING TO",
    ];

    fn row(&self, now: Timestamp) -> Vec<String> {
        let conditions = &self.status.conditions;
        let shown = condition::find(conditions, PLACED)
            .or_else(|| condition::find(conditions, ROLLED_BACK))
            .or_else(|| condition::find(conditions, PHASE));
        vec![
            self.metadata.name.clone(),
            self.status.phase.to_string(),
            or(&self.status.node_ref, "<none>").to_owned(),
            shown.map_or("-", reason).to_owned(),
            age(self.metadata.created_at, now),
        ]
    }

    fn wide(&self, _: &Reserved) -> Vec<String> {
        let status = &self.status;
        let is_fine = |s: &&ServiceStatus| s.ready || s.state == ServiceState::Completed;
        let ready = status.services.iter().filter(is_fine).count();
        let urls = status.ingress.iter().map(|i| match i.url.as_str() {
            "" => i.address.as_str(),
            url => url,
        });
        // Rules that differ in headers only have the same one.
        let mut seen = BTreeSet::new();
        let urls: Vec<&str> = urls.filter(|url| seen.insert(*url)).collect();
        let restarts: u64 = status.services.iter().map(|s| u64::from(s.restarts)).sum();
        let stable = match status.stable_generation {
            none if none.is_zero() => "<none>".to_owned(),
            stable => stable.0.to_string(),
        };
        let moving_to = match &status.moving {
            None => "-",
            Some(moving) => or(&moving.node_ref, "<none yet>"),
        };
        vec![
            format!("{ready}/{}", self.spec.services.len()),
            or(&urls.join(","), "<none>").to_owned(),
            self.metadata.generation.0.to_string(),
            stable,
            restarts.to_string(),
            moment(self.metadata.created_at),
            moving_to.to_owned(),
        ]
    }
}

impl Rows for Node {
    const HEADER: &'static [&'static str] = &["NAME", "STATE", "IP", "AGE"];
    const WIDE: &'static [&'static str] = &[
        "CPU",
        "MEMORY",
        "ENGINE",
        "LAST HEARTBEAT",
        "CPU REQUESTED",
        "MEMORY REQUESTED",
        "TAINTS",
        "PRESSURE",
        "AGENT",
        "KERNEL",
        "CREATED",
    ];
    const ROOM: &'static [usize] = &[8, 24, 15];
    const SHOWS_RESERVED: bool = true;

    fn row(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.metadata.name.clone(),
            state(self),
            or(&self.status.network.ip, "<none>").to_owned(),
            age(self.metadata.created_at, now),
        ]
    }

    fn wide(&self, reserved: &Reserved) -> Vec<String> {
        let status = &self.status;
        let amount = |name: &str| {
            status
                .allocatable
                .get(name)
                .map_or("<unknown>", String::as_str)
                .to_owned()
        };
        let heard = status.last_heartbeat.map(|t| format!("{t:.0}"));
        let [(_, cpu), (_, memory)] = reserved.on(&self.metadata.name);
        vec![
            amount("cpu"),
            amount("memory"),
            or(&status.info.engine_version, "<unknown>").to_owned(),
            heard.unwrap_or_else(|| "<none>".to_owned()),
            cpu,
            memory,
            or(&closed(self).join(","), "-").to_owned(),
            pressure(self),
            or(&status.info.agent_version, "<unknown>").to_owned(),
            or(&status.info.kernel_version, "<unknown>").to_owned(),
            moment(self.metadata.created_at),
        ]
    }
}

/// The state of a node, and whether it takes projects.
fn state(node: &Node) -> String {
    match node.spec.unschedulable {
        true => format!("{},SchedulingDisabled", node.status.state),
        false => node.status.state.to_string(),
    }
}

/// What keeps projects away from a node.
fn closed(node: &Node) -> Vec<String> {
    let cordon = node
        .spec
        .unschedulable
        .then(|| "<unschedulable>".to_owned());
    let taints = node.spec.taints.iter().map(taint);
    taints.chain(cordon).collect()
}

fn pressure(node: &Node) -> String {
    let conditions = &node.status.conditions;
    let holds = |kind| condition::find(conditions, kind).is_some_and(|c| c.status == "True");
    let found: Vec<&str> = [(DISK_PRESSURE, "disk"), (MEMORY_PRESSURE, "memory")]
        .into_iter()
        .filter_map(|(kind, name)| holds(kind).then_some(name))
        .collect();
    or(&found.join(","), "-").to_owned()
}

impl Rows for Secret {
    const HEADER: &'static [&'static str] = &["NAME", "KEYS", "AGE"];
    const WIDE: &'static [&'static str] = &["KEY NAMES", "CHANGED", "CREATED"];

    fn row(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.metadata.name.clone(),
            self.keys.len().to_string(),
            age(self.metadata.created_at, now),
        ]
    }

    fn wide(&self, _: &Reserved) -> Vec<String> {
        vec![
            or(&self.keys.join(","), "<none>").to_owned(),
            moment(self.metadata.updated_at),
            moment(self.metadata.created_at),
        ]
    }

    fn conceal(&mut self) {
        self.data.clear();
    }
}

#[cfg(test)]
mod tests;
