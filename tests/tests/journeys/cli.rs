//! The command line, as people use it.

use cara_tests::{Server, program, unique};
use serde_json::Value;

fn manifest(name: &str, version: &str) -> String {
    format!(
        "apiVersion: caravanserai/v1\nkind: Project\nmetadata:\n  name: {name}\nspec:\n  services:\n    - name: web\n      \
         image: cara-test/app:1\n      env:\n        - name: VERSION\n          value: \"{version}\"\n  ingress:\n    - name: web\n      \
         host: {name}\n      target: {{service: web, port: 8080}}\n"
    )
}

#[tokio::test]
async fn apply_wait_get_describe_logs_and_delete() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let name = unique("cli");
    let file = directory.path().join("project.yaml");
    let path = file.display().to_string();
    std::fs::write(&file, manifest(&name, "1")).expect("written");
    let (code, out, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
    assert_eq!(
        (code, out.as_str()),
        (0, format!("project/{name} created\n").as_str()),
        "{err}"
    );
    let url = format!("http://{name}.dev.localhost:{}/", server.http.port());
    assert!(err.contains(&format!("{url} answered 200 after")), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours when nobody looks");
    assert_eq!(
        server.ctl(&["apply", "-f", &path]).await.1,
        format!("project/{name} unchanged\n")
    );
    std::fs::write(&file, manifest(&name, "2")).expect("written");
    let whole = directory.path().display().to_string();
    let (code, out, _) = server.ctl(&["apply", "-f", &whole, "--wait"]).await;
    assert_eq!((code, out), (0, format!("project/{name} configured\n")));
    assert_eq!(
        server.page(&format!("{name}.dev.localhost"), "/").await.1,
        "version 2\n"
    );
    let (_, table, _) = server.ctl(&["get", "projects", &name]).await;
    let cells: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(cells[0], ["NAME", "PHASE", "NODE", "CONDITIONS", "AGE"]);
    assert_eq!(
        (cells[1][0], cells[1][1], cells[1][3]),
        (name.as_str(), "Running", "ContainersRunning")
    );
    let (_, json, _) = server.ctl(&["get", "project", &name, "-o", "json"]).await;
    let project: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(project["status"]["ingress"][0]["url"], url);
    assert_eq!(
        server.ctl(&["-o", "name", "get", "projects"]).await.1,
        format!("project/{name}\n")
    );
    let (_, yaml, _) = server
        .ctl(&["--output", "yaml", "get", "projects", &name])
        .await;
    assert!(
        yaml.contains("kind: Project") && yaml.contains("phase: Running"),
        "{yaml}"
    );
    let (_, description, _) = server.ctl(&["describe", "project", &name]).await;
    assert!(
        description.contains(&url) && description.contains("ContainersRunning"),
        "{description}"
    );
    assert!(
        description.contains("Env:     VERSION\n"),
        "values of variables are not shown: {description}"
    );
    let (_, log, _) = server
        .ctl(&[
            "logs",
            &format!("{name}/web"),
            "--tail",
            "1",
            "--timestamps",
        ])
        .await;
    let (time, line) = log.split_once(' ').expect("a time");
    assert!(
        time.parse::<cara_api::Timestamp>().is_ok() && line == "listening, version 2\n",
        "{log}"
    );
    assert_eq!(server.ctl(&["open", &name]).await.1, format!("{url}\n"));
    let (code, out, _) = server.ctl(&["delete", "project", &name, "--wait"]).await;
    assert_eq!(
        (code, out),
        (
            0,
            format!("project \"{name}\" is being deleted\nproject \"{name}\" deleted\n")
        )
    );
}

#[tokio::test]
async fn nobody_has_to_read_what_is_said() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = tokio::process::Command::new(program("caractrl"));
    command
        .args(["--server", "http://127.0.0.1:1", "get", "nodes"])
        .stderr(writer);
    let status = command.status().await.expect("caractrl runs");
    assert_eq!(status.code(), Some(1), "no panic");
}

