//! Decisions of the agent: what to do next for a project, and what to report. Pure.
//!
//! No engine, no clock: what the engine shows and what time it is come in as values.

mod action;
mod definition;
mod files;
mod health;
pub mod machine;
mod memory;
mod probes;
mod report;
mod service;
mod step;
mod wanted;

pub use action::{Action, Step};
pub use definition::{Defaults, Definition, Limits, MountFrom, MountSource};
pub use files::WantedFile;
pub use health::{CheckKind, Health};
pub use memory::{Exit, Failure, Memory, Progress, Subject};
pub use probes::{Doubts, Probe, Probes};
pub use report::{is_gone, report};
pub use service::View;
pub use step::{next, orphans};
pub use wanted::{NodeRules, Timing, VolumeLife, Wanted, WantedService};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What the engine shows of one project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The project's network.
    pub network: Presence,
    /// Ids of further networks of the same name: the engine makes another one when it is asked
    /// twice, as after a try that was cut off. Nothing can be attached while there are any.
    pub duplicate_networks: BTreeSet<String>,
    /// Volumes by engine name: those of the project, and those that would collide.
    pub volumes: BTreeMap<String, Presence>,
    /// Those of the project's volumes that only its deletion removes.
    pub persistent: BTreeSet<String>,
    /// Containers by engine name: those of the project, and those that would collide.
    pub containers: BTreeMap<String, Container>,
    /// Images that were looked for, and whether the engine has them.
    pub images: BTreeMap<String, bool>,
}

impl Observed {
    /// Counts containers whose removal is under way as on their way out, although the engine may
    /// still show them as running: nothing must be built on them any more.
    #[must_use]
    pub fn without_leaving(mut self, memory: &Memory) -> Self {
        for (name, container) in &mut self.containers {
            if memory.is_busy(&Subject::Extra(name.clone())) {
                container.state = ContainerState::Dead;
            }
        }
        self
    }
}

/// Whether a thing exists and whose it is, told by its label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    /// It does not exist.
    #[default]
    Absent,
    /// It exists and carries this project's label.
    Ours,
    /// It was left by an earlier project of the same name, and goes first.
    Earlier,
    /// It exists and belongs to somebody else.
    Foreign,
}

/// A container as the engine shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Whether its labels name this project and no other node.
    pub is_ours: bool,
    /// It was left by an earlier project of the same name, and goes first.
    pub is_earlier: bool,
    /// The service that its label names.
    pub service: String,
    /// Fingerprint of the definition that it was made from.
    pub fingerprint: String,
    /// What it is doing.
    pub state: ContainerState,
    /// Its address on the project's network.
    pub ip: Option<IpAddr>,
    /// Ports that gateways were to reach when it was made.
    pub exposed: BTreeSet<u16>,
    /// Container port to the host address that it is published on.
    pub published: BTreeMap<u16, SocketAddr>,
    /// When it was last started, as the engine writes it; changes with every start.
    pub started_at: String,
    /// Time between asking it to stop and killing it.
    pub stop_grace: Duration,
}

/// One start of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// The engine's id of the container.
    pub container: String,
    /// When it was started, as the engine writes it.
    pub at: String,
}

impl Container {
    /// The current or last start.
    pub fn start(&self) -> Start {
        Start {
            container: self.id.clone(),
            at: self.started_at.clone(),
        }
    }

    /// True while it is up.
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            id: "1".into(),
            is_ours: true,
            is_earlier: false,
            service: "web".into(),
            fingerprint: String::new(),
            state: ContainerState::Created,
            ip: None,
            exposed: BTreeSet::new(),
            published: BTreeMap::new(),
            started_at: "t".into(),
            stop_grace: Duration::from_secs(10),
        }
    }
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Up.
    Running {
        /// For how long.
        since: Duration,
    },
    /// Stopped by itself or by somebody else.
    Exited {
        /// Exit code.
        code: i64,
        /// Killed for want of memory.
        is_oom: bool,
        /// How long it had run.
        ran_for: Duration,
    },
    /// On its way out, or broken.
    Dead,
    /// Paused, restarting: somebody else's doing; wait.
    Other,
}

#[cfg(test)]
mod properties;
