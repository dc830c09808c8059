//! Logs that are followed while everything between the reader and the container changes.

use std::collections::BTreeMap;
use std::path::Path;

use cara_tests::{Agent, Machine, Server, eventually, unique};
use serde_json::{Value, json};

use super::{ctl, nothing_is_open, shell};

/// Counts a hundred times a second, and says a last word. Each line names its container.
fn counting() -> Value {
    let script = "h=$(hostname); i=0; trap 'echo last $h $i; exit 0' TERM; \
                  while :; do i=$((i+1)); echo line $h $i; usleep 10000; done";
    json!({"services": [shell("count", script)]})
}

/// What each container said, in the order in which it was printed: its numbers, and its last word.
fn said(path: &Path) -> BTreeMap<String, (Vec<u32>, Option<u32>)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut all = BTreeMap::<String, (Vec<u32>, Option<u32>)>::new();
    for line in whole.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [what, who, number] = parts.as_slice() else {
            panic!("a line of nobody: {line:?}");
        };
        let of = all.entry((*who).to_owned()).or_default();
        let number = number.parse().expect("a number");
        match *what {
            "line" => of.0.push(number),
            "last" => assert_eq!(of.1.replace(number), None, "said twice"),
            other => panic!("a line of nobody: {other:?}"),
        }
    }
    all
}

/// Every line once, and in order.
fn is_whole(numbers: &[u32]) -> bool {
    numbers
        .iter()
        .zip(1..)
        .all(|(number, expected)| *number == expected)
}

async fn newest_reaches(path: &Path, containers: usize, number: u32) {
    eventually(
        &format!("container {containers} reaches {number}"),
        async || {
            let all = said(path);
            let going = all.values().find(|(_, last)| last.is_none())?;
            (all.len() == containers && *going.0.last()? >= number).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_a_service_moves_to_another_node() {
    let machine = Machine::start(12).await;
    machine.copy_image("cara-test/shell:1");
    let nodes = [unique("from"), unique("to")];
    let api = format!("{}:0", machine.host_ip);
    let args = ["--insecure-api", "--api-listen", &api];
    let server = Server::with_agent(&nodes[0], &args).await;
    let name = unique("moves");
    server.create(&name, &counting()).await;
    server.running(&name).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lines");
    let file = std::fs::File::create(&path).expect("a file");
    let mut follow = ctl(&server, &["logs", &name, "--follow"])
        .stdout(file)
        .spawn()
        .expect("caractrl runs");
    newest_reaches(&path, 1, 100).await;
    let _to = Agent::start_on(&server, &machine, &nodes[1]);
    server.node_ready(&nodes[1]).await;
    let (code, _, err) = server.ctl(&["drain", &nodes[0], "--no-wait"]).await;
    assert_eq!(code, 0, "{err}");
    eventually("the service is on the other node", async || {
        let status = server.project(&name).await?.status;
        (status.node_ref == nodes[1] && status.moving.is_none()).then_some(())
    })
    .await;
    eventually("the one before has said its last word", async || {
        said(&path)
            .values()
            .any(|(_, last)| last.is_some())
            .then_some(())
    })
    .await;
    newest_reaches(&path, 2, 100).await;
    follow.kill().await.expect("it ends");
    for (who, (numbers, last)) in said(&path) {
        assert!(is_whole(&numbers), "{who}: {numbers:?}");
        if let Some(last) = last {
            // It may have counted on before it spoke.
            let said = u32::try_from(numbers.len()).expect("few");
            assert!(
                said == last || said + 1 == last,
                "{who}: {said}, last {last}"
            );
        }
    }
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_tunnels_are_renewed_and_broken() {
    let guarded = ["--api-tls", "internal", "--auth=true"];
    let short = ["--node-certificate-life", "6s", "--node-timeout", "3s"];
    let server = Server::start(&[&guarded[..], &short].concat()).await;
    let node = unique("young");
    let (code, token, err) = server.ctl(&["node", "join-token", "--token-only"]).await;
    assert_eq!(code, 0, "{err}");
    let mut agent = Agent::join(&server, &node, token.trim());
    server.node_ready(&node).await;
    let name = unique("renewed");
    server.create(&name, &counting()).await;
    server.running(&name).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lines");
    let file = std::fs::File::create(&path).expect("a file");
    let mut follow = ctl(&server, &["logs", &name, "--follow"])
        .stdout(file)
        .spawn()
        .expect("caractrl runs");
    let reached = || server.log().matches("\"agent reached\"").count();
    let first = reached();
    eventually("the tunnel is renewed twice", async || {
        (reached() >= first + 2).then_some(())
    })
    .await;
    let next = |path: &Path| {
        let said = said(path);
        let longest = said.values().map(|(numbers, _)| numbers.len()).max();
        u32::try_from(longest.unwrap_or(0)).expect("few") + 100
    };
    newest_reaches(&path, 1, next(&path)).await;
    agent.crash_and_start_again();
    newest_reaches(&path, 1, next(&path)).await;
    follow.kill().await.expect("it ends");
    for (who, (numbers, last)) in said(&path) {
        assert!(is_whole(&numbers) && last.is_none(), "{who}: {numbers:?}");
    }
    nothing_is_open(&server).await;
    server.delete(&name).await;
}
