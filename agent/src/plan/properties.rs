//! From whatever the engine shows and the agent remembers, what the planner asks for leads to
//! what is wanted, and then to nothing more (`#[cfg(test)]`).

mod case;
mod model;
mod world;

use cara_api::agent::Goal;
use proptest::prelude::*;

use super::{Presence, VolumeLife, Wanted};
use case::{Case, cases};
use world::World;

fn goes_well(case: &Case, wanted: Wanted) {
    let mut world = World::new(case, wanted);
    let foreign = world.engine.foreign();
    let persistent = |world: &World| -> Vec<String> {
        let all = world.engine.volumes.iter();
        let all = all.filter(|(_, v)| **v == (Presence::Ours, VolumeLife::Persistent));
        all.map(|(name, _)| name.clone()).collect()
    };
    let kept = persistent(&world);
    world.settle();
    assert_eq!(world.engine.foreign(), foreign, "somebody else's");
    match world.wanted.goal {
        Goal::Run => world.check_running(),
        Goal::Remove => world.check_removed(),
    }
    if world.wanted.reported.is_none() || world.wanted.goal == Goal::Run {
        let left = persistent(&world);
        assert!(kept.iter().all(|name| left.contains(name)), "data is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn whatever_is_found_becomes_what_is_wanted_and_stays_so(case in cases()) {
        goes_well(&case, case.wanted(Goal::Run));
    }

    #[test]
    fn whatever_is_found_goes_when_the_project_is_deleted(case in cases()) {
        goes_well(&case, case.wanted(Goal::Remove));
    }

    #[test]
    fn whatever_is_found_goes_when_the_project_left_the_node_but_persistent_data(case in cases()) {
        let project = case.wanted(Goal::Remove).project;
        goes_well(&case, Wanted::nothing(project));
    }
}
