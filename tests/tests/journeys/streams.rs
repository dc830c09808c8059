//! Streams between users and services, through the server alone.

mod copy;
mod cut;
mod exec;
mod forward;
mod guarded;
mod load;
mod logs;
mod lost;
mod moves;
mod stalled;

use std::process::Stdio;
use std::time::Duration;

use cara_tests::{Server, eventually};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// A service of the image whose program is a shell script. It ends when it is told to.
fn shell(name: &str, script: &str) -> Value {
    let run = format!("trap 'exit 0' TERM; {script}");
    json!({"name": name, "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": run}]})
}

/// A service that waits, for commands to be run in it.
fn idle(name: &str) -> Value {
    shell(name, "while :; do sleep 1 & wait; done")
}

/// `caractrl` against a server, not started yet; killed when its handle is dropped.
fn ctl(server: &Server, args: &[&str]) -> Command {
    let mut command = server.ctl_command(args);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Open streams of a kind, as the server counts them.
async fn open_streams(server: &Server, kind: &str) -> Option<u32> {
    let (_, metrics) = server.call("GET", "/metrics", "").await;
    let wanted = format!("cara_streams{{kind=\"{kind}\"}} ");
    let mut lines = metrics.as_str()?.lines();
    lines.find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
}

/// Waits until neither the server nor its agents have a stream open.
async fn nothing_is_open(server: &Server) {
    eventually("all streams are closed", async || {
        for kind in ["logs", "exec", "forward", "files"] {
            if open_streams(server, kind).await.unwrap_or(0) != 0 {
                return None;
            }
        }
        let (_, usage) = server.call("GET", "/api/v1/usage", "").await;
        let nodes = usage["nodes"].as_array()?;
        nodes.iter().all(|node| node["streams"] == 0).then_some(())
    })
    .await;
}

/// Sends a signal to a child.
fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("it runs");
    assert!(cara_tests::process::signal(pid, name));
}

/// The exit code of a child that ends within a minute.
async fn code(child: &mut Child) -> Option<i32> {
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
    ended.expect("it ends").expect("it ends").code()
}
