//! A project that is being deleted; nothing leads back from here.

use cara_api::condition::{self, NOT_READY_AT, PLACED, PROGRESS, ROLLED_BACK, TERMINATING_AT};
use cara_api::project::{ProjectPhase, ProjectStatus};
use cara_api::{Project, Timestamp};

use super::{set_phase_reason, since, write_if_changed};
use crate::plan::node::is_alive;
use crate::plan::{Action, World, later};

/// The status once deletion is wanted; nothing leads back from it. A move ends: the node that was
/// to be moved to is no longer assigned the project, and removes its copy by itself.
pub fn terminate(project: &Project, reason: &str, message: &str, now: Timestamp) -> ProjectStatus {
    let mut status = project.status.clone();
    if status.phase.is_ending() {
        return status;
    }
    status.phase = ProjectPhase::Terminating;
    status.moving = None;
    for kind in [PLACED, PROGRESS, NOT_READY_AT, ROLLED_BACK] {
        condition::clear(&mut status.conditions, kind);
    }
    set_phase_reason(&mut status, reason, message.to_owned(), now);
    status
}

/// What to do with a project whose removal was asked for.
pub(super) fn finish(
    project: &Project,
    world: &World<'_>,
) -> (Action<ProjectStatus>, Option<Timestamp>) {
    let node_ref = &project.status.node_ref;
    let Some(node) = world.fleet.node(node_ref) else {
        // Nobody is left to report; what may still run there is swept up when it comes back.
        return (Action::Forget, None);
    };
    let mut status = project.status.clone();
    if is_alive(node) {
        condition::clear(&mut status.conditions, TERMINATING_AT);
        return (write_if_changed(project, status), None);
    }
    let limit = world.patience.force_terminate_after;
    let message = format!(
        "node {node_ref} is not ready; the project counts as removed when that lasts {} s",
        limit.as_secs()
    );
    let due = later(
        since(&mut status, TERMINATING_AT, message, world.now),
        limit,
    );
    if due > world.now {
        return (write_if_changed(project, status), Some(due));
    }
    status.phase = ProjectPhase::Terminated;
    let message = format!(
        "node {node_ref} did not answer for {} s; it removes what is left when it comes back",
        limit.as_secs()
    );
    set_phase_reason(&mut status, "TerminationTimeout", message, world.now);
    (Action::Write(status), None)
}
