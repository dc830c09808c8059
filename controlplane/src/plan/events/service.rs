//! What happened to the services of a project.

use cara_api::Project;
use cara_api::project::{ServiceState, ServiceStatus};

use super::{Draft, agent};

/// What a change means for each service.
pub(super) fn of_services(before: &Project, after: &Project) -> Vec<Draft> {
    // Containers end when a project does.
    if after.status.phase.is_ending() {
        return Vec::new();
    }
    let is_same_binding = before.status.binding_epoch == after.status.binding_epoch;
    let is_rollout = after.status.observed_generation < after.metadata.generation;
    let source = agent(&after.status.node_ref);
    let unknown = ServiceStatus::default();
    let services = after.status.services.iter().flat_map(|now| {
        let known = before.status.services.iter().find(|s| s.name == now.name);
        let was = known.filter(|_| is_same_binding).unwrap_or(&unknown);
        of_service(was, now, is_rollout)
    });
    let spoken = services.map(|said| {
        let message = format!("service {}: {}", said.service, said.message);
        if said.is_warning {
            Draft::warning(said.reason, message, source.clone())
        } else {
            Draft::normal(said.reason, message, source.clone())
        }
    });
    spoken.collect()
}

struct Said<'a> {
    service: &'a str,
    is_warning: bool,
    reason: &'a str,
    message: String,
}

fn of_service<'a>(was: &ServiceStatus, now: &'a ServiceStatus, is_rollout: bool) -> Vec<Said<'a>> {
    let mut said = Vec::new();
    let mut say = |is_warning, reason, message: &str| {
        said.push(Said {
            service: &now.name,
            is_warning,
            reason,
            message: message.to_owned(),
        });
    };
    let has_restarted = now.restarts > was.restarts;
    if has_restarted {
        say(true, "BackOff", &restarted(now));
    } else if let Some((reason, message)) = trouble(was, now, is_rollout) {
        say(true, reason, message);
    }
    let is_new = |state| now.state == state && was.state != state;
    let is_up_again = now.state == ServiceState::Running && has_restarted;
    // After an engine that did not answer, a container runs on.
    let ran_on = was.state == ServiceState::Unknown && !was.name.is_empty();
    if (is_new(ServiceState::Running) && !ran_on) || is_up_again {
        say(false, "Started", "the container runs");
    }
    if is_new(ServiceState::Completed) {
        say(false, "Completed", "the container ended with exit code 0");
    }
    if now.ready && !was.ready && now.state == ServiceState::Running {
        say(false, "Ready", "ready for requests");
    }
    said
}

fn restarted(now: &ServiceStatus) -> String {
    match (now.message.as_str(), now.exit_code) {
        ("", Some(code)) => format!("started again after it ended with exit code {code}"),
        ("", None) => "started again after it ended".to_owned(),
        (message, _) => message.to_owned(),
    }
}

/// What is wrong now and was not before.
fn trouble<'a>(
    was: &ServiceStatus,
    now: &'a ServiceStatus,
    is_rollout: bool,
) -> Option<(&'a str, &'a str)> {
    if now.ready {
        return None;
    }
    let message = |default: &'static str| match now.message.as_str() {
        "" => default,
        message => message,
    };
    let has_news = now.reason != was.reason || now.message != was.message;
    match (now.reason.as_str(), now.state) {
        ("", ServiceState::Unknown) if was.ready => {
            Some(("Unknown", message("the container engine does not answer")))
        }
        ("", ServiceState::Exited) if was.state != ServiceState::Exited => {
            Some(("Exited", message("the container ended")))
        }
        // The next generation's container is shown as soon as there is one.
        ("", ServiceState::Running) if was.ready && !is_rollout => {
            Some(("Unhealthy", message("not ready any more")))
        }
        // Every port is closed at first; one that stays so ends the wait for the service.
        ("PortClosed", _) if !was.ready => None,
        (reason, _) if !reason.is_empty() && has_news => Some((reason, message("not ready"))),
        _ => None,
    }
}
