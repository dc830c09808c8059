//! What control plane and agents say to each other.
//!
//! The control plane streams to each agent its whole desired set, again after every change
//! (never a delta, so a lost message cannot leave the two apart). The agent posts one report for
//! each project whose state changed, and all of them after it reconnected. A report carries the
//! epoch of the binding that it is about; the control plane refuses those of an older binding.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::meta::{Generation, ResourceVersion};
use crate::names::{ProjectName, SecretName};
use crate::project::{BindingEpoch, ProjectSpec, ServiceStatus};
use crate::secret::Hidden;

/// One line of the stream from the control plane to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum Message {
    /// Replaces everything that was assigned before.
    Assignments(Assignments),
    /// Nothing changed; the stream is alive.
    Keepalive,
}

/// Everything that a node should run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignments {
    /// The store's revision that this set was read at; never goes back for one server.
    pub revision: ResourceVersion,
    /// Sorted by name.
    pub projects: Vec<Assignment>,
}

/// A project that is bound to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The project.
    pub name: ProjectName,
    /// Tells it from others that had the name before; what those left goes first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The edit of the spec that is meant.
    pub generation: Generation,
    /// The binding that is meant; reports must carry it.
    pub epoch: BindingEpoch,
    /// What to bring about.
    pub goal: Goal,
    /// What to run.
    pub spec: Arc<ProjectSpec>,
    /// Services and ports that the gateway must reach.
    pub exposed: Vec<ExposedPort>,
    /// An earlier generation ran well, so this one is a rollout: it has failed only when several
    /// tries failed, and the control plane then returns to the earlier one.
    #[serde(default)]
    pub is_rollout: bool,
    /// The secrets that the spec names, those of them that exist.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretValues>,
}

/// The values of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretValues {
    /// Changes with every change of a value; services that use the secret are replaced then.
    pub version: ResourceVersion,
    /// The values by key.
    pub data: BTreeMap<String, Hidden>,
}

/// What an agent should bring about for a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// Every service is up.
    Run,
    /// No container, network or volume of the project is left, Persistent ones included.
    Remove,
}

/// A port that an ingress targets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExposedPort {
    /// The service.
    pub service: String,
    /// The port that its container listens on.
    pub port: u16,
}

/// What an agent sees of one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The project.
    pub project: ProjectName,
    /// The binding that the agent acts on.
    pub epoch: BindingEpoch,
    /// The edit of the spec that the agent acts on.
    pub generation: Generation,
    /// Where the project stands.
    pub outcome: Outcome,
    /// Each service.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// What goes on right now, such as a pull and how far it is; empty when nothing does.
    #[serde(default)]
    pub progress: String,
}

/// Where a project stands on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome")]
pub enum Outcome {
    /// On the way to running; tries may have failed, but not for good.
    Starting,
    /// Every container is up and every exposed port accepts connections.
    Running,
    /// Something went wrong; the agent goes on trying. Of a rollout: it has failed for good.
    Failed {
        /// One CamelCase word.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// Nothing of the project is left on the node.
    Removed,
    /// Removal goes on.
    Removing {
        /// What could not be removed so far; empty while nothing went wrong.
        message: String,
    },
}

/// Several reports of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// The run of the agent that sends them.
    #[serde(default)]
    pub session: String,
    /// Grows with every request of a session. What arrives after a later one is not taken: a
    /// request that was given up may still be on its way.
    #[serde(default)]
    pub sequence: u64,
    /// At most one for each project.
    pub reports: Vec<Report>,
}

/// The answer to [`Reports`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// Reports that were not taken.
    pub refused: Vec<Refusal>,
}

/// A report that was not taken. Sending it again is useless: the next assignments tell why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The project of the report.
    pub project: ProjectName,
    /// Why.
    pub reason: String,
}
