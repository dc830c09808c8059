//! Secrets on the command line: in by file and standard input, out nowhere.

use std::io::Write;
use std::process::{Command, Stdio};

use cara_tests::process::program;
use cara_tests::{Server, unique};
use serde_json::json;

const VALUE: &str = "swordfish-of-the-journey";

/// Runs `caractrl` with a standard input; exit code and all that it said.
fn ctl_with_input(server: &Server, args: &[&str], input: &str) -> (i32, String) {
    let mut child = Command::new(program("caractrl"))
        .args(args)
        .env("CARA_SERVER", format!("http://{}", server.api))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("caractrl runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test]
async fn a_secret_goes_in_and_never_comes_out() {
    let server = Server::start(&[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, VALUE).expect("written");
    let from_file = format!("password={}", file.display());
    let create = ["create", "secret", "db", "--from-file", &from_file];
    let (code, out, err) = server.ctl(&create).await;
    assert_eq!((code, out.as_str()), (0, "secret/db created\n"), "{err}");
    let (code, _, err) = server.ctl(&create).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("--replace"), "{err}");
    let replace = [
        "create",
        "secret",
        "db",
        "--replace",
        "--from-env-file",
        "-",
    ];
    let input = format!("# of the database\npassword={VALUE}\nuser={VALUE}\n");
    let (code, said) = ctl_with_input(&server, &replace, &input);
    assert_eq!((code, said.as_str()), (0, "secret/db replaced\n"));
    for args in [
        &["get", "secrets"][..],
        &["get", "secrets", "-o", "wide"],
        &["get", "secret", "db", "-o", "json"],
        &["get", "secret", "db", "-o", "yaml"],
        &["describe", "secret", "db"],
        &["describe", "secret", "db", "-o", "json"],
        &["events"],
    ] {
        let (code, out, err) = server.ctl(args).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(!out.contains(VALUE) && !err.contains(VALUE), "{args:?}");
        let shows_keys = out.contains("password") || !args.iter().any(|a| a.starts_with('-'));
        assert!(shows_keys, "{args:?}: {out}");
    }
    assert!(!server.log().contains(VALUE));
    let (code, out, _) = server.ctl(&["delete", "secret", "db"]).await;
    assert_eq!((code, out.as_str()), (0, "secret \"db\" deleted\n"));
    assert_eq!(server.ctl(&["get", "secret", "db"]).await.0, 1);
}

#[tokio::test]
async fn a_secret_of_the_same_file_is_there_before_its_project() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (name, secret) = (unique("keeps"), unique("secret"));
    let project = json!({"kind": "Project", "metadata": {"name": name}, "spec": {
        "services": [{"name": "web", "image": "cara-test/app:1",
            "env": [{"name": "VERSION", "valueFrom": {"secretKeyRef": {"name": secret, "key": "word"}}}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]}});
    let document = |value: &str| {
        let secret =
            json!({"kind": "Secret", "metadata": {"name": secret}, "data": {"word": value}});
        format!("{project}\n---\n{secret}\n")
    };
    let file = directory.path().join("all.yaml");
    let path = file.display().to_string();
    std::fs::write(&file, document(VALUE)).expect("written");
    let (code, out, err) = server.ctl(&["apply", "-f", &path, "--wait"]).await;
    let expected = format!("secret/{secret} created\nproject/{name} created\n");
    assert_eq!((code, out), (0, expected), "{err}");
    assert!(!err.contains(VALUE), "{err}");
    let page = server.page(&format!("{name}.dev.localhost"), "/").await;
    assert_eq!(page, (200, format!("version {VALUE}\n")));
    let (code, out, _) = server.ctl(&["apply", "-f", &path]).await;
    let expected = format!("secret/{secret} unchanged\nproject/{name} unchanged\n");
    assert_eq!((code, out), (0, expected));
    let (_, out, _) = server.ctl(&["describe", "secret", &secret]).await;
    assert!(out.contains(&format!("Used By:\n  {name}/web\n")), "{out}");
    let (code, _, err) = server.ctl(&["delete", "secret", &secret]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("--force") && err.contains(&name), "{err}");
    assert!(!err.contains("force=true"), "{err}");
    let (code, _, err) = server.ctl(&["delete", "secret", &secret, "--force"]).await;
    assert_eq!(code, 0, "{err}");
    server.delete(&name).await;
}
