//! A model of the control plane: the real planners over a store in memory, with writes that are
//! decided at one moment and arrive at another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cara_api::agent::{Assignment, Report};
use cara_api::project::{ProjectRevision, ProjectSpec, ProjectStatus};
use cara_api::{Generation, Node, NodeName, Project, ProjectName, ResourceVersion, Timestamp};
use cara_controlplane::plan::evict::Settled;
use cara_controlplane::plan::fleet::Fleet;
use cara_controlplane::plan::node::Seen;
use cara_controlplane::plan::project::{self, Heard};
use cara_controlplane::plan::{Action, Patience, World, assign, node};

const PATIENCE: Patience = Patience {
    reschedule_grace: Duration::from_secs(20),
    force_terminate_after: Duration::from_secs(60),
};
/// How long a sign of life counts.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a write does to a project.
enum Change {
    Status(Box<ProjectStatus>),
    Forget,
}

/// A decision on its way to the store, and the version that it was made from.
struct Write {
    project: ProjectName,
    version: ResourceVersion,
    change: Change,
    arrives_ms: u64,
}

/// Store and control plane.
#[derive(Default)]
pub struct Control {
    pub projects: BTreeMap<ProjectName, Project>,
    pub nodes: BTreeMap<NodeName, Node>,
    revisions: BTreeMap<ProjectName, BTreeMap<Generation, Arc<ProjectRevision>>>,
    seen: BTreeMap<NodeName, Timestamp>,
    writes: Vec<Write>,
    newest: BTreeMap<NodeName, (u64, u64)>,
    version: u64,
}

fn at(now_ms: u64) -> Timestamp {
    let ms = i64::try_from(now_ms).expect("a short time");
    Timestamp::from_millisecond(1_000_000_000_000 + ms).expect("in range")
}

