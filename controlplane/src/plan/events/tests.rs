//! What changes mean, and what is kept of it.

use cara_api::condition::{self, DISK_PRESSURE, NOT_READY_AT, PHASE, PLACED, PROGRESS, READY};
use cara_api::event::EventType;
use cara_api::node::Drain;
use cara_api::project::{
    BindingEpoch, Endpoint, Ingress, IngressTarget, Move, ProjectPhase, ServiceState, ServiceStatus,
};
use cara_api::{Generation, Node, Project, Timestamp};
use proptest::prelude::*;

use super::history::{EVENTS_MAX, History};
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn show(draft: &Draft) -> String {
    let kind = match draft.kind {
        EventType::Normal => "",
        EventType::Warning => "! ",
    };
    format!(
        "{kind}{} ({}): {}",
        draft.reason, draft.source, draft.message
    )
}

fn projects(before: Option<&Project>, after: Option<&Project>) -> Vec<String> {
    let domain = Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    };
    let site = Site {
        domain: &domain,
        http_port: 8080,
        https_port: None,
        reserved: &[],
    };
    of_project(before, after, &site).iter().map(show).collect()
}

/// What an edit of a project means.
fn after(project: &mut Project, edit: impl FnOnce(&mut Project)) -> Vec<String> {
    let before = project.clone();
    edit(project);
    projects(Some(&before), Some(project))
}

fn set(project: &mut Project, kind: &str, is_true: bool, reason: &str, message: &str) {
    let condition = Condition::new(kind, is_true, reason, message, at(1));
    condition::set(&mut project.status.conditions, condition);
}

fn shop() -> Project {
    let mut project = Project::default();
    project.metadata.name = "shop".into();
    project.metadata.generation = Generation(1);
    project.spec.ingress.push(Ingress {
        name: "web".into(),
        target: IngressTarget {
            service: "web".into(),
            port: 80,
            ..IngressTarget::default()
        },
        ..Ingress::default()
    });
    project
}

fn bound() -> Project {
    let mut project = shop();
    project.status.phase = ProjectPhase::Scheduled;
    project.status.node_ref = "n1".into();
    project.status.binding_epoch = BindingEpoch(1);
    project
}

fn web(state: ServiceState, ready: bool) -> ServiceStatus {
    let endpoint = Endpoint {
        port: 80,
        address: ([10, 0, 0, 1], 80).into(),
        ready,
    };
    ServiceStatus {
        name: "web".into(),
        state,
        ready,
        endpoints: vec![endpoint],
        ..ServiceStatus::default()
    }
}

#[test]
fn the_life_of_a_project_is_told_in_order() {
    let mut p = shop();
    assert_eq!(
        projects(None, Some(&p)),
        ["Created (scheduler): the project was accepted"]
    );
    let told = after(&mut p, |p| {
        set(p, PLACED, false, "Unschedulable", "no nodes")
    });
    assert_eq!(told, ["! Unschedulable (scheduler): no nodes"]);
    let told = after(&mut p, |p| {
        *p = bound();
        set(p, PHASE, true, "Scheduled", "assigned to node n1");
    });
    assert_eq!(told, ["Scheduled (scheduler): assigned to node n1"]);
    let told = after(&mut p, |p| {
        p.status.services = vec![web(ServiceState::Pulling, false)];
        set(p, PROGRESS, true, "InProgress", "pulling nginx: 10 %");
    });
    assert_eq!(told, ["Pulling (agent/n1): pulling nginx: 10 %"]);
    let told = after(&mut p, |p| {
        condition::clear(&mut p.status.conditions, PROGRESS);
        p.status.services = vec![web(ServiceState::Running, false)];
    });
    assert_eq!(
        told,
        ["Started (agent/n1): service web: the container runs"]
    );
    let told = after(&mut p, |p| {
        p.status.phase = ProjectPhase::Running;
        p.status.services = vec![web(ServiceState::Running, true)];
        set(
            p,
            PHASE,
            true,
            "ContainersRunning",
            "All containers running",
        );
    });
    assert_eq!(
        told,
        [
            "Ready (agent/n1): service web: ready for requests",
            "ContainersRunning (agent/n1): All containers running",
            "Routed (scheduler): http://shop.dev.localhost:8080/ -> web",
        ]
    );
    let told = after(&mut p, |p| p.metadata.generation = Generation(2));
    assert_eq!(told, ["SpecChanged (scheduler): the spec has generation 2"]);
    let told = after(&mut p, |p| {
        p.status.phase = ProjectPhase::Terminating;
        p.status.services = vec![web(ServiceState::Stopping, false)];
        set(p, PHASE, true, "Expired", "expired at noon");
    });
    assert_eq!(
        told,
        [
            "Expired (scheduler): expired at noon",
            "Unrouted (scheduler): http://shop.dev.localhost:8080/ is not served any more",
        ]
    );
    let told = after(&mut p, |p| {
        p.status.phase = ProjectPhase::Terminated;
        set(p, PHASE, true, "ResourcesRemoved", "removed");
    });
    assert_eq!(told, ["ResourcesRemoved (agent/n1): removed"]);
    assert_eq!(
        projects(Some(&p), None),
        ["Deleted (scheduler): nothing of the project is left"]
    );
}

