//! What breaks in the middle must come to a consistent end.

use std::time::Duration;

use cara_api::project::ProjectPhase;
use cara_tests::{Agent, Docker, Server, eventually, unique, within};
use serde_json::{Value, json};

fn app(host: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]}],
        "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]})
}

#[tokio::test]
async fn a_restart_of_the_server_keeps_everything_and_routes_come_back() {
    let mut server = Server::start(&[]).await;
    let node = unique("node");
    let agent = Agent::start(&server, &node);
    let name = unique("kept");
    server.create(&name, &app(&name)).await;
    let before = server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let container =
        || Docker::default().inspect(&format!("{name}-web"), "{{.Id}} {{.State.StartedAt}}");
    let started = container();
    let status = server.terminate(Duration::from_secs(5)).await;
    assert_eq!(
        status.code(),
        Some(0),
        "an idle server ends cleanly: {}",
        server.log()
    );
    server.start_again().await;
    let (status, text) = server.page(&host, "/").await;
    assert_eq!(
        (status, text.as_str()),
        (200, "version 1\n"),
        "routes are there as soon as the server is ready"
    );
    server.node_ready(&node).await;
    let after = server.project(&name).await.expect("it is kept");
    assert_eq!(
        (after.metadata.uid, after.spec),
        (before.metadata.uid, before.spec)
    );
    assert_eq!(container(), started, "no container was touched");
    drop(agent);
    let _agent = Agent::start(&server, &node);
    server.delete(&name).await;
}

#[tokio::test]
async fn a_restart_of_the_agent_touches_no_running_container() {
    let server = Server::start(&[]).await;
    let node = unique("node");
    let mut agent = Agent::start(&server, &node);
    let name = unique("calm");
    server.create(&name, &app(&name)).await;
    server.running(&name).await;
    let container =
        || Docker::default().inspect(&format!("{name}-web"), "{{.Id}} {{.State.StartedAt}}");
    let started = container();
    agent.crash_and_start_again();
    eventually("the agent is back and has looked", async || {
        let log = agent.log();
        (log.matches("connected").count() >= 2).then_some(())
    })
    .await;
    // A change is a round trip through the new agent: it has seen the project by then.
    let mut spec = app(&name);
    spec["services"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"name": "more", "image": "cara-test/app:1"}));
    server.replace(&name, &spec).await;
    server.running(&name).await;
    assert_eq!(container(), started);
    server.delete(&name).await;
}

#[tokio::test]
async fn weakness_22_a_server_killed_in_the_middle_of_applying_loses_nothing() {
    let mut server = Server::start(&[]).await;
    let node = unique("node");
    let _agent = Agent::start(&server, &node);
    server.node_ready(&node).await;
    let stem = unique("storm");
    let names: Vec<String> = (0..6).map(|n| format!("{stem}-{n}")).collect();
    for (round, pair) in names.chunks(2).enumerate() {
        let url = server.url("/api/v1/projects");
        let posts = pair.iter().map(|name| {
            let body = json!({"metadata": {"name": name}, "spec": app(name)}).to_string();
            let (url, name) = (url.clone(), name.clone());
            async move {
                let sent = cara_tests::http().post(url).body(body).send().await;
                (name, sent.is_ok_and(|answer| answer.status() == 201))
            }
        });
        let mut requests = tokio::task::JoinSet::new();
        requests.spawn(futures_util::future::join_all(posts.collect::<Vec<_>>()));
        // Each round is cut at another moment of the way to running.
        let moment = async || match round {
            0 => Some(()),
            1 => server
                .project(&pair[0])
                .await
                .filter(|p| p.status.phase >= ProjectPhase::Scheduled)
                .map(drop),
            _ => (!Docker::default().of_project(&pair[0]).is_empty()).then_some(()),
        };
        eventually("the moment comes", moment).await;
        server.kill();
        let acknowledged = requests.join_next().await.expect("the requests were sent");
        let acknowledged = acknowledged.expect("the requests end");
        server.start_again().await;
        for (name, was_acknowledged) in acknowledged {
            let exists = server.project(&name).await.is_some();
            assert!(
                exists || !was_acknowledged,
                "{name} was acknowledged and is lost"
            );
            if !exists {
                server.create(&name, &app(&name)).await;
            }
        }
    }
    for name in &names {
        server.running(name).await;
        let text = eventually("the route is back", async || {
            let (status, text) = server.page(&format!("{name}.dev.localhost"), "/").await;
            (status == 200).then_some(text)
        })
        .await;
        assert_eq!(text, "version 1\n");
        let expected = [
            format!("container {name}-web"),
            format!("network cara-{name}"),
        ];
        assert_eq!(
            Docker::default().of_project(name),
            expected,
            "no copy too many"
        );
    }
    for name in &names {
        server.delete(name).await;
        assert_eq!(Docker::default().of_project(name), [""; 0]);
    }
}

