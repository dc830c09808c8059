//! What operators look up and return to on the command line: generations and events.

use std::path::Path;
use std::process::Stdio;

use cara_tests::process::program;
use cara_tests::{PATIENCE, Server, eventually, unique};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A service that answers with its version.
fn app(version: &str) -> Value {
    json!({"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]})
}

/// A service that runs a shell script.
fn shell(script: &str) -> Value {
    json!({"name": "web", "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": script}]})
}

/// A spec that is reached under the host `name`.
fn reached(name: &str, service: &Value) -> Value {
    json!({"services": [service], "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
}

/// Writes a manifest of a project, and gives its path. JSON is YAML too.
fn manifest(directory: &Path, name: &str, spec: &Value) -> String {
    let document = json!({"kind": "Project", "metadata": {"name": name}, "spec": spec});
    let file = directory.join("project.yaml");
    std::fs::write(&file, document.to_string()).expect("written");
    file.display().to_string()
}

#[tokio::test]
async fn a_project_returns_to_an_earlier_generation() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (name, host) = (unique("back"), |name: &str| format!("{name}.dev.localhost"));
    for version in ["1", "2"] {
        let path = manifest(directory.path(), &name, &reached(&name, &app(version)));
        let (code, _, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
        assert_eq!(code, 0, "{err}");
    }
    let (code, out, err) = server.ctl(&["rollback", &name]).await;
    assert_eq!(
        (code, out),
        (
            0,
            format!("project/{name} rolled back to generation 1, as generation 3\n")
        ),
        "{err}"
    );
    assert!(err.contains("answered 200 after"), "{err}");
    assert_eq!(server.page(&host(&name), "/").await.1, "version 1\n");
    let (_, table, _) = server.ctl(&["revisions", &name]).await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["GENERATION", "REPLACED", "SERVICES", "MARKS"]);
    assert_eq!(rows.len(), 4, "{table}");
    assert_eq!(rows[3], ["3", "-", "web=cara-test/app:1", "current,stable"]);
    let (code, _, err) = server.ctl(&["rollback", &name, "--to", "99"]).await;
    assert_ne!(code, 0);
    assert!(err.contains(&format!("caractrl revisions {name}")), "{err}");
    // A rollout that fails is rolled back by itself, and told to be.
    let broken = shell("echo the reason is here; exit 3");
    let path = manifest(directory.path(), &name, &reached(&name, &broken));
    let (code, _, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
    assert_eq!(code, 5, "{err}");
    for part in [
        "generation 4 was rolled back",
        "the reason is here",
        "generation 3 keeps running",
    ] {
        assert!(err.contains(part), "{part} is missing: {err}");
    }
    assert_eq!(server.page(&host(&name), "/").await.1, "version 1\n");
    let (_, description, _) = server.ctl(&["describe", "project", &name]).await;
    assert!(
        description.contains("generation 3 runs instead"),
        "{description}"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn what_runs_after_a_rollback_goes_on_when_the_next_change_fails() {
    // Long enough that the container of the first generation is there for the way back, and that
    // of the second one when the change after that fails.
    let server = Server::with_agent(&unique("node"), &["--drain-period", "20s"]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (name, seen) = (unique("back"), async |name: &str| {
        server.page(&format!("{name}.dev.localhost"), "/").await.1
    });
    for version in ["1", "2"] {
        let path = manifest(directory.path(), &name, &reached(&name, &app(version)));
        let (code, _, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
        assert_eq!(code, 0, "{err}");
        assert_eq!(seen(&name).await, format!("version {version}\n"));
    }
    let (code, _, err) = server.ctl(&["rollback", &name]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(seen(&name).await, "version 1\n");
    let path = manifest(directory.path(), &name, &reached(&name, &shell("exit 3")));
    let visit = async {
        loop {
            assert_eq!(seen(&name).await, "version 1\n");
        }
    };
    let apply = ["apply", "-f", &path, "--wait"];
    let (code, _, err) = tokio::select! {
        ended = server.ctl(&apply) => ended,
        () = visit => unreachable!("visits end with the command"),
    };
    assert_eq!(code, 5, "{err}");
    assert_eq!(seen(&name).await, "version 1\n");
    server.delete(&name).await;
}

#[tokio::test]
async fn a_service_that_did_its_work_counts_as_done() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let name = unique("job");
    let mut job = shell("echo done");
    job["restartPolicy"] = json!("OnFailure");
    let path = manifest(directory.path(), &name, &json!({"services": [job]}));
    let (code, _, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("Completed"), "{err}");
    server.delete(&name).await;
}

#[tokio::test]
async fn what_happened_can_be_looked_up() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let name = unique("seen");
    let mut onlooker = tokio::process::Command::new(program("caractrl"))
        .args(["events", "project", "-w", "-o", "json"])
        .env("CARA_SERVER", format!("http://{}", server.api))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("caractrl runs");
    let stdout = onlooker.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(stdout).lines();
    let mut says = async |part: &str| {
        let search = async {
            while let Some(line) = lines.next_line().await.expect("readable") {
                if line.contains(part) {
                    return;
                }
            }
            panic!("no line says {part}");
        };
        tokio::time::timeout(PATIENCE, search)
            .await
            .expect("in time");
    };
    says("EventList").await;
    let path = manifest(directory.path(), &name, &reached(&name, &app("1")));
    let (code, _, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
    assert_eq!(code, 0, "{err}");
    says(&name).await;
    let table = eventually("the events are written down", async || {
        let (_, table, _) = server.ctl(&["events", "project", &name]).await;
        table.contains("Scheduled").then_some(table)
    })
    .await;
    let header: Vec<&str> = table
        .lines()
        .next()
        .expect("a line")
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        ["LAST", "COUNT", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    );
    let object = format!("project/{name}");
    assert!(
        table.lines().skip(1).all(|line| line.contains(&object)),
        "{table}"
    );
    let (_, text, _) = server.ctl(&["events", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["kind"], "EventList");
    let (_, description, _) = server.ctl(&["describe", "project", &name]).await;
    let (_, events) = description
        .split_once("\nEvents:\n")
        .expect("events at the end");
    assert!(events.contains("Scheduled"), "{description}");
    server.delete(&name).await;
}
