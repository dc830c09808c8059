//! Generations of a project's spec: what a new one replaces, what is kept of the old ones, and
//! which one a rollback returns to.

use std::collections::BTreeMap;
use std::sync::Arc;

use cara_api::condition::{self, ROLLED_BACK};
use cara_api::project::{ProjectRevision, ProjectSpec};
use cara_api::{Generation, Project, Timestamp};

/// Earlier generations that are kept, next to the stable one.
const KEPT: usize = 10;

/// A project with another spec, and what to store of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respecified {
    /// The project in its new generation.
    pub project: Project,
    /// The generation that was replaced.
    pub replaced: ProjectRevision,
}

/// The project with another spec. None when it is the same one, unless its rollout failed: then
/// asking for it once more is a wish to try again.
pub fn respecify(old: &Project, spec: &ProjectSpec, now: Timestamp) -> Option<Respecified> {
    let generation = old.metadata.generation;
    let is_rejected = old.status.rejected_generation == generation;
    if *spec == old.spec && !is_rejected {
        return None;
    }
    let mut project = old.clone();
    project.spec = spec.clone();
    project.metadata.generation = generation.next();
    condition::clear(&mut project.status.conditions, ROLLED_BACK);
    Some(Respecified {
        project,
        replaced: ProjectRevision {
            project: old.metadata.name.clone(),
            generation,
            spec: Arc::new(old.spec.clone()),
            ran: old.status.stable_generation == generation,
            replaced_at: now,
        },
    })
}

/// Which stored generations to drop, given that one more is stored now.
pub fn outdated(
    stored: &BTreeMap<Generation, Arc<ProjectRevision>>,
    stable: Generation,
) -> Vec<Generation> {
    let surplus = (stored.len() + 1).saturating_sub(KEPT);
    let oldest = stored.keys().take(surplus);
    oldest.filter(|g| **g != stable).copied().collect()
}

/// The generation that a rollback returns to when none is named: the newest earlier one that
/// differs from what is there.
pub fn revision_before<'a>(
    project: &Project,
    stored: &'a BTreeMap<Generation, Arc<ProjectRevision>>,
) -> Option<&'a Arc<ProjectRevision>> {
    let earlier = stored.range(..project.metadata.generation).rev();
    let mut differing = earlier
        .map(|(_, revision)| revision)
        .filter(|revision| *revision.spec != project.spec);
    // One that failed is no place to return to.
    let newest = differing.clone().next();
    differing.find(|revision| revision.ran).or(newest)
}

#[cfg(test)]
mod tests {
    use cara_api::Condition;
    use cara_api::project::Service;

    use super::*;

    fn spec(image: &str) -> ProjectSpec {
        let service = Service {
            image: image.into(),
            ..Service::default()
        };
        ProjectSpec {
            services: vec![service],
            ..ProjectSpec::default()
        }
    }

    fn stored(images: &[&str]) -> BTreeMap<Generation, Arc<ProjectRevision>> {
        let revision = |(index, image): (usize, &&str)| {
            let generation = Generation(index as u64 + 1);
            let revision = ProjectRevision {
                ran: false,
                project: "shop".into(),
                generation,
                spec: Arc::new(spec(image)),
                replaced_at: Timestamp::UNIX_EPOCH,
            };
            (generation, Arc::new(revision))
        };
        images.iter().enumerate().map(revision).collect()
    }

    #[test]
    fn a_changed_spec_is_a_new_generation_and_a_rejected_one_can_be_tried_again() {
        let mut project = Project::default();
        project.metadata.generation = Generation(3);
        project.spec = spec("a");
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(respecify(&project, &spec("a"), now), None);
        let changed = respecify(&project, &spec("b"), now).expect("a change");
        assert_eq!(changed.project.metadata.generation, Generation(4));
        assert_eq!(
            (changed.replaced.generation, &*changed.replaced.spec),
            (Generation(3), &spec("a"))
        );
        project.status.rejected_generation = Generation(3);
        project.status.conditions = vec![Condition::new(ROLLED_BACK, true, "R", "m", now)];
        let again = respecify(&project, &spec("a"), now).expect("a wish to try again");
        assert_eq!(again.project.metadata.generation, Generation(4));
        assert_eq!(again.project.status.conditions, []);
    }

    #[test]
    fn the_newest_ten_and_the_stable_generation_are_kept() {
        let images: Vec<&str> = std::iter::repeat_n("a", 12).collect();
        let dropped = |count: usize, stable| -> Vec<u64> {
            let gone = outdated(&stored(&images[..count]), Generation(stable));
            gone.into_iter().map(|g| g.0).collect()
        };
        assert_eq!(dropped(9, 1), [0; 0]);
        assert_eq!(dropped(10, 5), [1]);
        assert_eq!(dropped(10, 1), [0; 0]);
        assert_eq!(dropped(12, 2), [1, 3]);
    }

    #[test]
    fn a_rollback_returns_to_the_newest_spec_that_differs() {
        let mut project = Project::default();
        project.metadata.generation = Generation(4);
        project.spec = spec("b");
        let found = |images: &[&str], project: &Project| {
            revision_before(project, &stored(images)).map(|r| r.generation.0)
        };
        assert_eq!(found(&["a", "c", "b"], &project), Some(2));
        assert_eq!(found(&["b", "b", "b"], &project), None);
        assert_eq!(found(&[], &project), None);
    }
}
