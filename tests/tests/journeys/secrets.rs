//! Secrets: kept, never shown, and handed to nobody but the node that needs them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cara_api::agent::{Assignments, Message};
use cara_api::client::Lines;
use cara_api::project::ProjectPhase;
use cara_api::{condition, paths};
use cara_tests::process::program;
use cara_tests::{Docker, Process, Server, eventually, unique};
use serde_json::{Value, json};

const SECRETS: &str = "/api/v1/secrets";
/// Stands out in any file.
const VALUE: &str = "sw0rdfish-Zq7";
const OTHER: &str = "Tr0ub4dor-Xk3";

fn body(name: &str, value: &str) -> String {
    json!({"metadata": {"name": name}, "data": {"password": value, "user": "admin"}}).to_string()
}

/// Files of a server that hold a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let holding = paths.filter(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    });
    holding.map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn a_secret_follows_the_conventions_of_every_kind() {
    let server = Server::start(&[]).await;
    let (status, created) = server.call("POST", SECRETS, &body("db", VALUE)).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["keys"], json!(["password", "user"]));
    assert_eq!(created["data"], Value::Null);
    assert_eq!(created["kind"], "Secret");
    assert_eq!(created["metadata"]["generation"], 1);
    for field in ["uid", "resourceVersion", "createdAt", "updatedAt"] {
        assert!(created["metadata"][field].is_string(), "{field}");
    }
    let (status, again) = server.call("POST", SECRETS, &body("db", VALUE)).await;
    assert_eq!(status, 409);
    assert_eq!(
        again["detail"],
        "secret already exists: db: resource already exists"
    );
    let path = "/api/v1/secrets/db";
    let (_, read) = server.call("GET", path, "").await;
    assert_eq!(read, created);
    let (_, list) = server.call("GET", SECRETS, "").await;
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&json!("SecretList"), &json!([created]))
    );
    let (status, same) = server.call("PUT", path, &body("db", VALUE)).await;
    assert_eq!((status, &same), (200, &created), "no new version");
    let (status, changed) = server.call("PUT", path, &body("db", OTHER)).await;
    assert_eq!(
        (status, &changed["metadata"]["generation"]),
        (200, &json!(2))
    );
    let stale = json!({"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}, "data": {"a": "b"}});
    assert_eq!(server.call("PUT", path, &stale.to_string()).await.0, 409);
    let labelled = json!({"metadata": {"labels": {"team": "blue"}}, "data": {"password": OTHER, "user": "admin"}});
    let (_, labelled) = server.call("PUT", path, &labelled.to_string()).await;
    assert_eq!(labelled["metadata"]["generation"], 2);
    assert_eq!(labelled["metadata"]["labels"]["team"], "blue");
    let (status, fewer) = server.call("PUT", path, r#"{"data":{"only":"x"}}"#).await;
    assert_eq!((status, &fewer["keys"]), (200, &json!(["only"])));
    assert_eq!(server.call("DELETE", path, "").await.0, 204);
    let (status, gone) = server.call("GET", path, "").await;
    assert_eq!(
        (status, &gone["detail"]),
        (404, &json!("secret not found: db: resource not found"))
    );
    assert_eq!(server.call("DELETE", path, "").await.0, 404);
}

#[tokio::test]
async fn faults_are_told_without_the_values() {
    let server = Server::start(&[]).await;
    for (sent, expected) in [
        (
            json!({"metadata": {"name": "A"}, "data": {"k": VALUE}}),
            "metadata.name",
        ),
        (
            json!({"metadata": {"name": "a"}}),
            "data must contain at least one key",
        ),
        (
            json!({"metadata": {"name": "a"}, "data": {"a/b": VALUE}}),
            "is invalid: must consist of",
        ),
        (
            json!({"metadata": {"name": "a"}, "data": {"k": 5}}),
            "expected string, got number",
        ),
        (
            json!({"metadata": {"name": "a"}, "data": {"k": format!("{VALUE}\0")}}),
            "NUL",
        ),
        (
            json!({"metadata": {"name": "a"}, "data": VALUE}),
            "expected object, got string",
        ),
    ] {
        let (status, problem) = server.call("POST", SECRETS, &sent.to_string()).await;
        let text = problem.to_string();
        assert_eq!(status, 400, "{text}");
        assert!(
            problem["errors"].to_string().contains(expected) || text.contains(expected),
            "{text}"
        );
        assert!(!text.contains(VALUE), "{text}");
    }
    let broken = format!("{{\"data\": {{\"k\": \"{VALUE}\" \"x\"}}}}");
    let (status, problem) = server.call("POST", SECRETS, &broken).await;
    assert_eq!(status, 400);
    assert!(!problem.to_string().contains(VALUE));
    assert_eq!(files_with(server.directory(), VALUE), [""; 0]);
}

async fn assignments(lines: &mut Lines) -> Assignments {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), lines.next::<Message>()).await;
        let message = next.expect("in time").expect("readable").expect("open");
        match message {
            Message::Assignments(assignments) => return assignments,
            Message::Keepalive => {}
        }
    }
}

