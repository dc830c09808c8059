//! What to do next.
//!
//! A step is a set of actions that can run at the same time. After it the engine is looked at
//! again, and the next step follows from what it shows; an action that was cut off or failed is
//! simply decided again. Replacing a service pulls first, so that the old container runs for as
//! long as possible.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use cara_api::agent::Goal;

use super::{
    Container, ContainerState, Memory, Observed, Presence, Subject, Wanted, WantedService,
};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the project's network.
    CreateNetwork,
    /// Make a volume, by engine name.
    CreateVolume(String),
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
    /// Start the existing container of a service.
    Start {
        /// The service.
        service: String,
        /// The container's id.
        id: String,
    },
    /// Stop and remove a container.
    Remove {
        /// What the removal is about.
        subject: Subject,
        /// The container's id.
        id: String,
    },
    /// Remove the project's network.
    RemoveNetwork,
    /// Remove a volume, by engine name.
    RemoveVolume(String),
}

impl Action {
    /// What a failure of this action is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::CreateNetwork | Self::RemoveNetwork => Subject::Network,
            Self::CreateVolume(name) | Self::RemoveVolume(name) => Subject::Volume(name.clone()),
            Self::Pull { service, .. }
            | Self::Make(service)
            | Self::Run(service)
            | Self::Start { service, .. } => Subject::Service(service.clone()),
            Self::Remove { subject, .. } => subject.clone(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNetwork => f.write_str("create network"),
            Self::CreateVolume(name) => write!(f, "create volume {name}"),
            Self::Pull { image, .. } => write!(f, "pull {image}"),
            Self::Make(service) => write!(f, "make {service}"),
            Self::Run(service) => write!(f, "run {service}"),
            Self::Start { service, .. } => write!(f, "start {service}"),
            Self::Remove {
                subject: Subject::Service(service),
                ..
            } => write!(f, "remove {service}"),
            Self::Remove { id, .. } => write!(f, "remove container {id}"),
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
    /// When something that failed may be tried again.
    pub retry_at: Option<Instant>,
    /// Everything that is not as wanted, whether it can be acted on now or not.
    pub subjects: BTreeSet<Subject>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.actions.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

/// What to do next for a project.
pub fn next(wanted: &Wanted, observed: &Observed, memory: &Memory, now: Instant) -> Step {
    let actions = match wanted.goal {
        Goal::Run => run(wanted, observed),
        Goal::Remove => remove(observed),
    };
    let mut step = Step::default();
    for action in actions {
        step.subjects.insert(action.subject());
        let is_under_way =
            matches!(&action, Action::Pull { image, .. } if memory.pulling(image).is_some());
        if is_under_way {
            continue;
        }
        match blocked_until(&action, memory, now) {
            Some(until) => {
                step.retry_at = Some(step.retry_at.map_or(until, |at: Instant| at.min(until)))
            }
            None => step.actions.push(action),
        }
    }
    step
}

/// Until when an action must wait because it failed, or because its container exited.
fn blocked_until(action: &Action, memory: &Memory, now: Instant) -> Option<Instant> {
    let failed = memory.failure(&action.subject()).map(|f| f.retry_at);
    let exited = match action {
        Action::Start { service, .. } => memory.exit(service).map(|f| f.retry_at),
        _ => None,
    };
    failed.max(exited).filter(|at| *at > now)
}

fn run(wanted: &Wanted, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    if observed.network == Presence::Absent {
        actions.push(Action::CreateNetwork);
    }
    let volume = |name: &String| observed.volumes.get(name).copied().unwrap_or_default();
    let absent = wanted
        .volumes
        .iter()
        .filter(|name| volume(name) == Presence::Absent);
    actions.extend(absent.cloned().map(Action::CreateVolume));
    actions.extend(extras(wanted, observed));
    let mut pulled = BTreeSet::new();
    for service in &wanted.services {
        let is_mountable = service
            .mounts
            .values()
            .all(|name| volume(name) == Presence::Ours);
        match service_action(service, observed, is_mountable) {
            Some(Action::Pull { image, .. }) if !pulled.insert(image.clone()) => {}
            Some(action) => actions.push(action),
            None => {}
        }
    }
    if actions.is_empty() {
        let is_extra =
            |name: &&String| !wanted.volumes.contains(*name) && volume(name) == Presence::Ours;
        actions.extend(
            observed
                .volumes
                .keys()
                .filter(is_extra)
                .cloned()
                .map(Action::RemoveVolume),
        );
    }
    actions
}

/// Containers of the project that no service of the spec wants.
fn extras<'a>(wanted: &'a Wanted, observed: &'a Observed) -> impl Iterator<Item = Action> + 'a {
    let is_wanted = |name: &str| wanted.services.iter().any(|s| s.container == name);
    let found = observed
        .containers
        .iter()
        .filter(move |(name, c)| c.is_ours && !is_wanted(name));
    found.map(|(name, c)| Action::Remove {
        subject: Subject::Extra(name.clone()),
        id: c.id.clone(),
    })
}

fn service_action(
    service: &WantedService,
    observed: &Observed,
    is_mountable: bool,
) -> Option<Action> {
    let is_missing = observed.images.get(&service.image) == Some(&false);
    let name = || service.name.clone();
    let pull = || Action::Pull {
        service: name(),
        image: service.image.clone(),
    };
    let Some(container) = observed.containers.get(&service.container) else {
        return match (is_missing, is_mountable, observed.network) {
            (true, _, _) => Some(pull()),
            (false, true, Presence::Ours) => Some(Action::Run(name())),
            // The network is made in the same step; starting waits for it.
            (false, true, Presence::Absent) => Some(Action::Make(name())),
            (false, false, _) | (false, true, Presence::Foreign) => None,
        };
    };
    if !is_of(container, service) {
        return None;
    }
    let remove = || Action::Remove {
        subject: Subject::Service(name()),
        id: container.id.clone(),
    };
    if container.fingerprint != service.fingerprint {
        return Some(if is_missing { pull() } else { remove() });
    }
    match container.state {
        ContainerState::Running { .. } | ContainerState::Other => None,
        ContainerState::Created | ContainerState::Exited { .. } => {
            let start = Action::Start {
                service: name(),
                id: container.id.clone(),
            };
            (observed.network == Presence::Ours).then_some(start)
        }
        ContainerState::Dead => Some(remove()),
    }
}

/// Whether a container under the service's name is the service's: names are joined with `-`,
/// so `a` + `b-c` and `a-b` + `c` meet.
pub(super) fn is_of(container: &Container, service: &WantedService) -> bool {
    container.is_ours && container.service == service.name
}

fn remove(observed: &Observed) -> Vec<Action> {
    let ours = observed.containers.iter().filter(|(_, c)| c.is_ours);
    let containers: Vec<Action> = ours
        .map(|(name, c)| Action::Remove {
            subject: Subject::Extra(name.clone()),
            id: c.id.clone(),
        })
        .collect();
    if !containers.is_empty() {
        return containers;
    }
    let volumes = observed
        .volumes
        .iter()
        .filter(|(_, presence)| **presence == Presence::Ours);
    let mut actions: Vec<Action> = volumes
        .map(|(name, _)| Action::RemoveVolume(name.clone()))
        .collect();
    if observed.network == Presence::Ours {
        actions.push(Action::RemoveNetwork);
    }
    actions
}

/// Projects that left something on the engine although they are not assigned to this node.
pub fn orphans(found: BTreeSet<String>, assigned: &BTreeSet<String>) -> Vec<String> {
    found
        .into_iter()
        .filter(|name| !assigned.contains(name))
        .collect()
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
