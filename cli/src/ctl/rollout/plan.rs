//! Decides when waiting for a project is over, and what is said of one that did not come up.
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use cara_api::condition::{self, PHASE, ROLLED_BACK};
use cara_api::project::{
    IngressProtocol, IngressStatus, ProjectPhase, RestartPolicy, ServiceState, ServiceStatus,
};
use cara_api::{Generation, Project};

/// A project that failed may still heal by itself; after this long it counts as failed.
pub const HEAL_GRACE: Duration = Duration::from_secs(10);
/// Work that shall end is waited for as long as agents wait for a service to be ready.
pub const WORK_GRACE: Duration = Duration::from_secs(120);
/// Reasons that do not heal while one waits.
const HOPELESS: [&str; 3] = ["ImagePullFailed", "NameCollision", "CreateFailed"];

/// How a project stands to the generation that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// On its way.
    Waiting,
    /// Everything is up; work that is to end goes on, and has its time for that.
    Working,
    /// Every service is up, or did its work.
    Done,
    /// It failed, but may heal; the time that it has for that runs.
    Failing,
    /// It failed and is not waited for any longer.
    Failed,
    /// The generation was given up; an earlier one runs.
    RolledBack,
}

/// For how long a project has been judged the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// That it fails.
    pub failing: Option<Duration>,
    /// That it works.
    pub working: Option<Duration>,
}

/// Judges a project, of which it is known how long that has been the judgement.
pub fn verdict(project: &Project, wanted: Generation, standing: Standing) -> Verdict {
    let status = &project.status;
    if status.observed_generation < wanted {
        return if status.rejected_generation >= wanted {
            Verdict::RolledBack
        } else {
            Verdict::Waiting
        };
    }
    match status.phase {
        // A rollout that failed may have been observed before it was given up.
        _ if status.rejected_generation == wanted => Verdict::RolledBack,
        ProjectPhase::Running if has_work(project) => match standing.working {
            Some(time) if time >= WORK_GRACE => Verdict::Done,
            Some(_) | None => Verdict::Working,
        },
        ProjectPhase::Running => Verdict::Done,
        ProjectPhase::Failed => {
            let reason =
                condition::find(&status.conditions, PHASE).map_or("", |c| c.reason.as_str());
            let is_over = standing.failing.is_some_and(|time| time >= HEAL_GRACE);
            // A rollout that fails is given up for the stable generation.
            let is_rollout = !status.stable_generation.is_zero();
            if is_over || HOPELESS.contains(&reason) && !is_rollout {
                Verdict::Failed
            } else {
                Verdict::Failing
            }
        }
        ProjectPhase::Pending | ProjectPhase::Scheduled if all_completed(project) => Verdict::Done,
        ProjectPhase::Pending
        | ProjectPhase::Scheduled
        | ProjectPhase::Terminating
        | ProjectPhase::Terminated => Verdict::Waiting,
    }
}

/// Whether a service is under way that shall end: nothing but its end shows that it works.
fn has_work(project: &Project) -> bool {
    let rules = &project.spec.ingress;
    let is_reached = |name: &str| {
        rules
            .iter()
            .any(|r| r.all_targets().any(|t| t.service == name))
    };
    let mut services = project.spec.services.iter().filter(|service| {
        let ends = match service.restart() {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure | RestartPolicy::Never => true,
        };
        ends && service.health_check.is_none() && !is_reached(&service.name)
    });
    services.any(|service| {
        let mut seen = project.status.services.iter();
        let seen = seen.find(|seen| seen.name == service.name);
        seen.is_some_and(|seen| seen.state != ServiceState::Completed)
    })
}

/// Every service of the document did its work and ended.
fn all_completed(project: &Project) -> bool {
    let mut services = project.spec.services.iter();
    services.all(|wanted| {
        let seen = project
            .status
            .services
            .iter()
            .find(|s| s.name == wanted.name);
        seen.is_some_and(|s| s.state == ServiceState::Completed)
    })
}

/// The URLs that should answer: those whose service did not end because it is done, and that are
/// not closed on purpose.
pub fn urls(project: &Project) -> Vec<&str> {
    let is_open = |status: &&IngressStatus| {
        let rule = project.spec.ingress.iter().find(|i| i.name == status.name);
        let Some(rule) = rule else { return false };
        let of = |s: &&ServiceStatus| rule.all_targets().any(|target| target.service == s.name);
        let is_http = rule.protocol() == Some(IngressProtocol::Http);
        let is_closed = rule.maintenance.is_some() || rule.pause.is_some();
        let mut services = project.status.services.iter().filter(of).peekable();
        let is_done =
            services.peek().is_some() && services.all(|s| s.state == ServiceState::Completed);
        is_http && !is_closed && !is_done && status.message.is_empty()
    };
    let open = project.status.ingress.iter().filter(is_open);
    // Rules that differ in headers only have the same one.
    let mut seen = BTreeSet::new();
    let urls = open.map(|i| i.url.as_str());
    urls.filter(|url| seen.insert(*url)).collect()
}

