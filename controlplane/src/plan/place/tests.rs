use std::sync::Arc;

use cara_api::Node;
use cara_api::node::NodeState;
use cara_api::project::{Service, Spread};

use super::*;

fn node(name: &str) -> Node {
    let mut node = Node::default();
    node.metadata.name = name.into();
    node.status.state = NodeState::Ready;
    node
}

fn sized(name: &str, memory: &str) -> Node {
    let mut node = node(name);
    let memory = ("memory".to_owned(), memory.to_owned());
    node.status.allocatable.extend([memory]);
    node
}

fn fleet(nodes: impl IntoIterator<Item = Node>) -> Fleet {
    let mut fleet = Fleet::default();
    for node in nodes {
        fleet.set_node(&node.name(), Some(Arc::new(node)));
    }
    fleet
}

fn project(memory: &str) -> Project {
    let mut project = Project::default();
    let mut service = Service::default();
    if !memory.is_empty() {
        let asked = ("memory".to_owned(), memory.to_owned());
        service.resources.requests.extend([asked]);
    }
    project.spec.services = vec![service];
    project
}

fn placed(fleet: &Fleet, project: &Project) -> String {
    place(fleet, project, None).map_or_else(|error| error.to_string(), |name| name.to_string())
}

/// Places a project and counts it.
fn put(fleet: &mut Fleet, project: &Project) -> String {
    let name = placed(fleet, project);
    bind(fleet, project, &name);
    name
}

fn bind(fleet: &mut Fleet, project: &Project, node: &str) {
    let mut bound = project.clone();
    bound.status.node_ref = node.into();
    fleet.change(Some(project), Some(&bound));
}

fn projects(fleet: &Fleet) -> Vec<u32> {
    fleet.slots().values().map(|s| s.load.projects).collect()
}

/// Sixty of sixty on one node was the older system's way.
#[test]
fn weakness_07_sixty_projects_spread_evenly_over_three_equal_nodes() {
    let mut fleet = fleet(["a", "b", "c"].map(|name| sized(name, "4Gi")));
    for _ in 0..60 {
        put(&mut fleet, &project("16Mi"));
    }
    assert_eq!(projects(&fleet), [20, 20, 20]);
}

#[test]
fn a_thousand_nodes_take_five_thousand_projects_evenly() {
    let names = (0..1_000).map(|n| format!("n{n:04}"));
    let mut fleet = fleet(names.map(|name| sized(&name, "64Gi")));
    for _ in 0..5_000 {
        put(&mut fleet, &project("1Gi"));
    }
    assert!(projects(&fleet).into_iter().all(|count| count == 5));
}

#[test]
fn fewest_projects_win_then_what_is_free_then_the_name() {
    let nodes = || [sized("a", "1Gi"), sized("b", "2Gi"), sized("c", "2Gi")];
    let mut some = fleet(nodes());
    assert_eq!(
        [(); 4].map(|()| put(&mut some, &project(""))),
        ["b", "c", "a", "b"]
    );
    let mut some = fleet(nodes());
    bind(&mut some, &project("1536Mi"), "b");
    bind(&mut some, &project(""), "a");
    bind(&mut some, &project(""), "c");
    assert_eq!(placed(&some, &project("")), "c", "most memory is free");
}

