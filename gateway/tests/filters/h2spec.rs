//! Conformance of HTTP/2, by the tool that everybody uses for it.

use std::process::Stdio;

use cara_api::gateway::{Certificate, Policy};
use cara_api::hostname::Hostname;
use cara_api::secret::Hidden;
use tokio::process::Command;

use crate::support::{Edge, Service, forward, route};

/// What `deploy/dev/setup.sh` builds.
const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/h2spec");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_h2spec_passes_on_the_https_listener() {
    // Flow control shows only with an answer of some length.
    let body = "x".repeat(1_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{body}");
    let service = Service::start(answer).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a key");
    let certificate = Certificate {
        chain_pem: signed.cert.pem(),
        key_pem: Hidden::new(signed.signing_key.serialize_pem()),
        is_default: true,
    };
    let name = "own".to_owned();
    // A host that is forwarded: an answer of the gateway itself could come before the body that
    // is wrong.
    let hostname = Hostname::parse("localhost").expect("a hostname");
    edge.publish(|state| {
        state.certificates.insert(name, certificate.into());
        let known = state.hosts.values().next().cloned();
        state.hosts.insert(hostname, known.expect("a host"));
    })
    .await;
    // The listener without TLS speaks HTTP/1 too: what is no preface is an HTTP/1 request to it,
    // so that one of the cases cannot pass there.
    let output = Command::new(TOOL)
        .args(["-t", "-k", "-h", "localhost", "-o", "5", "-p"])
        .arg(edge.https.port().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("h2spec is there: `deploy/dev/setup.sh h2spec` builds it");
    let text = String::from_utf8_lossy(&output.stdout);
    let is_green = output.status.success() && text.contains("145 tests, 145 passed");
    assert!(is_green, "{text}");
}
