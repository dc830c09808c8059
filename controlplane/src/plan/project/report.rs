//! Takes in what agents report.

use cara_api::agent::{Outcome, Report};
use cara_api::condition::{self, Condition, NOT_READY_AT, PLACED, PROGRESS, ROLLED_BACK};
use cara_api::project::{Move, ProjectPhase, ProjectStatus};
use cara_api::{Generation, NodeName, Project, Timestamp};

use super::{set_phase_reason, unbind};
use crate::plan::assign::stops_first;

/// A report and who sent it.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// The sender.
    pub node: &'a NodeName,
    /// What it says.
    pub report: &'a Report,
    /// The spec of the project's stable generation is stored, so a rollout can be taken back.
    pub can_roll_back: bool,
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
    /// The report is about a generation that is not wanted any more.
    #[error("the report is about another generation of the project")]
    OtherGeneration,
}

/// The status after a report; none when the report says nothing new.
///
/// # Errors
/// The report is not about the current binding, nor about that of a move under way.
pub fn fold(
    project: &Project,
    heard: &Heard<'_>,
    now: Timestamp,
) -> Result<Option<ProjectStatus>, Stale> {
    let report = heard.report;
    let mut status = project.status.clone();
    match sender(&project.status, heard)? {
        Sender::Bound if status.phase.is_ending() => {
            status.services.clone_from(&report.services);
            fold_removal(&mut status, &report.outcome, now);
        }
        Sender::Bound => {
            check_generation(project, heard)?;
            status.services.clone_from(&report.services);
            match &project.status.moving {
                Some(moving) if stops_first(moving) => {
                    fold_leaving(&mut status, moving, &report.outcome, now);
                }
                Some(_) | None => fold_run(project, &mut status, heard, now),
            }
        }
        Sender::Target => {
            check_generation(project, heard)?;
            fold_target(project, &mut status, heard, now);
        }
    }
    Ok((status != project.status).then_some(status))
}

/// Which of a project's bindings a report is about.
enum Sender {
    Bound,
    Target,
}

fn sender(status: &ProjectStatus, heard: &Heard<'_>) -> Result<Sender, Stale> {
    let (node, epoch) = (heard.node.as_str(), heard.report.epoch);
    let target = status.moving.as_ref().filter(|m| m.node_ref == node);
    if status.node_ref == node && status.binding_epoch == epoch {
        Ok(Sender::Bound)
    } else if target.is_some_and(|m| m.binding_epoch == epoch) {
        Ok(Sender::Target)
    } else if status.node_ref == node || target.is_some() {
        Err(Stale::OldEpoch)
    } else {
        Err(Stale::OtherNode)
    }
}

/// Refuses what is said of a generation that was overtaken, rejected, or never was.
fn check_generation(project: &Project, heard: &Heard<'_>) -> Result<(), Stale> {
    let newest = project.metadata.generation;
    let (generation, wanted) = (heard.report.generation, wanted(project, heard));
    let is_meant = if wanted == newest {
        let rejected = project.status.rejected_generation;
        let is_rejected = generation == rejected && generation != newest;
        (project.status.observed_generation..=newest).contains(&generation) && !is_rejected
    } else {
        generation == wanted
    };
    if !is_meant {
        return Err(Stale::OtherGeneration);
    }
    Ok(())
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

/// The old copy of a move is being removed first.
fn fold_leaving(status: &mut ProjectStatus, moving: &Move, outcome: &Outcome, now: Timestamp) {
    match outcome {
        Outcome::Removed => {
            let node = &status.node_ref;
            let message = format!("removed from node {node}; placing the project elsewhere");
            unbind(status, &moving.reason, message, now);
        }
        Outcome::Removing { message } if !message.is_empty() => {
            status.moving = Some(Move {
                message: message.clone(),
                ..moving.clone()
            });
        }
        Outcome::Removing { .. }
        | Outcome::Starting
        | Outcome::Running
        | Outcome::Failed { .. } => {}
    }
}

/// The new copy of a move. Once it runs, its binding is the only one, in one write.
fn fold_target(project: &Project, status: &mut ProjectStatus, heard: &Heard<'_>, now: Timestamp) {
    let Some(moving) = &project.status.moving else {
        return;
    };
    let report = heard.report;
    match &report.outcome {
        Outcome::Running if report.generation == wanted(project, heard) => {
            status.node_ref.clone_from(&moving.node_ref);
            status.binding_epoch = moving.binding_epoch;
            status.moving = None;
            status.services.clone_from(&report.services);
            for kind in [NOT_READY_AT, PLACED, PROGRESS] {
                condition::clear(&mut status.conditions, kind);
            }
            set_running(project, status, report.generation, now);
        }
        Outcome::Failed { reason, message } => {
            let message = match message.as_str() {
                "" => reason.clone(),
                message => message.to_owned(),
            };
            status.moving = Some(Move {
                message,
                ..moving.clone()
            });
        }
        // It may well have been about an older generation; the next report tells.
        Outcome::Running | Outcome::Starting | Outcome::Removed | Outcome::Removing { .. } => {}
    }
}

/// The generation that was assigned.
fn wanted(project: &Project, heard: &Heard<'_>) -> Generation {
    let status = &project.status;
    let newest = project.metadata.generation;
    if status.rejected_generation == newest && heard.can_roll_back {
        status.stable_generation
    } else {
        newest
    }
}

fn fold_run(project: &Project, status: &mut ProjectStatus, heard: &Heard<'_>, now: Timestamp) {
    let report = heard.report;
    let is_newer = report.generation > status.observed_generation;
    match &report.outcome {
        Outcome::Running => set_running(project, status, report.generation, now),
        Outcome::Failed { reason, message } if is_failed_rollout(project, heard) => {
            status.rejected_generation = report.generation;
            status.observed_generation = status.stable_generation;
            let why = Condition::new(ROLLED_BACK, true, reason, message.clone(), now);
            condition::set(&mut status.conditions, why);
        }
        Outcome::Failed { reason, message } => {
            status.phase = ProjectPhase::Failed;
            status.observed_generation = report.generation;
            set_phase_reason(status, reason, message.clone(), now);
        }
        Outcome::Starting if status.phase == ProjectPhase::Failed && is_newer => {
            status.phase = ProjectPhase::Scheduled;
            let message = "starting the changed project".to_owned();
            set_phase_reason(status, "Retrying", message, now);
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

/// True when the newest generation failed and an earlier one, which is stored, ran well.
fn is_failed_rollout(project: &Project, heard: &Heard<'_>) -> bool {
    let (newest, stable) = (
        project.metadata.generation,
        project.status.stable_generation,
    );
    heard.report.generation == newest && !stable.is_zero() && stable < newest && heard.can_roll_back
}

fn set_running(
    project: &Project,
    status: &mut ProjectStatus,
    generation: Generation,
    now: Timestamp,
) {
    status.phase = ProjectPhase::Running;
    status.observed_generation = generation;
    status.stable_generation = status.stable_generation.max(generation);
    if generation == project.metadata.generation {
        status.rejected_generation = Generation::default();
        condition::clear(&mut status.conditions, ROLLED_BACK);
    }
    let message = "All containers running".to_owned();
    set_phase_reason(status, "ContainersRunning", message, now);
}
