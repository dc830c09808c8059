//! What the node has, for its heartbeats.

use std::collections::BTreeMap;

use cara_api::node::{Heartbeat, NodeInfo, NodeNetwork};

use crate::Config;
use crate::runtime::{Engine, Machine};

/// Kept free for the system, as the older system planned it.
const RESERVED_CPU_MILLI: u64 = 500;
const RESERVED_MEMORY_MIB: u64 = 512;

/// Measures the machine. What cannot be measured is left out, which keeps the last known value.
pub(crate) async fn measure(config: &Config, engine: &Engine, port: u16) -> Heartbeat {
    let machine = engine.machine().await.unwrap_or_else(|error| {
        tracing::warn!(error = %error.message(), "cannot measure the machine");
        Machine::default()
    });
    let (disk_gib, free_gib) = rustix::fs::statvfs(&config.data_dir).map_or((0, 0), |disk| {
        let gib = |blocks: u64| blocks.saturating_mul(disk.f_frsize) >> 30;
        (gib(disk.f_blocks), gib(disk.f_bavail))
    });
    let memory_mib = machine.memory_bytes >> 20;
    let cpu_milli = machine.cpus.saturating_mul(1_000);
    let (mut capacity, mut allocatable) = (BTreeMap::new(), BTreeMap::new());
    if machine.cpus > 0 {
        capacity = amounts(cpu_milli, memory_mib, disk_gib);
        let (cpu, memory) = (
            cpu_milli.saturating_sub(RESERVED_CPU_MILLI),
            memory_mib.saturating_sub(RESERVED_MEMORY_MIB),
        );
        allocatable = amounts(cpu, memory, free_gib);
    }
    Heartbeat {
        state: String::new(),
        network: NodeNetwork {
            ip: config.advertise_ip.to_string(),
            agent_port: i64::from(port),
            ..NodeNetwork::default()
        },
        capacity,
        allocatable,
        info: NodeInfo {
            kernel_version: machine.kernel,
            os_image: machine.os,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            engine_version: machine.engine,
        },
        conditions: Vec::new(),
    }
}

fn amounts(cpu_milli: u64, memory_mib: u64, disk_gib: u64) -> BTreeMap<String, String> {
    let pairs = [
        ("cpu", format!("{cpu_milli}m")),
        ("memory", format!("{memory_mib}Mi")),
        ("disk", format!("{disk_gib}Gi")),
    ];
    pairs.map(|(name, amount)| (name.to_owned(), amount)).into()
}