#[test]
fn a_project_that_fits_nowhere_learns_why_for_each_node() {
    let mut lost = node("a");
    lost.status.state = NodeState::NotReady;
    let mut cordoned = node("b");
    cordoned.spec.unschedulable = true;
    let mut drained = node("c");
    drained.spec.drain = Some(cara_api::node::Drain::default());
    let condition = |kind: &str| {
        cara_api::Condition::new(kind, true, "Full", "", cara_api::Timestamp::UNIX_EPOCH)
    };
    let mut full = node("d");
    full.status.conditions = vec![condition("DiskPressure")];
    let mut short = node("e");
    short.status.conditions = vec![condition("MemoryPressure")];
    let plain = node("f");
    let with_label = |name: &str| {
        let mut node = node(name);
        node.metadata.labels.insert("disk".into(), "ssd".into());
        node
    };
    let mut tainted = with_label("g");
    tainted.spec.taints = vec![Taint {
        key: "gpu".into(),
        value: "yes".into(),
        effect: "NoSchedule".into(),
    }];
    let mut small = with_label("h");
    small
        .status
        .allocatable
        .insert("memory".into(), "1Gi".into());
    let mut slow = with_label("i");
    slow.status.allocatable.insert("cpu".into(), "1".into());
    let left = with_label("j");
    let nodes = [
        lost, cordoned, drained, full, short, plain, tainted, small, slow, left,
    ];
    let mut picky = project("2Gi");
    let cpu = ("cpu".to_owned(), "1500m".to_owned());
    picky.spec.services[0].resources.limits.extend([cpu]);
    picky.spec.node_selector.insert("disk".into(), "ssd".into());
    let refused = place(&fleet(nodes), &picky, Some("j")).expect_err("nowhere");
    assert_eq!(
        refused.to_string(),
        "no node can take the project: node a is not ready; node b takes no new projects; \
         node c is being drained; node d runs out of disk; node e runs out of memory; \
         node f has no label disk=ssd; node g has taint gpu=yes:NoSchedule; \
         node h has too little memory left for 2048Mi; node i has too little cpu left for 1500m; \
         node j is the one that the project leaves"
    );
    assert_eq!(
        placed(&fleet([]), &picky),
        "there are no nodes: start an agent that joins this server"
    );
    let many = fleet((0..25).map(|n| {
        let mut node = node(&format!("n{n:02}"));
        node.spec.unschedulable = true;
        node
    }));
    assert!(placed(&many, &picky).ends_with("node n19 takes no new projects; and 5 more nodes"));
}

#[test]
fn what_other_projects_reserve_is_taken() {
    let mut one = fleet([sized("a", "1Gi")]);
    assert_eq!(put(&mut one, &project("600Mi")), "a");
    assert_eq!(
        placed(&one, &project("600Mi")),
        "no node can take the project: node a has too little memory left for 600Mi"
    );
    assert_eq!(
        placed(&one, &project("")),
        "a",
        "one that asks for nothing fits"
    );
}

#[test]
fn a_group_is_spread_over_nodes_and_over_zones() {
    let zoned = |name: &str, zone: &str| {
        let mut node = node(name);
        node.metadata.labels.insert("zone".into(), zone.into());
        node
    };
    let nodes = || [zoned("a", "x"), zoned("b", "x"), zoned("c", "y")];
    let member = |topology: &str| {
        let mut project = project("");
        project.metadata.labels.insert("app".into(), "shop".into());
        project.spec.spread = Some(Spread {
            label: "app".into(),
            topology: topology.into(),
        });
        project
    };
    let mut by_node = fleet(nodes());
    for node in ["b", "b", "c", "c"] {
        bind(&mut by_node, &project(""), node);
    }
    bind(&mut by_node, &member(""), "a");
    assert_eq!(placed(&by_node, &project("")), "a", "others go by count");
    assert_eq!(placed(&by_node, &member("")), "b");
    let mut by_zone = fleet(nodes());
    bind(&mut by_zone, &member("zone"), "a");
    assert_eq!(put(&mut by_zone, &member("zone")), "c");
    assert_eq!(put(&mut by_zone, &member("zone")), "b");
    let moved = place(&by_zone, &member("zone"), Some("c")).map(|n| n.to_string());
    assert_eq!(moved.as_deref(), Ok("a"));
}

#[test]
fn a_node_that_is_rather_left_alone_is_the_last_choice() {
    let mut shunned = sized("a", "8Gi");
    shunned.spec.taints = vec![Taint {
        key: "spot".into(),
        value: String::new(),
        effect: "PreferNoSchedule".into(),
    }];
    let mut two = fleet([shunned, sized("b", "1Gi")]);
    assert_eq!(
        [(); 3].map(|()| put(&mut two, &project(""))),
        ["b", "b", "b"]
    );
    let mut tolerant = project("");
    tolerant.spec.tolerations = vec![Toleration {
        key: "spot".into(),
        ..Toleration::default()
    }];
    assert_eq!(placed(&two, &tolerant), "a");
}
