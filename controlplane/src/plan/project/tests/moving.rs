//! Moves away from nodes that are drained or tainted.

use cara_api::node::{Drain, Taint};

use super::*;

fn draining(name: &str, delete_ephemeral_data: bool) -> Node {
    let mut node = node(name);
    node.status.state = NodeState::Draining;
    node.spec.drain = Some(Drain {
        delete_ephemeral_data,
    });
    node
}

fn of(epoch: u64, outcome: Outcome) -> Report {
    Report {
        epoch: BindingEpoch(epoch),
        ..report(outcome)
    }
}

/// Binding and target in one line.
fn bindings(project: &Project) -> String {
    let status = &project.status;
    let target = status.moving.as_ref().map_or("-".to_owned(), |m| {
        format!("{}/{} {}", m.node_ref, m.binding_epoch.0, m.message)
    });
    format!(
        "{} {}/{} -> {}",
        status.phase,
        status.node_ref,
        status.binding_epoch.0,
        target.trim()
    )
}

#[test]
fn without_volumes_the_new_copy_runs_before_the_old_one_goes() {
    let mut running = project(ProjectPhase::Running);
    let nodes = [draining("n1", false), node("n2"), node("n3")];
    step(&mut running, &nodes, 10);
    assert_eq!(bindings(&running), "Running n1/3 -> n2/4");
    assert_eq!(
        running.status.moving.as_ref().map(|m| m.reason.as_str()),
        Some("NodeDraining")
    );
    assert_eq!(decide_over(&running, &nodes, 11).action, Action::Keep);
    hear(&mut running, "n1", &of(3, Outcome::Running), 12).expect("the old one counts");
    hear(&mut running, "n2", &of(4, Outcome::Starting), 13).expect("taken");
    assert_eq!(bindings(&running), "Running n1/3 -> n2/4");
    hear(&mut running, "n2", &of(4, failed()), 14).expect("taken");
    assert_eq!(bindings(&running), "Running n1/3 -> n2/4 web(exit=1)");
    let mut fresh = of(4, Outcome::Running);
    fresh.services[0].name = "fresh".into();
    hear(&mut running, "n2", &fresh, 15).expect("taken");
    assert_eq!(bindings(&running), "Running n2/4 -> -");
    assert_eq!(running.status.services[0].name, "fresh");
    assert_eq!(
        heard(&running, "n1", &of(3, Outcome::Running), 16),
        Err(Stale::OtherNode)
    );
    assert_eq!(decide_over(&running, &nodes, 17).action, Action::Keep);
}

#[test]
fn a_copy_of_an_older_generation_does_not_take_over() {
    let mut running = project(ProjectPhase::Running);
    step(&mut running, &[draining("n1", false), node("n2")], 10);
    let old = Report {
        generation: Generation(1),
        ..of(4, Outcome::Running)
    };
    hear(&mut running, "n2", &old, 11).expect("taken");
    assert_eq!(bindings(&running), "Running n1/3 -> n2/4");
}

#[test]
fn a_target_that_is_lost_gives_way_to_another_with_a_new_epoch() {
    let mut running = project(ProjectPhase::Running);
    step(&mut running, &[draining("n1", false), node("n2")], 10);
    hear(&mut running, "n2", &of(4, failed()), 11).expect("taken");
    for lost in [not_ready("n2"), draining("n2", false)] {
        let mut moving = running.clone();
        step(&mut moving, &[draining("n1", false), lost, node("n3")], 12);
        assert_eq!(bindings(&moving), "Running n1/3 -> n3/5");
        assert_eq!(
            heard(&moving, "n2", &of(4, Outcome::Running), 13),
            Err(Stale::OtherNode)
        );
    }
    step(&mut running, &[draining("n1", false), not_ready("n2")], 12);
    assert_eq!(bindings(&running), "Running n1/3 -> -");
    assert_eq!(
        text(&running, PLACED),
        "no node can take the project: node n1 is the one that the project leaves; \
         node n2 is not ready"
    );
    step(&mut running, &[draining("n1", false), node("n2")], 13);
    assert_eq!(
        bindings(&running),
        "Running n1/3 -> n2/5",
        "no epoch is given out twice"
    );
    assert_eq!(text(&running, PLACED), "-");
}

#[test]
fn ephemeral_data_is_lost_only_when_asked_for() {
    let mut running = with_volume(project(ProjectPhase::Running), "Ephemeral");
    step(&mut running, &[draining("n1", false), node("n2")], 10);
    assert_eq!(bindings(&running), "Running n1/3 -> -");
    step(&mut running, &[draining("n1", true)], 11);
    assert_eq!(
        bindings(&running),
        "Running n1/3 -> -",
        "it could go nowhere"
    );
    let nodes = [draining("n1", true), node("n2")];
    step(&mut running, &nodes, 12);
    assert_eq!(bindings(&running), "Running n1/4 -> /0");
    assert_eq!(
        heard(&running, "n1", &of(3, Outcome::Removed), 13),
        Err(Stale::OldEpoch)
    );
    let stuck = Outcome::Removing {
        message: "volume in use".into(),
    };
    hear(&mut running, "n1", &of(4, stuck), 14).expect("taken");
    assert_eq!(bindings(&running), "Running n1/4 -> /0 volume in use");
    hear(&mut running, "n1", &of(4, Outcome::Removed), 15).expect("taken");
    assert_eq!(bindings(&running), "Pending /4 -> -");
    assert_eq!(
        text(&running, PHASE),
        "removed from node n1; placing the project elsewhere"
    );
    step(&mut running, &nodes, 16);
    assert_eq!(bindings(&running), "Scheduled n2/5 -> -");
}

