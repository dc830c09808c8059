//! What to tell the control plane.

use std::net::SocketAddr;
use std::time::Instant;

use cara_api::agent::{Goal, Outcome, Report};
use cara_api::project::{Endpoint, ServiceState, ServiceStatus};

use super::step::has_earlier;
use super::{
    Container, ContainerState, Memory, Observed, Presence, Subject, View, Wanted, WantedService,
};

/// Of a rollout: tries after which a failure counts, since there is a good version to return to.
const PATIENCE: u32 = 3;

/// The report about a project; none for one that nobody asks about.
pub fn report(
    wanted: &Wanted,
    observed: &Observed,
    memory: &Memory,
    now: Instant,
) -> Option<Report> {
    let (epoch, generation) = wanted.reported?;
    let views: Vec<View<'_>> = wanted
        .services
        .iter()
        .map(|service| View::of(service, observed))
        .collect();
    let mut services: Vec<ServiceStatus> = views
        .iter()
        .map(|view| status(view, wanted.goal, memory))
        .collect();
    services.extend(leaving(wanted, observed, memory));
    let outcome = match wanted.goal {
        Goal::Run => run_outcome(wanted, observed, memory, &views, now),
        Goal::Remove => removal_outcome(observed, memory),
    };
    if outcome == Outcome::Removed {
        services.clear();
    }
    Some(Report {
        project: wanted.project.clone(),
        epoch,
        generation,
        outcome,
        services,
        progress: progress(wanted, memory, &views),
    })
}

