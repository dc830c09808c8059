//! Comparing, editing and waiting; a first file, and a look at what works.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cara_tests::process::program;
use cara_tests::{Server, unique};
use serde_json::Value;

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

/// A project that no test lets run.
fn idle(name: &str, image: &str) -> String {
    format!(
        "kind: Project\nmetadata: {{name: {name}}}\nspec:\n  services:\n    - name: web\n      image: {image}\n"
    )
}

/// An editor that is a shell script; the file that is edited is `$1`.
fn editor(directory: &Path, script: &str) -> String {
    let path = write(
        directory,
        "editor",
        &format!("#!/bin/sh\nset -e\n{script}\n"),
    );
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("executable");
    path
}

#[tokio::test]
async fn a_diff_shows_what_applying_would_change() {
    let server = Server::start(&[]).await;
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "p.yaml", &idle("shop", "a"));
    let diff = ["diff", "-f", &file];
    let (code, out, err) = server.ctl(&diff).await;
    assert_eq!(code, 1, "{err}");
    assert!(
        out.starts_with("--- /dev/null\n+++ file/project/shop\n"),
        "{out}"
    );
    assert_eq!(err, "");
    assert_eq!(server.ctl(&["get", "projects", "-o", "name"]).await.1, "");
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let (code, out, err) = server.ctl(&diff).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    write(home.path(), "p.yaml", &idle("shop", "b"));
    let (code, out, _) = server.ctl(&diff).await;
    assert_eq!(code, 1);
    let changed: Vec<&str> = out.lines().filter(|l| l.contains("image:")).collect();
    assert_eq!(changed, ["-    image: a", "+    image: b"], "{out}");
    write(home.path(), "p.yaml", &idle("shop", "'No Image'"));
    let (code, _, err) = server.ctl(&diff).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("diff project/shop"), "{err}");
    // A secret shows that it differs, and not how.
    let secret = "kind: Secret\nmetadata: {name: s}\ndata: {a: swordfish}\n";
    let file = write(home.path(), "s.yaml", secret);
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    assert_eq!(server.ctl(&["diff", "-f", &file]).await.0, 0);
    write(home.path(), "s.yaml", &secret.replace("sword", "cat"));
    let (code, out, _) = server.ctl(&["diff", "-f", &file]).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("+values: changed") && !out.contains("fish"),
        "{out}"
    );
}

#[tokio::test]
async fn an_object_is_changed_in_the_editor() {
    let server = Server::start(&[]).await;
    let home = tempfile::tempdir().expect("a directory");
    let file = write(home.path(), "p.yaml", &idle("shop", "first"));
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let edit = async |script: &str| {
        let editor = editor(home.path(), script);
        let (code, out, err) = server
            .ctl(&["edit", "project", "shop", "--editor", &editor])
            .await;
        (code, out, err)
    };
    let image = async || {
        let (_, project) = server.call("GET", "/api/v1/projects/shop", "").await;
        let image = project["spec"]["services"][0]["image"].as_str();
        image.unwrap_or_default().to_owned()
    };
    let (code, out, err) = edit("sed -i s/first/second/ \"$1\"").await;
    assert_eq!((code, out.as_str()), (0, "project/shop edited\n"), "{err}");
    assert_eq!(image().await, "second");
    let (code, out, err) = edit("true").await;
    assert_eq!((code, out.as_str()), (0, ""));
    assert_eq!(err, "project/shop is as it was: nothing was changed\n");
    // A fault comes back above the text; who gives up keeps it.
    let seen = home.path().join("seen");
    let once = format!(
        "if [ -e {0} ]; then cp \"$1\" {0}; else touch {0}; sed -i 's/second/No Image/' \"$1\"; fi",
        seen.display()
    );
    let (code, _, err) = edit(&once).await;
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("nothing was changed"), "{err}");
    let shown = std::fs::read_to_string(&seen).expect("the second text");
    assert!(shown.starts_with("#: edit project/shop"), "{shown}");
    assert!(shown.contains("image: No Image"), "{shown}");
    assert!(kept(&err).contains("image: No Image"));
    assert_eq!(image().await, "second");
    // A fault that is mended is taken.
    std::fs::remove_file(&seen).expect("removed");
    let mending = format!(
        "if [ -e {0} ]; then sed -i 's/No Image/third/' \"$1\"; else touch {0}; sed -i 's/second/No Image/' \"$1\"; fi",
        seen.display()
    );
    let (code, _, err) = edit(&mending).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(image().await, "third");
    // What others write meanwhile is not lost: it comes above the text.
    std::fs::remove_file(&seen).expect("removed");
    let other = write(home.path(), "other.yaml", &idle("shop", "theirs"));
    let late = format!(
        "if [ -e {0} ]; then cp \"$1\" {0}; else touch {0}; CARA_SERVER=http://{1} {2} apply -f {other} >&2; sed -i s/third/mine/ \"$1\"; fi",
        seen.display(),
        server.api,
        program("caractrl").display(),
    );
    let (code, _, err) = edit(&late).await;
    assert_eq!(code, 1, "{err}");
    let shown = std::fs::read_to_string(&seen).expect("the second text");
    assert!(shown.contains("#: +    image: theirs"), "{shown}");
    assert!(kept(&err).contains("image: mine"));
    assert_eq!(image().await, "theirs");
    let (code, _, err) = edit("exit 3").await;
    assert_eq!(code, 1);
    assert!(err.contains("failed") && err.contains("EDITOR"), "{err}");
    kept(&err);
}