#[test]
fn what_cannot_leave_stays() {
    for kind in ["Persistent", "HostPath"] {
        let mut pinned = with_volume(project(ProjectPhase::Running), kind);
        let before = pinned.status.clone();
        step(&mut pinned, &[draining("n1", true), node("n2")], 10);
        assert_eq!(pinned.status, before, "{kind}");
    }
}

#[test]
fn a_move_that_is_taken_back_leaves_no_binding_behind() {
    let mut start_first = project(ProjectPhase::Running);
    step(&mut start_first, &[draining("n1", false), node("n2")], 10);
    step(&mut start_first, &[node("n1"), node("n2")], 11);
    assert_eq!(bindings(&start_first), "Running n1/3 -> -");
    step(&mut start_first, &[draining("n1", false), node("n2")], 12);
    assert_eq!(bindings(&start_first), "Running n1/3 -> n2/5");
    let mut stop_first = with_volume(project(ProjectPhase::Running), "Ephemeral");
    step(&mut stop_first, &[draining("n1", true), node("n2")], 10);
    step(&mut stop_first, &[node("n1"), node("n2")], 11);
    assert_eq!(bindings(&stop_first), "Running n1/5 -> -");
    assert_eq!(
        heard(&stop_first, "n1", &of(4, Outcome::Removed), 12),
        Err(Stale::OldEpoch),
        "the removal that was taken back does not count"
    );
}

#[test]
fn deletion_during_a_move_ends_on_both_nodes() {
    let mut moving = project(ProjectPhase::Running);
    step(&mut moving, &[draining("n1", false), node("n2")], 10);
    moving.status = terminate(&moving, "Deleted", "deletion was asked for", at(11));
    assert_eq!(bindings(&moving), "Terminating n1/3 -> -");
    for outcome in [Outcome::Running, Outcome::Removed] {
        assert_eq!(
            heard(&moving, "n2", &of(4, outcome), 12),
            Err(Stale::OtherNode)
        );
    }
    hear(&mut moving, "n1", &of(3, Outcome::Removed), 13).expect("taken");
    assert_eq!(bindings(&moving), "Terminated n1/3 -> -");
}

#[test]
fn the_node_falling_silent_during_a_move_starts_the_grace_and_the_target_may_still_win() {
    let mut moving = project(ProjectPhase::Running);
    step(&mut moving, &[draining("n1", false), node("n2")], 10);
    let silent = [not_ready("n1"), node("n2")];
    assert_eq!(step(&mut moving, &silent, 20).wake_at, Some(at(200)));
    let mut late = moving.clone();
    hear(&mut moving, "n2", &of(4, Outcome::Running), 30).expect("taken");
    assert_eq!(bindings(&moving), "Running n2/4 -> -");
    assert_eq!(text(&moving, NOT_READY_AT), "-");
    step(&mut late, &silent, 200);
    assert_eq!(bindings(&late), "Pending /3 -> -");
    step(&mut late, &silent, 201);
    assert_eq!(bindings(&late), "Scheduled n2/5 -> -");
}

#[test]
fn a_taint_drives_out_what_does_not_tolerate_it() {
    let mut tainted = node("n1");
    tainted.spec.taints = vec![Taint {
        key: "broken".into(),
        value: String::new(),
        effect: "NoExecute".into(),
    }];
    let mut running = project(ProjectPhase::Running);
    step(&mut running, &[tainted, node("n2")], 10);
    assert_eq!(bindings(&running), "Running n1/3 -> n2/4");
    assert_eq!(
        running.status.moving.as_ref().map(|m| m.reason.as_str()),
        Some("NodeTainted")
    );
}

/// Decides for all projects in order of name, as one pass does.
fn pass(projects: &mut [Project], nodes: &[Node], now: i64) {
    let mut fleet = fleet(nodes);
    for project in projects.iter() {
        fleet.change(None, Some(project));
    }
    for project in projects {
        let world = World {
            now: at(now),
            fleet: &fleet,
            patience: PATIENCE,
        };
        if let Action::Write(status) = next(project, &world).action {
            let before = project.clone();
            project.status = status;
            fleet.change(Some(&before), Some(project));
        }
    }
}

#[test]
fn one_project_at_a_time_leaves_and_those_that_cannot_do_not_hold_up_the_rest() {
    let named = |name: &str| {
        let mut project = project(ProjectPhase::Running);
        project.metadata.name = name.into();
        project
    };
    let mut all = [
        with_volume(named("a"), "Persistent"),
        named("b"),
        named("c"),
        named("d"),
    ];
    let nodes = [draining("n1", false), node("n2")];
    let moving = |all: &[Project]| -> Vec<String> {
        let movers = all.iter().filter(|p| p.status.moving.is_some());
        movers.map(|p| p.metadata.name.clone()).collect()
    };
    pass(&mut all, &nodes, 10);
    assert_eq!(moving(&all), ["b"]);
    pass(&mut all, &nodes, 11);
    assert_eq!(moving(&all), ["b"], "the others wait");
    hear(&mut all[1], "n2", &of(4, failed()), 12).expect("taken");
    pass(&mut all, &nodes, 13);
    assert_eq!(moving(&all), ["b", "c"], "one that fails holds up nobody");
    for index in [1, 2] {
        hear(&mut all[index], "n2", &of(4, Outcome::Running), 14).expect("taken");
    }
    pass(&mut all, &nodes, 15);
    assert_eq!(moving(&all), ["d"]);
}
