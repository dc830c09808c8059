//! The life of a project.
//!
//! ```text
//!            place                report Running
//! Pending ----------> Scheduled ----------------> Running
//!    ^                 |    ^                      |   ^
//!    | node is gone    |    | a newer spec         |   | report Running
//!    | or not ready    |    |                      v   |
//!    +-----------------+    +------------------- Failed
//!                                report Failed
//! any but the last two --delete, expiry--> Terminating --report Removed--> Terminated --> (gone)
//! ```
//!
//! [`next`] decides what time and nodes ask for; [`fold`] takes in what an agent reports;
//! [`terminate`] marks the wish to delete; [`respecify`] takes in a new spec. Each returns the
//! whole new state, to be written only if the project did not change since it was read.

mod bound;
mod ending;
mod moves;
mod report;
mod rollout;

use cara_api::condition::{self, Condition, NOT_READY_AT, PHASE, PLACED, PROGRESS};
use cara_api::project::{BindingEpoch, ProjectPhase, ProjectStatus};
use cara_api::{Project, Timestamp};

use super::place::place;
use super::{Action, Decision, World};

pub use ending::terminate;
pub use report::{Heard, Stale, fold};
pub use rollout::{Respecified, outdated, respecify, revision_before};

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
    let (action, moment) = match phase {
        ProjectPhase::Pending => (schedule(project, world), None),
        ProjectPhase::Scheduled | ProjectPhase::Running | ProjectPhase::Failed => {
            bound::keep(project, world)
        }
        ProjectPhase::Terminating => ending::finish(project, world),
        ProjectPhase::Terminated => (Action::Forget, None),
    };
    let expire_at = expire_at.filter(|_| !phase.is_ending());
    Decision {
        action,
        wake_at: [expire_at, moment].into_iter().flatten().min(),
    }
}

/// True when a place, or room, may become free for a project that waits for it.
pub fn is_waiting(project: &Project) -> bool {
    let status = &project.status;
    status.phase == ProjectPhase::Pending || condition::find(&status.conditions, PLACED).is_some()
}

fn schedule(project: &Project, world: &World<'_>) -> Action<ProjectStatus> {
    let mut status = project.status.clone();
    match place(world.fleet, project, None) {
        Ok(node) => {
            status.phase = ProjectPhase::Scheduled;
            status.binding_epoch = next_epoch(project);
            status.last_epoch = status.binding_epoch;
            status.services.clear();
            condition::clear(&mut status.conditions, PLACED);
            let message = format!("assigned to node {node}");
            status.node_ref = node.as_str().to_owned();
            set_phase_reason(&mut status, "Scheduled", message, world.now);
        }
        Err(unplaceable) => set_unplaceable(&mut status, &unplaceable, world.now),
    }
    write_if_changed(project, status)
}

fn set_unplaceable(
    status: &mut ProjectStatus,
    unplaceable: &super::place::Unplaceable,
    now: Timestamp,
) {
    let message = unplaceable.to_string();
    let reason = Condition::new(PLACED, false, "Unschedulable", message, now);
    condition::set(&mut status.conditions, reason);
}

/// The epoch of a new binding: larger than all that were ever given out for this name. A write
/// gives out at most one, so epochs never overtake the store's revision, and beginning above
/// the project's own revision leaves those of a deleted project of the same name behind.
fn next_epoch(project: &Project) -> BindingEpoch {
    let status = &project.status;
    let target = status.moving.as_ref().map(|m| m.binding_epoch);
    let last = status
        .last_epoch
        .max(status.binding_epoch)
        .max(target.unwrap_or_default());
    let revision = BindingEpoch(project.metadata.resource_version.0);
    last.next().max(revision)
}

/// Takes a project off its node, so that it is placed again.
fn unbind(status: &mut ProjectStatus, reason: &str, message: String, now: Timestamp) {
    status.phase = ProjectPhase::Pending;
    status.node_ref.clear();
    status.services.clear();
    status.moving = None;
    for kind in [NOT_READY_AT, PROGRESS, PLACED] {
        condition::clear(&mut status.conditions, kind);
    }
    set_phase_reason(status, reason, message, now);
}

/// Notes since when something lasts, and returns it. What was noted before stays, unless it lies
/// in the future because a clock was set back.
fn since(status: &mut ProjectStatus, kind: &str, message: String, now: Timestamp) -> Timestamp {
    let noted = condition::find(&status.conditions, kind).and_then(|c| c.last_transition_time);
    let since = noted.filter(|at| *at <= now).unwrap_or(now);
    let fresh = Condition::new(kind, true, "NodeNotReady", message, since);
    let old = status.conditions.iter_mut().find(|c| c.kind == kind);
    match old {
        Some(old) => *old = fresh,
        None => status.conditions.push(fresh),
    }
    since
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
