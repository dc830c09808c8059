//! What the older system did wrong in the life of projects and nodes, by the number under which
//! it is known; each shown to be absent here. `docs/compatibility.md` has the list.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use cara_api::condition;
use cara_api::project::{ProjectPhase, ServiceState};
use cara_api::{Timestamp, WatchEvent, WatchKind};
use cara_tests::{Agent, Docker, Server, eventually, unique, within};
use serde_json::{Value, json};

fn app(version: &str, host: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]}],
        "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]})
}

fn shell(run: &str, grace: &str) -> Value {
    json!({"services": [{"name": "web", "image": "cara-test/shell:1", "stopGracePeriod": grace,
        "env": [{"name": "RUN", "value": run}]}]})
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    let names = items.iter().map(|item| item["metadata"]["name"].as_str());
    names.map(|name| name.expect("a name")).collect()
}

#[tokio::test]
async fn weakness_03_a_failed_project_goes_with_all_that_it_made() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("grave");
    let mut broken = app("1", &name);
    broken["services"][0]["command"] = json!(["/bin/sh", "-c", "exit 3"]);
    broken["services"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    broken["volumes"] = json!([{"name": "data", "type": "Ephemeral"}]);
    server.create(&name, &broken).await;
    server.phase(&name, ProjectPhase::Failed).await;
    let docker = Docker::default();
    assert_eq!(docker.of_project(&name).len(), 3, "it left something");
    server.delete(&name).await;
    assert_eq!(docker.of_project(&name), [""; 0]);
    server.create(&name, &app("2", &name)).await;
    server.running(&name).await;
    let page = server.page(&format!("{name}.dev.localhost"), "/").await;
    assert_eq!(page, (200, "version 2\n".to_owned()));
    server.delete(&name).await;
}

