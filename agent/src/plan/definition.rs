//! What a container is made from, and the fingerprint that tells one definition from another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cara_api::project::{Resources, Service, Volume, VolumeType};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::runtime::names;

/// What a container is made from. The order of the fields is part of the fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// Image reference as the user wrote it.
    pub image: String,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Directory that the process starts in.
    pub working_dir: String,
    /// User of the process.
    pub user: String,
    /// `NAME=value`, in the order of the spec.
    pub env: Vec<String>,
    /// What is mounted, by path in the container.
    pub mounts: BTreeMap<String, MountSource>,
    /// Labels that the user asked for.
    pub labels: BTreeMap<String, String>,
    /// Capabilities beyond the default set.
    pub cap_add: BTreeSet<String>,
    /// Whether programs may gain rights.
    pub allow_privilege_escalation: bool,
    /// What it may use.
    pub limits: Limits,
    /// Container ports to publish.
    pub published: BTreeSet<u16>,
    /// The host address to publish them on.
    pub publish_on: Option<IpAddr>,
    /// Seconds between asking it to stop and killing it.
    pub stop_grace_s: u64,
    /// Stands for the content of files and secrets: contents of configuration files by hash,
    /// secrets by version, never by anything that follows from their values.
    pub content: Vec<String>,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountSource {
    /// The volume or directory.
    pub from: MountFrom,
    /// The container may not write to it.
    pub is_read_only: bool,
}

/// A volume or directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum MountFrom {
    /// A volume of the engine, by engine name.
    Volume(String),
    /// A directory of the host.
    HostPath(String),
}

/// What a container may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Billionths of a core; 0 for no limit.
    pub nano_cpus: i64,
    /// Weight among containers that compete for cores; 0 for the engine's default.
    pub cpu_shares: i64,
    /// Bytes; 0 for no limit.
    pub memory_bytes: i64,
    /// Processes and threads.
    pub pids: i64,
}

/// Limits of containers that ask for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Bytes; 0 for no limit.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Weight of a container with one core, as Docker counts it.
const SHARES_OF_A_CORE: u128 = 1_024;
/// Smallest weight that the kernel takes.
const SHARES_MIN: u128 = 2;

impl Limits {
    /// What a service asks for, filled up with the node's defaults.
    pub fn new(resources: &Resources, defaults: &Defaults) -> Self {
        let whole = |amount: u128| i64::try_from(amount).unwrap_or(i64::MAX);
        let bytes = resources.limit_milli("memory").map(|milli| milli / 1_000);
        let pids = resources.limit_milli("pids").map(|milli| milli / 1_000);
        let reserved_cpu = resources.reserved_milli("cpu");
        let shares = (reserved_cpu * SHARES_OF_A_CORE / 1_000).max(SHARES_MIN);
        // A reservation above the default limit asks for at least that much.
        let default_memory =
            u128::from(defaults.memory_bytes).max(resources.reserved_milli("memory") / 1_000);
        let default_memory = if defaults.memory_bytes == 0 {
            0
        } else {
            default_memory
        };
        Self {
            nano_cpus: whole(
                resources
                    .limit_milli("cpu")
                    .unwrap_or(0)
                    .saturating_mul(1_000_000),
            ),
            cpu_shares: if reserved_cpu == 0 { 0 } else { whole(shares) },
            memory_bytes: whole(bytes.unwrap_or(default_memory)),
            pids: whole(pids.unwrap_or(u128::from(defaults.pids))),
        }
    }
}

/// What a service mounts, by path in the container.
pub(super) fn mounts(
    service: &Service,
    project: &str,
    volumes: &[Volume],
) -> BTreeMap<String, MountSource> {
    let mounts = service.volume_mounts.iter().filter_map(|mount| {
        let volume = volumes.iter().find(|v| v.name == mount.name)?;
        let from = match volume.volume_type()? {
            VolumeType::Ephemeral | VolumeType::Persistent => {
                MountFrom::Volume(names::volume(project, &volume.name))
            }
            VolumeType::HostPath => MountFrom::HostPath(volume.path.clone()),
        };
        let source = MountSource {
            from,
            is_read_only: mount.read_only,
        };
        Some((mount.mount_path.clone(), source))
    });
    mounts.collect()
}

/// Grows when containers of older definitions must be replaced.
const FORMAT: u32 = 2;

impl Definition {
    /// First 16 hexadecimal digits of the SHA-256 of the definition's JSON.
    pub fn fingerprint(&self) -> String {
        let json = serde_json::to_vec(&(FORMAT, self)).expect("a definition is a JSON document");
        hex(&json)
    }

    /// Engine names of the volumes that it mounts.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.values().filter_map(|mount| match &mount.from {
            MountFrom::Volume(name) => Some(name.as_str()),
            MountFrom::HostPath(_) => None,
        })
    }

    /// Directories of the host that it mounts.
    pub fn host_paths(&self) -> impl Iterator<Item = &str> {
        self.mounts.values().filter_map(|mount| match &mount.from {
            MountFrom::Volume(_) => None,
            MountFrom::HostPath(path) => Some(path.as_str()),
        })
    }
}

/// First 16 hexadecimal digits of the SHA-256 of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_from_the_service_and_then_from_the_node() {
        let defaults = Defaults {
            memory_bytes: 1 << 30,
            pids: 2048,
        };
        let limits = |json: serde_json::Value| {
            Limits::new(&serde_json::from_value(json).expect("resources"), &defaults)
        };
        let none = limits(serde_json::json!({}));
        assert_eq!(
            none,
            Limits {
                nano_cpus: 0,
                cpu_shares: 0,
                memory_bytes: 1 << 30,
                pids: 2048
            }
        );
        let all = limits(serde_json::json!({
            "requests": {"cpu": "250m"}, "limits": {"cpu": "1.5", "memory": "64Mi", "pids": "10"}}));
        assert_eq!(
            all,
            Limits {
                nano_cpus: 1_500_000_000,
                cpu_shares: 256,
                memory_bytes: 64 << 20,
                pids: 10
            }
        );
        let large = limits(serde_json::json!({"requests": {"memory": "2Gi"}}));
        assert_eq!(large.memory_bytes, 2 << 30, "a reservation is usable");
    }
}
