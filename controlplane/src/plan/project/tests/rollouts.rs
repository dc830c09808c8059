//! Generations that fail and those that are returned to.

use cara_api::condition::ROLLED_BACK;

use super::*;

/// Generation 2 is the newest, generation 1 runs well.
fn rolling_out() -> Project {
    let mut project = project(ProjectPhase::Running);
    project.status.stable_generation = Generation(1);
    project
}

fn of(generation: u64, outcome: Outcome) -> Report {
    Report {
        generation: Generation(generation),
        ..report(outcome)
    }
}

fn generations(project: &Project) -> String {
    let status = &project.status;
    format!(
        "{} observed={} stable={} rejected={} {}",
        status.phase,
        status.observed_generation.0,
        status.stable_generation.0,
        status.rejected_generation.0,
        text(project, ROLLED_BACK)
    )
}

#[test]
fn a_rollout_that_runs_is_the_new_stable_generation() {
    let mut project = rolling_out();
    hear(&mut project, "n1", &of(2, Outcome::Running), 1).expect("taken");
    assert_eq!(
        generations(&project),
        "Running observed=2 stable=2 rejected=0 -"
    );
    assert_eq!(
        heard(&project, "n1", &of(1, failed()), 2),
        Err(Stale::OtherGeneration),
        "what was said of the one before comes too late"
    );
}

#[test]
fn a_rollout_that_fails_is_taken_back() {
    let mut project = rolling_out();
    hear(&mut project, "n1", &of(2, failed()), 1).expect("taken");
    assert_eq!(
        generations(&project),
        "Running observed=1 stable=1 rejected=2 web(exit=1)"
    );
    for outcome in [Outcome::Running, failed(), Outcome::Starting] {
        assert_eq!(
            heard(&project, "n1", &of(2, outcome), 2),
            Err(Stale::OtherGeneration),
            "a late report does not bring it back"
        );
    }
    hear(&mut project, "n1", &of(1, Outcome::Running), 3).expect("taken");
    assert_eq!(
        generations(&project),
        "Running observed=1 stable=1 rejected=2 web(exit=1)"
    );
    let again = respecify(&project, &project.spec.clone(), at(4)).expect("a wish to try again");
    let mut project = again.project;
    assert_eq!(project.metadata.generation, Generation(3));
    hear(&mut project, "n1", &of(3, Outcome::Running), 5).expect("taken");
    assert_eq!(
        generations(&project),
        "Running observed=3 stable=3 rejected=0 -"
    );
}

#[test]
fn without_a_stored_stable_generation_a_failure_is_a_failure() {
    let mut first = project(ProjectPhase::Scheduled);
    hear(&mut first, "n1", &of(2, failed()), 1).expect("taken");
    assert_eq!(
        generations(&first),
        "Failed observed=2 stable=0 rejected=0 -"
    );
    let lost = rolling_out();
    let (node, report) = (NodeName::trusted("n1"), of(2, failed()));
    let heard = Heard {
        node: &node,
        report: &report,
        can_roll_back: false,
    };
    let status = fold(&lost, &heard, at(1))
        .expect("taken")
        .expect("a change");
    assert_eq!(status.phase, ProjectPhase::Failed);
}

#[test]
fn the_stable_generation_itself_can_fail_and_heal() {
    let mut project = rolling_out();
    hear(&mut project, "n1", &of(2, failed()), 1).expect("taken");
    hear(&mut project, "n1", &of(1, failed()), 2).expect("taken");
    assert_eq!(project.status.phase, ProjectPhase::Failed);
    hear(&mut project, "n1", &of(1, Outcome::Running), 3).expect("taken");
    assert_eq!(project.status.phase, ProjectPhase::Running);
}

#[test]
fn a_move_follows_the_generation_that_was_returned_to() {
    let mut project = rolling_out();
    hear(&mut project, "n1", &of(2, failed()), 1).expect("taken");
    let mut draining = node("n1");
    draining.spec.drain = Some(cara_api::node::Drain::default());
    step(&mut project, &[draining, node("n2")], 2);
    let arrived = Report {
        epoch: BindingEpoch(4),
        ..of(1, Outcome::Running)
    };
    hear(&mut project, "n2", &arrived, 3).expect("taken");
    assert_eq!(project.status.node_ref, "n2");
    assert_eq!(
        generations(&project),
        "Running observed=1 stable=1 rejected=2 web(exit=1)"
    );
}
