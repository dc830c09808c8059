//! Objects in columns, whole.

use super::super::super::table::table;
use super::*;
use cara_api::Condition;
use cara_api::Generation;
use cara_api::project::{BindingEpoch, IngressStatus, Move, ProjectPhase, Service, ServiceStatus};
use cara_api::secret::Hidden;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn wide<T: Rows>(object: &T, reserved: &Reserved) -> String {
    let header = [T::HEADER, T::WIDE].concat();
    let row = [object.row(at(3_600)), object.wide(reserved)].concat();
    table(&header, &[row])
}

fn project(name: &str, node: &str, cpu: &str, memory: &str) -> Project {
    let mut project = Project::default();
    project.metadata.name = name.to_owned();
    project.metadata.created_at = Some(at(0));
    project.status.node_ref = node.to_owned();
    let mut service = Service {
        name: "web".to_owned(),
        ..Service::default()
    };
    service.resources.requests = [("cpu", cpu), ("memory", memory)]
        .map(|(key, amount)| (key.to_owned(), amount.to_owned()))
        .into();
    project.spec.services = vec![service];
    project
}

#[test]
fn a_project_shows_generations_restarts_and_moves() {
    let mut project = project("shop", "a", "1", "1Gi");
    project.metadata.generation = Generation(5);
    let status = &mut project.status;
    status.phase = ProjectPhase::Running;
    status.stable_generation = Generation(4);
    status.services = vec![ServiceStatus {
        ready: true,
        restarts: 3,
        ..ServiceStatus::default()
    }];
    status.ingress = vec![IngressStatus {
        url: "http://shop/".to_owned(),
        ..IngressStatus::default()
    }];
    status.conditions = vec![Condition::new(PHASE, true, "ContainersRunning", "", at(0))];
    assert_eq!(
        wide(&project, &Reserved::default()),
        "NAME   PHASE     NODE   CONDITIONS          AGE   READY   URLS           GENERATION   STABLE   RESTARTS   CREATED                MOVING TO\n\
         shop   Running   a      ContainersRunning   1h    1/1     http://shop/   5            4        3          1970-01-01T00:00:00Z   -\n"
    );
    let mut moving = Move::default();
    project.status.moving = Some(moving.clone());
    assert!(wide(&project, &Reserved::default()).ends_with("00Z   <none yet>\n"));
    moving.node_ref = "b".to_owned();
    moving.binding_epoch = BindingEpoch(2);
    project.status.moving = Some(moving);
    assert!(wide(&project, &Reserved::default()).ends_with("00Z   b\n"));
}

#[test]
fn a_node_shows_what_is_reserved_and_what_keeps_projects_away() {
    let mut node = Node::default();
    node.metadata.name = "a".to_owned();
    node.metadata.created_at = Some(at(0));
    node.spec.unschedulable = true;
    node.spec.taints = vec![
        Taint {
            key: "gpu".to_owned(),
            value: "yes".to_owned(),
            effect: "NoSchedule".to_owned(),
        },
        Taint {
            key: "slow".to_owned(),
            value: String::new(),
            effect: "PreferNoSchedule".to_owned(),
        },
    ];
    let status = &mut node.status;
    status.network.ip = "10.0.0.5".to_owned();
    status.allocatable = [("cpu", "2000m"), ("memory", "3584Mi")]
        .map(|(key, amount)| (key.to_owned(), amount.to_owned()))
        .into();
    status.conditions = vec![
        Condition::new(DISK_PRESSURE, true, "", "", at(0)),
        Condition::new(MEMORY_PRESSURE, false, "", "", at(0)),
    ];
    status.info.engine_version = "27.1".to_owned();
    status.info.agent_version = "0.1.0".to_owned();
    status.info.kernel_version = "6.1".to_owned();
    status.last_heartbeat = Some(at(60));
    let reserved = Reserved::of(&[
        project("here", "a", "500m", "512Mi"),
        project("there", "b", "2", "1Gi"),
        {
            let mut coming = project("coming", "b", "250m", "100Mi");
            coming.status.moving = Some(cara_api::project::Move {
                node_ref: "a".to_owned(),
                ..cara_api::project::Move::default()
            });
            coming
        },
        project("nowhere", "", "1", "1Gi"),
    ]);
    assert_eq!(
        wide(&node, &reserved),
        "NAME   STATE                         IP         AGE   CPU     MEMORY   ENGINE   LAST HEARTBEAT         CPU REQUESTED   MEMORY REQUESTED   TAINTS                                                     PRESSURE   AGENT   KERNEL   CREATED\n\
         a      NotReady,SchedulingDisabled   10.0.0.5   1h    2000m   3584Mi   27.1     1970-01-01T00:01:00Z   750m            612Mi              gpu=yes:NoSchedule,slow:PreferNoSchedule,<unschedulable>   disk       0.1.0   6.1      1970-01-01T00:00:00Z\n"
    );
    assert_eq!(
        Reserved::default().on("a"),
        [
            ("cpu", "<unknown>".to_owned()),
            ("memory", "<unknown>".to_owned())
        ]
    );
}

#[test]
fn a_secret_shows_its_keys_and_never_a_value() {
    let mut secret = Secret {
        keys: vec!["password".to_owned(), "user".to_owned()],
        data: [("password".to_owned(), Hidden::new("swordfish"))].into(),
        ..Secret::default()
    };
    secret.metadata.name = "db".to_owned();
    secret.metadata.created_at = Some(at(0));
    assert_eq!(
        wide(&secret, &Reserved::default()),
        "NAME   KEYS   AGE   KEY NAMES       CHANGED     CREATED\n\
         db     2      1h    password,user   <unknown>   1970-01-01T00:00:00Z\n"
    );
    secret.conceal();
    let json = super::super::super::table::json(&secret).expect("JSON");
    assert!(!json.contains("swordfish"), "{json}");
}