/// What goes on right now: pulls, and tries of a rollout that failed but not for good.
fn progress(wanted: &Wanted, memory: &Memory, views: &[View<'_>]) -> String {
    let pulls = memory
        .pulls()
        .map(|(image, progress)| format!("pulling {image}: {progress}"));
    let mut all: Vec<String> = pulls.collect();
    if wanted.goal == Goal::Run {
        let failures = memory.failures();
        let stuck = failures.filter(|(subject, _)| matches!(subject, Subject::Extra(_)));
        all.extend(stuck.map(|(_, failure)| failure.message.clone()));
    }
    if wanted.is_rollout && wanted.goal == Goal::Run {
        all.extend(views.iter().flat_map(|v| &v.service.missing).cloned());
        let down = views
            .iter()
            .filter(|v| !v.is_ready(memory) && !v.is_completed(memory));
        let tries = down.filter_map(|v| fault(v.service, memory));
        all.extend(tries.map(|(attempts, _, message)| {
            let first = message.lines().next().unwrap_or_default().to_owned();
            format!("{first} (attempt {attempts} of {PATIENCE})")
        }));
    }
    all.join("; ")
}

/// Services that the newest generation no longer has, while it is rolled out and they still serve.
fn leaving(wanted: &Wanted, observed: &Observed, memory: &Memory) -> Vec<ServiceStatus> {
    let containers = observed.containers.values();
    let serving = containers.filter(|c| {
        let is_gone = wanted.service(&c.service).is_none();
        wanted.is_rollout && wanted.goal == Goal::Run && is_gone && c.is_ours && c.is_running()
    });
    let statuses = serving.map(|c| {
        let endpoints = c.exposed.iter().filter_map(|port| {
            let published = c.published.get(port).copied();
            let address = published.or_else(|| Some(SocketAddr::new(c.ip?, *port)))?;
            Some(Endpoint {
                port: *port,
                address,
                ready: memory.open.contains(&(c.start(), *port)),
            })
        });
        ServiceStatus {
            name: c.service.clone(),
            state: ServiceState::Running,
            endpoints: endpoints.collect(),
            ..ServiceStatus::default()
        }
    });
    statuses.collect()
}

/// What last went wrong with a service: attempts, reason, message.
fn fault(service: &WantedService, memory: &Memory) -> Option<(u32, String, String)> {
    if let Some(failure) = memory.failure(&Subject::Service(service.name.clone())) {
        return Some((
            failure.attempts,
            failure.reason.clone(),
            failure.message.clone(),
        ));
    }
    let exit = memory.exit(&service.name)?;
    let failure = &exit.failure;
    Some((
        failure.attempts,
        failure.reason.clone(),
        format!("exited: {}", failure.message),
    ))
}

fn status(view: &View<'_>, goal: Goal, memory: &Memory) -> ServiceStatus {
    let service = view.service;
    let serving = view.serving(memory);
    let endpoints = serving.map_or_else(Vec::new, |c| endpoints(view, c, goal, memory));
    let is_ready = goal == Goal::Run
        && view.is_ready(memory)
        && endpoints.len() == service.exposed.len()
        && endpoints.iter().all(|e| e.ready);
    let state = state(view, goal, memory);
    let is_fine = is_ready || state == ServiceState::Completed;
    let (reason, message) = if is_fine || goal == Goal::Remove {
        (String::new(), String::new())
    } else {
        complaint(view, memory).unwrap_or_default()
    };
    let exit = memory.exit(&service.name);
    ServiceStatus {
        name: service.name.clone(),
        state,
        ready: is_ready,
        endpoints,
        restarts: memory.restarts(&service.name),
        exit_code: exit.map(|exit| exit.code),
        reason,
        message,
    }
}

/// Why a service is not ready: reason and sentence.
fn complaint(view: &View<'_>, memory: &Memory) -> Option<(String, String)> {
    let service = view.service;
    let said = |reason: &str, message: String| Some((reason.to_owned(), message));
    if view.is_taken {
        return said("NameCollision", collision(service));
    }
    if !service.missing.is_empty() {
        return said("SecretMissing", service.missing.join("; "));
    }
    if let Some((_, reason, message)) = fault(service, memory) {
        return Some((reason, message));
    }
    let new = view.new.map(|(_, c)| c)?;
    let complaint = memory.health.complaint(&new.start());
    if new.is_running() && !complaint.is_empty() {
        return said("Unhealthy", complaint);
    }
    if new.is_running() && !view.is_container_ready(new, memory) {
        let closed = service.exposed.iter();
        let mut closed = closed.filter(|port| !memory.open.contains(&(new.start(), **port)));
        return closed
            .next()
            .and_then(|port| said("PortClosed", format!("port {port} accepts no connections")));
    }
    None
}

fn endpoints(view: &View<'_>, container: &Container, goal: Goal, memory: &Memory) -> Vec<Endpoint> {
    let is_serving =
        goal == Goal::Run && container.is_running() && view.passes_checks(container, memory);
    let all = view.ports(container).iter().filter_map(|port| {
        Some(Endpoint {
            port: *port,
            address: view.address(container, *port)?,
            ready: is_serving && memory.open.contains(&(container.start(), *port)),
        })
    });
    all.collect()
}

fn state(view: &View<'_>, goal: Goal, memory: &Memory) -> ServiceState {
    let service = view.service;
    let container = view.new.or(view.old.first().copied()).map(|(_, c)| c);
    if memory.pulling(&service.definition.image).is_some() && container.is_none() {
        return ServiceState::Pulling;
    }
    match (container.map(|c| &c.state), goal) {
        (None, _) => ServiceState::Waiting,
        (Some(_), Goal::Remove) => ServiceState::Stopping,
        _ if view.is_completed(memory) => ServiceState::Completed,
        (Some(ContainerState::Running { .. }), Goal::Run) if view.new.is_none() => {
            ServiceState::Running
        }
        (Some(ContainerState::Running { since }), Goal::Run) => {
            if *since >= view.probation(memory) {
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
        "a container named {} exists and belongs to another project, service or node",
        service.container
    )
}

fn run_outcome(
    wanted: &Wanted,
    observed: &Observed,
    memory: &Memory,
    views: &[View<'_>],
    now: Instant,
) -> Outcome {
    let failed = |reason: &str, message: String| Outcome::Failed {
        reason: reason.to_owned(),
        message,
    };
    if let Some(message) = first_collision(wanted, observed, views) {
        return failed("NameCollision", message);
    }
    let is_for_good = |attempts: u32| !wanted.is_rollout || attempts >= PATIENCE;
    // What cannot be removed yet is no reason to call failed what serves.
    let is_needed = |subject: &Subject| match subject {
        Subject::Network | Subject::Service(_) => true,
        Subject::Volume(name) => wanted.volumes.contains_key(name),
        Subject::Extra(_) => false,
    };
    let mut failures = memory.failures().filter(|(subject, _)| is_needed(subject));
    if let Some((_, failure)) = failures.find(|(_, failure)| is_for_good(failure.attempts)) {
        return failed(&failure.reason, failure.message.clone());
    }
    let is_fine = |view: &&View<'_>| view.is_ready(memory) || view.is_completed(memory);
    let down: Vec<&View<'_>> = views.iter().filter(|view| !is_fine(view)).collect();
    if down.is_empty() {
        return Outcome::Running;
    }
    let lacking = down.iter().find(|view| !view.service.missing.is_empty());
    if let Some(view) = lacking.filter(|_| !wanted.is_rollout) {
        let text = view.service.missing.join("; ");
        return failed(
            "SecretMissing",
            format!("service {}: {text}", view.service.name),
        );
    }
    exits(&down, memory, is_for_good)
        .or_else(|| overdue(wanted, &down, memory, now))
        .unwrap_or(Outcome::Starting)
}

/// Containers that ended although they should not have, with their last log lines.
fn exits(
    down: &[&View<'_>],
    memory: &Memory,
    is_for_good: impl Fn(u32) -> bool,
) -> Option<Outcome> {
    let exits = down.iter().filter_map(|v| {
        let exit = memory.exit(&v.service.name)?;
        let is_over = v.service.restart == cara_api::project::RestartPolicy::Never;
        (is_over || is_for_good(exit.failure.attempts)).then_some((v, exit))
    });
    let exits: Vec<_> = exits.collect();
    let (_, first) = exits.first()?;
    let list: Vec<&str> = exits
        .iter()
        .map(|(_, e)| e.failure.message.as_str())
        .collect();
    let is_clean = exits.iter().all(|(_, exit)| exit.code == 0);
    let how = if is_clean { "cleanly" } else { "with errors" };
    let mut message = format!("Containers exited {how}: {}", list.join(", "));
    for (view, exit) in &exits {
        if !exit.log.is_empty() {
            message += &format!("\nlast lines of {}:\n{}", view.service.name, exit.log);
        }
    }
    Some(Outcome::Failed {
        reason: first.failure.reason.clone(),
        message,
    })
}

/// Services that take too long to be ready.
fn overdue(wanted: &Wanted, down: &[&View<'_>], memory: &Memory, now: Instant) -> Option<Outcome> {
    let limit = wanted.timing.progress;
    let is_late = |view: &&&View<'_>| {
        let since = memory.waiting_since(&view.service.name);
        since.is_some_and(|since| now.duration_since(since) >= limit)
            && memory.pulling(&view.service.definition.image).is_none()
    };
    let late: Vec<String> = down
        .iter()
        .filter(is_late)
        .map(|view| {
            let why =
                complaint(view, memory).map_or_else(String::new, |(_, why)| format!(": {why}"));
            format!(
                "{} is not ready after {} s{why}",
                view.service.name,
                limit.as_secs()
            )
        })
        .collect();
    (!late.is_empty()).then(|| Outcome::Failed {
        reason: "NotReady".to_owned(),
        message: late.join("; "),
    })
}

fn first_collision(wanted: &Wanted, observed: &Observed, views: &[View<'_>]) -> Option<String> {
    if observed.network == Presence::Foreign {
        let name = crate::runtime::names::network(wanted.project.as_str());
        return Some(format!(
            "a network named {name} exists and does not belong to this project on this node"
        ));
    }
    let foreign = |name: &&String| observed.volumes.get(*name) == Some(&Presence::Foreign);
    if let Some(name) = wanted.volumes.keys().find(foreign) {
        return Some(format!(
            "a volume named {name} exists and does not belong to this project on this node"
        ));
    }
    let taken = views.iter().find(|view| view.is_taken)?;
    Some(format!(
        "service {}: {}",
        taken.service.name,
        collision(taken.service)
    ))
}

fn removal_outcome(observed: &Observed, memory: &Memory) -> Outcome {
    if is_gone(observed, true) {
        return Outcome::Removed;
    }
    let failures = memory
        .failures()
        .map(|(_, failure)| failure.message.as_str());
    Outcome::Removing {
        message: failures.collect::<Vec<_>>().join("; "),
    }
}

/// True when nothing of the project is left on the engine; of one that is not deleted but only
/// gone from this node, Persistent volumes may be left.
pub fn is_gone(observed: &Observed, is_deleted: bool) -> bool {
    let is_left = |(name, presence): (&String, &Presence)| {
        *presence == Presence::Ours && (is_deleted || !observed.persistent.contains(name))
    };
    observed.network != Presence::Ours
        && !has_earlier(observed)
        && observed.duplicate_networks.is_empty()
        && !observed.volumes.iter().any(is_left)
        && observed.containers.values().all(|c| !c.is_ours)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
