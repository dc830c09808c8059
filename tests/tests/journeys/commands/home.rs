//! The default project, secrets of their own verb, and routes as they change.

use std::process::Stdio;
use std::time::Duration;

use cara_tests::{Server, program, unique};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// Runs the command line with a default project, and what comes by standard input.
async fn ctl(server: &Server, home: &str, line: &str, typed: &str) -> (i32, String, String) {
    let mut child = Command::new(program("caractrl"))
        .args(line.split(' '))
        .env("CARA_SERVER", format!("http://{}", server.api))
        .env("CARA_PROJECT", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("caractrl runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(typed.as_bytes()).await.expect("typed");
    drop(stdin);
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
    let output = ended.await.expect("it ends").expect("it ran");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, text(output.stdout), text(output.stderr))
}

fn manifest(name: &str, secret: &str) -> String {
    format!(
        "kind: Project\nmetadata: {{name: {name}}}\nspec:\n  services:\n    - name: web\n      image: shop:1\n      \
         env: [{{name: P, valueFrom: {{secretKeyRef: {{name: {secret}, key: password}}}}}}]\n    - {{name: db, image: \"pg:1\"}}\n  \
         ingress:\n    - {{name: page, host: {name}, target: {{service: web, port: 80}}}}\n"
    )
}

#[tokio::test]
async fn commands_are_about_the_default_project_where_none_is_named() {
    let server = Server::start(&[]).await;
    let (home, other, secret) = (unique("home"), unique("other"), unique("secret"));
    // Values come by standard input, and are not shown.
    let set = format!("secret set {secret} password");
    let (code, out, err) = ctl(&server, "", &set, "swordfish\n").await;
    assert_eq!(
        (code, out),
        (0, format!("secret/{secret} created\n")),
        "{err}"
    );
    let (code, _, err) = ctl(&server, "", &format!("{set} user"), "x").await;
    assert_eq!(code, 2, "one value and two keys: {err}");
    for name in [&home, &other] {
        let (code, _, err) = ctl(&server, "", "apply -f -", &manifest(name, &secret)).await;
        assert_eq!(code, 0, "{err}");
    }
    let (_, out, _) = ctl(&server, "", &format!("secret used-by {secret} -o name"), "").await;
    assert_eq!(out, format!("{home}/web\n{other}/web\n"));
    let (_, out, _) = ctl(&server, "", "secret list", "").await;
    assert!(out.contains(&format!("{home}/web,{other}/web")), "{out}");
    assert!(!out.contains("swordfish"), "{out}");
    let (code, out, _) = ctl(&server, "", &set, "swordfish").await;
    assert_eq!((code, out), (0, format!("secret/{secret} unchanged\n")));
    let (code, _, err) = ctl(&server, "", &format!("secret delete {secret}"), "").await;
    assert_eq!(code, 4, "{err}");

    for (line, expected) in [
        ("describe project -o name", format!("project/{home}\n")),
        ("revisions -o name", format!("project/{home}/1\n")),
        (
            "wait project --for=phase=Pending",
            format!("project/{home} met phase=Pending\n"),
        ),
        (
            "rollback --dry-run=client",
            format!("project/{home} rolled back (dry run)\n"),
        ),
    ] {
        let (code, out, err) = ctl(&server, &home, line, "").await;
        assert_eq!((code, out), (0, expected), "{line}: {err}");
    }
    // A word alone is a service of it, if it has one of that name.
    for (line, expected) in [
        ("logs web", format!("logs {home}/web")),
        ("logs", format!("logs {home}")),
        (&format!("logs {other}/db"), format!("logs {other}/db")),
        ("exec db -- true", format!("exec in {home}/db")),
        ("port-forward ghost 80", "get project \"ghost\"".to_owned()),
        ("cp db:/etc/hosts .", format!("cp {home}/db:/etc/hosts")),
    ] {
        let (code, _, err) = ctl(&server, &home, line, "").await;
        assert_ne!(code, 0, "nothing runs: {line}");
        assert!(err.contains(&format!("Error: {expected}")), "{line}: {err}");
    }
    let path = "events -o jsonpath={.items[*].regarding.name}";
    let (_, out, _) = ctl(&server, &home, path, "").await;
    assert!(out.contains(&home) && !out.contains(&other), "{out}");
    let (_, out, _) = ctl(&server, &home, &format!("{path} --all"), "").await;
    assert!(out.contains(&other), "{out}");
    let (code, _, err) = ctl(&server, "", "revisions", "").await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("CARA_PROJECT"), "{err}");
    assert_eq!(
        ctl(&server, &home, "delete project", "").await.0,
        2,
        "always named"
    );
}

#[tokio::test]
async fn routes_are_printed_as_they_change() {
    let server = Server::start(&[]).await;
    let (name, secret) = (unique("routes"), unique("secret"));
    let set = format!("secret set {secret} password");
    assert_eq!(ctl(&server, "", &set, "x").await.0, 0);
    let mut child = Command::new(program("caractrl"))
        .args(["routes", "--watch", "-o", "name"])
        .env("CARA_SERVER", format!("http://{}", server.api))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("caractrl runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let (code, _, said) = ctl(&server, "", "apply -f -", &manifest(&name, &secret)).await;
    assert_eq!(code, 0, "{said}");
    let patience = Duration::from_secs(30);
    let line = tokio::time::timeout(patience, out.next_line()).await;
    let line = line.expect("in time").expect("read").expect("a line");
    assert!(line.starts_with(&format!("{name}.")), "{line}");
    let delete = format!("delete project {name}");
    assert_eq!(ctl(&server, "", &delete, "").await.0, 0);
    let line = tokio::time::timeout(patience, err.next_line()).await;
    let line = line.expect("in time").expect("read").expect("a line");
    assert!(
        line.ends_with(&format!("({name}/page) is not served any more")),
        "{line}"
    );
}
