//! The Node: a machine whose agent runs projects.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::condition::Condition;
use crate::meta::{ObjectMeta, Resource, Timestamp, zero_as_none};
use crate::names::NodeName;

/// A machine with an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `Node`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// What the operator wants of the node.
    pub spec: NodeSpec,
    /// What is; written by the server only.
    #[schema(read_only)]
    pub status: NodeStatus,
}

impl Resource for Node {
    const KIND: &'static str = "Node";
    const NOUN: &'static str = "node";

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Node {
    /// The name as a key.
    pub fn name(&self) -> NodeName {
        NodeName::trusted(&self.metadata.name)
    }
}

/// What the operator wants of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// The machine's own host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Takes no new projects.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// Keeps away projects that do not tolerate it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Set while the node is being emptied; its projects move elsewhere one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// Keeps away projects that do not tolerate it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Taint {
    /// What it is about, such as `gpu`.
    #[schema(required = true)]
    pub key: String,
    /// Tells taints of one key apart.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What becomes of projects that do not tolerate it.
    #[schema(required = true, value_type = TaintEffect)]
    pub effect: String,
}

/// What a taint does to projects that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum TaintEffect {
    /// They are not placed on the node.
    NoSchedule,
    /// They are placed on the node only when no other can take them.
    PreferNoSchedule,
    /// They are not placed on the node, and those that are there move away.
    NoExecute,
}

impl TaintEffect {
    /// Reads an effect.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NoSchedule" => Some(Self::NoSchedule),
            "PreferNoSchedule" => Some(Self::PreferNoSchedule),
            "NoExecute" => Some(Self::NoExecute),
            _ => None,
        }
    }
}

/// How a node is emptied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// Also moves projects whose Ephemeral volumes are lost by it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub delete_ephemeral_data: bool,
}

/// Whether a node can be given work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum NodeState {
    /// No sign of life within the timeout.
    #[default]
    NotReady,
    /// The agent is alive.
    Ready,
    /// The node is being emptied.
    Draining,
}

impl NodeState {
    /// The state as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "NotReady",
            Self::Ready => "Ready",
            Self::Draining => "Draining",
        }
    }

    /// Reads a state.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::NotReady, Self::Ready, Self::Draining]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Whether it can be given work.
    pub state: NodeState,
    /// How it is reached.
    pub network: NodeNetwork,
    /// All that the machine has, such as `cpu: 2000m`, `memory: 4096Mi`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, String>,
    /// What projects may use of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, String>,
    /// Versions of what runs there.
    pub info: NodeInfo,
    /// Last sign of life that this server saw.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_heartbeat: Option<Timestamp>,
    /// What happened, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How the node was let in by a join token; none when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

/// How a node was let in: its certificates count as long as they belong to this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// Names the admission; every one is new.
    #[schema(value_type = String)]
    pub id: uuid::Uuid,
    /// When the node joined.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
    /// When its newest certificate ends.
    #[schema(value_type = String, format = DateTime)]
    pub certificate_not_after: Timestamp,
    /// When the node was shut out; its certificates are useless from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// How a node is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeNetwork {
    /// The address that the agent advertises.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// The node's name on the overlay.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dns_name: String,
    /// `Direct` or `DERP`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// The port of the agent's own API; 0 when unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub agent_port: i64,
    /// Measured throughput.
    #[serde(skip_serializing_if = "Throughput::is_empty")]
    pub throughput: Throughput,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(port: &i64) -> bool {
    *port == 0
}

/// Measured throughput of a node's link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Throughput {
    /// With unit, such as `100Mbps`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub download: String,
    /// With unit, such as `10Mbps`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upload: String,
    /// When it was measured.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_test_time: Option<Timestamp>,
}

impl Throughput {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Versions of what runs on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInfo {
    /// Kernel release.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel_version: String,
    /// Name of the operating system.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_image: String,
    /// Version of the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
    /// Version of the container engine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub engine_version: String,
}

/// Body of a heartbeat; what is left out stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// `Ready`, `NotReady` or `Draining`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = NodeState)]
    pub state: String,
    /// How the node is reached; each field that is not empty replaces the old one.
    pub network: NodeNetwork,
    /// Replaces the old one when not empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, String>,
    /// Replaces the old one when not empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, String>,
    /// Each field that is not empty replaces the old one.
    pub info: NodeInfo,
    /// `DiskPressure` and `MemoryPressure` as the agent sees them; others are ignored. Each
    /// replaces the old one of its type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Heartbeat {
    /// The status after this heartbeat. The merge rules are those of the older system: scalars
    /// replace when not empty, maps and throughput as a whole; nothing can be cleared.
    pub fn merge_into(&self, status: &mut NodeStatus) {
        if let Some(state) = NodeState::parse(&self.state) {
            status.state = state;
        }
        let network = &self.network;
        replace(&mut status.network.ip, &network.ip);
        replace(&mut status.network.dns_name, &network.dns_name);
        replace(&mut status.network.mode, &network.mode);
        if network.agent_port != 0 {
            status.network.agent_port = network.agent_port;
        }
        if !network.throughput.is_empty() {
            status.network.throughput = network.throughput.clone();
        }
        if !self.capacity.is_empty() {
            status.capacity = self.capacity.clone();
        }
        if !self.allocatable.is_empty() {
            status.allocatable = self.allocatable.clone();
        }
        replace(&mut status.info.kernel_version, &self.info.kernel_version);
        replace(&mut status.info.os_image, &self.info.os_image);
        replace(&mut status.info.agent_version, &self.info.agent_version);
        replace(&mut status.info.engine_version, &self.info.engine_version);
    }
}

fn replace(old: &mut String, new: &str) {
    if !new.is_empty() && old != new {
        new.clone_into(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_replaces_only_what_it_names() {
        let mut status = NodeStatus::default();
        let full = r#"{"state":"Ready","network":{"ip":"10.0.0.1","agentPort":9090},"capacity":{"cpu":"2000m"}}"#;
        serde_json::from_str::<Heartbeat>(full)
            .expect("valid")
            .merge_into(&mut status);
        let partial = r#"{"network":{"dnsName":"n.tail","throughput":{"lastTestTime":"0001-01-01T00:00:00Z"}}}"#;
        serde_json::from_str::<Heartbeat>(partial)
            .expect("valid")
            .merge_into(&mut status);
        assert_eq!(status.state, NodeState::Ready);
        assert_eq!(
            serde_json::to_value(&status.network).expect("serializable"),
            serde_json::json!({"ip":"10.0.0.1","dnsName":"n.tail","agentPort":9090})
        );
        assert_eq!(
            status.capacity.get("cpu").map(String::as_str),
            Some("2000m")
        );
    }
}
