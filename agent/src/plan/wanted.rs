//! What an assignment asks for, in the engine's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use cara_api::agent::{Assignment, Goal};
use cara_api::project::{
    Dependency, DependencyCondition, HealthCheck, RestartPolicy, Service, VolumeType,
};
use cara_api::secret::Hidden;
use cara_api::{Generation, ProjectName, project::BindingEpoch};

#[cfg(test)]
use super::definition::MountFrom;
use super::definition::{Defaults, Definition, Limits};
use super::files::{self, WantedFile};
use crate::runtime::names;

/// A project as it should be on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The project.
    pub project: ProjectName,
    /// Tells it from others that had the name before; empty when that does not matter.
    pub uid: String,
    /// Run or remove.
    pub goal: Goal,
    /// The binding and edit to report about; none for leftovers of a project that is no longer
    /// assigned, about which nobody wants to hear.
    pub reported: Option<(BindingEpoch, Generation)>,
    /// An earlier generation ran well: a failure counts only after several tries.
    pub is_rollout: bool,
    /// Services in the order of the spec.
    pub services: Vec<WantedService>,
    /// Volumes that the engine keeps, by engine name.
    pub volumes: BTreeMap<String, VolumeLife>,
    /// How long things may take.
    pub timing: Timing,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long an old container runs on after a new one took its place, for requests that are
    /// under way.
    pub drain: Duration,
    /// How long a service may take to be ready before that counts as a failure.
    pub progress: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(5),
            progress: Duration::from_secs(120),
        }
    }
}

/// How long a volume of the engine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeLife {
    /// As long as its project is on this node.
    Ephemeral,
    /// Until its project is deleted.
    Persistent,
}

/// A service as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedService {
    /// The service's name, and its host name on the project's network.
    pub name: String,
    /// Engine name of its container.
    pub container: String,
    /// Engine name of a container that is made while an older one still has the name.
    pub successor: String,
    /// What its container is made from.
    pub definition: Definition,
    /// Variables with values from secrets: added to those of the definition, which the
    /// fingerprint covers by the secrets' versions.
    pub secret_env: BTreeMap<String, Hidden>,
    /// Files with a given content.
    pub files: Vec<WantedFile>,
    /// Names of secrets or keys that do not exist; it cannot start without them.
    pub missing: Vec<String>,
    /// Ports that the gateway must reach.
    pub exposed: BTreeSet<u16>,
    /// Two containers of it must not run at the same time: it writes to a volume.
    pub is_exclusive: bool,
    /// Services that must have come so far before it starts.
    pub depends_on: Vec<(String, DependencyCondition)>,
    /// When to start it again.
    pub restart: RestartPolicy,
    /// How to find out how it is.
    pub checks: HealthCheck,
    /// Time between asking it to stop and killing it.
    pub stop_grace: Duration,
    /// Changes when anything that a container is made from changes.
    pub fingerprint: String,
}

/// What of a node's settings decides about containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRules {
    /// The host address to publish ports on, unless the gateway reaches containers directly.
    pub publish_on: Option<IpAddr>,
    /// Limits of containers that ask for none.
    pub defaults: Defaults,
    /// How long things may take.
    pub timing: Timing,
}

impl Wanted {
    /// What an assignment asks for on this node.
    pub fn new(assignment: &Assignment, rules: &NodeRules) -> Self {
        let volumes = assignment.spec.volumes.iter().filter_map(|volume| {
            let life = match volume.volume_type()? {
                VolumeType::Ephemeral => VolumeLife::Ephemeral,
                VolumeType::Persistent => VolumeLife::Persistent,
                VolumeType::HostPath => return None,
            };
            Some((names::volume(assignment.name.as_str(), &volume.name), life))
        });
        let services = assignment.spec.services.iter();
        Self {
            project: assignment.name.clone(),
            uid: assignment.uid.clone(),
            goal: assignment.goal,
            reported: Some((assignment.epoch, assignment.generation)),
            is_rollout: assignment.is_rollout,
            services: services
                .map(|s| wanted_service(s, assignment, rules))
                .collect(),
            volumes: volumes.collect(),
            timing: rules.timing,
        }
    }

    /// Nothing of this project should be here, and nobody asks for a report.
    pub fn nothing(project: ProjectName) -> Self {
        Self {
            project,
            uid: String::new(),
            goal: Goal::Remove,
            reported: None,
            is_rollout: false,
            services: Vec::new(),
            volumes: BTreeMap::new(),
            timing: Timing::default(),
        }
    }

    /// A service by name.
    pub fn service(&self, name: &str) -> Option<&WantedService> {
        self.services.iter().find(|s| s.name == name)
    }
}

fn wanted_service(service: &Service, assignment: &Assignment, rules: &NodeRules) -> WantedService {
    let project = assignment.name.as_str();
    let exposed: BTreeSet<u16> = assignment
        .exposed
        .iter()
        .filter(|e| e.service == service.name)
        .map(|e| e.port)
        .collect();
    let publish_on = rules.publish_on.filter(|_| !exposed.is_empty());
    let mut missing = Vec::new();
    let secret_env = files::secret_env(service, &assignment.secrets, &mut missing);
    let given = files::files(service, &assignment.secrets, &mut missing);
    let volumes = &assignment.spec.volumes;
    let definition = Definition {
        image: service.image.clone(),
        command: service.command.clone(),
        args: service.args.clone(),
        working_dir: service.working_dir.clone(),
        user: service.user.clone(),
        env: service
            .env
            .iter()
            .filter(|v| v.value_from.is_none())
            .map(|v| format!("{}={}", v.name, v.value))
            .collect(),
        mounts: super::definition::mounts(service, project, volumes),
        labels: service.labels.clone(),
        cap_add: service.cap_add.iter().cloned().collect(),
        allow_privilege_escalation: service.allow_privilege_escalation,
        limits: Limits::new(&service.resources, &rules.defaults),
        published: publish_on.map(|_| exposed.clone()).unwrap_or_default(),
        publish_on,
        stop_grace_s: service.stop_grace().as_secs(),
        content: files::content_key(service, &given, &assignment.secrets),
    };
    let fingerprint = definition.fingerprint();
    let short = fingerprint.get(..8).unwrap_or(&fingerprint);
    WantedService {
        name: service.name.clone(),
        container: names::container(project, &service.name),
        successor: names::successor(project, &service.name, short),
        is_exclusive: definition.mounts.values().any(|m| !m.is_read_only),
        definition,
        secret_env,
        files: given,
        missing,
        exposed,
        depends_on: service.depends_on.iter().map(dependency).collect(),
        restart: service.restart(),
        checks: service.health_check.clone().unwrap_or_default(),
        stop_grace: service.stop_grace(),
        fingerprint,
    }
}

fn dependency(dependency: &Dependency) -> (String, DependencyCondition) {
    (dependency.service.clone(), dependency.until())
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
pub(super) mod tests;