/// A node without an agent of its own, and a project on it that uses the secret `db`.
async fn node_with_project(server: &Server, project: &str) -> Lines {
    let node = json!({"metadata": {"name": "n"}}).to_string();
    assert_eq!(server.call("POST", "/api/v1/nodes", &node).await.0, 201);
    let spec = json!({"services": [{"name": "web", "image": "x",
        "secrets": [{"secret": "db", "path": "/run/secrets"}],
        "env": [{"name": "LATER", "valueFrom": {"secretKeyRef": {"name": "missing", "key": "k"}}}]}]});
    server.create(project, &spec).await;
    let path = "/api/v1/nodes/n/assignments";
    server.client().follow(path, &[]).await.expect("open")
}

#[tokio::test]
async fn values_reach_the_node_that_runs_the_project_and_nobody_else() {
    let mut server = Server::start(&["--log-level", "debug"]).await;
    let name = unique("user");
    server.call("POST", SECRETS, &body("db", VALUE)).await;
    let mut lines = node_with_project(&server, &name).await;
    let first = loop {
        let sent = assignments(&mut lines).await;
        if let Some(project) = sent.projects.first() {
            break project.clone();
        }
    };
    let values = &first.secrets["db"];
    assert_eq!(first.secrets.len(), 1, "one of the two exists");
    assert_eq!(values.data["password"].reveal(), VALUE);
    // Labels say nothing to a service, a value does.
    let labelled =
        json!({"metadata": {"labels": {"a": "b"}}, "data": {"password": VALUE, "user": "admin"}});
    server
        .call("PUT", "/api/v1/secrets/db", &labelled.to_string())
        .await;
    server
        .call("PUT", "/api/v1/secrets/db", &body("db", OTHER))
        .await;
    let second = assignments(&mut lines).await;
    let rolled = &second.projects[0].secrets["db"];
    assert_eq!(
        rolled.data["password"].reveal(),
        OTHER,
        "the edit of labels was not sent"
    );
    assert!(rolled.version > values.version);
    // One that comes later is sent when it comes.
    let late = json!({"metadata": {"name": "missing"}, "data": {"k": "v"}}).to_string();
    server.call("POST", SECRETS, &late).await;
    let third = assignments(&mut lines).await;
    assert_eq!(third.projects[0].secrets["missing"].data["k"].reveal(), "v");
    let mut shown = Vec::new();
    for path in [
        SECRETS,
        "/api/v1/secrets/db",
        "/api/v1/projects",
        "/api/v1/nodes",
        "/metrics",
    ] {
        shown.push(server.call("GET", path, "").await.1.to_string());
    }
    drop(lines);
    server.terminate(Duration::from_secs(10)).await;
    for value in [VALUE, OTHER] {
        assert!(shown.iter().all(|text| !text.contains(value)));
        assert_eq!(files_with(server.directory(), value), [""; 0]);
    }
    server.start_again().await;
    let path = "/api/v1/nodes/n/assignments";
    let mut lines = server.client().follow(path, &[]).await.expect("open");
    let kept = assignments(&mut lines).await;
    assert_eq!(
        kept.projects[0].secrets, third.projects[0].secrets,
        "a restart keeps values and versions"
    );
}

