//! Backups: made under load, and brought back into a new server.

use std::path::Path;

use cara_tests::pki::{Authority, KeyKind};
use cara_tests::server::Setup;
use cara_tests::{Agent, Docker, PATIENCE, Server, eventually, program, unique};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SECRETS: &str = "/api/v1/secrets";
const VALUE: &str = "sw0rdfish-Bk4";

/// A new server with a key file in its data directory.
async fn new_server(key: &[u8]) -> (tempfile::TempDir, Server) {
    let data = tempfile::tempdir().expect("a directory");
    std::fs::write(data.path().join("secret.key"), key).expect("written");
    let setup = Setup {
        data_dir: Some(data.path().to_owned()),
        ..Setup::default()
    };
    let server = Server::start_as(setup, &[]).await;
    (data, server)
}

fn without_versions(mut list: Value) -> Value {
    for item in list["items"].as_array_mut().expect("items") {
        let meta = item["metadata"].as_object_mut().expect("metadata");
        meta.remove("resourceVersion");
        // Conditions of nodes and what routes look like are of the moment.
        if item["kind"] == "Node" {
            item["status"] = Value::Null;
        } else if let Some(status) = item["status"].as_object_mut() {
            status.remove("ingress");
            status.remove("conditions");
        }
    }
    list["items"].clone()
}

/// Everything that users made, but for what changes with every write.
async fn objects(server: &Server, project: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for path in [
        "/api/v1/projects",
        SECRETS,
        "/api/v1/certificates",
        "/api/v1/nodes",
    ] {
        found.push(without_versions(server.call("GET", path, "").await.1));
    }
    let revisions = format!("/api/v1/projects/{project}/revisions");
    found.push(server.call("GET", &revisions, "").await.1["items"].clone());
    found
}

fn spec(name: &str, version: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1",
            "env": [{"name": "VERSION", "value": version},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]})
}

/// Writes the same number into two secrets, the first one first, until told to stop.
async fn load(server: &Server, stop: CancellationToken) {
    let mut count = 0_u64;
    while !stop.is_cancelled() {
        count += 1;
        for name in ["first", "second"] {
            let body =
                json!({"metadata": {"labels": {"count": count.to_string()}}, "data": {"k": "v"}});
            let (status, answer) = server
                .call("PUT", &format!("{SECRETS}/{name}"), &body.to_string())
                .await;
            assert_eq!(status, 200, "{answer}");
        }
    }
}

async fn count(server: &Server, name: &str) -> u64 {
    let (_, secret) = server.call("GET", &format!("{SECRETS}/{name}"), "").await;
    let count = secret["metadata"]["labels"]["count"]
        .as_str()
        .expect("a label");
    count.parse().expect("a number")
}

fn container(name: &str) -> String {
    Docker::default().run(&[
        "inspect",
        "--format",
        "{{.Id}} {{.State.StartedAt}}",
        &format!("{name}-web"),
    ])
}

#[tokio::test]
async fn a_backup_under_load_makes_a_new_server_what_the_old_one_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (loaded, quiet) = (file("loaded"), file("quiet"));
    let mut old = Server::start(&[]).await;
    let node = unique("node");
    let mut agent = Agent::start(&old, &node);
    let name = unique("backup");
    for (secret, data) in [
        ("db", json!({"password": VALUE})),
        ("first", json!({"k": "v"})),
        ("second", json!({"k": "v"})),
    ] {
        let body = json!({"metadata": {"name": secret, "labels": {"count": "0"}}, "data": data})
            .to_string();
        assert_eq!(old.call("POST", SECRETS, &body).await.0, 201);
    }
    let authority = Authority::new("backup", KeyKind::Ec);
    let issued = authority.issue("given", &["backup.example.com"], KeyKind::Ec);
    let body = json!({"metadata": {"name": "given"}, "spec": {"certificate": issued.cert_pem(), "privateKey": issued.key_pem()}});
    let (status, answer) = old
        .call("POST", "/api/v1/certificates", &body.to_string())
        .await;
    assert_eq!(status, 201, "{answer}");
    old.create(&name, &spec(&name, "1")).await;
    old.running(&name).await;
    old.replace(&name, &spec(&name, "2")).await;
    old.running(&name).await;
    // One revision of the store, however much is written.
    let stop = CancellationToken::new();
    let (_, (code, _, said)) = tokio::join!(load(&old, stop.clone()), async {
        eventually("there is load", async || {
            (count(&old, "second").await > 3).then_some(())
        })
        .await;
        let made = old.ctl(&["backup", "create", &loaded]).await;
        stop.cancel();
        made
    });
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("secret.key: keep that elsewhere"), "{said}");
    let key = std::fs::read(old.directory().join("secret.key")).expect("the key");
    let (_data, consistent) = new_server(&key).await;
    let (code, _, said) = consistent.ctl(&["backup", "restore", &loaded]).await;
    assert_eq!(code, 0, "{said}");
    let (first, second) = (
        count(&consistent, "first").await,
        count(&consistent, "second").await,
    );
    assert!(
        first == second || first == second + 1,
        "{first} and {second} are of one revision"
    );
    // The node goes on running what it runs while its server is replaced.
    let filter = format!("label=cara.project={name}");
    eventually("the first version is gone", async || {
        let all = Docker::default().run(&["ps", "-aq", "--filter", &filter]);
        (all.lines().count() == 1).then_some(())
    })
    .await;
    let before = container(&name);
    assert_eq!(old.ctl(&["backup", "create", &quiet]).await.0, 0);
    let wanted = objects(&old, &name).await;
    agent.kill();
    old.terminate(PATIENCE).await;
    let (_other_data, mut server) = new_server(&key).await;
    let (code, plan, _) = server
        .ctl(&["backup", "restore", &quiet, "--dry-run"])
        .await;
    assert_eq!(code, 0);
    assert!(plan.contains("  projects: create 1\n"), "{plan}");
    let (code, _, said) = server.ctl(&["backup", "restore", &quiet]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(objects(&server, &name).await, wanted);
    server.terminate(PATIENCE).await;
    server.start_again().await;
    let _agent = Agent::start(&server, &node);
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    eventually("the project answers", async || {
        (server.page(&host, "/").await == (200, "version 2\n".to_owned())).then_some(())
    })
    .await;
    assert_eq!(container(&name), before, "nothing was started again");
    // It can be changed, and the secret still opens.
    server.replace(&name, &spec(&name, "3")).await;
    server.running(&name).await;
    let environment = Docker::default().run(&["exec", &format!("{name}-web"), "env"]);
    assert!(environment.contains(VALUE), "{environment}");
    let (code, _, said) = server.ctl(&["backup", "restore", &quiet]).await;
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("the server is in use") && said.contains("projects: replace 1"),
        "{said}"
    );
    let (code, _, said) = server.ctl(&["backup", "restore", &quiet, "--force"]).await;
    assert_eq!(code, 2, "nobody can be asked: {said}");
    assert!(said.contains("[E-CONSENT]"), "{said}");
    let (code, _, said) = server
        .ctl(&["backup", "restore", &quiet, "--force", "--yes"])
        .await;
    assert_eq!(code, 0, "{said}");
    server.running(&name).await;
    server.delete(&name).await;
}

