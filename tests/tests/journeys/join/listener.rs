//! The listener of the API: never open by accident, TLS by either authority, and the agent inside.

use std::path::Path;
use std::process::Command;

use cara_tests::pki::{Authority, Curl, Issued, KeyKind};
use cara_tests::{Server, eventually, program, unique};
use serde_json::json;

use super::{GUARDED, joined};

#[tokio::test]
async fn the_api_is_not_opened_to_a_network_by_accident() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |more: &[&str]| {
        let mut command = Command::new(program("cara-server"));
        command.arg("--data-dir").arg(directory.path());
        command.args(["--api-listen", "0.0.0.0:0", "--http-listen", "127.0.0.1:0"]);
        let output = command.args(more).output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (more, what) in [
        (&[][..], "without TLS:"),
        (&["--auth=false"], "without TLS and authentication:"),
        (
            &["--api-tls", "internal", "--auth=false"],
            "without authentication:",
        ),
    ] {
        let said = run(more);
        assert!(said.contains(what), "{said}");
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("  for "))
            .collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(
            lines[0].contains("--api-tls internal") && lines[1].contains("--auth"),
            "{said}"
        );
    }
    let said = run(&["--api-tls", "files"]);
    assert!(said.contains("api-cert-file"), "{said}");

    let server = Server::start(&["--api-listen", "0.0.0.0:0", "--insecure-api"]).await;
    assert!(
        server.log().contains("INSECURE"),
        "it says so: {}",
        server.log()
    );
    let server = Server::start(&["--api-listen", "0.0.0.0:0", "--api-tls", "internal"]).await;
    assert!(!server.log().contains("INSECURE"), "{}", server.log());
    let plain = cara_tests::http().get(format!("http://127.0.0.1:{}/", server.api.port()));
    let answer = plain.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 400);
    assert!(answer.text().await.expect("text").contains("https://"));
}

#[tokio::test]
async fn the_agent_inside_works_with_tls_and_authentication() {
    for more in [&["--auth=true"][..], &GUARDED] {
        let node = unique("inside");
        let server = Server::with_agent(&node, more).await;
        let name = unique("inner");
        let spec = json!({
            "services": [{"name": "web", "image": "cara-test/app:1"}],
            "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
        server.create(&name, &spec).await;
        server.running(&name).await;
        let (status, _) = server.page(&format!("{name}.dev.localhost"), "/").await;
        assert_eq!(status, 200);
        // Nobody else is that node.
        let client = server.api_http();
        let path = server.url(&format!("/api/v1/nodes/{node}/heartbeat"));
        for secret in ["", "guess"] {
            let beat = client.post(&path).header("x-caravanserai-inside", secret);
            let answer = beat.json(&json!({})).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 401);
        }
        server.delete(&name).await;
    }
}

fn install(issued: &Issued, directory: &Path) {
    // The key first: what does not fit together is not taken.
    std::fs::copy(&issued.key, directory.join("api.key")).expect("copied");
    std::fs::copy(&issued.cert, directory.join("api.crt")).expect("copied");
}

#[tokio::test]
async fn people_see_the_operators_certificate_and_nodes_the_servers_own() {
    let authority = Authority::new("operator", KeyKind::Ec);
    let directory = tempfile::tempdir().expect("a directory");
    install(
        &authority.issue("one", &["cara.test"], KeyKind::Ec),
        directory.path(),
    );
    let path = |name: &str| directory.path().join(name).display().to_string();
    let args = [
        "--auth=true",
        "--api-tls",
        "files",
        "--api-cert-file",
        &path("api.crt"),
        "--api-key-file",
        &path("api.key"),
        "--api-names",
        "cara.test",
    ];
    let server = Server::start(&args).await;
    let url = format!("https://cara.test:{}/api/version", server.api.port());
    let root = authority.root();
    let curl = Curl {
        url: &url,
        host: None,
        trusts: &root,
        shows: None,
        more: &[],
    };
    assert_eq!(curl.ask().await.0, 200);
    let node = unique("own");
    let agent = joined(&server, &node).await;
    assert!(agent.log().contains("joined"));

    // A new certificate is shown without a restart.
    let other = Authority::new("next", KeyKind::Ec);
    install(
        &other.issue("two", &["cara.test"], KeyKind::Ec),
        directory.path(),
    );
    let root = other.root();
    let curl = Curl {
        trusts: &root,
        ..curl
    };
    eventually("the new one is shown", async || {
        (curl.ask().await.0 == 200).then_some(())
    })
    .await;
    server.node_ready(&node).await;
}
