//! Nodes: spread, two real machines, and what happens when they are deleted.

use std::collections::BTreeMap;
use std::process::Command;

use cara_tests::process::program;
use cara_tests::{Agent, Docker, Machine, Server, eventually, unique};
use serde_json::json;

#[tokio::test]
async fn sixty_projects_spread_evenly_over_three_nodes() {
    let server = Server::start(&[]).await;
    for node in ["a", "b", "c"] {
        let body = json!({"metadata": {"name": node}}).to_string();
        assert_eq!(server.call("POST", "/api/v1/nodes", &body).await.0, 201);
        let beat = server
            .call("POST", &format!("/api/v1/nodes/{node}/heartbeat"), "")
            .await;
        assert_eq!(beat.0, 204);
        server.node_ready(node).await;
    }
    let spec = json!({"services": [{"name": "web", "image": "x"}]});
    futures_util::future::join_all((0..60).map(|n| {
        let (server, spec, name) = (&server, &spec, format!("p{n}"));
        async move { server.create(&name, spec).await }
    }))
    .await;
    let counts = eventually("all are placed", async || {
        let (_, list) = server
            .call("GET", "/api/v1/projects?phase=Scheduled", "")
            .await;
        let items = list["items"].as_array()?.clone();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for item in &items {
            *counts
                .entry(item["status"]["nodeRef"].as_str()?.to_owned())
                .or_default() += 1;
        }
        (items.len() == 60).then_some(counts)
    })
    .await;
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [20, 20, 20]);
    let (status, problem) = server.call("DELETE", "/api/v1/nodes/a", "").await;
    assert_eq!(status, 409);
    assert_eq!(
        problem["detail"],
        "cannot delete node \"a\": 20 project(s) still assigned: resource already exists"
    );
}

