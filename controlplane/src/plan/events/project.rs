//! What happened to a project.

use std::collections::BTreeMap;

use cara_api::Project;
use cara_api::condition::{
    self, Condition, NOT_READY_AT, PHASE, PLACED, PROGRESS, ROLLED_BACK, TERMINATING_AT,
};
use cara_api::event::EventType;
use cara_api::gateway::{Action, Host};
use cara_api::hostname::Hostname;
use cara_api::project::ProjectPhase;

use super::{Again, Draft, SCHEDULER, Site, agent, says_the_same, service};
use crate::plan::routes::material::Nothing;
use crate::plan::routes::{self, Ground};

/// What a change of a project means, in order.
pub fn of_project(
    before: Option<&Project>,
    after: Option<&Project>,
    site: &Site<'_>,
) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let Some(after) = after else {
        drafts.push(Draft::normal(
            "Deleted",
            "nothing of the project is left",
            SCHEDULER,
        ));
        return drafts;
    };
    let new = Project::default();
    let before = match before {
        Some(before) => {
            drafts.extend(edited(before, after));
            before
        }
        None => {
            drafts.push(Draft::normal(
                "Created",
                "the project was accepted",
                SCHEDULER,
            ));
            &new
        }
    };
    drafts.extend(moved(before, after));
    drafts.extend(unplaced(before, after));
    drafts.extend(waiting(before, after));
    drafts.extend(progress(before, after));
    // What services did is why the phase changed.
    drafts.extend(service::of_services(before, after));
    drafts.extend(phase(before, after));
    drafts.extend(rolled_back(before, after));
    drafts.extend(routed(before, after, site));
    drafts
}

fn found<'a>(project: &'a Project, kind: &str) -> Option<&'a Condition> {
    condition::find(&project.status.conditions, kind)
}

/// A condition that is new or tells something else than before.
fn news<'a>(before: &Project, after: &'a Project, kind: &str) -> Option<&'a Condition> {
    found(after, kind).filter(|c| !says_the_same(Some(c), found(before, kind)))
}

fn edited(before: &Project, after: &Project) -> Option<Draft> {
    let generation = after.metadata.generation;
    let message = format!("the spec has generation {}", generation.0);
    (generation != before.metadata.generation)
        .then(|| Draft::normal("SpecChanged", message, SCHEDULER))
}

fn moved(before: &Project, after: &Project) -> Option<Draft> {
    let (old, new) = (&before.status, &after.status);
    let node = |name: &str| match name {
        "" => "another node".to_owned(),
        name => format!("node {name}"),
    };
    match (&old.moving, &new.moving) {
        (Some(_), None) if old.node_ref != new.node_ref && !new.node_ref.is_empty() => {
            let message = format!("from node {} to node {}", old.node_ref, new.node_ref);
            Some(Draft::normal("Moved", message, SCHEDULER))
        }
        (Some(_), None) if new.node_ref.is_empty() || new.phase.is_ending() => None,
        (Some(_), None) => {
            let message = format!("the project stays on node {}", new.node_ref);
            Some(Draft::normal("MoveEnded", message, SCHEDULER))
        }
        (was, Some(now)) => {
            let to = node(&now.node_ref);
            let message = format!("from node {} to {to}: {}", new.node_ref, now.reason);
            let target = |m: &cara_api::project::Move| m.node_ref.clone();
            let is_new = was.as_ref().map(target) != Some(target(now));
            let failed = was.as_ref().is_none_or(|m| m.message != now.message);
            if is_new {
                Some(Draft::normal("Moving", message, SCHEDULER).again(Again::Begun))
            } else if failed && !now.message.is_empty() {
                let message = format!("the copy on {to} is not ready: {}", now.message);
                Some(Draft::warning("MoveDelayed", message, SCHEDULER))
            } else {
                None
            }
        }
        (None, None) => None,
    }
}

fn unplaced(before: &Project, after: &Project) -> Option<Draft> {
    let placed = news(before, after, PLACED).filter(|c| c.status == "False")?;
    // The message names every node; it changes whenever one of them does.
    let again = match found(before, PLACED) {
        Some(_) => Again::Continued,
        None => Again::Begun,
    };
    Some(Draft::warning(&placed.reason, &placed.message, SCHEDULER).again(again))
}

