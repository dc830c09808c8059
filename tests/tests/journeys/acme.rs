//! Certificates from a real ACME server: obtained, stored, served, renewed, and not asked for in
//! vain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use cara_api::{Timestamp, paths};
use cara_tests::acme::{Pebble, PebbleSetup, free_port, openssl};
use cara_tests::{Server, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(super) fn text(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A certificate, if it is there.
pub(super) async fn certificate(server: &Server, name: &str) -> Option<Value> {
    let path = paths::fill(paths::CERTIFICATE, &[name]);
    server.client().get(&path).await.ok()
}

/// Waits until the condition `Ready` of a certificate has a reason.
pub(super) async fn until(server: &Server, name: &str, reason: &str) -> Value {
    eventually(&format!("{name} is {reason}"), async || {
        let found = certificate(server, name).await?;
        let conditions = found["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|c| c["type"] == "Ready")?;
        (ready["reason"] == reason).then_some(found)
    })
    .await
}

/// A project that runs nowhere but owns a hostname.
async fn claim(server: &Server, name: &str, host: &str) {
    let spec = json!({"services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]});
    server.create(name, &spec).await;
}

/// What the HTTPS listener shows for a name, as `openssl` tells it.
pub(super) fn shown(server: &Server, name: &str) -> String {
    let address = server.https().to_string();
    let connect = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        name,
        "-showcerts",
    ];
    openssl(server.directory(), &connect)
}

/// How every key of the kind that is made for accounts and certificates (ECDSA P-256 in PKCS #8,
/// RFC 5208 and 5915) begins.
const KEY_DER: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
    0x01, 0x01, 0x04, 0x20,
];

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The files below a directory that have this part.
fn holding(directory: &Path, part: &[u8]) -> Vec<PathBuf> {
    let mut found = files(directory);
    found.retain(|path| {
        // A socket, or one that is gone since, holds nothing.
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(part.len()).any(|window| window == part)
    });
    found
}

/// Fails when what a server keeps shows a key or the credentials of the account.
fn holds_no_key(server: &Server) {
    let at = server.data_dir();
    // The same letters in base64 and in base64url: no file may have them in either.
    let key = base64::engine::general_purpose::STANDARD.encode(KEY_DER);
    for (part_is, part) in [
        ("a key in PEM", b"PRIVATE KEY".as_slice()),
        ("a key in DER", &KEY_DER),
        ("a key in base64", key.as_bytes()),
        ("what the account is restored from", b"key_pkcs8"),
    ] {
        let found = holding(at, part);
        assert!(found.is_empty(), "{part_is}: {found:?}");
    }
}

#[tokio::test]
async fn a_wildcard_is_obtained_by_the_dns_and_serves_all_short_hosts() {
    let pebble = Pebble::start(1).await;
    let program = pebble.dns_program().display().to_string();
    let mut args = pebble.settings();
    let directory = tempfile::tempdir().expect("a directory");
    let variables = directory.path().join("dns.env");
    std::fs::write(&variables, "# For the program.\n\nNOTE=known=only here\n").expect("written");
    let variables = variables.display().to_string();
    let more = [
        "--base-domain",
        "cara.test",
        "--https-listen",
        "127.0.0.1:0",
        "--acme-dns",
        "exec",
        "--acme-dns-program",
        &program,
        "--acme-dns-program-env-file",
        &variables,
    ];
    args.extend(more.map(str::to_owned));
    let mut server = Server::start(&text(&args)).await;
    let name = "acme-wildcard.dev.cara.test";
    let found = until(&server, name, "Valid").await;
    assert_eq!(found["status"]["managedBy"], "acme");
    assert_eq!(found["status"]["names"], json!(["*.dev.cara.test"]));
    assert!(found["status"]["nextTry"].is_string(), "{found}");
    let record = "_acme-challenge.dev.cara.test";
    let changes = ["present", "cleanup"].map(|kind| format!("{kind} {record} known=only here"));
    assert_eq!(pebble.dns_changes(), changes);
    // A new project needs no order.
    claim(&server, "shop", "shop").await;
    eventually("the wildcard serves the project", async || {
        let found = certificate(&server, name).await?;
        (found["status"]["serves"] == json!(["shop.dev.cara.test"])).then_some(())
    })
    .await;
    eventually("the gateway shows it", async || {
        shown(&server, "shop.dev.cara.test")
            .contains("Pebble Intermediate")
            .then_some(())
    })
    .await;
    let (_, listed, _) = server.ctl(&["get", "certificates"]).await;
    let row = listed.lines().find(|l| l.starts_with(name)).expect("a row");
    assert!(row.contains("Pebble") && row.contains("acme"), "{listed}");
    // Kept over a restart; nothing is ordered again.
    server.kill();
    server.start_again().await;
    let kept = until(&server, name, "Valid").await;
    assert_eq!(
        kept["status"]["fingerprint"],
        found["status"]["fingerprint"]
    );
    assert_eq!(pebble.orders(), 1);
    eventually("events tell of it", async || {
        let (_, out, _) = server.ctl(&["events", "certificate", name]).await;
        out.contains("Issued").then_some(())
    })
    .await;
    // Its key is a new one of the usual kind, and neither that nor the account's is to be read.
    let chain = directory.path().join("chain.pem");
    let pem = kept["spec"]["certificate"].as_str().expect("PEM");
    std::fs::write(&chain, pem).expect("written");
    let read = ["x509", "-in", "chain.pem", "-noout", "-text"];
    let said = openssl(directory.path(), &read);
    assert!(said.contains("ASN1 OID: prime256v1"), "{said}");
    let fingerprint = found["status"]["fingerprint"].as_str().expect("a text");
    let stored = holding(server.data_dir(), fingerprint.as_bytes());
    assert!(!stored.is_empty(), "the files are where the store is");
    holds_no_key(&server);
    server.kill();
    holds_no_key(&server);
}

#[tokio::test]
async fn a_hostname_is_proved_by_the_gateway_once_a_project_owns_it() {
    let port = free_port();
    let pebble = Pebble::start(port).await;
    let mut args = pebble.settings();
    let listen = format!("127.0.0.1:{port}");
    let more = ["--http-listen", &listen, "--https-listen", "127.0.0.1:0"];
    args.extend(more.map(str::to_owned));
    let server = Server::start(&text(&args)).await;
    let name = "acme.shop.cara.test";
    assert!(certificate(&server, name).await.is_none());
    claim(&server, "shop", "shop.cara.test").await;
    let found = until(&server, name, "Valid").await;
    assert_eq!(found["status"]["serves"], json!(["shop.cara.test"]));
    assert_eq!(found["status"]["failedAttempts"], 0);
    eventually("the gateway shows it", async || {
        shown(&server, "shop.cara.test")
            .contains("Pebble Intermediate")
            .then_some(())
    })
    .await;
    // A name that nobody owns gets what the internal authority issued, and no order.
    let other = shown(&server, "other.cara.test");
    assert!(other.contains("Caravanserai internal CA"), "{other}");
    let (_, metrics) = server.call("GET", "/metrics", "").await;
    let metrics = metrics.as_str().expect("text");
    assert!(
        metrics.contains("cara_acme_orders_total{result=\"done\"} 1"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("cara_acme_orders_total{result=\"failed\"}"),
        "{metrics}"
    );
    // One whose key may not be safe is ordered again.
    let path = format!("{}?force=true", paths::fill(paths::CERTIFICATE, &[name]));
    assert_eq!(server.call("DELETE", &path, "").await.0, 204);
    let again = until(&server, name, "Valid").await;
    assert_ne!(
        again["status"]["fingerprint"],
        found["status"]["fingerprint"]
    );
    server.delete("shop").await;
}

#[tokio::test]
async fn what_failed_waits_also_over_a_restart() {
    // Nothing listens where the authority looks.
    let pebble = Pebble::start(free_port()).await;
    let mut server = Server::start(&text(&pebble.settings())).await;
    claim(&server, "shop", "shop.cara.test").await;
    let name = "acme.shop.cara.test";
    let failed = until(&server, name, "OrderFailed").await;
    let status = &failed["status"];
    assert_eq!(status["failedAttempts"], 1);
    let said = status["lastError"].as_str().expect("a text");
    assert!(said.contains("shop.cara.test"), "{said}");
    assert!(status["nextTry"].is_string(), "{failed}");
    assert_eq!(pebble.orders(), 1);
    server.kill();
    server.start_again().await;
    // Another one is tried (when the lease of the killed server is over), the first is not.
    claim(&server, "news", "news.cara.test").await;
    cara_tests::within(
        std::time::Duration::from_secs(120),
        "another order",
        async || (pebble.orders() == 2).then_some(()),
    )
    .await;
    until(&server, "acme.news.cara.test", "OrderFailed").await;
    let again = certificate(&server, name).await.expect("still there");
    assert_eq!(again["status"]["failedAttempts"], 1);
    let (_, out, _) = server.ctl(&["describe", "certificate", name]).await;
    assert!(
        out.contains("Last Error:") && out.contains("Next Try:"),
        "{out}"
    );
    // What nobody wants any more is forgotten.
    server.delete("shop").await;
    eventually("it is gone", async || {
        certificate(&server, name).await.is_none().then_some(())
    })
    .await;
    server.delete("news").await;
}

/// A connection of `openssl` that stays open.
struct Connection {
    // Ends with it.
    _process: Child,
    to: ChildStdin,
    from: ChildStdout,
    host: String,
}

impl Connection {
    fn open(address: SocketAddr, host: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-servername", host, "-connect"]);
        command.arg(address.to_string()).kill_on_drop(true);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::null()).spawn().expect("openssl runs");
        Self {
            to: process.stdin.take().expect("a pipe"),
            from: process.stdout.take().expect("a pipe"),
            _process: process,
            host: host.to_owned(),
        }
    }

    /// One request; the answer up to the end of its body.
    async fn ask(&mut self, body: &str) -> String {
        let asked = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.to.write_all(asked.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let read = async {
            while !answer.ends_with(body.as_bytes()) {
                let count = self.from.read_buf(&mut answer).await.expect("read");
                assert!(count > 0, "the connection was closed");
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), read).await;
        in_time.expect("an answer in time");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn moment(status: &Value, field: &str) -> Timestamp {
    let text = status[field].as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("{field}: {status}"))
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_no_connection_ends() {
    const LIFE_S: u64 = 36;
    let port = free_port();
    let pebble = Pebble::start_as(PebbleSetup {
        http_port: port,
        validity_s: Some(LIFE_S),
        ..PebbleSetup::default()
    })
    .await;
    let mut args = pebble.settings();
    let listen = format!("127.0.0.1:{port}");
    let more = ["--http-listen", &listen, "--https-listen", "127.0.0.1:0"];
    args.extend(more.map(str::to_owned));
    let server = Server::start(&text(&args)).await;
    let (name, host) = ("acme.shop.cara.test", "shop.cara.test");
    let said = "the shop is open";
    let spec = json!({"services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [{"name": "web", "host": host, "respond": {"body": said}}]});
    server.create("shop", &spec).await;
    let first = until(&server, name, "Valid").await["status"].clone();
    let is_served = async || {
        let text = shown(&server, host);
        text.contains("Pebble Intermediate").then_some(())
    };
    eventually("the gateway shows it", is_served).await;
    let mut open = Connection::open(server.https(), host);
    let second = eventually("it is renewed", async || {
        // The same connection all the time, also while the certificates change.
        let answer = open.ask(said).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let found = certificate(&server, name).await?["status"].clone();
        assert_eq!(found["failedAttempts"], 0, "{found}");
        (found["fingerprint"] != first["fingerprint"]).then_some(found)
    })
    .await;
    // Due within a twentieth of its life after two thirds of it; times of certificates are whole
    // seconds.
    let (begin, end) = (moment(&first, "notBefore"), moment(&first, "notAfter"));
    let after = |moment: Timestamp| moment.duration_since(begin).as_secs();
    let (life, due) = (after(end), after(moment(&first, "nextTry")));
    let renewed = after(moment(&second, "notBefore"));
    let two_thirds = life * 2 / 3 - 1;
    assert!(
        (two_thirds..=two_thirds + life / 20 + 1).contains(&due),
        "due after {due} of {life} s"
    );
    assert!(
        (two_thirds..life).contains(&renewed),
        "renewed after {renewed} of {life} s"
    );
    let stored = certificate(&server, name).await.expect("still there");
    let chain = stored["spec"]["certificate"].as_str().expect("PEM");
    let (leaf, _) = chain.split_once("-----END").expect("PEM");
    eventually("the gateway shows the new one", async || {
        shown(&server, host).contains(leaf).then_some(())
    })
    .await;
    let answer = open.ask(said).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(pebble.orders(), 2);
    server.delete("shop").await;
}

#[tokio::test]
async fn an_account_is_bound_to_one_with_the_authority() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let port = free_port();
    let pebble = Pebble::start_as(PebbleSetup {
        http_port: port,
        external: Some(("kid-1", KEY)),
        ..PebbleSetup::default()
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (right, wrong) = (
        file("right", &format!("{KEY}\n")),
        file("wrong", "c2VjcmV0"),
    );
    let listen = format!("127.0.0.1:{port}");
    let settings = |more: &[&str]| {
        let mut args = pebble.settings();
        args.extend(["--http-listen", &listen].map(str::to_owned));
        args.extend(more.iter().map(ToString::to_string));
        args
    };
    let mut server = Server::start(&text(&settings(&[]))).await;
    claim(&server, "shop", "shop.cara.test").await;
    let name = "acme.shop.cara.test";
    let refused = async |server: &Server, said: &str| {
        eventually(said, async || {
            let failed = until(server, name, "OrderFailed").await;
            let error = failed["status"]["lastError"].as_str()?;
            error.contains(said).then_some(())
        })
        .await;
    };
    refused(&server, "externalAccountRequired").await;
    let bound = |key: &str| settings(&["--acme-eab-key-id", "kid-1", "--acme-eab-key-file", key]);
    // What was refused is tried again with other settings, and with them only.
    server.restart_with(&text(&bound(&wrong))).await;
    refused(&server, "unauthorized").await;
    assert_eq!(pebble.orders(), 0);
    server.restart_with(&text(&bound(&right))).await;
    until(&server, name, "Valid").await;
    // The account is kept: the key is needed once.
    server.kill();
    std::fs::write(&right, "c2VjcmV0").expect("written");
    server.start_again().await;
    claim(&server, "news", "news.cara.test").await;
    cara_tests::within(Duration::from_secs(120), "another order", async || {
        (pebble.orders() == 2).then_some(())
    })
    .await;
    until(&server, "acme.news.cara.test", "Valid").await;
    assert!(!server.log().contains(KEY));
    for project in ["shop", "news"] {
        server.delete(project).await;
    }
}