#[tokio::test]
async fn a_crashed_container_is_told_and_started_again() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("crash");
    server.create(&name, &app(&name)).await;
    server.running(&name).await;
    Docker::default().run(&["kill", &format!("{name}-web")]);
    let failed = server.phase(&name, ProjectPhase::Failed).await;
    let phase = failed
        .status
        .conditions
        .iter()
        .find(|c| c.kind == "Phase")
        .expect("a reason");
    assert_eq!(
        (phase.reason.as_str(), phase.message.as_str()),
        (
            "ContainerExited",
            "Containers exited with errors: web(exit=137)\n\
             last lines of web:\nlistening, version 1"
        )
    );
    server.running(&name).await;
    assert_eq!(
        server.page(&format!("{name}.dev.localhost"), "/").await.0,
        200
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn what_no_assignment_names_is_swept_and_what_is_not_ours_is_left() {
    let docker = Docker::default();
    let (ghost, foreign, node) = (unique("ghost"), unique("foreign"), unique("node"));
    let labels = [
        format!("--label=cara.project={ghost}"),
        format!("--label=cara.node={node}"),
    ];
    let made = |head: &[&str], tail: &[&str]| {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        docker.run(&[head, &labels, tail].concat());
    };
    made(&["network", "create"], &[&format!("cara-{ghost}")]);
    made(&["volume", "create"], &[&format!("cara-{ghost}-data")]);
    let name = format!("--name={ghost}-web");
    made(&["run", "-d"], &[&name, "cara-test/app:1"]);
    // What carries no node's label was made by the older system.
    let older = unique("older");
    let label = format!("--label=cara.project={older}");
    docker.run(&["volume", "create", &label, &older]);
    docker.run(&["run", "-d", "--name", &foreign, "cara-test/app:1"]);
    let elsewhere = unique("elsewhere");
    let labels = [
        format!("cara.project={elsewhere}"),
        "cara.node=another-node".to_owned(),
    ];
    docker.run(&[
        "volume", "create", "--label", &labels[0], "--label", &labels[1], &elsewhere,
    ]);
    let server = Server::with_agent(&node, &[]).await;
    eventually("the leftovers are gone", async || {
        docker.of_project(&ghost).is_empty().then_some(())
    })
    .await;
    assert_eq!(docker.inspect(&foreign, "{{.State.Running}}"), "true");
    assert_eq!(docker.of_project(&older), [format!("volume {older}")]);
    docker.run(&["volume", "rm", &older]);
    assert_eq!(
        docker.of_project(&elsewhere),
        [format!("volume {elsewhere}")]
    );
    docker.run(&["rm", "-f", &foreign]);
    docker.run(&["volume", "rm", &elsewhere]);
    let name = unique("forced");
    server.create(&name, &app(&name)).await;
    server.running(&name).await;
    let (status, _) = server
        .call("DELETE", &format!("/api/v1/projects/{name}?force=true"), "")
        .await;
    assert_eq!(status, 204);
    assert!(
        server.project(&name).await.is_none(),
        "the record is gone at once"
    );
    within(Duration::from_secs(60), "the node sweeps up", async || {
        docker.of_project(&name).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn weakness_12_names_that_meet_are_refused_and_never_shared() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let stem = unique("a");
    let spec = |service: &str| json!({"services": [{"name": service, "image": "cara-test/app:1"}]});
    let (first, second) = (stem.clone(), format!("{stem}-b"));
    server.create(&first, &spec("b-c")).await;
    server.running(&first).await;
    server.create(&second, &spec("c")).await;
    let refused = server.phase(&second, ProjectPhase::Failed).await;
    let reason = refused.status.conditions.last().expect("a reason");
    assert_eq!(reason.reason, "NameCollision");
    assert!(
        reason
            .message
            .contains(&format!("{stem}-b-c exists and belongs to another project")),
        "{}",
        reason.message
    );
    let owner = Docker::default().inspect(
        &format!("{stem}-b-c"),
        "{{index .Config.Labels \"cara.project\"}}",
    );
    assert_eq!(owner, first);
    server.delete(&second).await;
    assert_eq!(
        Docker::default().inspect(&format!("{stem}-b-c"), "{{.State.Running}}"),
        "true",
        "the other's stays"
    );
    server.delete(&first).await;
}

#[tokio::test]
async fn a_request_that_stops_half_way_does_not_hold_up_the_end() {
    use tokio::io::AsyncWriteExt;
    let mut server = Server::start(&[]).await;
    let mut half = tokio::net::TcpStream::connect(server.api)
        .await
        .expect("open");
    let head = "POST /api/v1/projects HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{";
    half.write_all(head.as_bytes()).await.expect("sent");
    let mut idle = tokio::net::TcpStream::connect(server.http)
        .await
        .expect("open");
    idle.write_all(b"GET / HT").await.expect("sent");
    let status = server.terminate(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

#[tokio::test]
async fn a_network_that_the_engine_made_twice_is_made_one_again() {
    let node = unique("node");
    let server = Server::with_agent(&node, &[]).await;
    let (name, docker) = (unique("twice"), Docker::default());
    // As after a request that was cut off and sent again: Docker makes both, when it is not asked
    // to look first as its own command line does.
    let request = json!({
        "Name": format!("cara-{name}"),
        "Labels": {"cara.project": name, "cara.node": node}})
    .to_string();
    for _ in 0..2 {
        let made = std::process::Command::new("curl")
            .args([
                "-fsS",
                "--unix-socket",
                "/var/run/docker.sock",
                "-d",
                &request,
            ])
            .args([
                "-H",
                "content-type: application/json",
                "http://docker/networks/create",
            ])
            .output()
            .expect("curl runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    server.create(&name, &app(&name)).await;
    server.running(&name).await;
    let expected = [
        format!("container {name}-web"),
        format!("network cara-{name}"),
    ];
    assert_eq!(docker.of_project(&name), expected);
    server.delete(&name).await;
    assert_eq!(docker.of_project(&name), [""; 0]);
}

#[tokio::test]
async fn weakness_03_a_project_made_anew_takes_over_nothing_of_its_namesake() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let (name, docker) = (unique("again"), Docker::default());
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/shell:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "env": [{"name": "RUN", "value": "echo x >> /data/seen; wc -l < /data/seen; trap 'exit 0' TERM; while :; do sleep 1; done"}]}],
        "volumes": [{"name": "data", "type": "Ephemeral"}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let container = format!("{name}-web");
    let first = docker.inspect(&container, "{{.Id}}");
    let path = format!("/api/v1/projects/{name}?force=true");
    assert_eq!(server.call("DELETE", &path, "").await.0, 204);
    server.create(&name, &spec).await;
    server.running(&name).await;
    assert_ne!(docker.inspect(&container, "{{.Id}}"), first);
    assert_eq!(
        docker.run(&["logs", &container]),
        "1",
        "its data is its own"
    );
    server.delete(&name).await;
    assert_eq!(docker.of_project(&name), [""; 0]);
}