impl Control {
    /// The revision of the newest write; stands still when nothing changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn add_node(&mut self, name: &str) {
        let mut node = Node::default();
        node.metadata.name = name.to_owned();
        self.nodes.insert(NodeName::trusted(name), node);
    }

    pub fn create(&mut self, name: &ProjectName, spec: ProjectSpec) {
        if self.projects.contains_key(name) {
            return;
        }
        let mut project = Project::default();
        project.metadata.name = name.to_string();
        project.metadata.generation = Generation(1);
        project.spec = spec;
        self.put(project);
    }

    pub fn replace(&mut self, name: &ProjectName, spec: &ProjectSpec, now_ms: u64) {
        let Some(old) = self
            .projects
            .get(name)
            .filter(|p| !p.status.phase.is_ending())
        else {
            return;
        };
        if let Some(new) = project::respecify(old, spec, at(now_ms)) {
            let stored = self.revisions.entry(name.clone()).or_default();
            for generation in project::outdated(stored, new.project.status.stable_generation) {
                stored.remove(&generation);
            }
            stored.insert(new.replaced.generation, Arc::new(new.replaced));
            self.put(new.project);
        }
    }

    pub fn delete(&mut self, name: &ProjectName, now_ms: u64) {
        let Some(mut project) = self.projects.get(name).cloned() else {
            return;
        };
        if project.status.node_ref.is_empty() {
            self.forget(name);
            return;
        }
        project.status = project::terminate(&project, "DeletionRequested", "", at(now_ms));
        self.put(project);
    }

    pub fn change_node(&mut self, name: &NodeName, change: impl FnOnce(&Node) -> Node) {
        if let Some(node) = self.nodes.get(name) {
            let changed = change(node);
            self.nodes.insert(name.clone(), changed);
            self.version += 1;
        }
    }

    fn put(&mut self, mut project: Project) {
        let name = project.name();
        let old = self.projects.get(&name);
        check_write(old, &project);
        self.version += 1;
        project.metadata.resource_version = ResourceVersion(self.version);
        self.projects.insert(name, project);
    }

    fn forget(&mut self, name: &ProjectName) {
        self.version += 1;
        self.projects.remove(name);
        self.revisions.remove(name);
    }

    pub fn beat(&mut self, name: &NodeName, now_ms: u64) {
        self.seen.insert(name.clone(), at(now_ms));
    }

    /// The server restarts: decisions under way are lost, and everybody counts as seen now.
    pub fn restart(&mut self, now_ms: u64) {
        self.writes.clear();
        for name in self.nodes.keys() {
            self.seen.insert(name.clone(), at(now_ms));
        }
    }

    /// Decides about everything; decisions arrive up to `delay_ms` later.
    pub fn decide(&mut self, now_ms: u64, mut delay_ms: impl FnMut() -> u64) {
        self.settle_nodes(now_ms);
        let mut fleet = Fleet::default();
        for (name, node) in &self.nodes {
            fleet.set_node(name, Some(Arc::new(node.clone())));
        }
        for project in self.projects.values() {
            fleet.change(None, Some(project));
        }
        for (name, project) in &self.projects {
            let world = World {
                now: at(now_ms),
                fleet: &fleet,
                patience: PATIENCE,
                stable: self.stable(project),
            };
            let change = match project::next(project, &world).action {
                Action::Keep => continue,
                Action::Write(status) => {
                    let mut after = project.clone();
                    after.status = status.clone();
                    fleet.change(Some(project), Some(&after));
                    Change::Status(Box::new(status))
                }
                Action::Forget => Change::Forget,
            };
            self.writes.push(Write {
                project: name.clone(),
                version: project.metadata.resource_version,
                change,
                arrives_ms: now_ms + delay_ms(),
            });
        }
    }

    fn settle_nodes(&mut self, now_ms: u64) {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            let seen = Seen {
                at: self
                    .seen
                    .get(&name)
                    .copied()
                    .unwrap_or(Timestamp::UNIX_EPOCH),
                valid: NODE_TIMEOUT,
            };
            let on_it = self.projects.values();
            let on_it = on_it.filter(|p| p.status.node_ref == name.as_str());
            let on_it = on_it.map(|project| Settled {
                project,
                stable: self.stable(project),
            });
            let decision = node::settle(&self.nodes[&name], seen, on_it, at(now_ms));
            if let Action::Write(status) = decision.action {
                self.version += 1;
                self.nodes.get_mut(&name).expect("it exists").status = status;
            }
        }
    }

    /// Lets decisions arrive; one made from an older version is lost.
    pub fn arrive(&mut self, now_ms: u64) {
        let (due, later) = std::mem::take(&mut self.writes)
            .into_iter()
            .partition(|w: &Write| w.arrives_ms <= now_ms);
        self.writes = later;
        for write in due {
            let current = self.projects.get(&write.project);
            let Some(current) = current.filter(|p| p.metadata.resource_version == write.version)
            else {
                continue;
            };
            match write.change {
                Change::Forget => self.forget(&write.project),
                Change::Status(status) => {
                    let mut project = current.clone();
                    project.status = *status;
                    self.put(project);
                }
            }
        }
    }

    fn stable(&self, project: &Project) -> Option<&ProjectRevision> {
        let stored = self.revisions.get(project.metadata.name.as_str())?;
        stored.get(&project.status.stable_generation).map(|r| &**r)
    }

    /// What a node is told.
    pub fn assignments(&self, node: &NodeName) -> Vec<Assignment> {
        let is_here = |p: &&Project| {
            let target = p.status.moving.as_ref().map(|m| m.node_ref.as_str());
            p.status.node_ref == node.as_str() || target == Some(node.as_str())
        };
        let here = self.projects.values().filter(is_here);
        here.map(|p| assign::assignment(p, node, self.stable(p)))
            .collect()
    }

    /// Takes in a report.
    pub fn hear(&mut self, node: &NodeName, report: &Report, order: (u64, u64), now_ms: u64) {
        // As the server does: what arrives after a later request, or a later session, is not taken.
        let newest = self.newest.entry(node.clone()).or_default();
        if order <= *newest {
            return;
        }
        *newest = order;
        let Some(project) = self.projects.get(&report.project) else {
            return;
        };
        let heard = Heard {
            node,
            report,
            can_roll_back: self.stable(project).is_some(),
        };
        if let Ok(Some(status)) = project::fold(project, &heard, at(now_ms)) {
            let mut project = project.clone();
            project.status = status;
            self.put(project);
        }
    }
}

/// What must hold for every write, whatever happened before.
fn check_write(old: Option<&Project>, new: &Project) {
    let Some(old) = old else { return };
    let (before, after) = (&old.status, &new.status);
    assert!(
        !before.phase.is_ending() || after.phase.is_ending(),
        "{}: {} became {}",
        new.metadata.name,
        before.phase,
        after.phase
    );
    assert!(
        after.binding_epoch >= before.binding_epoch,
        "{}: the epoch went back",
        new.metadata.name
    );
}