/// The URLs and addresses that do not serve what their rules say, and why.
pub fn closed(project: &Project) -> Vec<(&str, String)> {
    let why = |status: &IngressStatus| {
        let rule = project
            .spec
            .ingress
            .iter()
            .find(|i| i.name == status.name)?;
        if !status.message.is_empty() {
            return Some(status.message.clone());
        }
        let on_purpose = [
            (rule.maintenance.is_some(), "it is in maintenance"),
            (rule.pause.is_some(), "it is paused"),
        ];
        let found = on_purpose.into_iter().find(|(is_so, _)| *is_so);
        found.map(|(_, word)| word.to_owned())
    };
    let all = project.status.ingress.iter();
    let closed = all.filter_map(|status| {
        let place = match status.url.as_str() {
            "" => status.address.as_str(),
            url => url,
        };
        Some((place, why(status)?))
    });
    closed.collect()
}

/// How far a project is that did not come up in time.
pub fn late(project: &Project, wanted: Generation) -> String {
    let (name, status) = (&project.metadata.name, &project.status);
    match status.phase {
        ProjectPhase::Running if status.observed_generation < wanted => {
            format!("project/{name} is not up in generation {} yet", wanted.0)
        }
        phase => format!("project/{name} is still {phase}"),
    }
}

/// The services that are not as they should be, each in a line.
pub fn down(project: &Project) -> Vec<String> {
    let services = project.status.services.iter();
    let down = services.filter(|s| !s.ready && s.state != ServiceState::Completed);
    let lines = down.map(|s| format!("{} is {}", s.name, service_line(s)));
    lines.collect()
}

/// What is said of a failure: one sentence, and lines below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The sentence.
    pub headline: String,
    /// The reason in a word, as conditions name it.
    pub reason: String,
    /// The lines, the last ones of logs among them.
    pub lines: Vec<String>,
    /// Services that ended and of which no line is known yet.
    pub silent: Vec<String>,
    /// Services whose log has more to say than the lines that are known.
    pub told: Vec<String>,
}

/// Why a project failed.
pub fn failed(project: &Project) -> Account {
    let name = &project.metadata.name;
    account(project, PHASE, &format!("project/{name} failed"))
}

/// Why the generation that was waited for was given up, and what runs instead.
pub fn rolled_back(project: &Project) -> Account {
    let (name, status) = (&project.metadata.name, &project.status);
    let what = format!(
        "project/{name}: generation {} was rolled back",
        status.rejected_generation.0
    );
    let mut account = account(project, ROLLED_BACK, &what);
    // The containers that failed are gone; those that run have nothing to say about it.
    account.silent.clear();
    account.told.clear();
    let stable = status.stable_generation;
    if !stable.is_zero() {
        account
            .lines
            .push(format!("generation {} keeps running", stable.0));
    }
    account
}

fn account(project: &Project, kind: &str, what: &str) -> Account {
    let found = condition::find(&project.status.conditions, kind);
    let (reason, message) =
        found.map_or(("Failed", ""), |c| (c.reason.as_str(), c.message.as_str()));
    let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
    let headline = match first {
        "" => format!("{what}: {reason}"),
        first => format!("{what}: {reason}: {first}"),
    };
    let mut lines = indented(rest);
    let (mut silent, mut told_of) = (Vec::new(), Vec::new());
    for service in &project.status.services {
        let heading = format!("last lines of {}:", service.name);
        if !service.ready && (service.message.contains('\n') || message.contains(&heading)) {
            told_of.push(service.name.clone());
        }
        let told = service.message.split_once('\n').map(|(_, tail)| tail);
        match told {
            Some(tail) if !service.ready && !message.contains(tail) => {
                lines.push(format!("last lines of {}:", service.name));
                lines.extend(tail.lines().map(|line| format!("  {line}")));
            }
            Some(_) => {}
            // What never began says nothing; its log is that of an older one.
            None if reason == "ImagePullFailed" => {}
            None if service.state == ServiceState::Exited && rest.is_empty() => {
                silent.push(service.name.clone());
            }
            None => {}
        }
    }
    Account {
        headline,
        reason: reason.to_owned(),
        lines,
        silent,
        told: told_of,
    }
}

/// Lines of a message, those of logs set off from their headings.
fn indented(text: &str) -> Vec<String> {
    let mut is_log = false;
    let line = |line: &str| {
        if line.starts_with("last lines of ") {
            is_log = true;
            return line.to_owned();
        }
        match is_log && !line.starts_with("  ") {
            true => format!("  {line}"),
            false => line.to_owned(),
        }
    };
    text.lines().map(line).collect()
}

/// The progress of a service in a line.
pub fn service_line(service: &ServiceStatus) -> String {
    let ready = if service.ready { ", ready" } else { "" };
    let restarts = match service.restarts {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        n => format!(", restarted {n} times"),
    };
    // The state and the name stand before it already.
    let message = service.message.trim_end();
    let named = message.strip_prefix("exited: ").unwrap_or(message);
    let inner = named.strip_prefix(&service.name);
    let inner = inner.and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
    let message = match inner.unwrap_or(message) {
        "" => String::new(),
        message => format!(": {message}"),
    };
    format!("{}{ready}{restarts}{message}", service.state)
}

#[cfg(test)]
mod tests;
