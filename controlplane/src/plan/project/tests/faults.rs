//! Nodes that fall silent.

use cara_api::condition::TERMINATING_AT;

use super::*;

#[test]
fn what_is_scheduled_on_a_silent_node_is_placed_again_at_once() {
    let mut scheduled = project(ProjectPhase::Scheduled);
    step(&mut scheduled, &[not_ready("n1"), node("n2")], 5);
    assert_eq!(
        show_status(&scheduled.status),
        "Pending node= epoch=3 NodeNotReady"
    );
    step(&mut scheduled, &[not_ready("n1"), node("n2")], 5);
    assert_eq!(
        show_status(&scheduled.status),
        "Scheduled node=n2 epoch=4 Scheduled"
    );
    for kind in ["Persistent", "HostPath"] {
        let mut pinned = with_volume(project(ProjectPhase::Scheduled), kind);
        let decision = step(&mut pinned, &[not_ready("n1"), node("n2")], 5);
        assert_eq!(decision.wake_at, None);
        assert_eq!(
            show_status(&pinned.status),
            "Scheduled node=n1 epoch=3 NodeNotReady"
        );
        assert!(
            text(&pinned, NOT_READY_AT).contains("waits for it"),
            "{kind}"
        );
    }
}

#[test]
fn what_runs_on_a_silent_node_is_placed_again_after_the_grace() {
    for phase in [ProjectPhase::Running, ProjectPhase::Failed] {
        let mut project = project(phase);
        let nodes = [not_ready("n1"), node("n2")];
        let decision = step(&mut project, &nodes, 100);
        assert_eq!(decision.wake_at, Some(at(280)), "{phase}");
        assert_eq!(
            text(&project, NOT_READY_AT),
            "node n1 is not ready; the project is placed again when that lasts 180 s"
        );
        let noted = project.status.clone();
        step(&mut project, &nodes, 279);
        assert_eq!(project.status, noted, "written once");
        step(&mut project, &nodes, 280);
        assert_eq!(
            show_status(&project.status),
            "Pending node= epoch=3 NodeNotReady"
        );
        assert_eq!(text(&project, NOT_READY_AT), "-");
        assert_eq!(project.status.services, []);
    }
}

#[test]
fn a_project_with_persistent_data_waits_for_its_node() {
    let mut pinned = with_volume(project(ProjectPhase::Running), "Persistent");
    let nodes = [not_ready("n1"), node("n2")];
    for now in [100, 280, 1_000_000] {
        assert_eq!(step(&mut pinned, &nodes, now).wake_at, None);
        assert_eq!(
            show_status(&pinned.status),
            "Running node=n1 epoch=3 NodeNotReady"
        );
    }
    step(&mut pinned, &[node("n1")], 1_000_001);
    assert_eq!(text(&pinned, NOT_READY_AT), "-");
    step(&mut pinned, &[node("n2")], 1_000_002);
    assert_eq!(
        text(&pinned, PHASE),
        "node n1 is gone; placing the project again, without the data that it had there"
    );
}

#[test]
fn a_deletion_on_a_silent_node_ends_by_itself() {
    let mut ending = project(ProjectPhase::Terminating);
    let nodes = [not_ready("n1"), node("n2")];
    assert_eq!(step(&mut ending, &nodes, 100).wake_at, Some(at(700)));
    step(&mut ending, &[node("n1")], 650);
    assert_eq!(text(&ending, TERMINATING_AT), "-", "the node came back");
    assert_eq!(step(&mut ending, &nodes, 660).wake_at, Some(at(1_260)));
    step(&mut ending, &nodes, 1_260);
    assert_eq!(
        show_status(&ending.status),
        "Terminated node=n1 epoch=3 TerminationTimeout"
    );
    assert_eq!(decide_over(&ending, &nodes, 1_260).action, Action::Forget);
}

#[test]
fn a_draining_node_that_is_silent_counts_as_not_ready() {
    let mut draining = node("n1");
    draining.status.state = NodeState::Draining;
    draining.spec.drain = Some(cara_api::node::Drain::default());
    draining.status.conditions = vec![Condition::new(
        condition::READY,
        false,
        "HeartbeatTimeout",
        "",
        at(0),
    )];
    let mut running = project(ProjectPhase::Running);
    let decision = step(&mut running, &[draining, node("n2")], 100);
    assert_eq!(decision.wake_at, Some(at(280)));
    assert_eq!(running.status.moving, None);
}

#[test]
fn a_clock_that_is_set_back_does_not_stretch_the_grace() {
    let mut running = project(ProjectPhase::Running);
    let nodes = [not_ready("n1"), node("n2")];
    step(&mut running, &nodes, 10_000);
    assert_eq!(step(&mut running, &nodes, 9_000).wake_at, Some(at(9_180)));
}
