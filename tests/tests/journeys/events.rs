//! Events: what happened to projects and nodes, told once, in order, and not for ever.

use std::time::Duration;

use cara_api::client::Lines;
use cara_api::{WatchEvent, WatchKind};
use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};

async fn events(server: &Server, query: &str) -> Vec<Value> {
    let (status, list) = server
        .call("GET", &format!("/api/v1/events?{query}"), "")
        .await;
    assert_eq!(
        (status, &list["kind"]),
        (200, &json!("EventList")),
        "{list}"
    );
    list["items"].as_array().expect("items").clone()
}

fn reasons(events: &[Value]) -> Vec<String> {
    let reasons = events.iter().map(|e| e["reason"].as_str());
    reasons.map(|r| r.expect("a reason").to_owned()).collect()
}

/// Waits until an event of an object is there.
async fn told(server: &Server, name: &str, reason: &str) -> Vec<Value> {
    eventually(&format!("{reason} is told of {name}"), async || {
        let list = events(server, &format!("name={name}")).await;
        reasons(&list).iter().any(|r| r == reason).then_some(list)
    })
    .await
}

async fn revision(server: &Server) -> u64 {
    let (_, list) = server.call("GET", "/api/v1/events", "").await;
    let version = list["metadata"]["resourceVersion"].as_str();
    version.and_then(|v| v.parse().ok()).expect("a version")
}

async fn node(server: &Server, name: &str, hostname: &str) {
    let body = json!({"metadata": {"name": name}, "spec": {"hostname": hostname}}).to_string();
    let (status, _) = server.call("POST", "/api/v1/nodes", &body).await;
    assert_eq!(status, 201);
}

async fn cordon(server: &Server, name: &str, unschedulable: bool) {
    let body = json!({"spec": {"unschedulable": unschedulable}}).to_string();
    let path = format!("/api/v1/nodes/{name}");
    assert_eq!(server.call("PUT", &path, &body).await.0, 200);
}

