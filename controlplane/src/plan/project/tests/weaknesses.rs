//! What the older system did wrong in the life of a project, by the number under which it is
//! known; each shown to be absent here.

use super::*;

#[test]
fn weakness_02_failed_is_not_a_grave() {
    let mut project = project(ProjectPhase::Failed);
    assert_eq!(decide(&project, &["n1"], 1).action, Action::Keep);
    hear(&mut project, "n1", &report(Outcome::Running), 2).expect("taken");
    assert_eq!(project.status.phase, ProjectPhase::Running, "it heals");
    hear(&mut project, "n1", &report(failed()), 3).expect("taken");
    assert_eq!(project.status.phase, ProjectPhase::Failed);
    let mut spec = project.spec.clone();
    spec.services = vec![cara_api::project::Service::default()];
    let corrected = respecify(&project, &spec, at(4)).expect("a change");
    let mut project = corrected.project;
    let newer = Report {
        generation: Generation(3),
        ..report(Outcome::Starting)
    };
    hear(&mut project, "n1", &newer, 5).expect("taken");
    assert_eq!(
        project.status.phase,
        ProjectPhase::Scheduled,
        "it starts over"
    );
}

#[test]
fn weakness_04_a_running_project_takes_a_new_spec() {
    let running = project(ProjectPhase::Running);
    let mut spec = running.spec.clone();
    spec.services = vec![cara_api::project::Service::default()];
    let changed = respecify(&running, &spec, at(1)).expect("a change").project;
    assert_eq!(
        (changed.status.phase, changed.metadata.generation),
        (ProjectPhase::Running, Generation(3))
    );
    assert_eq!(
        decide(&changed, &["n1"], 2).action,
        Action::Keep,
        "in place"
    );
}

#[test]
fn weakness_06_a_late_report_does_not_undo_a_deletion() {
    let mut ending = project(ProjectPhase::Running);
    ending.status = terminate(&ending, "Deleted", "deletion was asked for", at(1));
    for outcome in [Outcome::Running, failed(), Outcome::Starting] {
        hear(&mut ending, "n1", &report(outcome), 2).expect("taken");
        assert_eq!(ending.status.phase, ProjectPhase::Terminating);
    }
}

#[test]
fn weakness_08_a_second_outage_gets_the_full_grace() {
    let mut running = project(ProjectPhase::Running);
    let lost = [not_ready("n1"), node("n2")];
    for outage in [1_000, 1_170, 2_000] {
        let due = step(&mut running, &lost, outage).wake_at;
        assert_eq!(due, Some(at(outage + 180)));
        step(&mut running, &[node("n1"), node("n2")], outage + 100);
        assert_eq!(text(&running, NOT_READY_AT), "-", "no stale reason is left");
        assert_eq!(running.status.node_ref, "n1");
    }
}

#[test]
fn weakness_14_an_expired_project_is_deleted() {
    let mut project = project(ProjectPhase::Running);
    project.spec.expire_at = ExpireAt::parse("2020-01-01T00:00:00Z").ok();
    step(&mut project, &[node("n1")], 1_600_000_000);
    assert_eq!(project.status.phase, ProjectPhase::Terminating);
}

#[test]
fn weakness_27_deletion_ends_without_a_record_of_the_node() {
    let mut ending = project(ProjectPhase::Terminating);
    assert_eq!(decide(&ending, &["n2"], 1).action, Action::Forget);
    ending.status.node_ref.clear();
    assert_eq!(decide(&ending, &["n2"], 1).action, Action::Forget);
    let mut bound = project(ProjectPhase::Scheduled);
    step(&mut bound, &[node("n2")], 1);
    assert_eq!(
        show_status(&bound.status),
        "Pending node= epoch=3 NodeGone",
        "a node that was deleted while a project was placed on it"
    );
}
