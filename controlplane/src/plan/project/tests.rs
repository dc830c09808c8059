mod faults;
mod moving;
mod properties;
mod rollouts;
mod weaknesses;

use std::sync::Arc;
use std::time::Duration;

use cara_api::agent::{Outcome, Report};
use cara_api::node::NodeState;
use cara_api::project::{BindingEpoch, ExpireAt, ServiceStatus, Volume};
use cara_api::{Generation, Node, NodeName};

use super::*;
use crate::plan::Patience;
use crate::plan::fleet::Fleet;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

const PATIENCE: Patience = Patience {
    reschedule_grace: Duration::from_secs(180),
    force_terminate_after: Duration::from_secs(600),
};

fn project(phase: ProjectPhase) -> Project {
    let mut project = Project::default();
    project.metadata.name = "shop".into();
    project.metadata.generation = Generation(2);
    project.status.phase = phase;
    if phase != ProjectPhase::Pending {
        project.status.node_ref = "n1".into();
        project.status.binding_epoch = BindingEpoch(3);
        project.status.observed_generation = Generation(1);
    }
    project
}

fn report(outcome: Outcome) -> Report {
    Report {
        project: cara_api::ProjectName::trusted("shop"),
        epoch: BindingEpoch(3),
        generation: Generation(2),
        outcome,
        services: vec![ServiceStatus {
            name: "web".into(),
            ..ServiceStatus::default()
        }],
        progress: String::new(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        reason: "ContainerExited".into(),
        message: "web(exit=1)".into(),
    }
}

/// Phase, node and reason in one line.
fn shown(action: &Action<ProjectStatus>) -> String {
    match action {
        Action::Keep => "keep".into(),
        Action::Forget => "forget".into(),
        Action::Write(status) => show_status(status),
    }
}

fn show_status(status: &ProjectStatus) -> String {
    let reason = status.conditions.last().map_or("-", |c| c.reason.as_str());
    format!(
        "{} node={} epoch={} {reason}",
        status.phase, status.node_ref, status.binding_epoch.0
    )
}

fn node(name: &str) -> Node {
    let mut node = Node::default();
    node.metadata.name = name.into();
    node.status.state = NodeState::Ready;
    node
}

fn not_ready(name: &str) -> Node {
    let mut node = node(name);
    node.status.state = NodeState::NotReady;
    node
}

fn fleet(nodes: &[Node]) -> Fleet {
    let mut fleet = Fleet::default();
    for node in nodes {
        fleet.set_node(&node.name(), Some(Arc::new(node.clone())));
    }
    fleet
}

fn decide_over(project: &Project, nodes: &[Node], now: i64) -> Decision<ProjectStatus> {
    let mut fleet = fleet(nodes);
    fleet.change(None, Some(project));
    let world = World {
        now: at(now),
        fleet: &fleet,
        patience: PATIENCE,
    };
    next(project, &world)
}

fn decide(project: &Project, ready_nodes: &[&str], now: i64) -> Decision<ProjectStatus> {
    let nodes: Vec<Node> = ready_nodes.iter().map(|name| node(name)).collect();
    decide_over(project, &nodes, now)
}

/// Decides, and writes the decision.
fn step(project: &mut Project, nodes: &[Node], now: i64) -> Decision<ProjectStatus> {
    let decision = decide_over(project, nodes, now);
    if let Action::Write(status) = &decision.action {
        project.status = status.clone();
    }
    decision
}

fn with_volume(mut project: Project, kind: &str) -> Project {
    project.spec.volumes = vec![Volume {
        name: "data".into(),
        kind: kind.into(),
        ..Volume::default()
    }];
    project
}

fn heard(
    project: &Project,
    node: &str,
    report: &Report,
    now: i64,
) -> Result<Option<ProjectStatus>, Stale> {
    let node = NodeName::trusted(node);
    let heard = Heard {
        node: &node,
        report,
        can_roll_back: true,
    };
    fold(project, &heard, at(now))
}

/// Folds a report of a node and writes the result.
fn hear(project: &mut Project, node: &str, report: &Report, now: i64) -> Result<(), Stale> {
    if let Some(status) = heard(project, node, report, now)? {
        project.status = status;
    }
    Ok(())
}

/// The text of a condition, or a dash.
fn text<'a>(project: &'a Project, kind: &str) -> &'a str {
    condition::find(&project.status.conditions, kind).map_or("-", |c| c.message.as_str())
}

#[test]
fn every_phase_has_its_next_step() {
    use ProjectPhase as P;
    for (phase, nodes, expected) in [
        (
            P::Pending,
            &["n1"][..],
            "Scheduled node=n1 epoch=1 Scheduled",
        ),
        (P::Pending, &[], "Pending node= epoch=0 Unschedulable"),
        (P::Scheduled, &["n1"], "keep"),
        (P::Running, &["n1"], "keep"),
        (P::Failed, &["n1"], "keep"),
        (P::Running, &["n2"], "Pending node= epoch=3 NodeGone"),
        (P::Terminating, &["n1"], "keep"),
        (P::Terminating, &["n2"], "forget"),
        (P::Terminated, &["n1"], "forget"),
    ] {
        assert_eq!(
            shown(&decide(&project(phase), nodes, 0).action),
            expected,
            "{phase} {nodes:?}"
        );
    }
}