/// The clocks that run while a node is not ready.
fn waiting(before: &Project, after: &Project) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for kind in [NOT_READY_AT, TERMINATING_AT] {
        match (found(before, kind), found(after, kind)) {
            (None, Some(since)) => {
                drafts.push(Draft::warning(kind, &since.message, SCHEDULER));
            }
            (Some(_), None)
                if before.status.node_ref == after.status.node_ref
                    && before.status.phase == after.status.phase =>
            {
                let message = format!("node {} is ready again", after.status.node_ref);
                drafts.push(Draft::normal("NodeReady", message, SCHEDULER));
            }
            (Some(_), None | Some(_)) | (None, None) => {}
        }
    }
    drafts
}

fn phase(before: &Project, after: &Project) -> Option<Draft> {
    let (old, new) = (&before.status, &after.status);
    let said = news(before, after, PHASE);
    if said.is_none() && old.phase == new.phase {
        return None;
    }
    let (reason, message) = match said {
        Some(said) => (said.reason.as_str(), said.message.as_str()),
        None => (new.phase.as_str(), ""),
    };
    let is_lost = new.phase == ProjectPhase::Pending && !old.node_ref.is_empty();
    let is_stuck = matches!(reason, "RemoveError" | "TerminationTimeout");
    let kind = if new.phase == ProjectPhase::Failed || is_lost || is_stuck {
        EventType::Warning
    } else {
        EventType::Normal
    };
    let is_reported = matches!(
        new.phase,
        ProjectPhase::Running | ProjectPhase::Failed | ProjectPhase::Terminated
    ) || matches!(reason, "RemoveError" | "Retrying");
    let node = match new.node_ref.as_str() {
        "" => &old.node_ref,
        node => node,
    };
    let source = if is_reported && reason != "TerminationTimeout" && !node.is_empty() {
        agent(node)
    } else {
        SCHEDULER.to_owned()
    };
    Some(Draft::new(kind, reason, message, source))
}

fn rolled_back(before: &Project, after: &Project) -> Option<Draft> {
    let said = news(before, after, ROLLED_BACK)?;
    Some(Draft::warning("RolledBack", &said.message, SCHEDULER))
}

fn progress(before: &Project, after: &Project) -> Option<Draft> {
    let said = news(before, after, PROGRESS)?;
    let reason = |said: &Condition| {
        if said.message.starts_with("pulling") {
            "Pulling"
        } else {
            "InProgress"
        }
    };
    let was = found(before, PROGRESS).map(reason);
    let again = if was == Some(reason(said)) {
        Again::Continued
    } else {
        Again::Begun
    };
    let source = agent(&after.status.node_ref);
    Some(Draft::normal(reason(said), &said.message, source).again(again))
}

/// Hostnames that began or ceased to be served.
fn routed(before: &Project, after: &Project, site: &Site<'_>) -> Vec<Draft> {
    // Who may come in does not matter here.
    let ground = Ground {
        domain: site.domain,
        material: &Nothing,
    };
    let was_served: BTreeMap<Hostname, bool> = routes::of_project(before, None, &ground)
        .hosts
        .into_iter()
        .map(|(name, host)| (name, routes::unserved(&host).is_none()))
        .collect();
    let mut drafts = Vec::new();
    for (name, host) in routes::of_project(after, None, &ground).hosts {
        let was = was_served.get(&name).copied().unwrap_or(false);
        let redirects = host.routes.iter().any(|r| r.policy.redirect_https);
        let url = site.pattern(&name, redirects);
        match (was, routes::unserved(&host)) {
            (false, None) => {
                let message = format!("{url} -> {}", leads_to(&host));
                drafts.push(Draft::normal("Routed", message, SCHEDULER));
            }
            (true, Some(_)) if after.status.phase.is_ending() => {
                let message = format!("{url} is not served any more");
                drafts.push(Draft::normal("Unrouted", message, SCHEDULER));
            }
            (true, Some(reason)) => {
                let message = format!("{url} is not served: {reason}");
                drafts.push(Draft::warning("Unrouted", message, SCHEDULER));
            }
            (false, Some(_)) | (true, None) => {}
        }
    }
    drafts
}

/// Where a host leads to, by the first of its rules.
fn leads_to(host: &Host) -> String {
    let Some(route) = host.routes.first() else {
        let passed = host.tls.passthrough.as_ref();
        return passed.map_or_else(String::new, |stream| stream.service.clone());
    };
    match &route.action {
        Action::Forward(_) => route.service().to_owned(),
        Action::Redirect(redirect) => format!("redirect to {}", redirect.to),
        Action::Respond(respond) => format!("answer {}", respond.status),
    }
}
