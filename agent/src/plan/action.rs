//! Things to do, and a step of them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::{Subject, VolumeLife};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the project's network.
    CreateNetwork,
    /// Make a volume, by engine name.
    CreateVolume(String, VolumeLife),
    /// Pull the image of a service.
    Pull {
        /// The service that needs it first.
        service: String,
        /// The image.
        image: String,
    },
    /// Make the container of a service, while its network is still being made.
    Make(String),
    /// Make and start the container of a service.
    Run(String),
    /// Make and start the container of a service beside the one that it replaces.
    RunBeside(String),
    /// Start the existing container of a service.
    Start {
        /// The service.
        service: String,
        /// The container's id.
        id: String,
    },
    /// Stop a container that failed its checks, to start it again.
    Stop {
        /// The service.
        service: String,
        /// The container's id.
        id: String,
        /// Time between asking it to stop and killing it.
        grace: Duration,
    },
    /// Give a container the name of its service.
    Rename {
        /// The service.
        service: String,
        /// The container's id.
        id: String,
    },
    /// Stop and remove a container.
    Remove {
        /// The container's engine name.
        name: String,
        /// The container's id.
        id: String,
        /// Time between asking it to stop and killing it.
        grace: Duration,
    },
    /// Remove a further network of the project's name, by id.
    RemoveDuplicate(String),
    /// Remove the project's network.
    RemoveNetwork,
    /// Remove a volume, by engine name.
    RemoveVolume(String),
}

impl Action {
    /// What a failure of this action is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::CreateNetwork | Self::RemoveNetwork | Self::RemoveDuplicate(_) => {
                Subject::Network
            }
            Self::CreateVolume(name, _) | Self::RemoveVolume(name) => Subject::Volume(name.clone()),
            Self::Pull { service, .. }
            | Self::Make(service)
            | Self::Run(service)
            | Self::RunBeside(service)
            | Self::Stop { service, .. }
            | Self::Rename { service, .. }
            | Self::Start { service, .. } => Subject::Service(service.clone()),
            Self::Remove { name, .. } => Subject::Extra(name.clone()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNetwork => f.write_str("create network"),
            Self::CreateVolume(name, _) => write!(f, "create volume {name}"),
            Self::Pull { image, .. } => write!(f, "pull {image}"),
            Self::Make(service) => write!(f, "make {service}"),
            Self::Run(service) => write!(f, "run {service}"),
            Self::RunBeside(service) => write!(f, "run {service} beside the old one"),
            Self::Start { service, .. } => write!(f, "start {service}"),
            Self::Stop { service, .. } => write!(f, "stop {service}"),
            Self::Rename { service, .. } => write!(f, "rename {service}"),
            Self::Remove { name, .. } => write!(f, "remove container {name}"),
            Self::RemoveDuplicate(id) => write!(f, "remove duplicate network {id}"),
            Self::RemoveNetwork => f.write_str("remove network"),
            Self::RemoveVolume(name) => write!(f, "remove volume {name}"),
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Actions that can run at the same time; empty when there is nothing to do now.
    pub actions: Vec<Action>,
    /// When to look again although nothing happened: a failure may be tried again, or a time is
    /// over.
    pub retry_at: Option<Instant>,
    /// Everything that is not as wanted, whether it can be acted on now or not.
    pub subjects: BTreeSet<Subject>,
}

impl Step {
    /// Asks to look again at a moment, if not before.
    pub(super) fn wake(&mut self, at: Instant) {
        self.retry_at = Some(self.retry_at.map_or(at, |old| old.min(at)));
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.actions.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(", "))
    }
}
