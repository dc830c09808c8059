//! Getting in: by a token, once, and only at the server that it is from.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use cara_tests::pki::{Authority, KeyKind};
use cara_tests::{Agent, Docker, Server, eventually, program, unique};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::{GUARDED, identity, joined, token};

#[tokio::test]
async fn two_agents_that_joined_by_tokens_run_projects() {
    let server = Server::start(&GUARDED).await;
    let nodes = [unique("a"), unique("b")];
    let mut agents = Vec::new();
    for node in &nodes {
        agents.push(joined(&server, node).await);
    }
    let names = [unique("one"), unique("two")];
    let mut used = Vec::new();
    for name in &names {
        let spec = json!({
            "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": name}]}],
            "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
        server.create(name, &spec).await;
        used.push(server.running(name).await.status.node_ref);
        let page = server.page(&format!("{name}.dev.localhost"), "/").await;
        assert_eq!(page, (200, format!("version {name}\n")));
    }
    used.sort();
    assert_eq!(used, nodes, "one project on each node");
    for agent in &agents {
        let path = agent.directory().join("identity.json");
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for the owner alone");
        assert!(!agent.directory().join("joining.json").exists());
    }
    // A restart needs no token: it finds that this one was used.
    agents[0].crash_and_start_again();
    eventually("it is connected again", async || {
        (agents[0].log().matches("connected").count() >= 2).then_some(())
    })
    .await;
    for name in &names {
        server.delete(name).await;
    }
    assert!(Docker::default().of_project(&names[0]).is_empty());
    let audit = std::fs::read_to_string(server.data_dir().join("audit.jsonl")).expect("a log");
    for node in &nodes {
        let is_join =
            |line: &str| line.contains(r#""verb":"join""#) && line.contains(node.as_str());
        assert!(audit.lines().any(is_join), "{audit}");
    }
    assert!(audit.contains(r#""kind":"JoinToken""#));
    let metrics = server.api_http().get(server.url("/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    let gauge = "cara_node_certificate_not_after_seconds ";
    let line = metrics
        .lines()
        .find(|l| l.starts_with(gauge))
        .unwrap_or_default();
    assert!(line.len() > gauge.len() + 8, "{line}");
}

#[tokio::test]
async fn join_tokens_are_listed_and_deleted() {
    let server = Server::start(&GUARDED).await;
    let (used, kept) = (
        token(&server, &[]).await,
        token(&server, &["--node", "b"]).await,
    );
    let node = unique("a");
    let _agent = Agent::join(&server, &node, &used);
    server.node_ready(&node).await;
    let id = |token: &str| token.split('_').nth(2).expect("an id").to_owned();
    let (code, text, _) = server.ctl(&["node", "join-tokens"]).await;
    let line = |id: &str| {
        let mut lines = text.lines();
        lines
            .find(|line| line.contains(id))
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!((code, text.lines().count()), (0, 3), "{text}");
    assert!(line(&id(&used)).contains(&node), "{text}");
    assert!(
        line(&id(&kept)).contains(" b ") && line(&id(&kept)).contains("in 59m"),
        "{text}"
    );
    for token in [&used, &kept] {
        let secret = token.rsplit('_').next().expect("a secret");
        assert!(!text.contains(secret), "{text}");
    }
    for expected in [0, 1] {
        let (code, _, err) = server.ctl(&["node", "delete-join-token", &id(&kept)]).await;
        assert_eq!(code, expected, "{err}");
    }
    let log = refused(Agent::join(&server, "b", &kept)).await;
    assert!(log.contains("token"), "{log}");
    let audit = std::fs::read_to_string(server.data_dir().join("audit.jsonl")).expect("a log");
    let is_deletion =
        |line: &str| line.contains(r#""kind":"JoinToken""#) && line.contains(r#""verb":"delete""#);
    assert!(audit.lines().any(is_deletion), "{audit}");
}

/// Waits until an agent gave up; what it said.
async fn refused(mut agent: Agent) -> String {
    eventually("the agent gives up", async || {
        agent.has_ended().then_some(())
    })
    .await;
    agent.log()
}

#[tokio::test]
async fn used_ended_foreign_and_mistyped_tokens_let_nobody_in() {
    let server = Server::start(&GUARDED).await;
    let node = unique("in");
    let used = token(&server, &[]).await;
    let _agent = Agent::join(&server, &node, &used);
    server.node_ready(&node).await;

    let log = refused(Agent::join(&server, &unique("again"), &used)).await;
    assert!(
        log.contains(&format!("used already, by node {node}")),
        "{log}"
    );

    let short = token(&server, &["--ttl", "1s"]).await;
    let late = unique("late");
    let made = std::time::Instant::now();
    eventually("its time is over", async || {
        (made.elapsed().as_millis() > 1_200).then_some(())
    })
    .await;
    let log = refused(Agent::join(&server, &late, &short)).await;
    assert!(log.contains("the join token ended at"), "{log}");

    let bound = token(&server, &["--node", "somebody"]).await;
    let log = refused(Agent::join(&server, &unique("else"), &bound)).await;
    assert!(log.contains("is for node somebody"), "{log}");

    let taken = token(&server, &[]).await;
    let log = refused(Agent::join(&server, &node, &taken)).await;
    assert!(
        log.contains(&format!("there is a node {node} already")),
        "{log}"
    );

    let mut wrong = token(&server, &[]).await;
    let last = wrong.pop().expect("a digit");
    wrong.push(if last == '0' { '1' } else { '0' });
    let log = refused(Agent::join(&server, &unique("wrong"), &wrong)).await;
    assert!(log.contains("does not know the join token"), "{log}");

    let log = refused(Agent::join(&server, &unique("none"), "carajoin1_short")).await;
    assert!(log.contains("this is not a join token"), "{log}");
    for secret in [&used, &short, &bound, &taken, &wrong] {
        let secret = secret.rsplit('_').next().expect("the secret");
        assert!(!server.log().contains(secret), "a secret is in the log");
        let audit = std::fs::read_to_string(server.data_dir().join("audit.jsonl"));
        assert!(
            !audit.expect("a log").contains(secret),
            "a secret is audited"
        );
    }
}

#[tokio::test]
async fn a_token_comes_by_file_or_standard_input_too_and_is_one_line_to_paste() {
    let server = Server::start(&GUARDED).await;
    let (code, line, said) = server.ctl(&["node", "join-token"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("It works once"), "{said}");
    assert_eq!(line.lines().count(), 1);
    let expected = format!("cara-agent --server https://{}", server.api);
    assert!(
        line.starts_with("CARA_JOIN=carajoin1_") && line.trim().ends_with(&expected),
        "{line}"
    );

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, token(&server, &[]).await).expect("written");
    let (node, base) = (unique("file"), server.base());
    let command = |node: &str, base: &str, from: &str, data: &std::path::Path| {
        let mut command = Command::new(program("cara-agent"));
        command.args(["--server", base, "--node-name", node, "--join-file", from]);
        command
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(data);
        command
    };
    let (name, url, path) = (node.clone(), base.clone(), file.display().to_string());
    let _agent = Agent::launch(&node, move |data| command(&name, &url, &path, data));
    server.node_ready(&node).await;

    let node = unique("stdin");
    let data = directory.path().join("data");
    let mut agent = command(&node, &base, "-", &data)
        .env("CARA_FILES_DIR", "/dev/shm/caravanserai-tests")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdin = agent.stdin.take().expect("piped");
    stdin
        .write_all(token(&server, &[]).await.as_bytes())
        .expect("taken");
    drop(stdin);
    server.node_ready(&node).await;
    agent.kill().expect("it ends");
    agent.wait().expect("it ends");
    assert_eq!(identity(&data)["node"], node);
}

/// A server that is not the one of the token, with a certificate and an authority of its own. It
/// tells what it is sent.
fn impostor() -> (std::net::SocketAddr, mpsc::Receiver<String>) {
    let authority = Authority::new("impostor", KeyKind::Ec);
    let issued = authority.issue("server", &["server.caravanserai.internal"], KeyKind::Ec);
    let chain = CertificateDer::from_pem_slice(issued.cert_pem().as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem().as_bytes()).expect("PEM");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("cipher suites")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a certificate");
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (heard, hears) = mpsc::channel();
    let root = authority.root_pem();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let tls = rustls::ServerConnection::new(std::sync::Arc::clone(&config));
            let mut tls = tls.expect("a connection");
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            let mut request = [0; 64 * 1024];
            let read = tls.read(&mut request).unwrap_or(0);
            let said = String::from_utf8_lossy(&request[..read]).into_owned();
            if heard.send(said).is_err() {
                return;
            }
            let body = json!({"certificate": root, "fingerprint": "00"}).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = tls.write_all(answer.as_bytes());
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    (address, hears)
}

#[tokio::test]
async fn the_secret_is_shown_to_no_other_server() {
    let server = Server::start(&GUARDED).await;
    let token = token(&server, &[]).await;
    let (address, hears) = impostor();
    let (node, wanted) = (unique("lost"), token.clone());
    let name = node.clone();
    let agent = Agent::launch(&node, move |data| {
        let mut command = Command::new(program("cara-agent"));
        command.args([
            "--server",
            &format!("https://{address}"),
            "--node-name",
            &name,
        ]);
        command
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(data);
        command.env("CARA_JOIN", &wanted);
        command
    });
    let log = refused(agent).await;
    assert!(
        log.contains("is not the server that the join token is from"),
        "{log}"
    );
    let heard: Vec<String> = hears.try_iter().collect();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].starts_with("GET /api/v1/join/authority "),
        "{heard:?}"
    );
    let parts: Vec<&str> = token.split('_').collect();
    assert!(
        !heard
            .iter()
            .any(|said| said.contains(parts[2]) || said.contains(parts[3]))
    );

    // The token is as good as before.
    let _agent = Agent::join(&server, &node, &token);
    server.node_ready(&node).await;
}