#[tokio::test]
async fn a_secret_in_use_is_deleted_by_force_only() {
    let server = Server::start(&[]).await;
    let name = unique("holder");
    server.call("POST", SECRETS, &body("db", VALUE)).await;
    let spec = json!({"services": [{"name": "web", "image": "x",
        "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}]});
    server.create(&name, &spec).await;
    let path = "/api/v1/secrets/db";
    let (status, problem) = server.call("DELETE", path, "").await;
    assert_eq!(
        (status, &problem["detail"]),
        (
            409,
            &json!(format!(
                "secret \"db\" is used by {name}: change or delete them first, or delete it with force=true"
            ))
        )
    );
    let forced = server
        .call("DELETE", &format!("{path}?force=true"), "")
        .await;
    assert_eq!(forced.0, 204);
    server.call("POST", SECRETS, &body("db", VALUE)).await;
    server.delete(&name).await;
    assert_eq!(server.call("DELETE", path, "").await.0, 204);
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(program("cara-server"));
    command.arg("--data-dir").arg(directory);
    command.args([
        "--api-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ]);
    command
}

/// What a server that does not start says.
fn refusal(mut command: Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the server runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn without_the_right_key_the_server_does_not_start_and_says_why() {
    let mut server = Server::start(&[]).await;
    server.call("POST", SECRETS, &body("db", VALUE)).await;
    server.terminate(Duration::from_secs(10)).await;
    let directory = server.directory().to_owned();
    let file = directory.join("secret.key");
    let key = std::fs::read_to_string(&file).expect("the key file");
    std::fs::rename(&file, directory.join("away")).expect("moved");
    let said = refusal(command(&directory));
    assert!(
        said.contains("the store holds 1 secret(s), but the key file")
            && said.contains("is missing"),
        "{said}"
    );
    assert!(!file.exists(), "no new key was made");
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    std::fs::write(&file, other).expect("written");
    let said = refusal(command(&directory));
    assert!(
        said.contains("secret \"db\" is encrypted with key"),
        "{said}"
    );
    let mut given = command(&directory);
    given.env("CARA_SECRET_KEY", "hunter2");
    let said = refusal(given);
    assert!(said.contains("a key is 32 bytes in base64"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    // The right one in the environment takes the file's place.
    let mut given = command(&directory);
    given.env("CARA_SECRET_KEY", key.trim());
    let scratch = tempfile::tempdir().expect("a directory");
    let process = Process::start(given, scratch.path(), "given");
    eventually("the server listens", async || {
        process.log().contains("server listens").then_some(())
    })
    .await;
    drop(process);
    std::fs::remove_file(&file).expect("removed");
    std::fs::rename(directory.join("away"), &file).expect("moved");
    server.start_again().await;
    let (status, _) = server.call("GET", "/api/v1/secrets/db", "").await;
    assert_eq!(status, 200);
}

/// Tells what it was given, and stays.
const TELLS: &str = "cat /run/secrets/password; echo; echo $TOKEN; ls -l /run/secrets; trap 'exit 0' TERM; while :; do sleep 1; done";

fn secret(name: &str, password: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"password": password, "token": format!("token-of-{password}")}})
}

#[tokio::test]
async fn a_service_gets_its_secrets_as_files_and_variables_and_is_replaced_when_they_change() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let (name, secret_name) = (unique("uses"), unique("db"));
    let service = json!({"name": "web", "image": "cara-test/shell:1",
        "env": [{"name": "RUN", "value": TELLS},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret_name, "key": "token"}}}],
        "secrets": [{"secret": secret_name, "key": "password", "path": "/run/secrets/password"}]});
    server.create(&name, &json!({"services": [service]})).await;
    let failed = server.phase(&name, ProjectPhase::Failed).await;
    let reason = condition::find(&failed.status.conditions, condition::PHASE).expect("a reason");
    assert_eq!(reason.reason, "SecretMissing", "{}", reason.message);
    let body = secret(&secret_name, "swordfish").to_string();
    assert_eq!(server.call("POST", paths::SECRETS, &body).await.0, 201);
    server.running(&name).await;
    let (docker, container) = (Docker::default(), format!("{name}-web"));
    let log = docker.run(&["logs", &container]);
    assert!(log.starts_with("swordfish\ntoken-of-swordfish\n"), "{log}");
    let inspected = docker.run(&["inspect", &container]);
    assert!(
        !inspected
            .replace("token-of-swordfish", "")
            .contains("swordfish"),
        "only the variable shows"
    );
    let first = docker.inspect(&container, "{{.Id}}");
    let path = paths::fill(paths::SECRET, &[&secret_name]);
    let body = secret(&secret_name, "trout").to_string();
    assert_eq!(server.call("PUT", &path, &body).await.0, 200);
    eventually("the service is replaced", async || {
        let (is_there, log) = docker.attempt(&["logs", &container]);
        (is_there && log.starts_with("trout\ntoken-of-trout\n")).then_some(())
    })
    .await;
    assert_ne!(docker.inspect(&container, "{{.Id}}"), first);
    server.delete(&name).await;
    assert_eq!(server.call("DELETE", &path, "").await.0, 204);
    eventually("no file is left", async || {
        let found = Command::new("find")
            .args(["/dev/shm/caravanserai-tests", "-name", &name])
            .output()
            .ok()?;
        found.stdout.is_empty().then_some(())
    })
    .await;
}