/// The text in the file that a message names; the file is removed.
fn kept(said: &str) -> String {
    let line = said
        .lines()
        .find_map(|line| line.split_once("your text is in "));
    let path = PathBuf::from(line.expect("a file is named").1);
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::remove_file(&path).expect("removed");
    text
}

#[tokio::test]
async fn a_first_file_can_be_applied_and_waited_for() {
    let node = unique("node");
    let server = Server::with_agent(&node, &[]).await;
    let home = tempfile::tempdir().expect("a directory");
    let name = unique("first");
    let file = home.path().join("project.yaml").display().to_string();
    let init = [
        "init",
        &name,
        "-f",
        &file,
        "--image",
        "cara-test/app:1",
        "--port",
        "8080",
    ];
    let (code, out, err) = server.ctl(&init).await;
    assert_eq!((code, out), (0, format!("{file} written\n")), "{err}");
    assert!(
        err.contains(&format!("caractrl apply -f {file} --wait")),
        "{err}"
    );
    let text = std::fs::read_to_string(&file).expect("written");
    let schema = text
        .lines()
        .next()
        .and_then(|line| line.split_once("$schema="));
    let schema = home.path().join(schema.expect("a line for editors").1);
    let schema: Value =
        serde_json::from_slice(&std::fs::read(schema).expect("there")).expect("JSON");
    assert_eq!(schema["title"], "Project");
    assert_eq!(server.ctl(&init).await.0, 1, "it is there already");
    let (code, _, err) = server.ctl(&["apply", "-f", &file]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let wait = async |goal: &str, timeout: &str| {
        let goal = format!("--for={goal}");
        let args = ["wait", "project", &name, &goal, "--timeout", timeout];
        server.ctl(&args).await
    };
    let (code, out, err) = wait("phase=Running", "60s").await;
    assert_eq!(
        (code, out),
        (0, format!("project/{name} met phase=Running\n")),
        "{err}"
    );
    assert_eq!(
        wait("jsonpath={.spec.services[0].name}=web", "10s").await.0,
        0
    );
    let (code, _, err) = wait("phase=Failed", "1s").await;
    assert_eq!(code, 7);
    assert!(
        err.contains("did not meet phase=Failed within 1 s: it is Running"),
        "{err}"
    );
    let (code, _, err) = wait("ready", "1s").await;
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = server.ctl(&["doctor"]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(server.ctl(&["delete", "project", &name]).await.0, 0);
    let (code, out, err) = wait("deleted", "60s").await;
    assert_eq!(
        (code, out),
        (0, format!("project/{name} met deleted\n")),
        "{err}"
    );
    let (code, _, err) = wait("phase=Running", "5s").await;
    assert_eq!(code, 1, "{err}");
}

#[tokio::test]
async fn a_doctor_says_what_mends_it() {
    let server = Server::start(&[]).await;
    let (code, out, err) = server.ctl(&["doctor"]).await;
    assert_eq!(code, 1, "there are no nodes: {err}");
    let failed: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("fail"))
        .collect();
    assert_eq!(failed.len(), 1, "{out}");
    assert!(
        out.contains("-> start an agent that joins this server"),
        "{out}"
    );
    let (code, out, _) = server.ctl(&["doctor", "-o", "json"]).await;
    assert_eq!(code, 1);
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let checks = found["checks"].as_array().expect("a list");
    let level = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.map_or("", |check| check["level"].as_str().unwrap_or_default())
    };
    for name in [
        "server", "versions", "clock", "ports", "store", "disk", "gateway",
    ] {
        assert_eq!(level(name), "pass", "{name}: {out}");
    }
    assert_eq!(level("nodes"), "fail");
    let gone = ["--server", "http://127.0.0.1:1", "doctor"];
    let (code, out, _) = server.ctl(&gone).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("fail     server") && out.contains("CARA_SERVER"),
        "{out}"
    );
    let (code, out, err) = server.ctl(&["version"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.lines().count(), 2, "{out}");
    let (_, out, _) = server.ctl(&["version", "-o", "json"]).await;
    let both: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(both["client"], both["server"]);
}

/// A secret and two projects that belong together, and one of each that do not.
fn app(names: &[&str]) -> String {
    let one = |name: &str| {
        let (kind, rest) = match name.starts_with("s-") {
            true => ("Secret", "data: {a: b}"),
            false => ("Project", "spec: {services: [{name: web, image: x}]}"),
        };
        let label = if name.ends_with("-other") {
            "other"
        } else {
            "shop"
        };
        format!("kind: {kind}\nmetadata: {{name: {name}, labels: {{app: {label}}}}}\n{rest}\n")
    };
    let documents: Vec<String> = names.iter().map(|name| one(name)).collect();
    documents.join("---\n")
}

