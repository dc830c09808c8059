//! The life of a project.
//!
//! ```text
//!            place                report Running
//! Pending ----------> Scheduled ----------------> Running
//!    ^                 |    ^                      |   ^
//!    | node is gone    |    | a newer spec         |   | report Running
//!    +-----------------+    +------- Failed <------+---+
//!                                      report Failed
//! any but the last two --delete, expiry--> Terminating --report Removed--> Terminated --> (gone)
//! ```
//!
//! [`next`] decides what time and nodes ask for; [`fold`] takes in what an agent reports;
//! [`terminate`] marks the wish to delete. Each returns the whole new status, to be written
//! only if the project did not change since it was read.

use cara_api::agent::{Outcome, Report};
use cara_api::condition::{self, Condition, PHASE, PLACED, PROGRESS};
use cara_api::project::{ProjectPhase, ProjectStatus};
use cara_api::{NodeName, Project, Timestamp};

use super::place::place;
use super::{Action, Decision, World};

/// What to do with a project now.
pub fn next(project: &Project, world: &World<'_>) -> Decision<ProjectStatus> {
    let expire_at = project
        .spec
        .expire_at
        .as_ref()
        .map(cara_api::project::ExpireAt::at);
    let phase = project.status.phase;
    if !phase.is_ending() && expire_at.is_some_and(|at| at <= world.now) {
        let message = format!("expired at {}", expire_at.unwrap_or(world.now));
        let action = Action::Write(terminate(project, "Expired", &message, world.now));
        return Decision {
            action,
            wake_at: None,
        };
    }
    let action = match phase {
        ProjectPhase::Pending => schedule(project, world),
        ProjectPhase::Scheduled | ProjectPhase::Running | ProjectPhase::Failed => {
            keep_bound(project, world)
        }
        ProjectPhase::Terminating => finish(project, world),
        ProjectPhase::Terminated => Action::Forget,
    };
    Decision {
        action,
        wake_at: expire_at.filter(|_| !phase.is_ending()),
    }
}

fn schedule(project: &Project, world: &World<'_>) -> Action<ProjectStatus> {
    let mut status = project.status.clone();
    match place(world) {
        Ok(node) => {
            status.phase = ProjectPhase::Scheduled;
            status.binding_epoch = status.binding_epoch.next();
            status.services.clear();
            condition::clear(&mut status.conditions, PLACED);
            let message = format!("assigned to node {node}");
            status.node_ref = node.as_str().to_owned();
            set_phase_reason(&mut status, "Scheduled", message, world.now);
        }
        Err(unplaceable) => {
            let reason = Condition::new(
                PLACED,
                false,
                "Unschedulable",
                unplaceable.to_string(),
                world.now,
            );
            condition::set(&mut status.conditions, reason);
        }
    }
    write_if_changed(project, status)
}

fn keep_bound(project: &Project, world: &World<'_>) -> Action<ProjectStatus> {
    if world
        .nodes
        .contains_key(&NodeName::trusted(&project.status.node_ref))
    {
        return Action::Keep;
    }
    let mut status = project.status.clone();
    let message = format!(
        "node {} is gone; placing the project again",
        status.node_ref
    );
    status.phase = ProjectPhase::Pending;
    status.node_ref.clear();
    status.services.clear();
    set_phase_reason(&mut status, "NodeGone", message, world.now);
    write_if_changed(project, status)
}

fn finish(project: &Project, world: &World<'_>) -> Action<ProjectStatus> {
    if world
        .nodes
        .contains_key(&NodeName::trusted(&project.status.node_ref))
    {
        return Action::Keep;
    }
    Action::Forget
}

/// The status once deletion is wanted; nothing leads back from it.
pub fn terminate(project: &Project, reason: &str, message: &str, now: Timestamp) -> ProjectStatus {
    let mut status = project.status.clone();
    if status.phase.is_ending() {
        return status;
    }
    status.phase = ProjectPhase::Terminating;
    condition::clear(&mut status.conditions, PLACED);
    condition::clear(&mut status.conditions, PROGRESS);
    set_phase_reason(&mut status, reason, message.to_owned(), now);
    status
}

/// Why a report is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// The project is bound to another node, or to none.
    #[error("the project is not bound to this node")]
    OtherNode,
    /// The report is about an earlier binding.
    #[error("the report is about an earlier binding of the project")]
    OldEpoch,
}

/// The status after a report of `node`; none when the report says nothing new.
///
/// # Errors
/// The report is not about the current binding.
pub fn fold(
    project: &Project,
    node: &NodeName,
    report: &Report,
    now: Timestamp,
) -> Result<Option<ProjectStatus>, Stale> {
    if project.status.node_ref != node.as_str() {
        return Err(Stale::OtherNode);
    }
    if project.status.binding_epoch != report.epoch {
        return Err(Stale::OldEpoch);
    }
    let mut status = project.status.clone();
    status.services.clone_from(&report.services);
    if status.phase.is_ending() {
        fold_removal(&mut status, &report.outcome, now);
    } else {
        fold_run(&mut status, report, now);
    }
    Ok((status != project.status).then_some(status))
}

fn fold_removal(status: &mut ProjectStatus, outcome: &Outcome, now: Timestamp) {
    match outcome {
        Outcome::Removed => {
            status.phase = ProjectPhase::Terminated;
            let message = "All Docker resources have been removed".to_owned();
            set_phase_reason(status, "ResourcesRemoved", message, now);
        }
        Outcome::Removing { message } if !message.is_empty() => {
            set_phase_reason(status, "RemoveError", message.clone(), now);
        }
        Outcome::Removing { .. }
        | Outcome::Starting
        | Outcome::Running
        | Outcome::Failed { .. } => {}
    }
}

fn fold_run(status: &mut ProjectStatus, report: &Report, now: Timestamp) {
    let is_newer = report.generation > status.observed_generation;
    match &report.outcome {
        Outcome::Running => {
            status.phase = ProjectPhase::Running;
            status.observed_generation = report.generation;
            set_phase_reason(
                status,
                "ContainersRunning",
                "All containers running".to_owned(),
                now,
            );
        }
        Outcome::Failed { reason, message } => {
            status.phase = ProjectPhase::Failed;
            status.observed_generation = report.generation;
            set_phase_reason(status, reason, message.clone(), now);
        }
        Outcome::Starting if status.phase == ProjectPhase::Failed && is_newer => {
            status.phase = ProjectPhase::Scheduled;
            set_phase_reason(
                status,
                "Retrying",
                "starting the changed project".to_owned(),
                now,
            );
        }
        // A removal that was reported late says nothing about a project that shall run.
        Outcome::Starting | Outcome::Removed | Outcome::Removing { .. } => {}
    }
    if report.progress.is_empty() {
        condition::clear(&mut status.conditions, PROGRESS);
    } else {
        let progress = Condition::new(PROGRESS, true, "InProgress", report.progress.clone(), now);
        condition::set(&mut status.conditions, progress);
    }
}

fn set_phase_reason(status: &mut ProjectStatus, reason: &str, message: String, now: Timestamp) {
    condition::set(
        &mut status.conditions,
        Condition::new(PHASE, true, reason, message, now),
    );
}

fn write_if_changed(project: &Project, status: ProjectStatus) -> Action<ProjectStatus> {
    if status == project.status {
        Action::Keep
    } else {
        Action::Write(status)
    }
}

#[cfg(test)]
mod tests;
