//! Moves to another node while the old one still works.
//!
//! Start-first: both nodes run the project, each with an epoch of its own, until the new copy is
//! Running; then one write makes the new binding the only one. Stop-first, where stored data is
//! lost anyway: the old copy is removed, then the project is placed like a new one. One project
//! at a time leaves a node; one whose new copy fails does not hold up the others.

use cara_api::condition::{self, PLACED};
use cara_api::project::{Move, ProjectStatus};
use cara_api::{Node, Project};

use super::{next_epoch, set_unplaceable};
use crate::plan::World;
use crate::plan::assign::stops_first;
use crate::plan::evict::{Cause, Way, cause, way};
use crate::plan::node::is_alive;
use crate::plan::place::place;

/// Begins, changes or gives up a move of a project whose node is alive.
pub(super) fn settle(
    project: &Project,
    node: &Node,
    world: &World<'_>,
    status: &mut ProjectStatus,
) {
    let Some(cause) = cause(project, node) else {
        give_up(project, status);
        condition::clear(&mut status.conditions, PLACED);
        return;
    };
    let way = way(&project.spec, node.spec.drain.as_ref());
    match (&project.status.moving, way) {
        (None, Way::Blocked(_)) => condition::clear(&mut status.conditions, PLACED),
        (None, Way::StartFirst | Way::StopFirst) => begin(project, cause, way, world, status),
        (Some(moving), Way::StartFirst | Way::StopFirst) if stops_first(moving) => {}
        (Some(moving), Way::StartFirst) => {
            if !is_target(project, moving, world) {
                let target = choose(project, world, status);
                status.moving = target.map(|node_ref| Move {
                    node_ref,
                    binding_epoch: next_epoch(project),
                    message: String::new(),
                    ..moving.clone()
                });
                note_epoch(status);
            }
        }
        (Some(_), Way::Blocked(_) | Way::StopFirst) => give_up(project, status),
    }
}

/// Takes a move back. What an agent says of a removal that was taken back must not count.
fn give_up(project: &Project, status: &mut ProjectStatus) {
    if status.moving.take().is_some_and(|m| stops_first(&m)) {
        status.binding_epoch = next_epoch(project);
        status.last_epoch = status.binding_epoch;
    }
}

fn begin(project: &Project, cause: Cause, way: Way, world: &World<'_>, status: &mut ProjectStatus) {
    let (node, name) = (&project.status.node_ref, &project.metadata.name);
    if world.fleet.is_another_leaving(node, name) {
        return;
    }
    // Also before a removal: what can go nowhere stays where it runs.
    let Some(target) = choose(project, world, status) else {
        return;
    };
    let mut moving = Move {
        reason: cause.reason().to_owned(),
        since: Some(world.now),
        ..Move::default()
    };
    if way == Way::StopFirst {
        status.binding_epoch = next_epoch(project);
    } else {
        moving.node_ref = target;
        moving.binding_epoch = next_epoch(project);
    }
    status.moving = Some(moving);
    note_epoch(status);
}

fn note_epoch(status: &mut ProjectStatus) {
    let target = status.moving.as_ref().map(|m| m.binding_epoch);
    status.last_epoch = status
        .last_epoch
        .max(status.binding_epoch)
        .max(target.unwrap_or_default());
}

/// Another node for a project, or a condition that says why there is none.
fn choose(project: &Project, world: &World<'_>, status: &mut ProjectStatus) -> Option<String> {
    match place(world.fleet, project, Some(&project.status.node_ref)) {
        Ok(node) => {
            condition::clear(&mut status.conditions, PLACED);
            Some(node.as_str().to_owned())
        }
        Err(unplaceable) => {
            set_unplaceable(status, &unplaceable, world.now);
            None
        }
    }
}

/// True while the node that was chosen can still be moved to.
fn is_target(project: &Project, moving: &Move, world: &World<'_>) -> bool {
    let node = world.fleet.node(&moving.node_ref);
    node.is_some_and(|node| is_alive(node) && cause(project, node).is_none())
}