#[test]
fn deciding_again_after_writing_keeps_an_unplaceable_project_as_it_is() {
    let mut pending = project(ProjectPhase::Pending);
    let Action::Write(status) = decide(&pending, &[], 5).action else {
        panic!("a condition is written")
    };
    pending.status = status;
    assert_eq!(decide(&pending, &[], 9).action, Action::Keep);
}

#[test]
fn a_project_expires_at_its_time_also_when_that_passed_long_ago() {
    for phase in [
        ProjectPhase::Pending,
        ProjectPhase::Scheduled,
        ProjectPhase::Running,
        ProjectPhase::Failed,
    ] {
        let mut project = project(phase);
        project.spec.expire_at = ExpireAt::parse("1970-01-01T00:01:40Z").ok();
        let before = decide(&project, &["n1"], 99);
        assert_eq!(before.wake_at, Some(at(100)), "{phase}");
        for now in [100, 1_000_000] {
            let Action::Write(status) = decide(&project, &["n1"], now).action else {
                panic!("{phase} expires")
            };
            assert_eq!(status.phase, ProjectPhase::Terminating);
            assert_eq!(
                status.conditions.last().map(|c| c.message.as_str()),
                Some("expired at 1970-01-01T00:01:40Z")
            );
        }
    }
}

#[test]
fn reports_move_a_project_through_its_phases() {
    use ProjectPhase as P;
    let removing = || Outcome::Removing {
        message: "network in use".into(),
    };
    for (phase, outcome, expected) in [
        (
            P::Scheduled,
            Outcome::Starting,
            "Scheduled node=n1 epoch=3 -",
        ),
        (
            P::Scheduled,
            Outcome::Running,
            "Running node=n1 epoch=3 ContainersRunning",
        ),
        (
            P::Scheduled,
            failed(),
            "Failed node=n1 epoch=3 ContainerExited",
        ),
        (P::Running, Outcome::Starting, "Running node=n1 epoch=3 -"),
        (
            P::Running,
            failed(),
            "Failed node=n1 epoch=3 ContainerExited",
        ),
        (
            P::Failed,
            Outcome::Running,
            "Running node=n1 epoch=3 ContainersRunning",
        ),
        (
            P::Failed,
            Outcome::Starting,
            "Scheduled node=n1 epoch=3 Retrying",
        ),
        (P::Running, Outcome::Removed, "Running node=n1 epoch=3 -"),
        (
            P::Terminating,
            Outcome::Running,
            "Terminating node=n1 epoch=3 -",
        ),
        (P::Terminating, failed(), "Terminating node=n1 epoch=3 -"),
        (
            P::Terminating,
            removing(),
            "Terminating node=n1 epoch=3 RemoveError",
        ),
        (
            P::Terminating,
            Outcome::Removed,
            "Terminated node=n1 epoch=3 ResourcesRemoved",
        ),
    ] {
        let before = project(phase);
        let status =
            heard(&before, "n1", &report(outcome.clone()), 7).expect("the binding matches");
        let status = status.expect("the services are new at least");
        assert_eq!(show_status(&status), expected, "{phase} {outcome:?}");
        let after = Project { status, ..before };
        if phase != P::Failed {
            let again = heard(&after, "n1", &report(outcome), 9).expect("the binding matches");
            assert_eq!(again, None, "the same report again changes nothing");
        }
    }
}

#[test]
fn reports_of_another_binding_are_refused() {
    let running = project(ProjectPhase::Running);
    let stale = Report {
        epoch: BindingEpoch(2),
        ..report(failed())
    };
    assert_eq!(heard(&running, "n1", &stale, 0), Err(Stale::OldEpoch));
    assert_eq!(
        heard(&running, "n2", &report(failed()), 0),
        Err(Stale::OtherNode)
    );
    let pending = project(ProjectPhase::Pending);
    assert_eq!(
        heard(&pending, "n1", &report(Outcome::Running), 0),
        Err(Stale::OtherNode)
    );
}

#[test]
fn progress_shows_while_it_lasts() {
    let mut scheduled = project(ProjectPhase::Scheduled);
    let pulling = Report {
        progress: "web: pulling nginx 40 %".into(),
        ..report(Outcome::Starting)
    };
    scheduled.status = heard(&scheduled, "n1", &pulling, 1)
        .expect("the binding matches")
        .expect("a change");
    let found = condition::find(&scheduled.status.conditions, PROGRESS);
    assert_eq!(
        found.map(|c| c.message.as_str()),
        Some("web: pulling nginx 40 %")
    );
    let status = heard(&scheduled, "n1", &report(Outcome::Running), 2)
        .expect("matches")
        .expect("a change");
    assert_eq!(condition::find(&status.conditions, PROGRESS), None);
}
