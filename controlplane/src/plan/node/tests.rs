use cara_api::project::{Move, ProjectPhase, Volume};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// Seen at 100, lost at 115.
const SEEN: i64 = 100;

fn seen() -> Seen {
    Seen {
        at: at(SEEN),
        valid: Duration::from_secs(15),
    }
}

fn settled(node: &Node, projects: &[Project], now: i64) -> Node {
    let mut node = node.clone();
    if let Action::Write(status) = settle(&node, seen(), projects.iter(), at(now)).action {
        node.status = status;
    }
    assert_eq!(
        settle(&node, seen(), projects.iter(), at(now + 1).min(at(now))).action,
        Action::Keep,
        "deciding again changes nothing"
    );
    node
}

fn shown(node: &Node) -> String {
    let reasons: Vec<String> = node
        .status
        .conditions
        .iter()
        .map(|c| format!("{}={}/{}", c.kind, c.status, c.reason))
        .collect();
    format!("{} {}", node.status.state, reasons.join(" "))
}

fn drained(node: &Node) -> &str {
    condition::find(&node.status.conditions, DRAINED).map_or("-", |c| c.message.as_str())
}

#[test]
fn a_node_is_ready_while_signs_of_life_come() {
    for (state, now, expected) in [
        (NodeState::NotReady, 100, "Ready Ready=True/AgentReady"),
        (NodeState::Ready, 114, "Ready Ready=True/AgentReady"),
        (
            NodeState::Ready,
            115,
            "NotReady Ready=False/HeartbeatTimeout",
        ),
        (NodeState::Draining, 114, "Draining Ready=True/AgentReady"),
        (
            NodeState::Draining,
            115,
            "Draining Ready=False/HeartbeatTimeout",
        ),
    ] {
        let mut node = Node::default();
        node.status.state = state;
        assert_eq!(shown(&settled(&node, &[], now)), expected, "{state} {now}");
        let wake_at = settle(&node, seen(), [].into_iter(), at(now)).wake_at;
        assert_eq!(wake_at, (now < 115).then_some(at(115)));
    }
}

#[test]
fn weakness_10_draining_is_stable_and_a_dead_draining_node_is_noticed() {
    let node = settled(&drain(&Node::default(), &Drain::default()), &[], 100);
    let alive = "Draining Ready=True/AgentReady Drained=True/Drained";
    assert_eq!(shown(&node), alive);
    for state in ["Ready", "NotReady", "Draining", ""] {
        let beat = Heartbeat {
            state: state.into(),
            ..Heartbeat::default()
        };
        let beaten = settled(&merge(&node, &beat, at(101)), &[], 101);
        assert_eq!(beaten, node, "{state:?} changes nothing");
    }
    let dead = settled(&node, &[], 115);
    assert_eq!(
        shown(&dead),
        "Draining Drained=True/Drained Ready=False/HeartbeatTimeout"
    );
    assert!(is_alive(&node) && !is_alive(&dead));
    let open = settled(&uncordon(&dead), &[], 116);
    assert_eq!(shown(&open), "NotReady Ready=False/HeartbeatTimeout");
    let mut put = node;
    put.spec.drain = None;
    assert_eq!(
        shown(&settled(&put, &[], 102)),
        "Ready Ready=True/AgentReady",
        "replacing the spec ends it too"
    );
}

#[test]
fn an_older_agent_drains_its_node_by_heartbeat_and_opens_it_again() {
    let beat = |state: &str| Heartbeat {
        state: state.into(),
        ..Heartbeat::default()
    };
    let node = merge(&Node::default(), &beat("Draining"), at(100));
    let node = settled(&node, &[], 100);
    assert_eq!(shown(&node), "Draining Ready=True/AgentReady");
    let node = settled(&merge(&node, &beat(""), at(101)), &[], 101);
    assert_eq!(node.status.state, NodeState::Draining);
    let open = settled(&merge(&node, &beat("Ready"), at(102)), &[], 102);
    assert_eq!(shown(&open), "Ready Ready=True/AgentReady");
    assert_eq!(
        settled(&uncordon(&node), &[], 102).status.state,
        NodeState::Ready
    );
}

