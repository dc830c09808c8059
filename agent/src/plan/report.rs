//! What to tell the control plane.

use std::net::SocketAddr;
use std::time::Duration;

use cara_api::agent::{Goal, Outcome, Report};
use cara_api::project::{Endpoint, ServiceState, ServiceStatus};

use super::step::is_of;
use super::{
    Container, ContainerState, Memory, Observed, Presence, Probes, Subject, Wanted, WantedService,
};

/// A container that exited before counts as up only after it ran this long.
const SETTLED: Duration = Duration::from_secs(5);

/// The report about a project; none for one that nobody asks about.
pub fn report(
    wanted: &Wanted,
    observed: &Observed,
    memory: &Memory,
    probes: &Probes,
) -> Option<Report> {
    let (epoch, generation) = wanted.reported?;
    let services: Vec<ServiceStatus> = wanted
        .services
        .iter()
        .map(|s| service_status(s, wanted.goal, observed, memory, probes))
        .collect();
    let outcome = match wanted.goal {
        Goal::Run => run_outcome(wanted, observed, memory, &services),
        Goal::Remove => removal_outcome(observed, memory),
    };
    let services = if outcome == Outcome::Removed {
        Vec::new()
    } else {
        services
    };
    Some(Report {
        project: wanted.project.clone(),
        epoch,
        generation,
        outcome,
        services,
        progress: progress(memory),
    })
}

fn progress(memory: &Memory) -> String {
    let pulls = memory
        .pulls()
        .map(|(image, progress)| format!("pulling {image}: {progress}"));
    pulls.collect::<Vec<_>>().join("; ")
}

fn service_status(
    service: &WantedService,
    goal: Goal,
    observed: &Observed,
    memory: &Memory,
    probes: &Probes,
) -> ServiceStatus {
    let container = observed.containers.get(&service.container);
    let mine = container.filter(|c| is_of(c, service));
    let endpoints: Vec<Endpoint> = mine
        .map(|c| {
            service
                .exposed
                .iter()
                .filter_map(|port| endpoint(service, c, *port, probes, memory))
                .collect()
        })
        .unwrap_or_default();
    let state = state(service, goal, mine, memory);
    let is_up = state == ServiceState::Running
        && mine.is_some_and(|c| c.fingerprint == service.fingerprint);
    let is_reachable =
        endpoints.len() == service.exposed.len() && endpoints.iter().all(|e| e.ready);
    let exit = memory
        .exit(&service.name)
        .filter(|_| !is_up)
        .map(|f| format!("exited: {}", f.message));
    let failure = memory
        .failure(&Subject::Service(service.name.clone()))
        .map(|f| f.message.clone());
    let collision = container
        .is_some_and(|c| !is_of(c, service))
        .then(|| collision(service));
    ServiceStatus {
        name: service.name.clone(),
        state,
        ready: is_up && is_reachable,
        endpoints,
        message: collision.or(failure).or(exit).unwrap_or_default(),
        ..ServiceStatus::default()
    }
}

fn endpoint(
    service: &WantedService,
    container: &Container,
    port: u16,
    probes: &Probes,
    memory: &Memory,
) -> Option<Endpoint> {
    let address = match service.publish_on {
        Some(ip) => SocketAddr::new(ip, container.published.get(&port)?.port()),
        None => SocketAddr::new(container.ip?, port),
    };
    let is_running = matches!(container.state, ContainerState::Running { .. })
        && !memory.is_stopping(&service.name);
    let probe = (container.id.clone(), container.started_at.clone(), port);
    Some(Endpoint {
        port,
        address,
        ready: is_running && probes.contains(&probe),
    })
}

fn state(
    service: &WantedService,
    goal: Goal,
    mine: Option<&Container>,
    memory: &Memory,
) -> ServiceState {
    if memory.pulling(&service.image).is_some() && mine.is_none() {
        return ServiceState::Pulling;
    }
    match (mine.map(|c| &c.state), goal) {
        (None, _) => ServiceState::Waiting,
        (Some(_), Goal::Remove) => ServiceState::Stopping,
        (Some(ContainerState::Running { since }), Goal::Run) => {
            let is_settled = memory.exit(&service.name).is_none() || *since >= SETTLED;
            if is_settled {
                ServiceState::Running
            } else {
                ServiceState::Starting
            }
        }
        (Some(ContainerState::Exited { .. }), Goal::Run) => ServiceState::Exited,
        (Some(ContainerState::Dead), Goal::Run) => ServiceState::Stopping,
        (Some(ContainerState::Created | ContainerState::Other), Goal::Run) => {
            ServiceState::Starting
        }
    }
}

fn collision(service: &WantedService) -> String {
    format!(
        "a container named {} exists and belongs to another project or service",
        service.container
    )
}

fn run_outcome(
    wanted: &Wanted,
    observed: &Observed,
    memory: &Memory,
    services: &[ServiceStatus],
) -> Outcome {
    let failed = |reason: &str, message: String| Outcome::Failed {
        reason: reason.to_owned(),
        message,
    };
    if let Some(message) = first_collision(wanted, observed) {
        return failed("NameCollision", message);
    }
    if let Some((_, failure)) = memory.failures().next() {
        return failed(&failure.reason, failure.message.clone());
    }
    let down: Vec<&ServiceStatus> = services.iter().filter(|s| !s.ready).collect();
    if down.is_empty() {
        return Outcome::Running;
    }
    let exits: Vec<_> = down.iter().filter_map(|s| memory.exit(&s.name)).collect();
    if let Some(first) = exits.first() {
        let list: Vec<&str> = exits.iter().map(|f| f.message.as_str()).collect();
        let is_clean = list.iter().all(|text| text.ends_with("(exit=0)"));
        let how = if is_clean { "cleanly" } else { "with errors" };
        return failed(
            &first.reason,
            format!("Containers exited {how}: {}", list.join(", ")),
        );
    }
    Outcome::Starting
}

fn first_collision(wanted: &Wanted, observed: &Observed) -> Option<String> {
    if observed.network == Presence::Foreign {
        let name = crate::runtime::names::network(wanted.project.as_str());
        return Some(format!(
            "a network named {name} exists and does not belong to this project"
        ));
    }
    let foreign = |name: &&String| observed.volumes.get(*name) == Some(&Presence::Foreign);
    if let Some(name) = wanted.volumes.iter().find(foreign) {
        return Some(format!(
            "a volume named {name} exists and does not belong to this project"
        ));
    }
    let taken = |s: &&WantedService| {
        observed
            .containers
            .get(&s.container)
            .is_some_and(|c| !is_of(c, s))
    };
    wanted
        .services
        .iter()
        .find(taken)
        .map(|s| format!("service {}: {}", s.name, collision(s)))
}

fn removal_outcome(observed: &Observed, memory: &Memory) -> Outcome {
    if is_gone(observed) {
        return Outcome::Removed;
    }
    let failures = memory
        .failures()
        .map(|(_, failure)| failure.message.as_str());
    Outcome::Removing {
        message: failures.collect::<Vec<_>>().join("; "),
    }
}

/// True when nothing of the project is left on the engine.
pub fn is_gone(observed: &Observed) -> bool {
    observed.network != Presence::Ours
        && observed
            .volumes
            .values()
            .all(|presence| *presence != Presence::Ours)
        && observed.containers.values().all(|c| !c.is_ours)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