#[test]
fn what_goes_wrong_with_a_service_is_a_warning_with_its_reason() {
    let mut p = bound();
    p.status.services = vec![web(ServiceState::Running, true)];
    let told = after(&mut p, |p| {
        p.status.services[0].ready = false;
        p.status.services[0].reason = "ProbeFailed".into();
        p.status.services[0].message = "GET / answered 500".into();
    });
    assert_eq!(
        told,
        ["! ProbeFailed (agent/n1): service web: GET / answered 500"]
    );
    let told = after(&mut p, |p| {
        p.status.services[0].restarts = 2;
        p.status.services[0].message = "exit code 1".into();
    });
    assert_eq!(
        told,
        [
            "! BackOff (agent/n1): service web: exit code 1",
            "Started (agent/n1): service web: the container runs"
        ]
    );
    let mut silent = bound();
    silent.status.observed_generation = silent.metadata.generation;
    silent.status.services = vec![web(ServiceState::Running, true)];
    let told = after(&mut silent, |p| p.status.services[0].ready = false);
    assert_eq!(
        told,
        ["! Unhealthy (agent/n1): service web: not ready any more"]
    );
    // A newer generation's container takes its place while the older one serves.
    let mut rolling = bound();
    rolling.status.services = vec![web(ServiceState::Running, true)];
    rolling.metadata.generation = rolling.status.observed_generation.next();
    let told = after(&mut rolling, |p| p.status.services[0].ready = false);
    assert!(told.is_empty(), "{told:?}");
    let mut away = bound();
    away.status.services = vec![web(ServiceState::Running, true)];
    let told = after(&mut away, |p| {
        p.status.services[0].state = ServiceState::Unknown;
        p.status.services[0].ready = false;
    });
    assert_eq!(
        told,
        ["! Unknown (agent/n1): service web: the container engine does not answer"]
    );
    let told = after(&mut away, |p| {
        p.status.services[0] = web(ServiceState::Running, true);
    });
    assert_eq!(
        told,
        ["Ready (agent/n1): service web: ready for requests"],
        "it ran on"
    );
    let mut job = bound();
    let told = after(&mut job, |p| {
        p.status.services = vec![web(ServiceState::Completed, false)];
    });
    assert_eq!(
        told,
        ["Completed (agent/n1): service web: the container ended with exit code 0"]
    );
}

#[test]
fn moves_and_lost_nodes_are_told() {
    let mut p = bound();
    let told = after(&mut p, |p| {
        set(
            p,
            NOT_READY_AT,
            true,
            "NodeNotReady",
            "node n1 is not ready",
        );
    });
    assert_eq!(told, ["! NotReadyAt (scheduler): node n1 is not ready"]);
    let told = after(&mut p, |p| {
        condition::clear(&mut p.status.conditions, NOT_READY_AT);
    });
    assert_eq!(told, ["NodeReady (scheduler): node n1 is ready again"]);
    let told = after(&mut p, |p| {
        p.status.moving = Some(Move {
            node_ref: "n2".into(),
            reason: "Drain".into(),
            ..Move::default()
        });
    });
    assert_eq!(told, ["Moving (scheduler): from node n1 to node n2: Drain"]);
    let told = after(&mut p, |p| {
        p.status.moving.as_mut().expect("moving").message = "pull failed".into();
    });
    assert_eq!(
        told,
        ["! MoveDelayed (scheduler): the copy on node n2 is not ready: pull failed"]
    );
    let told = after(&mut p, |p| {
        p.status.moving = None;
        p.status.node_ref = "n2".into();
        p.status.binding_epoch = BindingEpoch(2);
    });
    assert_eq!(told, ["Moved (scheduler): from node n1 to node n2"]);
    let told = after(&mut p, |p| {
        p.status.phase = ProjectPhase::Pending;
        p.status.node_ref.clear();
        set(p, PHASE, true, "Rescheduled", "node n2 is lost");
    });
    assert_eq!(told, ["! Rescheduled (scheduler): node n2 is lost"]);
}

