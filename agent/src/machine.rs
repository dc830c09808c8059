//! What the node has and what it is short of: measured, told with each heartbeat, and mended
//! where that is possible, by removing images that nobody needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cara_api::agent::Goal;
use cara_api::condition::{Condition, DISK_PRESSURE, MEMORY_PRESSURE};
use cara_api::node::{Heartbeat, NodeInfo, NodeNetwork};
use cara_api::paths;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::images::Images;
use crate::link::{FIRST_PAUSE, Link, chain};
use crate::plan::machine::{Pressure, Room};
use crate::runtime::{Engine, Machine};
use crate::supervisor::Received;

/// Kept free for the system, as the older system planned it.
const RESERVED_CPU_MILLI: u64 = 500;
const RESERVED_MEMORY_MIB: u64 = 512;
/// The engine is asked about its machine again after this many heartbeats.
const ASK_EVERY: u32 = 12;
/// How long the engine may hold up a heartbeat.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Shortest time between two prunings of images.
const PRUNE_EVERY: Duration = Duration::from_secs(10);

/// The node's own state, for its heartbeats.
pub(crate) struct Node {
    pub(crate) link: Arc<Link>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) port: u16,
}

/// Sends heartbeats until cancelled.
pub(crate) async fn beat(node: Node, pressure: watch::Sender<Pressure>, token: CancellationToken) {
    let config = &node.link.config;
    let mut interval = tokio::time::interval(config.heartbeat);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let path = paths::fill(paths::NODE_HEARTBEAT, &[config.node.as_str()]);
    let mut machine = Machine::default();
    let mut beats: u32 = 0;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = token.cancelled() => return,
        }
        let work = async {
            if beats.is_multiple_of(ASK_EVERY) || machine.cpus == 0 {
                // An engine that hangs must not make the node look dead.
                let asked = tokio::time::timeout(ASK_LIMIT, node.engine.machine()).await;
                match asked {
                    Ok(Ok(answer)) => machine = answer,
                    Ok(Err(error)) => {
                        tracing::warn!(error = %error.message(), "cannot ask the engine about its machine")
                    }
                    Err(_) => tracing::warn!("the engine does not answer"),
                }
            }
            let heartbeat = node.measure(&machine, &pressure).await;
            let send = node.link.client.post(&path, &heartbeat);
            let sent = tokio::time::timeout(config.heartbeat, send).await;
            if let Ok(Err(error)) = sent {
                // Before the node is registered this is a 404; following mends it.
                tracing::debug!(error = %chain(&error), "heartbeat not taken");
                if error.status() == Some(404) {
                    interval.reset_after(FIRST_PAUSE);
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = token.cancelled() => return,
        }
        beats = beats.wrapping_add(1);
    }
}

/// Removes unused images while disk is short, until cancelled.
pub(crate) async fn prune(
    engine: Arc<Engine>,
    images: Arc<Images>,
    assignments: watch::Receiver<Option<Received>>,
    mut pressure: watch::Receiver<Pressure>,
    token: CancellationToken,
) {
    loop {
        let work = async {
            if pressure.wait_for(|now| now.disk).await.is_err() {
                std::future::pending::<()>().await;
            }
            let wanted = wanted_images(&assignments);
            images.prune(&engine, &wanted).await;
            tokio::time::sleep(PRUNE_EVERY).await;
        };
        tokio::select! {
            () = work => {}
            () = token.cancelled() => return,
        }
    }
}

fn wanted_images(assignments: &watch::Receiver<Option<Received>>) -> Vec<String> {
    let current = assignments.borrow();
    let all = current.iter().flat_map(|r| &r.assignments.projects);
    let running = all.filter(|a| a.goal == Goal::Run);
    running
        .flat_map(|a| a.spec.services.iter().map(|s| s.image.clone()))
        .collect()
}

impl Node {
    /// Measures the machine. What cannot be measured is left out, which keeps the last known
    /// value.
    async fn measure(&self, machine: &Machine, pressure: &watch::Sender<Pressure>) -> Heartbeat {
        let config = &self.link.config;
        let data_dir = config.data_dir.clone();
        let root = machine.root.clone();
        let measured =
            tokio::task::spawn_blocking(move || (disk(&[root, data_dir]), memory())).await;
        let (disk, memory) = measured.unwrap_or_default();
        pressure.send_if_modified(|now| {
            let before = *now;
            *now = before.next(disk, memory);
            *now != before
        });
        let now = *pressure.borrow();
        let memory_mib = machine.memory_bytes >> 20;
        let cpu_milli = machine.cpus.saturating_mul(1_000);
        let (mut capacity, mut allocatable) = (BTreeMap::new(), BTreeMap::new());
        if machine.cpus > 0 {
            let gib = |bytes: u64| bytes >> 30;
            let (cpu, memory) = (
                cpu_milli.saturating_sub(RESERVED_CPU_MILLI),
                memory_mib.saturating_sub(RESERVED_MEMORY_MIB),
            );
            capacity = amounts(cpu_milli, memory_mib, gib(disk.total));
            // In steps, so that a file more or less changes nothing; how short the disk is, the
            // condition tells.
            let step = (gib(disk.total) / 20).max(1);
            allocatable = amounts(cpu, memory, gib(disk.available) / step * step);
        }
        Heartbeat {
            state: String::new(),
            network: NodeNetwork {
                ip: config.advertise_ip.to_string(),
                agent_port: i64::from(self.port),
                ..NodeNetwork::default()
            },
            capacity,
            allocatable,
            info: NodeInfo {
                kernel_version: machine.kernel.clone(),
                os_image: machine.os.clone(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                engine_version: machine.engine.clone(),
            },
            conditions: conditions(now),
        }
    }
}

/// Conditions without numbers, so that they change only when what they say changes.
fn conditions(now: Pressure) -> Vec<Condition> {
    let condition = |kind: &str, is_short: bool, what: &str| Condition {
        kind: kind.to_owned(),
        status: if is_short { "True" } else { "False" }.to_owned(),
        reason: format!(
            "Agent{}{what}Pressure",
            if is_short { "Has" } else { "HasNo" }
        ),
        message: if is_short {
            format!("the node runs out of {}", what.to_lowercase())
        } else {
            format!("the node has {} to spare", what.to_lowercase())
        },
        ..Condition::default()
    };
    vec![
        condition(DISK_PRESSURE, now.disk, "Disk"),
        condition(MEMORY_PRESSURE, now.memory, "Memory"),
    ]
}

/// The scarcest of the file systems of these directories. Blocking.
fn disk(directories: &[PathBuf]) -> Room {
    let rooms = directories.iter().filter_map(|directory| {
        let disk = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Room {
            available: bytes(disk.f_bavail),
            total: bytes(disk.f_blocks),
        })
    });
    let share = |room: &Room| u128::from(room.available) * 1_000 / u128::from(room.total.max(1));
    rooms.min_by_key(share).unwrap_or_default()
}

/// Memory of the machine, from `/proc/meminfo` (proc(5)). Blocking.
fn memory() -> Room {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line
            .trim_start_matches(':')
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()?;
        Some(kib << 10)
    };
    match (bytes("MemAvailable"), bytes("MemTotal")) {
        (Some(available), Some(total)) => Room { available, total },
        _ => Room::default(),
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
