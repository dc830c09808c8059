//! The Project: containers that run together on one node, and the hostnames that reach them.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

use crate::condition::Condition;
use crate::meta::{Generation, ObjectMeta, Resource, Timestamp};
use crate::names::ProjectName;

/// A set of services that are placed on one node and share a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Project {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `Project`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[schema(required = true)]
    pub spec: ProjectSpec,
    /// What is; written by the server only.
    #[schema(read_only)]
    pub status: ProjectStatus,
}

impl Resource for Project {
    const KIND: &'static str = "Project";
    const NOUN: &'static str = "project";

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Project {
    /// The name as a key.
    pub fn name(&self) -> ProjectName {
        ProjectName::trusted(&self.metadata.name)
    }
}

/// What the user wants to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectSpec {
    /// The containers, at least one.
    #[schema(required = true, min_items = 1)]
    pub services: Vec<Service>,
    /// Volumes that services can mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Hostnames that reach services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Ingress>,
    /// When to delete the project, RFC 3339; kept as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expire_at: Option<ExpireAt>,
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Unique within the project; the host name under which other services reach this one.
    #[schema(required = true, max_length = 63)]
    pub name: String,
    /// Image reference, such as `postgres:15`.
    #[schema(required = true)]
    pub image: String,
    /// Environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Volumes and where they appear in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
}

/// One environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EnvVar {
    /// The variable's name.
    #[schema(required = true)]
    pub name: String,
    /// Its value; empty when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A volume in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// A name out of `spec.volumes`.
    #[schema(required = true)]
    pub name: String,
    /// Absolute path inside the container.
    #[schema(required = true)]
    pub mount_path: String,
}

/// A named volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Volume {
    /// Unique within the project.
    #[schema(required = true, max_length = 63)]
    pub name: String,
    /// `Ephemeral`: made when the project starts, deleted when it is stopped or moved.
    #[serde(rename = "type")]
    #[schema(required = true, value_type = VolumeType)]
    pub kind: String,
}

/// Life of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum VolumeType {
    /// Made when the project starts, deleted when it is stopped or moved.
    Ephemeral,
}

/// A hostname and the service that it reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Ingress {
    /// Unique within the project.
    #[schema(required = true)]
    pub name: String,
    /// With a dot: the hostname itself. Without: `{host}.{environment}.{baseDomain}`.
    /// Left out: the project's name takes its place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Where requests go.
    #[schema(required = true)]
    pub target: IngressTarget,
    /// Who may reach it.
    pub access: IngressAccess,
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct IngressTarget {
    /// A name out of `spec.services`.
    #[schema(required = true)]
    pub service: String,
    /// The port that the container listens on, 1 to 65535.
    #[schema(required = true, minimum = 1, maximum = 65535)]
    pub port: i64,
}

/// Who may reach an ingress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct IngressAccess {
    /// `Internal`, which is also what an empty text means.
    #[schema(value_type = AccessScope)]
    pub scope: String,
}

/// Scope of an ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum AccessScope {
    /// The same as `Internal`.
    #[serde(rename = "")]
    Unset,
    /// Visible on the overlay network.
    Internal,
}

/// A time that keeps the text it was written as, offset included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireAt {
    text: String,
    at: Timestamp,
}

impl ExpireAt {
    /// Reads an RFC 3339 time.
    ///
    /// # Errors
    /// The text is not RFC 3339.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self {
            text: text.to_owned(),
            at: text.parse()?,
        })
    }

    /// The time.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

impl fmt::Display for ExpireAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ExpireAt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ExpireAt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Where a project is in its life.
///
/// ```text
/// Pending -> Scheduled -> Running <-> Failed
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
    /// Counts how often the project was bound to a node; reports of an older binding are refused.
    #[serde(skip_serializing_if = "BindingEpoch::is_zero")]
    #[schema(value_type = u64)]
    pub binding_epoch: BindingEpoch,
    /// The newest generation of the spec that runs.
    #[serde(skip_serializing_if = "Generation::is_zero")]
    #[schema(value_type = u64)]
    pub observed_generation: Generation,
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

/// Counts the bindings of an object to nodes, from 1.
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
    /// Why it is not running, if it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
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
    /// The container stopped by itself.
    Exited,
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
    /// The full hostname.
    pub hostname: String,
    /// What to open in a browser.
    pub url: String,
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
