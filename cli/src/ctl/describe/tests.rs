//! Descriptions, whole.

use super::*;
use cara_api::condition::{DRAINED, NOT_READY_AT, PHASE, ROLLED_BACK, TERMINATING_AT};
use cara_api::node::Drain;
use cara_api::project::{Move, ProjectPhase};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn project() -> Project {
    let text = r#"{
      "metadata": {"name": "shop", "generation": 5, "createdAt": "1970-01-01T00:00:00Z", "labels": {"team": "blue"}},
      "spec": {
        "services": [
          {"name": "web", "image": "shop:1.4", "command": ["/bin/shop"], "args": ["--motto", "be quick"],
           "workingDir": "/srv", "user": "1000:1000",
           "env": [{"name": "HOST", "value": "hidden"},
                   {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
           "configs": [{"path": "/etc/shop.conf", "content": "hidden"}],
           "secrets": [{"secret": "tls", "path": "/run/tls/"}, {"secret": "db", "key": "ca", "path": "/run/ca"}],
           "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "media", "mountPath": "/media", "readOnly": true}],
           "dependsOn": [{"service": "db"}, {"service": "migrate", "condition": "Completed"}],
           "restartPolicy": "OnFailure", "stopGracePeriod": "30s",
           "healthCheck": {"startup": {"exec": {"command": ["test", "-f", "/ok"]}, "failureThreshold": 60},
                           "readiness": {"http": {"port": 8080}, "interval": "500ms"},
                           "liveness": {"tcp": {"port": 8080}, "timeout": "1s"}},
           "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
           "labels": {"tier": "front"}, "capAdd": ["NET_RAW"], "allowPrivilegeEscalation": true},
          {"name": "db", "image": "postgres:15"}],
        "volumes": [{"name": "data", "type": "Persistent"}, {"name": "media", "type": "HostPath", "path": "/srv/media"}],
        "ingress": [{"name": "page", "target": {"service": "web", "port": 8080}}],
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "gpu", "effect": "NoSchedule"}, {}],
        "spread": {"label": "team", "topology": "zone"}
      },
      "status": {
        "phase": "Running", "nodeRef": "a", "observedGeneration": 4, "stableGeneration": 4, "rejectedGeneration": 5,
        "services": [
          {"name": "web", "state": "Exited", "restarts": 3, "exitCode": 3, "reason": "ContainerExited",
           "message": "exit code 3\nno database"},
          {"name": "db", "state": "Running", "ready": true, "endpoints": [{"port": 80, "address": "10.0.0.2:80", "ready": true}]}],
        "ingress": [{"name": "page", "hostname": "shop.test", "url": "http://shop.test/"}]
      }
    }"#;
    let mut project: Project = serde_json::from_str(text).expect("a project");
    let message = "web(exit=3)\nno database";
    project.status.conditions = vec![
        Condition::new(PHASE, true, "ContainersRunning", "All run", at(60)),
        Condition::new(ROLLED_BACK, true, "ContainerExited", message, at(120)),
    ];
    project
}

const PROJECT: &str = "\
Name:\tshop
Kind:\tProject
Created:\t1970-01-01T00:00:00Z (1h ago)
Labels:\tteam=blue
Annotations:\t<none>

Spec:
  Services:
    - Name:    web
      Image:   shop:1.4
      Command: /bin/shop
      Args:    --motto \"be quick\"
      Dir:     /srv
      User:    1000:1000
      Env:     HOST, PASSWORD (secret db/password)
      Config:  /etc/shop.conf
      Secret:  tls -> /run/tls/
      Secret:  db/ca -> /run/ca
      Mount:   data -> /data
      Mount:   media -> /media (read only)
      After:   db (Ready), migrate (Completed)
      Restart: OnFailure
      Grace:   30s
      Startup: run test -f /ok every 5s, within 2s, 60 failures
      Ready:   GET :8080/ every 500ms, within 2s
      Alive:   connect :8080 every 5s, within 1s
      Request: cpu 500m
      Limit:   cpu 1, memory 1Gi
      Labels:  tier=front
      CapAdd:  NET_RAW
      Gains:   may gain privileges
    - Name:    db
      Image:   postgres:15

  Volumes:
    - Name:   data
      Type:   Persistent
    - Name:   media
      Type:   HostPath
      Path:   /srv/media

  Ingress:
    - Name:    page
      URL:     http://shop.test/
      Target:  web:8080

  Node Selector:\tzone=a
  Tolerations:\tgpu:NoSchedule, *:*
  Spread:\tprojects of one team over zone
  Expire At:\t<none>

Status:
  Phase:\tRunning
  Node:\ta
  Generation:\t5 (running 4, stable 4)
  Note:\tgeneration 5 failed 58m ago (ContainerExited: web(exit=3)); generation 4 runs instead

Services:
  NAME   STATE     READY   RESTARTS   EXIT CODE   ENDPOINTS     REASON            MESSAGE
  web    Exited    no      3          3           -             ContainerExited   exit code 3
                                                                                  no database
  db     Running   yes     0          -           10.0.0.2:80   -

Conditions:
  TYPE         STATUS   LAST TRANSITION        REASON              MESSAGE
  Phase        True     1970-01-01T00:01:00Z   ContainersRunning   All run
  RolledBack   True     1970-01-01T00:02:00Z   ContainerExited     web(exit=3)
                                                                   no database
