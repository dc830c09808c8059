//! Ports of this machine that lead to ports of services.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use cara_tests::{Server, eventually, unique};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

use super::{code, ctl, nothing_is_open, shell, signal};

/// `caractrl port-forward` with the addresses where it listens.
async fn forward(
    server: &Server,
    args: &[&str],
) -> (Child, Vec<SocketAddr>, BufReader<ChildStderr>) {
    let ports = args.iter().filter(|arg| arg.starts_with("0:")).count();
    let mut child = ctl(server, &[&["port-forward"], args].concat())
        .stderr(Stdio::piped())
        .spawn()
        .expect("caractrl runs");
    let mut said = BufReader::new(child.stderr.take().expect("it speaks"));
    let mut addresses = Vec::new();
    while addresses.len() < ports {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(60), said.read_line(&mut line)).await;
        assert!(
            read.expect("in time").expect("text") > 0,
            "it ended: {addresses:?}"
        );
        let address = line
            .strip_prefix("Forwarding ")
            .and_then(|l| l.split(' ').next());
        addresses.extend(address.and_then(|text| text.parse::<SocketAddr>().ok()));
    }
    (child, addresses, said)
}

#[tokio::test]
async fn psql_reaches_a_database_that_no_gateway_serves() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("psql");
    let database = "mkdir /data; chown postgres /data; cd /data; \
        su postgres -c 'initdb -D /data/pg -A trust >/dev/null && \
        echo \"host all all all trust\" >> /data/pg/pg_hba.conf && \
        exec postgres -D /data/pg -c listen_addresses=\"*\" -c unix_socket_directories=/tmp'";
    let spec = json!({"services": [
        {"name": "db", "image": "cara-test/postgres:15", "env": [{"name": "RUN", "value": database}]}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let (mut child, addresses, _said) = forward(&server, &[&name, "db", "0:5432"]).await;
    let psql = async |sql: &str| {
        let output = Command::new("psql")
            .args(["-h", "127.0.0.1", "-p", &addresses[0].port().to_string()])
            .args(["-U", "postgres", "-tAc", sql])
            .output()
            .await
            .expect("psql runs");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    eventually("the database answers", async || psql("select 6*7").await).await;
    assert_eq!(psql("select 6*7").await.as_deref(), Some("42"));
    let many = psql("select repeat('x', 1000) from generate_series(1, 20000)").await;
    assert_eq!(many.map(|text| text.len()), Some(20_000 * 1001 - 1));
    let both = tokio::join!(psql("select pg_sleep(1), 1"), psql("select 2"));
    assert_eq!(
        (both.0.as_deref(), both.1.as_deref()),
        (Some("|1"), Some("2"))
    );
    signal(&child, "INT");
    assert_eq!(code(&mut child).await, Some(0));
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

/// Counts what it is sent, and answers when it read the end.
fn counting(version: &str) -> serde_json::Value {
    let script = format!("echo {version}; while :; do nc -l -p 9000 -e wc -c & wait; done");
    json!({"services": [shell("count", &script), shell("other", "while :; do nc -l -p 9001 -e echo hello & wait; done")]})
}

async fn counted(address: SocketAddr, bytes: usize) -> Option<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(&vec![1; bytes]).await.ok()?;
        stream.shutdown().await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
    };
    tokio::time::timeout(Duration::from_secs(40), exchange)
        .await
        .ok()?
}

#[tokio::test]
async fn each_direction_ends_by_itself_and_ports_outlive_what_they_lead_to() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("ports");
    server.create(&name, &counting("1")).await;
    server.running(&name).await;
    let (mut child, addresses, _said) =
        forward(&server, &[&format!("{name}/count"), "0:9000", "0:9000"]).await;
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    for (address, bytes) in addresses.iter().zip([0, 2_000_000]) {
        let answer = eventually("it counts", async || counted(*address, bytes).await).await;
        assert_eq!(answer, bytes.to_string());
    }
    server.replace(&name, &counting("2")).await;
    server.running(&name).await;
    let answer = eventually("the new one counts", async || {
        counted(addresses[0], 10).await
    })
    .await;
    assert_eq!(answer, "10");
    signal(&child, "TERM");
    assert_eq!(code(&mut child).await, Some(0));
    let (code, _, err) = server.ctl(&["port-forward", &name, "9000"]).await;
    assert_eq!(code, 2);
    assert!(
        err.contains("several services: name one of count, other"),
        "{err}"
    );
    nothing_is_open(&server).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn the_agents_own_port_forwards_for_the_older_command_line() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let node = unique("node");
    let server = Server::with_agent(&node, &[]).await;
    let name = unique("old");
    server.create(&name, &counting("1")).await;
    server.running(&name).await;
    let (_, found) = server
        .call("GET", &format!("/api/v1/nodes/{node}"), "")
        .await;
    let network = &found["status"]["network"];
    let host = format!(
        "{}:{}",
        network["ip"].as_str().expect("an address"),
        network["agentPort"]
    );
    let url = format!("ws://{host}/api/v1/forward/{name}/other/9001");
    let answer = eventually("the port answers", async || {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.ok()?;
        socket.send(Message::Binary("x".into())).await.ok()?;
        match socket.next().await? {
            Ok(Message::Binary(bytes)) => Some(bytes),
            _ => None,
        }
    })
    .await;
    assert_eq!(&answer[..], b"hello\n");
    let log = async |query: &str| {
        let url = format!("http://{host}/api/v1/logs/{name}/count{query}");
        let answer = cara_tests::http().get(url).send().await.expect("an answer");
        let kind = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        (
            answer.status().as_u16(),
            kind,
            answer.text().await.expect("a body"),
        )
    };
    let (status, kind, text) = log("").await;
    assert_eq!((status, text.as_str()), (200, "1\n"));
    assert_eq!(kind, "text/plain; charset=utf-8");
    let (_, _, stamped) = log("?timestamps=1&tail=1").await;
    let (time, line) = stamped.split_once(' ').expect("a time");
    assert!(
        time.parse::<jiff::Timestamp>().is_ok() && line == "1\n",
        "{stamped}"
    );
    server.delete(&name).await;
}