#[tokio::test]
async fn a_node_that_falls_silent_is_not_ready_and_comes_back() {
    let server = Server::start(&["--node-timeout", "1s", "--plain-node-timeout", "1s"]).await;
    let node = unique("silent");
    let body = json!({"metadata": {"name": node}}).to_string();
    server.call("POST", "/api/v1/nodes", &body).await;
    let beat = format!("/api/v1/nodes/{node}/heartbeat");
    let read = async || {
        server
            .call("GET", &format!("/api/v1/nodes/{node}"), "")
            .await
            .1
    };
    for _ in 0..2 {
        assert_eq!(
            server
                .call("POST", &beat, r#"{"network":{"ip":"10.0.0.9"}}"#)
                .await
                .0,
            204
        );
        server.node_ready(&node).await;
        let lost = eventually("the silence is noticed", async || {
            Some(read().await).filter(|node| node["status"]["state"] == "NotReady")
        })
        .await;
        let conditions = lost["status"]["conditions"]
            .as_array()
            .expect("a list")
            .clone();
        assert_eq!(conditions.len(), 1, "one condition, renewed");
        assert_eq!(conditions[0]["reason"], "HeartbeatTimeout");
    }
    assert_eq!(
        server.call("POST", &beat, r#"{"state":"Bogus"}"#).await.0,
        400
    );
    assert_eq!(
        server
            .call("POST", "/api/v1/nodes/ghost/heartbeat", "{")
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn weakness_26_heartbeats_change_neither_version_nor_time_of_a_node() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let read = async || {
        let (_, list) = server.call("GET", "/api/v1/nodes", "").await;
        let node = &list["items"][0]["metadata"];
        assert!(node["updatedAt"].is_string(), "{list}");
        ["resourceVersion", "updatedAt"].map(|field| node[field].clone())
    };
    let beats = async || {
        let (_, metrics) = server.call("GET", "/metrics", "").await;
        let text = metrics.as_str().expect("text").to_owned();
        let line = text
            .lines()
            .find(|l| l.contains("heartbeat") && l.contains("status=\"204\""));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<u32>().ok())
            .unwrap_or(0)
    };
    eventually("the agent beats", async || {
        (beats().await >= 1).then_some(())
    })
    .await;
    // The first ones say something new, and the events tell of it.
    eventually("two heartbeats come and nothing is written", async || {
        let (before, first) = (read().await, beats().await);
        eventually("two more heartbeats come", async || {
            (beats().await >= first + 2).then_some(())
        })
        .await;
        (read().await == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_machines_share_the_projects_and_the_gateway_reaches_both() {
    let machine = Machine::start(1).await;
    machine.copy_image("cara-test/app:1");
    let (near, far) = (unique("near"), unique("far"));
    let api = format!("{}:0", machine.host_ip);
    let server = Server::with_agent(&near, &["--api-listen", &api, "--api-tls", "internal"]).await;
    let (_, token, _) = server.ctl(&["node", "join-token", "--token-only"]).await;
    let (url, ip, docker_host) = (server.base(), machine.ip.clone(), machine.docker_host());
    let prefix: Vec<String> = machine
        .command(program("cara-agent"))
        .get_args()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let node = far.clone();
    let _agent = Agent::launch(&far, move |directory| {
        let mut command = Command::new("nsenter");
        command.args(&prefix).args([
            "--server",
            &url,
            "--node-name",
            &node,
            "--advertise-ip",
            &ip,
        ]);
        command
            .env("CARA_JOIN", &token)
            .args(["--docker-host", &docker_host])
            .arg("--data-dir")
            .arg(directory);
        command
    });
    server.node_ready(&far).await;
    let own_port = tokio::net::TcpStream::connect((machine.ip.as_str(), 9090));
    assert!(
        own_port.await.is_err(),
        "the agent's own port asks nobody who they are"
    );
    let names = [unique("one"), unique("two")];
    for name in &names {
        let spec = json!({
            "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]}],
            "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
        server.create(name, &spec).await;
    }
    let mut nodes = Vec::new();
    for name in &names {
        let project = server.running(name).await;
        let page = server.page(&format!("{name}.dev.localhost"), "/").await;
        assert_eq!(
            page,
            (200, format!("version {name}\n")),
            "on {}",
            project.status.node_ref
        );
        let endpoint = project.status.services[0].endpoints[0].address;
        if project.status.node_ref == far {
            assert_eq!(
                endpoint.ip().to_string(),
                machine.ip,
                "a far service is reached at the node's address"
            );
            assert_eq!(machine.docker().of_project(name).len(), 2);
        } else {
            assert_eq!(endpoint.port(), 8080, "a near service is reached directly");
            assert_eq!(Docker::default().of_project(name).len(), 2);
        }
        let (code, log, _) = server.ctl(&["logs", &format!("{name}/web")]).await;
        assert_eq!((code, log), (0, format!("listening, version {name}\n")));
        nodes.push(project.status.node_ref);
    }
    nodes.sort();
    let mut expected = vec![near, far];
    expected.sort();
    assert_eq!(nodes, expected, "one project on each node");
    for name in &names {
        server.delete(name).await;
    }
    assert_eq!(machine.docker().run(&["ps", "-aq"]), "");
}

/// What an agent of the older system says on the wire, and what it is answered.
#[tokio::test]
async fn an_agent_of_the_older_system_is_served() {
    let server = Server::start(&[]).await;
    let call = async |method: &str, path: &str, body: &str| server.call(method, path, body).await;
    let register = r#"{"apiVersion":"","kind":"","metadata":{"name":"old","createdAt":"0001-01-01T00:00:00Z","updatedAt":"0001-01-01T00:00:00Z"},"spec":{"hostname":"old"},"status":{"network":{"throughput":{"lastTestTime":"0001-01-01T00:00:00Z"}},"info":{},"lastHeartbeat":"0001-01-01T00:00:00Z"}}"#;
    assert_eq!(call("POST", "/api/v1/nodes", register).await.0, 201);
    assert_eq!(call("POST", "/api/v1/nodes", register).await.0, 409);
    let beat = r#"{"state":"Ready","network":{"ip":"127.0.0.1","agentPort":9090}}"#;
    assert_eq!(
        call("POST", "/api/v1/nodes/old/heartbeat", beat).await.0,
        204
    );
    server
        .create(
            "legacy",
            &json!({"services": [{"name": "web", "image": "x"}]}),
        )
        .await;
    server
        .phase("legacy", cara_api::project::ProjectPhase::Scheduled)
        .await;
    let (_, list) = call(
        "GET",
        "/api/v1/projects?phase=Scheduled&phase=Running&nodeRef=old",
        "",
    )
    .await;
    assert_eq!(list["items"][0]["metadata"]["name"], "legacy");
    let status = "/api/v1/projects/legacy/status";
    let running =
        r#"{"phase":"Running","reason":"ContainersRunning","message":"All containers running"}"#;
    assert_eq!(call("PATCH", status, running).await.0, 204);
    let (_, project) = call("GET", "/api/v1/projects/legacy", "").await;
    assert_eq!(project["status"]["phase"], "Running");
    for (body, detail) in [
        (r#"{"reason":"X"}"#, "phase is required"),
        (
            r#"{"phase":"Nope"}"#,
            "invalid phase Nope: must be one of Pending, Scheduled, Running, Failed, Terminating, Terminated",
        ),
    ] {
        let (code, problem) = call("PATCH", status, body).await;
        assert_eq!((code, &problem["detail"]), (400, &json!(detail)));
    }
    let stale = cara_tests::http()
        .patch(server.url(status))
        .header("if-match", "\"1\"")
        .body(running);
    assert_eq!(stale.send().await.expect("an answer").status(), 409);
    assert_eq!(
        call("PATCH", "/api/v1/projects/ghost/status", running)
            .await
            .0,
        404
    );
    assert_eq!(call("DELETE", "/api/v1/projects/legacy", "").await.0, 202);
    assert_eq!(
        call("PATCH", status, running).await.0,
        409,
        "a late report does not undo a deletion"
    );
    assert_eq!(
        call("PATCH", status, r#"{"phase":"Terminated"}"#).await.0,
        204
    );
    eventually("the record goes", async || {
        server.project("legacy").await.is_none().then_some(())
    })
    .await;
}