#[tokio::test]
async fn another_key_and_a_damaged_file_change_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("backup");
    let file = path.display().to_string();
    let old = Server::start(&[]).await;
    let body = json!({"metadata": {"name": "db"}, "data": {"password": VALUE}}).to_string();
    assert_eq!(old.call("POST", SECRETS, &body).await.0, 201);
    assert_eq!(old.ctl(&["backup", "create", &file]).await.0, 0);
    let (code, _, said) = old.ctl(&["backup", "create", &file]).await;
    assert_eq!(code, 2, "it is not written over: {said}");
    let is_open = |path: &Path| {
        let bytes = std::fs::read(path).expect("read");
        bytes
            .windows(VALUE.len())
            .any(|window| window == VALUE.as_bytes())
    };
    assert!(!is_open(&path));
    let other = Server::start(&[]).await;
    let nothing = |server: &Value| server["items"] == json!([]);
    let (code, _, said) = other.ctl(&["backup", "restore", &file]).await;
    assert_eq!(code, 4, "{said}");
    for part in [
        "encrypted value(s) that key",
        "nothing was changed",
        "secret.key",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(nothing(&other.call("GET", SECRETS, "").await.1));
    let mut bytes = std::fs::read(&path).expect("read");
    let half = bytes.len() / 2;
    bytes.truncate(half);
    std::fs::write(&path, &bytes).expect("written");
    let (code, _, said) = old
        .ctl(&["backup", "restore", &file, "--force", "--yes"])
        .await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the backup cannot be read"), "{said}");
    assert!(!nothing(&old.call("GET", SECRETS, "").await.1));
}

#[tokio::test]
async fn another_master_key_takes_the_place_of_the_old_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("backup").display().to_string();
    let mut server = Server::start(&[]).await;
    let body = json!({"metadata": {"name": "db"}, "data": {"password": VALUE}}).to_string();
    assert_eq!(server.call("POST", SECRETS, &body).await.0, 201);
    assert_eq!(server.ctl(&["backup", "create", &file]).await.0, 0);
    let data = server.directory().to_owned();
    let rotate = || {
        let mut command = std::process::Command::new(program("cara-server"));
        command.arg("rotate-key").arg("--data-dir").arg(&data);
        let output = command.output().expect("cara-server runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let key = std::fs::read(data.join("secret.key")).expect("the key");
    let (is_done, said) = rotate();
    assert!(!is_done && said.contains("must be stopped"), "{said}");
    server.terminate(PATIENCE).await;
    let (is_done, said) = rotate();
    assert!(is_done && said.contains("need the old key"), "{said}");
    let new = std::fs::read(data.join("secret.key")).expect("the key");
    assert_ne!(new, key);
    server.start_again().await;
    // The same value is no change: it was opened to compare.
    let before = server.call("GET", &format!("{SECRETS}/db"), "").await.1;
    let (status, after) = server.call("PUT", &format!("{SECRETS}/db"), &body).await;
    assert_eq!((status, after), (200, before));
    let (code, _, said) = server
        .ctl(&["backup", "restore", &file, "--force", "--yes"])
        .await;
    assert_eq!(code, 4, "{said}");
    let (_data, old) = new_server(&key).await;
    let (code, _, said) = old.ctl(&["backup", "restore", &file]).await;
    assert_eq!(code, 0, "{said}");
}