#[tokio::test]
async fn errors_say_what_where_and_what_to_do() {
    let server = Server::start(&[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.yaml");
    let path = file.display().to_string();
    let (code, _, err) = server.ctl(&["get", "projects", "ghost"]).await;
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "Error: get project \"ghost\": project not found [E-NOT-FOUND]\n"
    );
    let (code, _, err) = server
        .ctl(&["--server", "http://127.0.0.1:1", "get", "nodes"])
        .await;
    assert_eq!(code, 1);
    assert!(
        err.contains("Connection refused") && err.contains("is the server running?"),
        "{err}"
    );
    std::fs::write(
        &file,
        "kind: Project\nmetadata: {name: Bad}\nspec: {services: [{name: web}], servces: []}\n",
    )
    .expect("written");
    let (code, _, err) = server.ctl(&["apply", "-f", &path]).await;
    assert_eq!(code, 1);
    assert!(
        err.contains(
            "\nError: apply project/Bad: Validation Problem: 2 problems in the document [E-INVALID]\n"
        ),
        "{err}"
    );
    assert!(
        err.contains("spec.services[0].image: service web: image is required"),
        "{err}"
    );
    std::fs::write(&file, "kind: Volume\nmetadata: {name: a}\n").expect("written");
    assert!(
        server
            .ctl(&["apply", "-f", &path])
            .await
            .2
            .contains("unsupported kind \"Volume\"")
    );
    assert!(
        server
            .ctl(&["apply", "-f", "/nonexistent.yaml"])
            .await
            .2
            .contains("read manifest: /nonexistent.yaml")
    );
    assert_eq!(server.ctl(&["frobnicate"]).await.0, 2);
    assert_eq!(server.ctl(&["logs", "demo/"]).await.0, 2);
    let name = unique("nowhere");
    std::fs::write(&file, manifest(&name, "1")).expect("written");
    let (code, _, err) = server
        .ctl(&["apply", "-f", &path, "--wait", "--timeout", "1s"])
        .await;
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("there are no nodes"), "{err}");
    std::fs::write(
        &file,
        manifest("other", "1").replace("host: other", &format!("host: {name}")),
    )
    .expect("written");
    let (code, _, err) = server.ctl(&["apply", "-f", &path]).await;
    assert_eq!(code, 4, "{err}");
    assert!(
        err.contains(&format!("already used by project \"{name}\"")),
        "{err}"
    );
}

#[tokio::test]
async fn waiting_for_a_project_that_fails_shows_its_last_lines() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let name = unique("broken");
    let file = directory.path().join("p.yaml");
    let text = format!(
        "kind: Project\nmetadata: {{name: {name}}}\nspec:\n  services:\n    - name: web\n      image: cara-test/shell:1\n      \
         env: [{{name: RUN, value: 'echo the reason is here; exit 3'}}]\n"
    );
    std::fs::write(&file, text).expect("written");
    let (code, _, err) = server
        .ctl(&["apply", "-f", &file.display().to_string(), "--wait"])
        .await;
    assert_eq!(code, 5, "{err}");
    for part in [
        "ContainerExited",
        "web(exit=3)",
        "the reason is here",
        &format!("caractrl logs {name}/web"),
    ] {
        assert!(err.contains(part), "{part} is missing: {err}");
    }
    server.delete(&name).await;
}

#[tokio::test]
async fn a_watch_prints_rows_as_things_change() {
    let server = Server::start(&[]).await;
    let mut command = tokio::process::Command::new(cara_tests::process::program("caractrl"));
    command
        .args(["get", "nodes", "-w"])
        .env("CARA_SERVER", format!("http://{}", server.api));
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("caractrl runs");
    let stdout = child.stdout.take().expect("a pipe");
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut lines = BufReader::new(stdout).lines();
    let mut line = async || {
        let next =
            tokio::time::timeout(std::time::Duration::from_secs(20), lines.next_line()).await;
        next.expect("in time").expect("readable").expect("open")
    };
    assert!(line().await.starts_with("NAME"));
    server
        .call("POST", "/api/v1/nodes", r#"{"metadata":{"name":"later"}}"#)
        .await;
    assert!(line().await.starts_with("later"));
}