#[tokio::test]
async fn objects_are_chosen_by_labels_and_values() {
    let server = Server::start(&[]).await;
    let home = tempfile::tempdir().expect("a directory");
    let file = write(
        home.path(),
        "app.yaml",
        &app(&["a", "b", "s-a", "c-other", "s-other"]),
    );
    let names = async |args: &[&str]| {
        let args = [&["get"], args, &["-o", "name"]].concat();
        let (code, out, err) = server.ctl(&args).await;
        assert_eq!(code, 0, "{err}");
        out.replace('\n', " ").trim_end().to_owned()
    };
    // Tried first: everything is said, nothing is done.
    let dry = ["apply", "-f", &file, "--dry-run=server"];
    let (code, out, err) = server.ctl(&dry).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out.lines()
            .filter(|l| l.ends_with("created (server dry run)"))
            .count(),
        5,
        "{out}"
    );
    assert_eq!(names(&["projects"]).await, "");
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let (_, out, _) = server.ctl(&dry).await;
    assert_eq!(
        out.lines()
            .filter(|l| l.ends_with("unchanged (server dry run)"))
            .count(),
        5,
        "{out}"
    );
    assert_eq!(
        names(&["projects", "-l", "app=shop"]).await,
        "project/a project/b"
    );
    assert_eq!(
        names(&["projects", "-l", "app!=shop"]).await,
        "project/c-other"
    );
    assert_eq!(
        names(&["projects", "--field-selector", "metadata.name=b"]).await,
        "project/b"
    );
    assert_eq!(
        names(&["all", "-l", "app in (shop)"]).await,
        "project/a project/b secret/s-a"
    );
    let (code, out, _) = server.ctl(&["get", "all", "-l", "app"]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("PROJECTS\nNAME") && out.contains("\n\nSECRETS\nNAME"),
        "{out}"
    );
    let (_, out, _) = server.ctl(&["get", "all", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list["kind"], "List");
    let (code, _, err) = server.ctl(&["get", "projects", "-l", "a b"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("position 3"), "{err}");
    // What has the label and is in no file goes, and what is in use keeps the rest.
    let fewer = write(home.path(), "fewer.yaml", &app(&["a"]));
    let prune = ["apply", "-f", &fewer, "--prune", "-l", "app=shop"];
    let (code, out, err) = server
        .ctl(&[&prune[..], &["--dry-run=server"]].concat())
        .await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "project/a unchanged (server dry run)\nproject \"b\" deleted (server dry run)\nsecret \"s-a\" deleted (server dry run)\n"
    );
    // Nobody named what goes, and nobody can be asked.
    let (code, out, err) = server.ctl(&prune).await;
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(
        err.contains("delete  service") && err.contains("[E-CONSENT]"),
        "{err}"
    );
    let prune = [&prune[..], &["--yes"]].concat();
    let (code, out, err) = server.ctl(&prune).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "project/a unchanged\nproject \"b\" deleted\nsecret \"s-a\" deleted\n"
    );
    assert_eq!(
        names(&["all", "-l", "app"]).await,
        "project/a project/c-other secret/s-other"
    );
    assert_eq!(server.ctl(&["apply", "-f", &fewer, "--prune"]).await.0, 2);
    // By names, by label, by file; one that is not there keeps no other.
    let (code, out, err) = server
        .ctl(&["delete", "projects", "nobody", "c-other"])
        .await;
    assert_eq!(
        (code, out.as_str()),
        (1, "project \"c-other\" deleted\n"),
        "{err}"
    );
    let (code, out, _) = server.ctl(&["delete", "secrets", "-l", "app=other"]).await;
    assert_eq!((code, out.as_str()), (0, "secret \"s-other\" deleted\n"));
    let (code, out, err) = server.ctl(&["delete", "secrets", "-l", "app=other"]).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "", "nothing is selected\n")
    );
    assert_eq!(server.ctl(&["apply", "-f", &file]).await.0, 0);
    let selected = ["delete", "projects", "-l", "app=shop"];
    let (code, _, err) = server.ctl(&selected).await;
    assert_eq!(code, 2, "{err}");
    let dry = [&selected[..], &["--dry-run=client"]].concat();
    let (code, out, _) = server.ctl(&dry).await;
    assert_eq!(code, 0);
    assert!(
        out.lines().all(|l| l.ends_with("deleted (dry run)")),
        "{out}"
    );
    assert_eq!(
        names(&["projects", "-l", "app=shop"]).await,
        "project/a project/b"
    );
    let (code, out, err) = server.ctl(&["delete", "-f", &file]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 5, "{out}");
    assert!(
        out.starts_with("project \"c-other\""),
        "the last one first: {out}"
    );
    assert_eq!(names(&["all", "-l", "app"]).await, "");
    assert_eq!(server.ctl(&["delete", "projects"]).await.0, 2);
}