#[tokio::test]
async fn the_life_of_a_project_is_told_in_order_and_outlives_it() {
    let node = unique("node");
    let mut server = Server::with_agent(&node, &[]).await;
    let name = unique("life");
    let spec = |version: &str| {
        json!({
            "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]}],
            "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
    };
    server.create(&name, &spec("1")).await;
    server.running(&name).await;
    let list = told(&server, &name, "Routed").await;
    let order = [
        "Created",
        "Scheduled",
        "Started",
        "ContainersRunning",
        "Routed",
    ];
    let mut found = reasons(&list).into_iter();
    for reason in order {
        assert!(found.any(|r| r == reason), "{reason} in order: {list:#?}");
    }
    let first = &list[0];
    assert_eq!(first["regarding"], json!({"kind": "Project", "name": name}));
    assert_eq!(
        (&first["type"], &first["count"], &first["source"]),
        (&json!("Normal"), &json!(1), &json!("scheduler"))
    );
    let started = list.iter().find(|e| e["reason"] == "Started");
    assert_eq!(started.expect("started")["source"], format!("agent/{node}"));
    let routed = list.iter().find(|e| e["reason"] == "Routed");
    assert_eq!(
        routed.expect("routed")["message"],
        format!("http://{name}.dev.localhost:{}/ -> web", server.http.port())
    );
    server.replace(&name, &spec("2")).await;
    server.running(&name).await;
    told(&server, &name, "SpecChanged").await;
    server.delete(&name).await;
    let list = told(&server, &name, "Deleted").await;
    let last: Vec<String> = reasons(&list).into_iter().rev().take(2).collect();
    assert_eq!(last, ["Deleted", "ResourcesRemoved"]);
    let times: Vec<&str> = list.iter().filter_map(|e| e["lastTime"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    // Nothing is told twice after a restart, and nothing is lost.
    server.terminate(Duration::from_secs(10)).await;
    server.start_again().await;
    server.node_ready(&node).await;
    assert_eq!(events(&server, &format!("name={name}")).await, list);
    let nodes = events(&server, "kind=Node").await;
    assert_eq!(nodes[0]["reason"], "Registered");
    assert!(nodes.iter().all(|e| e["regarding"]["kind"] == "Node"));
}

#[tokio::test]
async fn a_failure_is_a_warning_that_tells_the_cause() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("fails");
    let spec = json!({"services": [{"name": "web", "image": "cara-test/shell:1",
        "env": [{"name": "RUN", "value": "echo broken; exit 3"}]}]});
    server.create(&name, &spec).await;
    let list = eventually("the failure is told", async || {
        let list = events(&server, &format!("kind=project&name={name}")).await;
        list.iter().any(|e| e["type"] == "Warning").then_some(list)
    })
    .await;
    let warning = list.iter().find(|e| e["type"] == "Warning").expect("one");
    let message = warning["message"].as_str().expect("a message");
    assert!(message.contains("web"), "{list:#?}");
    server.delete(&name).await;
}

#[tokio::test]
async fn the_history_of_an_object_is_bounded() {
    let server = Server::start(&[]).await;
    node(&server, "busy", "h").await;
    for round in 0..70 {
        let name = format!("p{round}");
        let spec = json!({"services": [{"name": "web", "image": "x"}]});
        server.create(&name, &spec).await;
    }
    // One object, many different events: each generation is one.
    for image in 0..70 {
        let spec = json!({"services": [{"name": "web", "image": format!("x:{image}")}]});
        server.replace("p0", &spec).await;
    }
    let list = eventually("the newest is told", async || {
        let list = events(&server, "kind=Project&name=p0").await;
        let newest = list.last()?["message"] == "the spec has generation 71";
        newest.then_some(list)
    })
    .await;
    assert_eq!(list.len(), 50);
    cordon(&server, "busy", true).await;
    cordon(&server, "busy", false).await;
    cordon(&server, "busy", true).await;
    let list = eventually("the second time is told", async || {
        let list = events(&server, "kind=Node&name=busy").await;
        let again = |e: &&Value| e["reason"] == "Cordoned" && e["count"] == 2;
        list.iter().find(again)?;
        Some(list)
    })
    .await;
    let cordoned = list.iter().filter(|e| e["reason"] == "Cordoned");
    assert_eq!(cordoned.count(), 1, "counted, not listed twice");
    let newest = events(&server, "limit=5").await;
    assert_eq!(newest.len(), 5);
    let (status, problem) = server.call("GET", "/api/v1/events?kind=Secret", "").await;
    assert_eq!(status, 400, "{problem}");
}

#[tokio::test]
async fn an_idle_system_writes_nothing() {
    let server = Server::start(&["--plain-node-timeout", "1h"]).await;
    node(&server, "quiet", "h").await;
    server
        .call("POST", "/api/v1/nodes/quiet/heartbeat", "")
        .await;
    told(&server, "quiet", "Ready").await;
    let spec = json!({"services": [{"name": "web", "image": "x"}]});
    server.create("calm", &spec).await;
    told(&server, "calm", "Scheduled").await;
    let before = revision(&server).await;
    // Two keepalives of a watch are the idle time; nothing marks the absence of a write.
    let mut lines = watch(&server, "projects", &before.to_string()).await;
    for _ in 0..2 {
        let event = next(&mut lines).await;
        assert_eq!(event.kind, WatchKind::Bookmark);
        let version = event.object["metadata"]["resourceVersion"].as_str();
        assert_eq!(version, Some(before.to_string().as_str()));
    }
    assert_eq!(revision(&server).await, before);
}

type Line = WatchEvent<Value>;

async fn watch(server: &Server, kind: &str, from: &str) -> Lines {
    let query = [("watch", "true"), ("resourceVersion", from)];
    let path = format!("/api/v1/{kind}");
    server.client().follow(&path, &query).await.expect("open")
}

async fn next(lines: &mut Lines) -> Line {
    let event = tokio::time::timeout(Duration::from_secs(20), lines.next::<Line>()).await;
    event.expect("in time").expect("readable").expect("open")
}

async fn next_reason(lines: &mut Lines) -> (WatchKind, String) {
    loop {
        let line = next(lines).await;
        if line.kind != WatchKind::Bookmark {
            let reason = line.object["reason"].as_str().unwrap_or_default();
            return (line.kind, reason.to_owned());
        }
    }
}

#[tokio::test]
async fn a_watch_of_events_tells_each_once_and_goes_on_where_it_was() {
    let server = Server::start(&[]).await;
    node(&server, "seen", "h").await;
    told(&server, "seen", "Registered").await;
    let mut lines = watch(&server, "events", "").await;
    let first = next_reason(&mut lines).await;
    assert_eq!(first, (WatchKind::Added, "Registered".to_owned()));
    cordon(&server, "seen", true).await;
    let second = next_reason(&mut lines).await;
    assert_eq!(second, (WatchKind::Added, "Cordoned".to_owned()));
    drop(lines);
    let from = revision(&server).await.to_string();
    cordon(&server, "seen", false).await;
    told(&server, "seen", "Uncordoned").await;
    cordon(&server, "seen", true).await;
    let mut lines = watch(&server, "events", &from).await;
    let third = next_reason(&mut lines).await;
    assert_eq!(third, (WatchKind::Added, "Uncordoned".to_owned()));
    let fourth = next_reason(&mut lines).await;
    assert_eq!(fourth, (WatchKind::Modified, "Cordoned".to_owned()));
}
