//! Wildcards that a real DNS server (BIND) and a web service are changed for, as settings say.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use cara_tests::acme::{Pebble, PebbleSetup, free_port};
use cara_tests::{Process, Server, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::acme::{shown, text, until};

const KEY_NAME: &str = "cara-acme";
const KEY_SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0cy1vZi1jYXJhdmFuc2VyYWk=";

/// A running BIND: the primary of `cara.test`, in which the key may change TXT records.
struct Named {
    address: SocketAddr,
    /// The file with the key.
    key: PathBuf,
    process: Process,
    _directory: TempDir,
}

impl Named {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let port = address.port().to_string();
        let config = format!(
            "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }}; \
             listen-on-v6 {{ none; }}; recursion no; pid-file none; session-keyfile none; \
             dnssec-validation no; notify no; }};\n\
             controls {{ }};\n\
             key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{KEY_SECRET}\"; }};\n\
             zone \"cara.test\" {{ type primary; file \"zone.db\"; \
             update-policy {{ grant {KEY_NAME} zonesub TXT; }}; }};\n",
            directory.path().display()
        );
        let records = "$TTL 60\n@ SOA ns.cara.test. host.cara.test. 1 60 1 3600 1\n\
                       @ NS ns.cara.test.\nns A 127.0.0.1\n";
        std::fs::write(at("named.conf"), config).expect("written");
        std::fs::write(at("zone.db"), records).expect("written");
        std::fs::write(at("key"), format!("{KEY_SECRET}\n")).expect("written");
        // Beside the administrator's programs, where a user's path may not lead.
        let program = ["/usr/sbin/named", "/usr/bin/named"];
        let program = program.iter().find(|path| PathBuf::from(path).exists());
        let mut command = Command::new(program.unwrap_or(&"named"));
        command.current_dir(directory.path()).args([
            "-g",
            "-n",
            "1",
            "-c",
            "named.conf",
            "-p",
            &port,
        ]);
        let process = Process::start(command, directory.path(), "named");
        eventually("named listens", async || {
            TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
        Self {
            address,
            key: at("key"),
            process,
            _directory: directory,
        }
    }
}

/// Settings of a server that orders for `*.dev.cara.test`.
fn settings(pebble: &Pebble, more: &[&str]) -> Vec<String> {
    let mut args = pebble.settings();
    let own = [
        "--base-domain",
        "cara.test",
        "--https-listen",
        "127.0.0.1:0",
    ];
    args.extend(own.iter().chain(more).map(ToString::to_string));
    args
}

/// Waits until the wildcard is there, and a host below it is shown with it.
async fn is_served(server: &Server, pebble: &Pebble) {
    let found = until(server, "acme-wildcard.dev.cara.test", "Valid").await;
    assert_eq!(found["status"]["names"], json!(["*.dev.cara.test"]));
    let spec = json!({"services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [{"name": "web", "host": "shop", "respond": {"body": "open"}}]});
    server.create("shop", &spec).await;
    eventually("the gateway shows it", async || {
        let text = shown(server, "shop.dev.cara.test");
        text.contains("Pebble Intermediate").then_some(())
    })
    .await;
    assert_eq!(pebble.orders(), 1);
    server.delete("shop").await;
}

#[tokio::test]
async fn a_wildcard_is_obtained_by_dynamic_updates_and_served() {
    let named = Named::start().await;
    let pebble = Pebble::start_as(PebbleSetup {
        http_port: 1,
        dns: Some(named.address),
        ..PebbleSetup::default()
    })
    .await;
    let (address, key) = (named.address.to_string(), named.key.display().to_string());
    let args = settings(
        &pebble,
        &[
            "--acme-dns",
            "rfc2136",
            "--acme-dns-server",
            &address,
            "--acme-dns-key-name",
            KEY_NAME,
            "--acme-dns-key-file",
            &key,
        ],
    );
    let server = Server::start(&text(&args)).await;
    is_served(&server, &pebble).await;
    // The record came with the key, and went again.
    let log = named.process.log();
    let record = "'_acme-challenge.dev.cara.test' TXT";
    assert!(log.contains(&format!("/key {KEY_NAME}")), "{log}");
    assert!(log.contains(&format!("adding an RR at {record}")), "{log}");
    assert!(
        log.contains("deleting an RR at _acme-challenge.dev.cara.test"),
        "{log}"
    );
    assert!(!server.log().contains(KEY_SECRET));
}

/// What a service that changes the DNS was asked: header `Authorization` and body.
type Asked = (String, Value);

/// Changes the DNS by a program, as it is asked to.
async fn change_dns(
    listener: TcpListener,
    program: PathBuf,
    tell: tokio::sync::mpsc::Sender<Asked>,
) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut bytes = Vec::new();
        // The body is JSON and ends with its brace.
        while !bytes.ends_with(b"}") {
            let count = stream.read_buf(&mut bytes).await.expect("read");
            assert!(count > 0, "a whole request");
        }
        let request = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let word = |name: &str| {
            body[name]
                .as_str()
                .expect("a text")
                .trim_end_matches('.')
                .to_owned()
        };
        let mut command = tokio::process::Command::new(&program);
        command.args(["action", "fqdn", "value"].map(word));
        let status = command.status().await.expect("the program runs");
        assert!(status.success(), "{status}");
        let lines = head.lines();
        let shown = lines.filter(|line| line.to_ascii_lowercase().starts_with("authorization:"));
        let shown = shown.map(|line| line["authorization:".len()..].trim());
        let _ = tell.send((shown.collect(), body)).await;
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.expect("written");
    }
}

#[tokio::test]
async fn a_wildcard_is_obtained_by_a_web_service_and_served() {
    let pebble = Pebble::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "http://{}/records",
        listener.local_addr().expect("an address")
    );
    let (tell, mut asked) = tokio::sync::mpsc::channel(16);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(change_dns(listener, pebble.dns_program(), tell));
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "hunter2\n").expect("written");
    let token = token.display().to_string();
    let more = [
        "--acme-dns",
        "webhook",
        "--acme-dns-url",
        &url,
        "--acme-dns-token-file",
        &token,
    ];
    let args = settings(&pebble, &more);
    let server = Server::start(&text(&args)).await;
    is_served(&server, &pebble).await;
    for action in ["present", "cleanup"] {
        let (shown, body) = asked.recv().await.expect("a request");
        assert_eq!(shown, "Bearer hunter2");
        assert_eq!(body["action"], action);
        assert_eq!(body["fqdn"], "_acme-challenge.dev.cara.test.");
    }
    assert!(!server.log().contains("hunter2"));
}
