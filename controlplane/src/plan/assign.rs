//! What a node is told about a project that is bound to it, or moves to it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cara_api::agent::{Assignment, ExposedPort, Goal};
use cara_api::project::{Move, ProjectRevision, ProjectSpec};
use cara_api::{Generation, NodeName, Project};

/// The generation that shall run: the newest, or the stable one while the newest is rejected and
/// `stable` is at hand.
pub fn generation(project: &Project, stable: Option<&ProjectRevision>) -> Generation {
    returns_to(project, stable).map_or(project.metadata.generation, |r| r.generation)
}

/// The earlier generation that runs instead of the newest, if one does.
fn returns_to<'a>(
    project: &Project,
    stable: Option<&'a ProjectRevision>,
) -> Option<&'a ProjectRevision> {
    let status = &project.status;
    let is_rejected = status.rejected_generation == project.metadata.generation;
    stable.filter(|r| is_rejected && r.generation == status.stable_generation)
}

/// True for a move that removes the old copy before the new one is started.
pub fn stops_first(moving: &Move) -> bool {
    moving.node_ref.is_empty()
}

/// What `node` is told. `stable` is the stored spec of the project's stable generation, if there
/// is one.
pub fn assignment(
    project: &Project,
    node: &NodeName,
    stable: Option<&ProjectRevision>,
) -> Assignment {
    let status = &project.status;
    let moving = status.moving.as_ref();
    let arriving = moving.filter(|m| m.node_ref == node.as_str());
    let is_leaving_first = moving.is_some_and(stops_first);
    let goal = if status.phase.is_ending() || is_leaving_first {
        Goal::Remove
    } else {
        Goal::Run
    };
    let returned = returns_to(project, stable);
    let generation = generation(project, stable);
    Assignment {
        name: project.name(),
        uid: project
            .metadata
            .uid
            .map(|uid| uid.to_string())
            .unwrap_or_default(),
        generation,
        epoch: arriving.map_or(status.binding_epoch, |m| m.binding_epoch),
        goal,
        spec: returned.map_or_else(
            || Arc::new(project.spec.clone()),
            |revision| Arc::clone(&revision.spec),
        ),
        exposed: exposed(returned.map_or(&project.spec, |revision| &revision.spec)),
        is_rollout: !status.stable_generation.is_zero() && status.stable_generation < generation,
        secrets: BTreeMap::new(),
    }
}

fn exposed(spec: &ProjectSpec) -> Vec<ExposedPort> {
    let ports: BTreeSet<ExposedPort> = spec
        .ingress
        .iter()
        .flat_map(|ingress| ingress.all_targets())
        .filter_map(|target| {
            let port = u16::try_from(target.port).ok()?;
            Some(ExposedPort {
                service: target.service.clone(),
                port,
            })
        })
        .collect();
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use cara_api::Timestamp;
    use cara_api::project::{BindingEpoch, ProjectPhase, Service};

    use super::*;

    fn project() -> Project {
        let mut project = Project::default();
        project.metadata.generation = Generation(3);
        project.status.phase = ProjectPhase::Running;
        project.status.node_ref = "old".into();
        project.status.binding_epoch = BindingEpoch(4);
        project.status.stable_generation = Generation(2);
        project
    }

    fn shown(project: &Project, node: &str, stable: Option<&ProjectRevision>) -> String {
        let told = assignment(project, &NodeName::trusted(node), stable);
        format!(
            "{:?} generation={} epoch={} rollout={} services={}",
            told.goal,
            told.generation.0,
            told.epoch.0,
            told.is_rollout,
            told.spec.services.len()
        )
    }

    #[test]
    fn a_rejected_generation_gives_way_to_the_stable_one() {
        let spec = ProjectSpec {
            services: vec![Service::default()],
            ..ProjectSpec::default()
        };
        let stable = ProjectRevision {
            ran: false,
            project: "p".into(),
            generation: Generation(2),
            spec: Arc::new(spec),
            replaced_at: Timestamp::UNIX_EPOCH,
        };
        let mut project = project();
        let newest = "Run generation=3 epoch=4 rollout=true services=0";
        assert_eq!(shown(&project, "old", Some(&stable)), newest);
        project.status.rejected_generation = Generation(3);
        assert_eq!(shown(&project, "old", None), newest, "nothing to return to");
        assert_eq!(
            shown(&project, "old", Some(&stable)),
            "Run generation=2 epoch=4 rollout=false services=1"
        );
        project.metadata.generation = Generation(4);
        assert_eq!(
            shown(&project, "old", Some(&stable)),
            "Run generation=4 epoch=4 rollout=true services=0",
            "a newer one is tried"
        );
    }

    #[test]
    fn both_nodes_of_a_move_are_told_their_own_binding() {
        let mut project = project();
        project.status.moving = Some(Move {
            node_ref: "new".into(),
            binding_epoch: BindingEpoch(5),
            ..Move::default()
        });
        assert_eq!(
            shown(&project, "old", None),
            "Run generation=3 epoch=4 rollout=true services=0"
        );
        assert_eq!(
            shown(&project, "new", None),
            "Run generation=3 epoch=5 rollout=true services=0"
        );
        project.status.moving = Some(Move::default());
        assert_eq!(
            shown(&project, "old", None),
            "Remove generation=3 epoch=4 rollout=true services=0"
        );
    }
}