/// Heartbeats that the server took.
async fn beats(server: &Server) -> u32 {
    let (_, metrics) = server.call("GET", "/metrics", "").await;
    let text = metrics.as_str().expect("text");
    let is_beat = |line: &&str| line.contains("heartbeat") && line.contains("status=\"204\"");
    let line = text.lines().find(is_beat);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

#[tokio::test]
async fn weakness_05_slow_pulls_and_stops_hold_up_neither_heartbeats_nor_other_projects() {
    // A registry that takes connections and says nothing.
    let registry = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = registry.local_addr().expect("an address");
    let node = unique("node");
    let flags = ["--node-timeout", "4s", "--heartbeat-interval", "500ms"];
    let server = Server::with_agent(&node, &flags).await;
    let (stubborn, pulled, other) = (unique("stubborn"), unique("pulled"), unique("other"));
    let run = "trap '' TERM; while :; do sleep 1; done";
    server.create(&stubborn, &shell(run, "10m")).await;
    server.running(&stubborn).await;
    let image = json!({"services": [{"name": "web", "image": format!("{address}/slow:1")}]});
    server.create(&pulled, &image).await;
    let path = format!("/api/v1/projects/{stubborn}");
    assert_eq!(server.call("DELETE", &path, "").await.0, 202);
    eventually("the pull goes on", async || {
        let project = server.project(&pulled).await?;
        let service = project.status.services.first()?;
        (service.state == ServiceState::Pulling).then_some(())
    })
    .await;
    let before = beats(&server).await;
    server.create(&other, &app("1", &other)).await;
    server.running(&other).await;
    // Longer than a silent node counts as ready.
    eventually("ten more heartbeats", async || {
        (beats(&server).await >= before + 10).then_some(())
    })
    .await;
    let ending = server.project(&stubborn).await.expect("it is there");
    assert_eq!(ending.status.phase, ProjectPhase::Terminating);
    let query = format!("/api/v1/events?kind=Node&name={node}");
    let (_, events) = server.call("GET", &query, "").await;
    let lost = |event: &Value| event["reason"] == "NotReady";
    let items = events["items"].as_array().expect("a list");
    assert!(!items.iter().any(lost), "{events:#}");
    Docker::default().run(&["kill", &format!("{stubborn}-web")]);
    for name in [stubborn, pulled, other] {
        server.delete(&name).await;
    }
}

#[tokio::test]
async fn weakness_09_an_agent_that_was_away_sweeps_what_was_forgotten_meanwhile() {
    let server = Server::start(&[]).await;
    let mut agent = Agent::start(&server, &unique("node"));
    let name = unique("forgotten");
    server.create(&name, &app("1", &name)).await;
    server.running(&name).await;
    agent.kill();
    let path = format!("/api/v1/projects/{name}?force=true");
    assert_eq!(server.call("DELETE", &path, "").await.0, 204);
    let page = server.page(&format!("{name}.dev.localhost"), "/").await;
    assert_eq!(page.0, 404, "the route goes with the record");
    let docker = Docker::default();
    assert_eq!(docker.of_project(&name).len(), 2, "nobody was there");
    agent.crash_and_start_again();
    eventually("what was left is gone", async || {
        docker.of_project(&name).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn weakness_15_a_nul_character_is_refused_and_breaks_nothing() {
    let server = Server::start(&[]).await;
    let name = unique("nul");
    for at in ["name", "value"] {
        let mut spec = app("1", &name);
        spec["services"][0]["env"][0][at] = json!("a\0b");
        let body = json!({"metadata": {"name": name}, "spec": spec}).to_string();
        let (status, problem) = server.call("POST", "/api/v1/projects", &body).await;
        let errors = problem["errors"].to_string();
        assert_eq!(status, 400, "{problem}");
        assert!(errors.contains("spec.services[0].env[0]"), "{problem}");
    }
    server.create(&name, &app("1", &name)).await;
}

#[tokio::test]
async fn weakness_16_start_and_deletion_follow_at_once_and_not_after_a_poll() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("prompt");
    let started = Instant::now();
    // An agent that asks every ten seconds sees a start and a deletion ten seconds apart: three
    // lives in a row take it at least fifty.
    for round in ["1", "2", "3"] {
        server.create(&name, &app(round, &name)).await;
        server.running(&name).await;
        server.delete(&name).await;
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(30), "three lives took {took:?}");
}

#[tokio::test]
async fn weakness_17_lists_are_ordered_by_name_whatever_was_written_last() {
    let server = Server::start(&[]).await;
    let sorted = ["a", "b", "c", "d"];
    for name in ["c", "a", "d", "b"] {
        server.create(name, &app("1", name)).await;
        let node = json!({"metadata": {"name": name}}).to_string();
        assert_eq!(server.call("POST", "/api/v1/nodes", &node).await.0, 201);
    }
    for name in ["d", "b", "a"] {
        server.replace(name, &app("2", name)).await;
        let beat = format!("/api/v1/nodes/{name}/heartbeat");
        assert_eq!(server.call("POST", &beat, "").await.0, 204);
        for kind in ["projects", "nodes"] {
            let (_, list) = server.call("GET", &format!("/api/v1/{kind}"), "").await;
            assert_eq!(names(&list), sorted, "{kind}");
        }
    }
}

/// Phases that a project was seen in, in order, up to one that `is_last`.
async fn phases(server: &Server, name: &str, is_last: impl Fn(&Value) -> bool) -> Vec<String> {
    let path = format!("/api/v1/projects/{name}");
    let query = [("watch", "true")];
    let mut lines = server.client().follow(&path, &query).await.expect("open");
    let mut seen: Vec<String> = Vec::new();
    loop {
        let event = lines.next::<WatchEvent<Value>>();
        let event = tokio::time::timeout(Duration::from_secs(60), event).await;
        let event = event.expect("in time").expect("readable").expect("open");
        if event.kind == WatchKind::Bookmark {
            continue;
        }
        let phase = event.object["status"]["phase"].as_str().expect("a phase");
        if seen.last().is_none_or(|last| last != phase) {
            seen.push(phase.to_owned());
        }
        if is_last(&event.object) {
            return seen;
        }
    }
}

#[tokio::test]
async fn weakness_19_what_ends_at_once_never_counts_as_running() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("brief");
    server.create(&name, &shell("exit 1", "1s")).await;
    let again = |project: &Value| project["status"]["services"][0]["restarts"].as_u64() >= Some(2);
    let seen = phases(&server, &name, again).await;
    assert_eq!(seen.last().map(String::as_str), Some("Failed"));
    assert!(!seen.iter().any(|phase| phase == "Running"), "{seen:?}");
    server.delete(&name).await;
}

#[tokio::test]
async fn weakness_19_running_waits_for_the_port_and_a_paused_container_is_not_ready() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("proved");
    let mut spec = app("1", &name);
    let delay = json!({"name": "DELAY_MS", "value": "2000"});
    spec["services"][0]["env"] = json!([delay, {"name": "VERSION", "value": "1"}]);
    server.create(&name, &spec).await;
    let project = server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    assert_eq!(server.page(&host, "/").await.0, 200);
    let (docker, container) = (Docker::default(), format!("{name}-web"));
    let started = docker.inspect(&container, "{{.State.StartedAt}}");
    let started: Timestamp = started.parse().expect("a time");
    let phase = condition::find(&project.status.conditions, "Phase").expect("a reason");
    let running = phase.last_transition_time.expect("a time");
    let after = running.duration_since(started).as_millis();
    assert!(after >= 2_000, "it counted as running after {after} ms");
    for (command, is_ready) in [("pause", false), ("unpause", true)] {
        docker.run(&[command, &container]);
        eventually(&format!("{command} is seen"), async || {
            let project = server.project(&name).await?;
            (project.status.services.first()?.ready == is_ready).then_some(())
        })
        .await;
    }
    server.delete(&name).await;
}

#[tokio::test]
async fn weakness_25_placing_and_deleting_say_why_and_no_time_is_zero() {
    let node = unique("node");
    let server = Server::with_agent(&node, &[]).await;
    let name = unique("told");
    let run = "trap '' TERM; while :; do sleep 1; done";
    server.create(&name, &shell(run, "10m")).await;
    server.running(&name).await;
    let path = format!("/api/v1/projects/{name}");
    assert_eq!(server.call("DELETE", &path, "").await.0, 202);
    let reason = async || {
        let project = server.project(&name).await.expect("it is there");
        let phase = condition::find(&project.status.conditions, "Phase").expect("a reason");
        assert!(phase.last_transition_time.is_some());
        (phase.reason.clone(), phase.message.clone())
    };
    let expected = (
        "DeletionRequested".to_owned(),
        "deletion was asked for".to_owned(),
    );
    assert_eq!(reason().await, expected);
    let paths = [
        path.clone(),
        format!("{path}/revisions"),
        format!("/api/v1/nodes/{node}"),
        "/api/v1/projects".to_owned(),
        "/api/v1/nodes".to_owned(),
        "/api/v1/events".to_owned(),
    ];
    for path in paths {
        let (status, answer) = server.call("GET", &path, "").await;
        let text = answer.to_string();
        assert_eq!(status, 200, "{path}: {text}");
        assert!(!text.contains("0001-01-01"), "{path}: {text}");
        assert!(!text.contains("1970-01-01"), "{path}: {text}");
    }
    let (_, events) = server.call("GET", "/api/v1/events?kind=Project", "").await;
    let items = events["items"].as_array().expect("a list");
    let scheduled = items.iter().find(|e| e["reason"] == "Scheduled");
    let message = scheduled.expect("an event")["message"].to_string();
    assert!(message.contains(&node), "{message}");
    for command in [["get", "projects"], ["get", "nodes"], ["describe", "node"]] {
        let args = match command {
            ["describe", kind] => vec!["describe", kind, &node],
            [verb, kinds] => vec![verb, kinds, "-o", "yaml"],
        };
        let (code, text, _) = server.ctl(&args).await;
        assert_eq!(code, 0, "{args:?}");
        assert!(!text.contains("0001-01-01"), "{args:?}: {text}");
    }
    Docker::default().run(&["kill", &format!("{name}-web")]);
    within(Duration::from_secs(60), "it is gone", async || {
        server.project(&name).await.is_none().then_some(())
    })
    .await;
}
