//! Who takes nothing, and what stops half way.

use std::process::Stdio;
use std::time::{Duration, Instant};

use cara_api::paths;
use cara_tests::{Agent, Server, eventually, unique, within};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{code, ctl, idle, nothing_is_open, open_streams, signal};

async fn started(stem: &str) -> (Server, Agent, String) {
    let server = Server::start(&[]).await;
    let node = unique("node");
    let agent = Agent::start(&server, &node);
    server.node_ready(&node).await;
    let name = unique(stem);
    let spec = json!({"services": [idle("web")]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let (code, _, err) = server
        .ctl(&["exec", &name, "--", "truncate", "-s", "4G", "/tmp/big"])
        .await;
    assert_eq!(code, 0, "{err}");
    (server, agent, name)
}

async fn open(server: &Server, count: u32) {
    eventually("the stream is open", async || {
        (open_streams(server, "files").await? == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_stops_reading_gives_back_the_stream() {
    let (server, _agent, name) = started("stops").await;
    let path = paths::fill(paths::SERVICE_FILES, &[&name, "web"]) + "?path=/tmp/big";
    let answer = server.api_http().get(server.url(&path)).send().await;
    let mut answer = answer.expect("an answer");
    answer.chunk().await.expect("a beginning");
    let begun = Instant::now();
    open(&server, 1).await;
    within(
        Duration::from_secs(90),
        "the stream is closed",
        async || (open_streams(&server, "files").await? == 0).then_some(()),
    )
    .await;
    assert!(begun.elapsed() > Duration::from_secs(50), "not at once");
    nothing_is_open(&server).await;
    // What had come is not taken for all of it.
    let rest = async {
        while let Some(_piece) = answer.chunk().await? {}
        Ok::<_, reqwest::Error>(())
    };
    let rest = tokio::time::timeout(Duration::from_secs(60), rest).await;
    assert!(rest.expect("it ends").is_err());
    server.delete(&name).await;
}

#[tokio::test]
async fn a_copy_that_stops_half_way_leaves_nothing_and_says_so() {
    let (mut server, mut agent, name) = started("half").await;
    let directory = tempfile::tempdir().expect("a directory");
    let local = directory.path().join("local");
    let file = std::fs::File::create(&local).expect("a file");
    file.set_len(64 << 30).expect("a size");
    let local = local.to_str().expect("text");
    let there = format!("{name}/web:/tmp/copy");
    let listed = async |server: &Server| {
        let (code, out, err) = server.ctl(&["exec", &name, "--", "ls", "-A", "/tmp"]).await;
        assert_eq!(code, 0, "{err}");
        out
    };
    // In: the user goes away.
    let mut child = ctl(&server, &["cp", local, &there])
        .spawn()
        .expect("caractrl runs");
    open(&server, 1).await;
    signal(&child, "KILL");
    code(&mut child).await;
    nothing_is_open(&server).await;
    assert_eq!(listed(&server).await, "big\n");
    // In: the agent goes away.
    let mut child = ctl(&server, &["cp", local, &there])
        .stderr(Stdio::piped())
        .spawn()
        .expect("caractrl runs");
    open(&server, 1).await;
    agent.crash_and_start_again();
    assert_eq!(code(&mut child).await, Some(1));
    eventually("the agent is back", async || {
        let (code, _, _) = server.ctl(&["exec", &name, "--", "true"]).await;
        (code == 0).then_some(())
    })
    .await;
    assert_eq!(listed(&server).await, "big\n");
    // Out: the server goes away, in order and not; a backup of nothing is none.
    let from = format!("{name}/web:/tmp/big");
    let copy = directory.path().join("copy");
    let copy = copy.to_str().expect("text");
    for is_orderly in [true, false] {
        let mut child = ctl(&server, &["cp", &from, copy])
            .stderr(Stdio::null())
            .spawn()
            .expect("caractrl runs");
        open(&server, 1).await;
        match is_orderly {
            true => {
                server.terminate(cara_tests::PATIENCE).await;
            }
            false => server.kill(),
        }
        assert_eq!(code(&mut child).await, Some(1));
        let left = std::fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(left.count(), 1, "only what was there");
        server.start_again().await;
        eventually("the agent is back", async || {
            let (code, _, _) = server.ctl(&["exec", &name, "--", "true"]).await;
            (code == 0).then_some(())
        })
        .await;
    }
    server.delete(&name).await;
}

#[tokio::test]
async fn a_stream_that_is_no_tar_to_its_end_writes_nothing() {
    let (server, _agent, name) = started("odd").await;
    let path = paths::fill(paths::SERVICE_FILES, &[&name, "web"]) + "?path=/tmp";
    let put = async |body: Vec<u8>| {
        let sent = server
            .api_http()
            .put(server.url(&path))
            .body(body)
            .send()
            .await;
        let answer = sent.expect("an answer");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    };
    // A file whose head is whole, and whose end is not.
    let mut tar = tokio::process::Command::new("tar")
        .args(["-C", "/etc", "-c", "passwd"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar runs");
    let mut bytes = Vec::new();
    let mut out = tar.stdout.take().expect("an output");
    tokio::io::AsyncReadExt::read_to_end(&mut out, &mut bytes)
        .await
        .expect("read");
    let (status, text) = put(bytes[..1024].to_vec()).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("nothing was written"), "{text}");
    let (_, out, _) = server.ctl(&["exec", &name, "--", "ls", "/tmp"]).await;
    assert_eq!(out, "big\n");
    assert_eq!(put(bytes).await.0, 204);
    let (_, out, _) = server.ctl(&["exec", &name, "--", "ls", "/tmp"]).await;
    assert_eq!(out, "big\npasswd\n");
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn top_can_be_left_while_the_server_is_silent() {
    let server = Server::start(&[]).await;
    let (pty, pts) = pty_process::open().expect("a terminal");
    let mut pty = pty;
    pty.resize(pty_process::Size::new(24, 80)).expect("a size");
    let mut child = pty_process::Command::new(cara_tests::program("caractrl"))
        .arg("top")
        .env("CARA_SERVER", format!("http://{}", server.api))
        .kill_on_drop(true)
        .spawn(pts)
        .expect("caractrl runs");
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("PROJECT") {
        let count = tokio::io::AsyncReadExt::read(&mut pty, &mut buffer)
            .await
            .expect("text");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    server.freeze(true);
    // Longer than the pause: it waits for an answer now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    pty.write_all(b"\x03").await.expect("typed");
    let asked = Instant::now();
    assert_eq!(code(&mut child).await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(2));
    server.freeze(false);
}

#[tokio::test]
async fn a_silent_node_does_not_hold_up_the_others() {
    let server = Server::with_agent(&unique("here"), &[]).await;
    let node = unique("silent");
    let agent = Agent::start(&server, &node);
    server.node_ready(&node).await;
    // Ready nodes may be about to open their connections.
    eventually("both nodes are asked", async || {
        let (_, out, _) = server.ctl(&["top", "nodes"]).await;
        (out.contains(&node) && !out.contains("unknown")).then_some(())
    })
    .await;
    agent.freeze(true);
    let asked = Instant::now();
    let (code, out, err) = server.ctl(&["top", "nodes"]).await;
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    agent.freeze(false);
    assert_eq!(code, 0, "{err}");
    let line = out
        .lines()
        .find(|line| line.starts_with(&node))
        .expect("its line");
    assert!(line.contains("unknown"), "{out}");
    assert!(
        out.contains(&format!("node {node}: no answer within")),
        "{out}"
    );
}
