//! What containers and nodes use.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What all nodes that could be asked say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// By name.
    pub nodes: Vec<NodeUsage>,
}

/// What a node's containers use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeUsage {
    /// The node.
    pub node: String,
    /// All that the machine has, in thousandths of a core.
    pub cpu_capacity_millis: u64,
    /// All that the machine has.
    pub memory_capacity_bytes: u64,
    /// Streams that pass through its agent now, without this one.
    pub streams: usize,
    /// Containers of projects that run there.
    pub containers: Vec<ContainerUsage>,
    /// Why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerUsage {
    /// Its project.
    pub project: String,
    /// Its service.
    pub service: String,
    /// The engine's short id of it.
    pub container: String,
    /// Of late, in thousandths of a core; none until it was looked at twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Without what the system can take back at any time; none, as all that follows, when the engine did
    /// not tell in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What it may have; 0 when there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Received since it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// Sent since it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
}