#[test]
fn the_life_of_a_node_is_told() {
    let told = |before: Option<&Node>, after: Option<&Node>| -> Vec<String> {
        of_node(before, after).iter().map(show).collect()
    };
    let mut node = Node::default();
    node.metadata.name = "n1".into();
    let registered = told(None, Some(&node));
    assert_eq!(registered, ["Registered (scheduler): the node is known"]);
    let set = |node: &mut Node, kind, is_true, message: &str| {
        let condition = Condition::new(kind, is_true, "Why", message, at(1));
        condition::set(&mut node.status.conditions, condition);
    };
    let mut check = |edit: &dyn Fn(&mut Node), expected: &[&str]| {
        let before = node.clone();
        edit(&mut node);
        assert_eq!(told(Some(&before), Some(&node)), expected);
    };
    check(
        &|n| set(n, READY, true, "alive"),
        &["Ready (scheduler): alive"],
    );
    check(
        &|n| set(n, READY, false, "silent"),
        &["! NotReady (scheduler): silent"],
    );
    check(&|n| set(n, READY, false, "still silent"), &[]);
    check(
        &|n| set(n, DISK_PRESSURE, true, "3 % free"),
        &["! DiskPressure (agent/n1): 3 % free"],
    );
    check(
        &|n| set(n, DISK_PRESSURE, false, "30 % free"),
        &["NoDiskPressure (agent/n1): 30 % free"],
    );
    check(
        &|n| n.spec.unschedulable = true,
        &["Cordoned (scheduler): the node takes no new projects"],
    );
    check(
        &|n| n.spec.drain = Some(Drain::default()),
        &["Draining (scheduler): the node's projects move elsewhere"],
    );
    check(
        &|n| set(n, condition::DRAINED, true, "empty"),
        &["Drained (scheduler): empty"],
    );
    check(
        &|n| n.metadata.labels = [("a".to_owned(), "b".to_owned())].into(),
        &[],
    );
    let long = format!(
        "9 projects left: {}",
        "a-project (moving to node n2), ".repeat(9)
    );
    let mut draining = node.clone();
    set(&mut draining, condition::DRAINED, false, &long);
    let said = told(Some(&node), Some(&draining)).join("");
    assert!(
        said.len() < 230 && said.ends_with("node n2)… (all: the node's condition Drained)"),
        "{said}"
    );
    let removed = told(Some(&node), None);
    assert_eq!(removed, ["Removed (scheduler): the node was deleted"]);
}

fn history(drafts: &[Draft]) -> Vec<String> {
    let mut history = History::default();
    for (second, draft) in (1..).zip(drafts) {
        history.add(draft, at(second));
    }
    let line = |past: &super::history::Past| {
        let (first, last) = (past.first_time.as_second(), past.last_time.as_second());
        format!(
            "{}x {} {first}-{last} {}",
            past.count, past.reason, past.message
        )
    };
    history.events().iter().map(line).collect()
}

#[test]
fn the_same_again_counts_up_and_progress_replaces_its_message() {
    let pull = |message: &str, again| Draft::normal("Pulling", message, "agent/n").again(again);
    let drafts = [
        Draft::warning("BackOff", "exit 1", "agent/n"),
        pull("10 %", Again::Begun),
        pull("90 %", Again::Continued),
        Draft::warning("BackOff", "exit 2", "agent/n"),
        Draft::warning("BackOff", "exit 1", "agent/n"),
        pull("5 %", Again::Begun),
    ];
    assert_eq!(
        history(&drafts),
        [
            "1x BackOff 4-4 exit 2",
            "2x BackOff 1-5 exit 1",
            "2x Pulling 2-6 5 %"
        ]
    );
}

#[test]
fn a_long_message_is_cut() {
    let draft = Draft::normal("Failed", "é".repeat(2 * MESSAGE_MAX), "scheduler");
    assert_eq!(draft.message.chars().count(), MESSAGE_MAX + 1);
}

proptest! {
    #[test]
    fn a_history_is_bounded_in_order_and_ends_with_the_newest(
        steps in proptest::collection::vec((0..80_u8, 0..3_u8), 1..300)
    ) {
        let mut history = History::default();
        for (second, (message, again)) in (1..).zip(&steps) {
            let again = [Again::Same, Again::Begun, Again::Continued][usize::from(*again)];
            let draft = Draft::normal("R", message.to_string(), "scheduler").again(again);
            history.add(&draft, at(second));
            let events = history.events();
            prop_assert!(events.len() <= EVENTS_MAX);
            prop_assert!(events.windows(2).all(|w| w[0].last_time <= w[1].last_time));
            let last = events.last().expect("one was added");
            prop_assert_eq!(&last.message, &draft.message);
            prop_assert_eq!(last.last_time, at(second));
        }
    }
}
