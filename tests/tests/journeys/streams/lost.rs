//! Streams of whoever may not have them any more: they are told where there is a place for words, and
//! what cannot tell is broken off.

use std::process::Stdio;
use std::time::Duration;

use cara_api::paths;
use cara_tests::{Agent, Server, eventually, unique};
use serde_json::json;

use super::{idle, nothing_is_open, open_streams};

/// A server that asks who somebody is, a node, a project on it, and the token of one who may use that.
struct World {
    server: Server,
    agent: Agent,
    name: String,
    token: String,
}

impl World {
    async fn new() -> Self {
        let server = Server::start(&["--api-tls", "internal", "--auth=true"]).await;
        let node = unique("node");
        let (code, token, err) = server.ctl(&["node", "join-token", "--token-only"]).await;
        assert_eq!(code, 0, "{err}");
        let agent = Agent::join(&server, &node, token.trim());
        server.node_ready(&node).await;
        let name = unique("lost");
        server
            .create(&name, &json!({"services": [idle("web")]}))
            .await;
        server.running(&name).await;
        let grants = json!([{"role": "developer", "projects": [name]}]);
        let token = json!({"metadata": {"name": "hers"}, "spec": {"grants": grants}});
        let token = token.to_string();
        let (status, made) = server.call("POST", paths::TOKENS, &token).await;
        assert_eq!(status, 201, "{made}");
        let token = made["value"].as_str().expect("a value").to_owned();
        Self {
            server,
            agent,
            name,
            token,
        }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.server.api_http().get(self.server.url(path));
        let answer = request.bearer_auth(&self.token).send().await;
        answer.expect("an answer")
    }

    async fn revoke(&self) {
        let path = paths::fill(paths::TOKEN, &["hers"]);
        assert_eq!(self.server.call("DELETE", &path, "").await.0, 204);
    }
}

#[tokio::test]
async fn what_is_open_ends_with_a_reason_and_never_looks_whole() {
    let world = World::new().await;
    let path = paths::fill(paths::PROJECT_LOGS, &[&world.name, "web"]) + "?follow=true";
    let mut log = world.get(&path).await;
    assert_eq!(log.status(), 200);
    let command = world
        .server
        .ctl_command(&["exec", &world.name, "--", "sleep", "1000"])
        .env("CARA_TOKEN", &world.token)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let command = command.expect("caractrl runs");
    eventually("the command runs", async || {
        (open_streams(&world.server, "exec").await? == 1).then_some(())
    })
    .await;
    world.revoke().await;
    let read = async {
        loop {
            match log.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    let looks_whole = tokio::time::timeout(Duration::from_secs(30), read).await;
    assert!(!looks_whole.expect("the log ends"));
    let ended = tokio::time::timeout(Duration::from_secs(30), command.wait_with_output()).await;
    let ended = ended.expect("the command ends").expect("it ran");
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{err}");
    assert!(err.contains("you may not do this any more"), "{err}");
    nothing_is_open(&world.server).await;
    world.server.delete(&world.name).await;
}

#[tokio::test]
async fn who_waited_for_a_node_is_asked_again() {
    let mut world = World::new().await;
    let logs = paths::fill(paths::PROJECT_ALL_LOGS, &[&world.name]);
    let files = paths::fill(paths::SERVICE_FILES, &[&world.name, "web"]) + "?path=/etc/hosts";
    world.agent.kill();
    eventually("the server does not reach the node", async || {
        let (_, usage) = world.server.call("GET", paths::USAGE, "").await;
        let error = usage["nodes"][0]["error"].as_str()?;
        error.contains("is not connected").then_some(())
    })
    .await;
    let (log, file) = {
        let both = async { tokio::join!(world.get(&logs), world.get(&files)) };
        let mut both = std::pin::pin!(both);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut both).await;
        assert!(early.is_err(), "they wait for the node to come back");
        world.revoke().await;
        both.await
    };
    assert_eq!((log.status().as_u16(), file.status().as_u16()), (401, 401));
    world.agent.start_again_with(|_| ());
    world.server.delete(&world.name).await;
}