/// The older system left the condition False, and new nodes without address for an interval.
#[test]
fn weakness_11_one_heartbeat_makes_state_condition_and_address_right() {
    let lost = settled(&Node::default(), &[], 200);
    assert_eq!(shown(&lost), "NotReady Ready=False/HeartbeatTimeout");
    let beat: Heartbeat =
        serde_json::from_str(r#"{"network":{"ip":"10.0.0.1"}}"#).expect("a heartbeat");
    let back = settled(&merge(&lost, &beat, at(101)), &[], 101);
    assert_eq!(shown(&back), "Ready Ready=True/AgentReady");
    assert_eq!(back.status.network.ip, "10.0.0.1");
}

#[test]
fn pressure_is_taken_from_heartbeats_and_only_changes_count() {
    let beat = |kind: &str, status: &str, message: &str| Heartbeat {
        conditions: vec![Condition {
            kind: kind.into(),
            status: status.into(),
            reason: if status == "True" { "Low" } else { "Enough" }.into(),
            message: message.into(),
            ..Condition::default()
        }],
        ..Heartbeat::default()
    };
    let node = Node::default();
    let full = merge(&node, &beat(DISK_PRESSURE, "True", "93 %"), at(1));
    let found = condition::find(&full.status.conditions, DISK_PRESSURE).expect("set");
    assert_eq!(
        (found.reason.as_str(), found.last_transition_time),
        ("Low", Some(at(1)))
    );
    assert_eq!(
        merge(&full, &beat(DISK_PRESSURE, "True", "94 %"), at(2)),
        full,
        "a figure alone is no news"
    );
    let well = merge(&full, &beat(DISK_PRESSURE, "False", "60 %"), at(3));
    let found = condition::find(&well.status.conditions, DISK_PRESSURE).expect("set");
    assert_eq!(
        (found.status.as_str(), found.reason.as_str()),
        ("False", "Enough")
    );
    for (kind, status) in [
        ("Ready", "False"),
        ("Drained", "True"),
        (MEMORY_PRESSURE, "Yes"),
    ] {
        assert_eq!(
            merge(&node, &beat(kind, status, ""), at(4)),
            node,
            "{kind}={status} is not the agent's to say"
        );
    }
}

#[test]
fn draining_says_what_is_left_and_what_it_waits_for() {
    let project = |name: &str, volume: &str| {
        let mut project = Project::default();
        project.metadata.name = name.into();
        project.status.phase = ProjectPhase::Running;
        if !volume.is_empty() {
            project.spec.volumes = vec![Volume {
                kind: volume.into(),
                ..Volume::default()
            }];
        }
        project
    };
    let node = drain(&Node::default(), &Drain::default());
    let mut moving = project("a", "");
    moving.status.moving = Some(Move {
        node_ref: "n2".into(),
        ..Move::default()
    });
    let waiting = project("b", "");
    let left = settled(&node, &[moving, waiting], 100);
    assert_eq!(drained(&left), "2 projects left: a (moving to node n2), b");
    let shop = [project("shop", "Ephemeral")];
    let left = settled(&left, &shop, 101);
    assert_eq!(
        drained(&left),
        "1 project left: project shop has Ephemeral volume data: drain with --delete-ephemeral-data to lose it"
    );
    assert!(shown(&left).ends_with("Drained=False/Blocked"));
    let loses = Drain {
        delete_ephemeral_data: true,
    };
    let left = settled(&drain(&left, &loses), &shop, 102);
    assert_eq!(drained(&left), "1 project left: shop");
    let mut failing = project("c", "");
    failing.status.moving = Some(Move {
        node_ref: "n2".into(),
        message: "web(exit=1)".into(),
        ..Move::default()
    });
    let mut stuck = project("d", "");
    let nowhere = Condition::new(condition::PLACED, false, "Unschedulable", "no room", at(1));
    stuck.status.conditions = vec![nowhere];
    assert_eq!(
        drained(&settled(&left, &[failing, stuck], 103)),
        "2 projects left: project c does not start on node n2: web(exit=1); \
         project d cannot move: no room"
    );
    assert_eq!(drained(&settled(&left, &[], 104)), "no project is left");
}
