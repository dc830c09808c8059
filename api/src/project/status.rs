//! What is known of a project: written by the control plane, shown to users.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::condition::Condition;
use crate::meta::{Generation, Timestamp};

/// Where a project is in its life.
///
/// ```text
/// Pending <-> Scheduled -> Running <-> Failed
///    \___________\___________\________/--> Terminating -> Terminated -> (gone)
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
pub enum ProjectPhase {
    /// Accepted; no node chosen yet.
    #[default]
    Pending,
    /// A node is chosen; its agent has not confirmed yet.
    Scheduled,
    /// Every container is up and every port that an ingress targets accepts connections.
    Running,
    /// The agent could not start the project, or a container stopped.
    Failed,
    /// Deletion was asked for; the agent removes containers, network and volumes.
    Terminating,
    /// Everything is removed; the record goes next.
    Terminated,
}

impl ProjectPhase {
    /// All phases, in the order of a project's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Scheduled,
        Self::Running,
        Self::Failed,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The phase as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scheduled => "Scheduled",
            Self::Running => "Running",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }

    /// Reads a phase.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// True once deletion was asked for; no report leads back from here.
    pub fn is_ending(self) -> bool {
        matches!(self, Self::Terminating | Self::Terminated)
    }
}

impl fmt::Display for ProjectPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectStatus {
    /// Where the project is in its life.
    pub phase: ProjectPhase,
    /// The node that runs it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_ref: String,
    /// Grows with every binding to a node; reports of an older binding are refused.
    #[serde(skip_serializing_if = "BindingEpoch::is_zero")]
    #[schema(value_type = u64)]
    pub binding_epoch: BindingEpoch,
    /// The highest epoch that was ever given out, moves that were given up included.
    #[serde(skip_serializing_if = "BindingEpoch::is_zero")]
    #[schema(value_type = u64)]
    pub last_epoch: BindingEpoch,
    /// The newest generation of the spec that runs.
    #[serde(skip_serializing_if = "Generation::is_zero")]
    #[schema(value_type = u64)]
    pub observed_generation: Generation,
    /// The newest generation that ran with every service ready; what a failed rollout returns to.
    #[serde(skip_serializing_if = "Generation::is_zero")]
    #[schema(value_type = u64)]
    pub stable_generation: Generation,
    /// A generation whose rollout failed; while it is the newest, the stable one runs instead.
    #[serde(skip_serializing_if = "Generation::is_zero")]
    #[schema(value_type = u64)]
    pub rejected_generation: Generation,
    /// Set while the project moves away from its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving: Option<Move>,
    /// What happened, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Each service as its agent sees it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStatus>,
    /// Each ingress with the hostname that it resolved to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressStatus>,
}

/// A move to another node that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Move {
    /// The node that starts the new copy; empty while the old copy is removed first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_ref: String,
    /// The epoch of the new binding; zero while the old copy is removed first.
    #[serde(skip_serializing_if = "BindingEpoch::is_zero")]
    #[schema(value_type = u64)]
    pub binding_epoch: BindingEpoch,
    /// Why the project moves, in one CamelCase word.
    pub reason: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// What the new copy last failed of; empty while nothing went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Tells the bindings of an object to nodes apart: each is larger than all before it, those of
/// a deleted object of the same name included.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct BindingEpoch(pub u64);

impl BindingEpoch {
    /// The epoch of the next binding.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// True before the first binding.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// A service as its agent sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// The service's name.
    pub name: String,
    /// What its container is doing.
    pub state: ServiceState,
    /// Up, and every port that an ingress targets accepts connections.
    pub ready: bool,
    /// One for each port that an ingress targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// How often its container was started again after it ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Exit code of the last run that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// One CamelCase word for why it is not ready, if it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why it is not ready, if it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What the container of a service is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ServiceState {
    /// The agent could not look.
    #[default]
    Unknown,
    /// No container yet.
    Waiting,
    /// The image is being pulled.
    Pulling,
    /// The container is made or started, but not up yet.
    Starting,
    /// The container runs.
    Running,
    /// The container stopped by itself, and should not have.
    Exited,
    /// The container did its work and ended with exit code 0, as its restart policy allows.
    Completed,
    /// The container is being removed.
    Stopping,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unknown => "Unknown",
            Self::Waiting => "Waiting",
            Self::Pulling => "Pulling",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Exited => "Exited",
            Self::Completed => "Completed",
            Self::Stopping => "Stopping",
        };
        f.pad(text)
    }
}

/// An address under which the gateway reaches a port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The port that the ingress names.
    pub port: u16,
    /// Where to connect: IP and port.
    #[schema(value_type = String)]
    pub address: std::net::SocketAddr,
    /// The port accepts connections.
    pub ready: bool,
}

/// An ingress with what became of its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressStatus {
    /// The ingress rule's name.
    pub name: String,
    /// The first full hostname; empty for TCP.
    pub hostname: String,
    /// What to open in a browser; empty for TCP.
    pub url: String,
    /// All full hostnames.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// For TCP: a name of the gateway with the port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Why it is not served as it says, if it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Body of `PATCH …/status`, which agents of the older system send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StatusPatch {
    /// The phase that the agent observed.
    #[schema(required = true, value_type = ProjectPhase)]
    pub phase: String,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}
