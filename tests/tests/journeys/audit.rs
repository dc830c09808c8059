//! The audit log: every accepted change, by whom, and nothing taken out later.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// The records of a log, after every link of the chain was checked.
fn verified(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("readable");
    let mut previous = String::new();
    let mut records = Vec::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).expect("a record");
        assert_eq!(record["previous"], previous, "{line}");
        previous = Sha256::digest(line.as_bytes())
            .iter()
            .fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a text takes everything");
                hex
            });
        records.push(record);
    }
    records
}

/// Verb, kind and name of each record.
fn shown(records: &[Value]) -> Vec<String> {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let show = |r: &Value| {
        format!(
            "{} {} {}",
            text(r, "verb"),
            text(r, "kind"),
            text(r, "name")
        )
    };
    records.iter().map(show).collect()
}

async fn written(path: &Path, count: usize) -> Vec<Value> {
    eventually("the records are written", async || {
        let records = verified(path);
        (records.len() >= count).then_some(records)
    })
    .await
}

#[tokio::test]
async fn every_accepted_change_is_recorded_with_what_it_changed() {
    let mut server = Server::start(&[]).await;
    let path = server.directory().join("audit.jsonl");
    let name = unique("audited");
    let spec = |image: &str| json!({"services": [{"name": "web", "image": image}]});
    server.create(&name, &spec("x:1")).await;
    server.replace(&name, &spec("x:2")).await;
    // Neither a write that changes nothing nor one that is refused is an accepted change.
    server.replace(&name, &spec("x:2")).await;
    let bad = json!({"metadata": {"name": name}, "spec": {}}).to_string();
    assert_eq!(server.call("POST", "/api/v1/projects", &bad).await.0, 400);
    let node = json!({"metadata": {"name": "n"}}).to_string();
    server.call("POST", "/api/v1/nodes", &node).await;
    server.call("POST", "/api/v1/nodes/n/heartbeat", "").await;
    let closed = json!({"spec": {"unschedulable": true}}).to_string();
    server.call("PUT", "/api/v1/nodes/n", &closed).await;
    for (method, path, password) in [
        ("POST", "/api/v1/secrets", "first-Zq7"),
        ("PUT", "/api/v1/secrets/db", "second-Zq7"),
    ] {
        let body = json!({"metadata": {"name": "db"}, "data": {"password": password, "user": "a"}});
        server.call(method, path, &body.to_string()).await;
    }
    server.call("DELETE", "/api/v1/secrets/db", "").await;
    // Nobody answers for the node.
    let forced = format!("/api/v1/projects/{name}?force=true");
    assert_eq!(server.call("DELETE", &forced, "").await.0, 204);
    let records = written(&path, 8).await;
    assert_eq!(
        shown(&records),
        [
            format!("create Project {name}"),
            format!("replace Project {name}"),
            "create Node n".to_owned(),
            "replace Node n".to_owned(),
            "create Secret db".to_owned(),
            "replace Secret db".to_owned(),
            "delete Secret db".to_owned(),
            format!("delete Project {name}"),
        ]
    );
    assert_eq!(records[0]["diff"][0]["path"], "/spec");
    assert_eq!(
        records[1]["diff"],
        json!([{"op": "replace", "path": "/spec/services/0/image", "old": "x:1", "new": "x:2"}])
    );
    assert_eq!(records[1]["generation"], 2);
    assert_eq!(records[1]["actor"], "anonymous");
    let remote = records[1]["remote"].as_str().expect("an address");
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
    assert!(records[1]["requestId"].is_string() && records[1]["time"].is_string());
    assert_eq!(
        records[5]["diff"],
        json!([{"op": "replace", "path": "/data/password"}]),
        "keys without values"
    );
    assert!(!format!("{records:?}").contains("-Zq7"));
    server.terminate(Duration::from_secs(10)).await;
    server.start_again().await;
    server.create(&unique("later"), &spec("x:3")).await;
    server.terminate(Duration::from_secs(10)).await;
    assert_eq!(
        verified(&path).len(),
        9,
        "the chain goes on, and a server that stops writes what it was handed"
    );
}

#[tokio::test]
async fn a_full_disk_fails_no_request_and_is_counted() {
    let server = Server::start(&["--audit-log", "/dev/full"]).await;
    let spec = json!({"services": [{"name": "web", "image": "x"}]});
    server.create("kept", &spec).await;
    eventually("the loss is counted", async || {
        let (_, metrics) = server.call("GET", "/metrics", "").await;
        let line = "cara_audit_records_total{result=\"lost\"} 1";
        metrics.as_str()?.contains(line).then_some(())
    })
    .await;
    assert!(server.log().contains("cannot write the audit log"));
    server.create("another", &spec).await;
}

#[tokio::test]
async fn the_log_can_be_elsewhere_or_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let text = path.display().to_string();
    let server = Server::start(&["--audit-log", &text]).await;
    let spec = json!({"services": [{"name": "web", "image": "x"}]});
    server.create("a", &spec).await;
    assert_eq!(shown(&written(&path, 1).await), ["create Project a"]);
    assert!(!server.directory().join("audit.jsonl").exists());
    let server = Server::start(&["--audit-log", "off"]).await;
    server.create("a", &spec).await;
    assert!(!server.directory().join("audit.jsonl").exists());
}

#[tokio::test]
async fn what_a_client_that_went_away_changed_is_recorded_too() {
    let server = Server::start(&[]).await;
    let path = server.directory().join("audit.jsonl");
    for number in 0..60_u64 {
        let body = json!({"metadata": {"name": format!("gone-{number}")},
            "spec": {"services": [{"name": "web", "image": "x"}]}});
        let body = body.to_string();
        let request = format!(
            "POST /api/v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = TcpStream::connect(server.api).await;
        let mut stream = stream.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        // Each hangs up at another moment: before it is looked at, while it is written, afterwards.
        tokio::time::sleep(Duration::from_micros(100 * number)).await;
    }
    let spec = json!({"services": [{"name": "web", "image": "x"}]});
    server.create("last", &spec).await;
    eventually("what was made is recorded", async || {
        let (_, list) = server.call("GET", "/api/v1/projects", "").await;
        let records = shown(&verified(&path));
        let records: BTreeSet<&str> = records.iter().map(String::as_str).collect();
        let made = list["items"].as_array()?;
        let is_recorded = |project: &Value| {
            let name = project["metadata"]["name"].as_str().unwrap_or_default();
            records.contains(format!("create Project {name}").as_str())
        };
        (made.len() > 1 && made.iter().all(is_recorded)).then_some(())
    })
    .await;
}