";

#[test]
fn a_project_is_described_in_full_but_for_values() {
    assert_eq!(project::describe(&project(), at(3_600)), PROJECT);
}

#[test]
fn what_is_not_as_usual_is_said_in_sentences() {
    let mut project = project();
    let status = &mut project.status;
    status.rejected_generation = cara_api::Generation(0);
    status.moving = Some(Move {
        reason: "Drain".to_owned(),
        since: Some(at(30)),
        ..Move::default()
    });
    status.conditions = vec![
        Condition::new(NOT_READY_AT, true, "NodeNotReady", "", at(0)),
        Condition::new(TERMINATING_AT, true, "NodeNotReady", "", at(0)),
    ];
    assert_eq!(
        words::of_project(&project, at(60)),
        [
            "node a has not been ready for 1m; after the server's --reschedule-grace the project is placed on another one",
            "node a, which has to remove the project, has not been ready for 1m; after the server's --force-terminate-after the project counts as removed",
            "it has been moving away from node a for 30s (Drain): its old copy is removed first",
        ]
    );
    project.status.conditions.clear();
    project.status.moving = Some(Move {
        node_ref: "b".to_owned(),
        reason: "Drain".to_owned(),
        since: Some(at(30)),
        message: "web(exit=1)".to_owned(),
        ..Move::default()
    });
    assert_eq!(
        words::of_project(&project, at(60)),
        [
            "it has been moving away from node a for 30s (Drain): node b starts the new copy; so far in vain: web(exit=1)"
        ]
    );
    project.status.moving = None;
    assert_eq!(words::of_project(&project, at(60)), Vec::<String>::new());
}

const NODE: &str = "\
Name:\ta
Kind:\tNode
Created:\t<none>
Labels:\t<none>
Annotations:\t<none>

Spec:
  Hostname:\t<none>
  Unschedulable:\ttrue
  Taints:\tgpu=yes:NoSchedule
  Drain:\tyes, but for projects whose Ephemeral volumes would be lost by it

Status:
  State:\tDraining
  Last Heartbeat:\t1970-01-01T00:00:00Z (1m ago)

Info:
  Kernel Version:\t6.1
  OS Image:\t<none>
  Agent Version:\t<none>
  Engine Version:\t<none>

Network:
  IP:\t<none>
  DNS Name:\t<none>
  Mode:\t<none>
  Agent Port:\t0

Capacity:
  cpu:\t2000m

Allocatable:
  <none>

Requested:
  cpu:\t1500m
  memory:\t3072Mi

Projects:
  NAME   PHASE     MOVING
  shop   Running   -
  blog   Running   to b
  wiki   Running   from b

Conditions:
  TYPE      STATUS   LAST TRANSITION        REASON   MESSAGE
  Drained   False    1970-01-01T00:00:00Z   Moving   2 left
";

#[test]
fn a_node_is_described_with_its_drain_and_its_projects() {
    let text = r#"{"metadata": {"name": "a"},
        "spec": {"unschedulable": true, "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        "status": {"state": "Draining", "lastHeartbeat": "1970-01-01T00:00:00Z", "info": {"kernelVersion": "6.1"},
                   "capacity": {"cpu": "2000m"}}}"#;
    let mut node: Node = serde_json::from_str(text).expect("a node");
    node.spec.drain = Some(Drain::default());
    node.status.conditions = vec![Condition::new(DRAINED, false, "Moving", "2 left", at(0))];
    let on = |name: &str, node: &str, to: Option<&str>| {
        let mut project = Project::default();
        project.metadata.name = name.to_owned();
        project.status.phase = ProjectPhase::Running;
        project.status.node_ref = node.to_owned();
        project.status.moving = to.map(|to| Move {
            node_ref: to.to_owned(),
            ..Move::default()
        });
        project.spec.services = self::project().spec.services;
        project
    };
    let projects = [
        on("shop", "a", None),
        on("blog", "a", Some("b")),
        on("wiki", "b", Some("a")),
        on("far", "b", None),
    ];
    assert_eq!(node::describe(&node, Some(&projects), at(60)), NODE);
    node.spec.drain = Some(Drain {
        delete_ephemeral_data: true,
    });
    assert_eq!(
        words::drain(&node),
        "yes, also projects whose Ephemeral volumes are lost by it"
    );
    assert!(node::describe(&node, None, at(60)).contains("Projects:\n  <unknown>\n"));
}

#[test]
fn a_secret_is_described_by_its_keys_and_its_users() {
    let text = r#"{"metadata": {"name": "db", "createdAt": "1970-01-01T00:00:00Z"}, "keys": ["ca", "password"]}"#;
    let secret: Secret = serde_json::from_str(text).expect("a secret");
    let head = "Name:\tdb\nKind:\tSecret\nCreated:\t1970-01-01T00:00:00Z (1m ago)\nLabels:\t<none>\n\
                Annotations:\t<none>\nChanged:\t<none>\n\nKeys:\n  ca\n  password\n\nUsed By:\n";
    for (projects, users) in [
        (Some(vec![project()]), "  shop/web\n"),
        (Some(vec![]), "  <none>\n"),
        (None, "  <unknown>\n"),
    ] {
        assert_eq!(
            secret::describe(&secret, projects.as_deref(), at(60)),
            format!("{head}{users}")
        );
    }
}
