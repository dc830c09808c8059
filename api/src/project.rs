//! The Project: containers that run together on one node, and the hostnames that reach them.

mod ingress;
mod revision;
mod service;
mod status;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::{ObjectMeta, Resource, Timestamp};
use crate::names::ProjectName;

pub use ingress::{
    AccessScope, Balance, BasicAuth, Bearer, ClientCertificate, Cors, HeaderMatch, HeaderRules,
    HealthProbe, Hsts, Ingress, IngressAccess, IngressProtocol, IngressTarget, Limits, Maintenance,
    Oidc, Outlier, PathType, Pause, RateLimit, Redirect, Respond, Retries, ShareLinks, Sticky,
    TargetProtocol, TargetTls, Timeouts,
};
pub use revision::{ProjectRevision, Rollback};
pub use service::{
    ConfigFile, Dependency, DependencyCondition, EnvVar, ExecCheck, HealthCheck, HttpCheck, Probe,
    Resources, RestartPolicy, SecretFile, SecretKey, Service, TcpCheck, ValueFrom, VolumeMount,
};
pub use status::{
    BindingEpoch, Endpoint, IngressStatus, Move, ProjectPhase, ProjectStatus, ServiceState,
    ServiceStatus, StatusPatch,
};

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
    /// Labels that a node must carry to be given the project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the project bears.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Keeps projects of a group apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// When to delete the project, RFC 3339; kept as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expire_at: Option<ExpireAt>,
}

/// A taint that a project bears. What is left out matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Toleration {
    /// Key of the taint; left out: every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Value of the taint; left out: every value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect of the taint; left out: every effect.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = crate::node::TaintEffect)]
    pub effect: String,
}

/// Keeps the projects of a group on different nodes, or in different zones, where it can.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Spread {
    /// Label of projects; those with the same value as this one are its group.
    #[schema(required = true)]
    pub label: String,
    /// Label of nodes; nodes with the same value count as one place. Left out: each node is a
    /// place of its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topology: String,
}

/// A named volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Volume {
    /// Unique within the project.
    #[schema(required = true, max_length = 63)]
    pub name: String,
    /// How long it lives.
    #[serde(rename = "type")]
    #[schema(required = true, value_type = VolumeType)]
    pub kind: String,
    /// For `HostPath`: a directory on the node, under a root that the node's operator allows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

impl Volume {
    /// The type; none when the text is none.
    pub fn volume_type(&self) -> Option<VolumeType> {
        VolumeType::parse(&self.kind)
    }
}

/// Life of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum VolumeType {
    /// Made when the project starts, deleted when it is stopped or moved.
    Ephemeral,
    /// Stays on its node and keeps the project there; deleted together with the project.
    Persistent,
    /// A directory of the node; neither made nor deleted.
    HostPath,
}

impl VolumeType {
    /// Reads a type.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Ephemeral" => Some(Self::Ephemeral),
            "Persistent" => Some(Self::Persistent),
            "HostPath" => Some(Self::HostPath),
            _ => None,
        }
    }
}

impl ProjectSpec {
    /// True when a volume of this type is declared.
    pub fn has_volume(&self, kind: VolumeType) -> bool {
        self.volumes.iter().any(|v| v.volume_type() == Some(kind))
    }

    /// Names of all secrets that services use, each once.
    pub fn secrets(&self) -> std::collections::BTreeSet<&str> {
        self.services
            .iter()
            .flat_map(Service::secrets_used)
            .collect()
    }
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
