//! Streams over TLS, from a node that joined, for those who may.

use cara_api::paths;
use cara_tests::{Agent, Server, eventually, unique};
use serde_json::{Value, json};

use super::{idle, nothing_is_open};

#[tokio::test]
async fn streams_pass_over_tls_for_those_who_may_and_are_recorded() {
    let server = Server::start(&["--api-tls", "internal", "--auth=true"]).await;
    let node = unique("node");
    let (code, token, err) = server.ctl(&["node", "join-token", "--token-only"]).await;
    assert_eq!(code, 0, "{err}");
    let _agent = Agent::join(&server, &node, token.trim());
    server.node_ready(&node).await;
    let name = unique("guarded");
    server
        .create(&name, &json!({"services": [idle("web")]}))
        .await;
    server.running(&name).await;
    let (code, out, err) = server.ctl(&["exec", &name, "--", "echo", "over TLS"]).await;
    assert_eq!((code, out.as_str()), (0, "over TLS\n"), "{err}");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "content").expect("written");
    let text = file.to_str().expect("text");
    let (code, _, err) = server
        .ctl(&["cp", text, &format!("{name}/web:/tmp/file")])
        .await;
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = server.ctl(&["top", &name]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&name) && out.contains(&node), "{out}");
    let (code, _, err) = server.ctl(&["logs", &name]).await;
    assert_eq!(code, 0, "{err}");
    // Who is not known gets nothing.
    let builder = server.api_http_builder();
    let stranger = builder.tls_danger_accept_invalid_certs(true).build();
    let stranger = stranger.expect("a client");
    for path in [
        paths::fill(paths::SERVICE_EXEC, &[&name, "web"]) + "?command=id",
        paths::fill(paths::SERVICE_FORWARD, &[&name, "web", "80"]),
        paths::fill(paths::SERVICE_FILES, &[&name, "web"]) + "?path=/etc/passwd",
        paths::fill(paths::PROJECT_ALL_LOGS, &[&name]),
        paths::USAGE.to_owned(),
        paths::fill(paths::NODE_TUNNEL, &[&node]),
    ] {
        let asked = stranger.get(server.url(&path)).send().await;
        let status = asked.expect("an answer").status().as_u16();
        assert!(matches!(status, 401 | 403), "{path}: {status}");
    }
    let audit = server.directory().join("audit.jsonl");
    eventually("it is recorded", async || {
        let text = std::fs::read_to_string(&audit).ok()?;
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| line["name"] == name.as_str()).collect();
        let of = |verb: &str| lines.iter().find(|line| line["verb"] == verb);
        let command = &of("exec")?["diff"][0]["new"]["command"];
        assert_eq!(command, &json!(["echo", "over TLS"]));
        assert_eq!(of("copy")?["diff"][0]["new"]["write"], "/tmp");
        Some(())
    })
    .await;
    nothing_is_open(&server).await;
    server.delete(&name).await;
}
