//! What operators do with nodes on the command line: close and empty them.

use std::process::{Command, Stdio};

use cara_tests::process::program;
use cara_tests::{Agent, Machine, PATIENCE, Server, eventually, unique};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

/// A service that answers with its version.
fn app(version: &str) -> Value {
    json!({"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]})
}

/// A spec that is reached under the host `name`.
fn reached(name: &str, service: &Value) -> Value {
    json!({"services": [service], "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
}

/// A node without an agent, alive by its heartbeats for as long as the server's timeout is.
async fn plain_node(server: &Server, name: &str) {
    let body = json!({"metadata": {"name": name}}).to_string();
    assert_eq!(server.call("POST", "/api/v1/nodes", &body).await.0, 201);
    let beat = format!("/api/v1/nodes/{name}/heartbeat");
    assert_eq!(
        server.call("POST", &beat, r#"{"state":"Ready"}"#).await.0,
        204
    );
    server.node_ready(name).await;
}

/// A project that a plain node says it runs.
async fn runs_on_plain_node(server: &Server, name: &str, volumes: &Value) {
    let spec = json!({"services": [{"name": "web", "image": "x"}], "volumes": volumes});
    server.create(name, &spec).await;
    let status = format!("/api/v1/projects/{name}/status");
    eventually(
        "the project is placed and reported as running",
        async || {
            let (code, _) = server
                .call("PATCH", &status, r#"{"phase":"Running"}"#)
                .await;
            let project = server.project(name).await?;
            let is_bound = !project.status.node_ref.is_empty();
            (code == 204 && is_bound).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_node_is_closed_and_opened() {
    let server = Server::start(&[]).await;
    plain_node(&server, "a").await;
    for (verb, done, closed) in [
        ("cordon", "cordoned", json!(true)),
        ("cordon", "cordoned", json!(true)),
        ("uncordon", "uncordoned", Value::Null),
    ] {
        let (code, out, err) = server.ctl(&[verb, "a"]).await;
        assert_eq!((code, out), (0, format!("node/a {done}\n")), "{err}");
        let (_, node) = server.call("GET", "/api/v1/nodes/a", "").await;
        assert_eq!(node["spec"]["unschedulable"], closed);
    }
    let (_, wide, _) = server.ctl(&["get", "nodes", "-o", "wide"]).await;
    assert!(
        wide.starts_with("NAME   STATE   IP") && wide.contains("TAINTS"),
        "{wide}"
    );
    assert_eq!(server.ctl(&["cordon", "ghost"]).await.0, 1);
}

#[tokio::test]
async fn a_drain_says_what_cannot_leave_and_how_it_could() {
    let server = Server::start(&["--plain-node-timeout", "5m"]).await;
    plain_node(&server, "a").await;
    let (cache, data) = (unique("cache"), unique("data"));
    let volume = |kind| json!([{"name": "v", "type": kind}]);
    runs_on_plain_node(&server, &cache, &volume("Ephemeral")).await;
    runs_on_plain_node(&server, &data, &volume("Persistent")).await;
    let (code, out, err) = server.ctl(&["drain", "a"]).await;
    assert_eq!((code, out.as_str()), (8, ""), "{err}");
    for part in [
        "Error: node/a is not empty: 2 project(s) cannot leave",
        &format!("project/{cache} stays: the data of its Ephemeral volume v would be lost"),
        "caractrl drain a --delete-ephemeral-data moves it without that data",
        &format!("project/{data} stays: the data of its Persistent volume v is here"),
        "caractrl uncordon a opens it again",
    ] {
        assert!(err.contains(part), "{part} is missing: {err}");
    }
    let (code, _, err) = server.ctl(&["drain", "a", "--delete-ephemeral-data"]).await;
    assert_eq!(code, 8, "{err}");
    assert!(
        err.contains(&format!("project/{cache} stays: no other node can take it")),
        "{err}"
    );
    let (_, node, _) = server.ctl(&["describe", "node", "a"]).await;
    for part in ["State:\tDraining", "Drain:\tyes, also projects", "Drained "] {
        assert!(node.contains(part), "{part} is missing: {node}");
    }
    assert_eq!(server.ctl(&["uncordon", "a"]).await.0, 0);
    server.node_ready("a").await;
}

#[tokio::test]
async fn a_drain_goes_on_when_nobody_looks_on() {
    let server = Server::start(&["--plain-node-timeout", "5m"]).await;
    plain_node(&server, "a").await;
    let name = unique("slow");
    runs_on_plain_node(&server, &name, &json!([])).await;
    plain_node(&server, "b").await;
    let (code, out, _) = server.ctl(&["drain", "a", "--no-wait"]).await;
    assert_eq!((code, out.as_str()), (0, "node/a draining\n"));
    let (code, _, err) = server.ctl(&["drain", "a", "--timeout", "1s"]).await;
    assert_eq!(code, 7, "{err}");
    assert!(
        err.contains("1 project(s) left") && err.contains("drain goes on"),
        "{err}"
    );
    let mut onlooker = Onlooker::of_drain(&server, "a");
    onlooker.says(&format!("project/{name}  moves to b")).await;
    let pid = onlooker.child.id().expect("running").to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    let goes_on = "drain goes on; caractrl uncordon a stops it";
    onlooker.says(goes_on).await;
    assert_eq!(onlooker.ends().await, Some(130));
    let (_, wide, _) = server.ctl(&["get", "projects", "-o", "wide"]).await;
    assert!(
        wide.lines()
            .next()
            .is_some_and(|l| l.ends_with("MOVING TO")),
        "{wide}"
    );
    assert!(wide.trim_end().ends_with('b'), "{wide}");
    let (code, out, err) = server.ctl(&["delete", "node", "a"]).await;
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(
        err.contains("caractrl drain a") && err.contains("--force"),
        "{err}"
    );
    assert_eq!(server.ctl(&["delete", "node", "a", "--force"]).await.0, 0);
}

/// A `caractrl drain` that looks on.
struct Onlooker {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Onlooker {
    fn of_drain(server: &Server, node: &str) -> Self {
        let mut child = tokio::process::Command::new(program("caractrl"))
            .args(["drain", node])
            .env("CARA_SERVER", format!("http://{}", server.api))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("caractrl runs");
        let stderr = child.stderr.take().expect("a pipe");
        let lines = BufReader::new(stderr).lines();
        Self { child, lines }
    }

    /// Waits for a line with this part.
    async fn says(&mut self, part: &str) {
        let search = async {
            while let Some(line) = self.lines.next_line().await.expect("readable") {
                if line.contains(part) {
                    return;
                }
            }
            panic!("no line says {part}");
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("no line says {part} in time"));
    }

    /// Its exit code.
    async fn ends(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("in time").expect("a status").code()
    }
}

#[tokio::test]
async fn looking_on_outlives_the_server() {
    let mut server = Server::start(&["--plain-node-timeout", "5m"]).await;
    plain_node(&server, "a").await;
    let name = unique("slow");
    runs_on_plain_node(&server, &name, &json!([])).await;
    plain_node(&server, "b").await;
    let mut onlooker = Onlooker::of_drain(&server, "a");
    onlooker.says(&format!("project/{name}  moves to b")).await;
    server.kill();
    server.start_again().await;
    let (code, _, err) = server.ctl(&["uncordon", "a"]).await;
    assert_eq!(code, 0, "{err}");
    onlooker.says("somebody stopped it").await;
    assert_eq!(onlooker.ends().await, Some(1));
}

#[tokio::test]
async fn a_drain_moves_projects_and_they_answer_all_the_time() {
    let machine = Machine::start(11).await;
    machine.copy_image("cara-test/app:1");
    let (near, far) = (unique("near"), unique("far"));
    let api = format!("{}:0", machine.host_ip);
    let server = Server::with_agent(&near, &["--insecure-api", "--api-listen", &api]).await;
    let name = unique("moves");
    server.create(&name, &reached(&name, &app("1"))).await;
    server.running(&name).await;
    let _agent = Agent::start_on(&server, &machine, &far);
    server.node_ready(&far).await;
    let host = format!("{name}.dev.localhost");
    let expected = (200, "version 1\n".to_owned());
    let visit = async {
        loop {
            assert_eq!(server.page(&host, "/").await, expected);
        }
    };
    let drain = ["drain", &near];
    let (code, out, err) = tokio::select! {
        ended = server.ctl(&drain) => ended,
        () = visit => unreachable!("visits end with the drain"),
    };
    assert_eq!((code, out), (0, format!("node/{near} drained\n")), "{err}");
    for part in [
        format!("project/{name}  moves to {far}"),
        format!("project/{name}  moved to {far}"),
    ] {
        assert!(err.contains(&part), "{part} is missing: {err}");
    }
    assert_eq!(server.page(&host, "/").await, expected);
    let (code, _, err) = server.ctl(&["drain", &near]).await;
    assert_eq!(code, 0, "an empty node is drained at once: {err}");
    server.delete(&name).await;
}
