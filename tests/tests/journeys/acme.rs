//! Certificates from a real ACME server: obtained, stored, served, and not asked for in vain.

use cara_api::paths;
use cara_tests::acme::{Pebble, free_port, openssl};
use cara_tests::{Server, eventually};
use serde_json::{Value, json};

fn text(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A certificate, if it is there.
async fn certificate(server: &Server, name: &str) -> Option<Value> {
    let path = paths::fill(paths::CERTIFICATE, &[name]);
    server.client().get(&path).await.ok()
}

/// Waits until the condition `Ready` of a certificate has a reason.
async fn until(server: &Server, name: &str, reason: &str) -> Value {
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
fn shown(server: &Server, name: &str) -> String {
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

#[tokio::test]
async fn a_wildcard_is_obtained_by_the_dns_and_serves_all_short_hosts() {
    let pebble = Pebble::start(1).await;
    let program = pebble.dns_program().display().to_string();
    let mut args = pebble.settings();
    let more = [
        "--base-domain",
        "cara.test",
        "--https-listen",
        "127.0.0.1:0",
        "--acme-dns",
        "exec",
        "--acme-dns-program",
        &program,
    ];
    args.extend(more.map(str::to_owned));
    let mut server = Server::start(&text(&args)).await;
    let name = "acme-wildcard.dev.cara.test";
    let found = until(&server, name, "Valid").await;
    assert_eq!(found["status"]["managedBy"], "acme");
    assert_eq!(found["status"]["names"], json!(["*.dev.cara.test"]));
    assert!(found["status"]["nextTry"].is_string(), "{found}");
    let record = "_acme-challenge.dev.cara.test";
    let changes = [format!("present {record}"), format!("cleanup {record}")];
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
