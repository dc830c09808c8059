//! Compose files, converted and applied: entries of the corpus whose images exist here.

use std::path::{Path, PathBuf};

use cara_tests::{Server, eventually, program, unique};

fn corpus(entry: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    root.join("cli/tests/corpus").join(entry)
}

/// Exit code, stdout and stderr of a conversion in the directory of an entry.
fn convert(entry: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(program("caractrl"));
    command.arg("convert").args(args).current_dir(corpus(entry));
    command.env("CARA_SERVER", "http://127.0.0.1:1");
    let output = command.output().expect("caractrl runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Converts an entry, applies what came of it as it is, and waits until it runs.
async fn applied(server: &Server, entry: &str, args: &[&str]) -> String {
    let name = unique("compose");
    let (code, documents, said) = convert(entry, &[&["--project", &name], args].concat());
    assert_eq!(code, 0, "{said}");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("project.yaml");
    std::fs::write(&file, &documents).expect("written");
    let path = file.display().to_string();
    let (code, _, said) = server.ctl(&["apply", "-f", &path]).await;
    assert_eq!(code, 0, "{said}\n{documents}");
    assert!(!said.contains("Warning"), "{said}");
    server.running(&name).await;
    name
}

#[tokio::test]
async fn converted_files_run_as_they_are() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let page = async |host: &str, expected: &str| {
        eventually(&format!("{host} answers {expected}"), async || {
            let (status, text) = server.page(host, "/").await;
            (status == 200 && text.contains(expected)).then_some(())
        })
        .await;
    };
    let hello = applied(&server, "01-hello", &[]).await;
    page(&format!("{hello}.dev.localhost"), "Welcome to nginx!").await;
    let site = applied(
        &server,
        "30-live-site",
        &["--host-for", "web=site.example.org"],
    )
    .await;
    page("site.example.org", "From a compose file").await;
    // A database, a job that waits for it, and a server that waits for the job.
    let answer = applied(&server, "31-live-postgres", &[]).await;
    page(&format!("{answer}.dev.localhost"), "42").await;
    let secret = applied(&server, "32-live-secret", &[]).await;
    page("word.example.com", "CARRIED").await;
    for name in [hello, site, answer, secret] {
        assert_eq!(
            server.ctl(&["delete", "project", &name, "--wait"]).await.0,
            0
        );
    }
}

#[test]
fn what_is_not_carried_is_told_and_may_be_an_error() {
    let (code, documents, said) = convert("15-traefik", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(documents.contains("kind: Project"), "{documents}");
    assert!(said.starts_with("Not carried over (5):\n"), "{said}");
    assert!(
        said.contains("  api: traefik.http.middlewares.auth.basicauth.users (compose.yaml:27:54)"),
        "{said}"
    );
    let (code, _, said) = convert("15-traefik", &["--strict"]);
    assert_eq!(code, 2, "{said}");
    let (code, _, said) = convert("01-hello", &["--strict"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let (code, documents, said) = convert("24-build-only", &[]);
    assert_eq!((code, documents.as_str()), (1, ""));
    assert!(
        said.contains(
            "compose.yaml:3:12: service web: build: images are not built here. Build it, push it"
        ),
        "{said}"
    );
}
