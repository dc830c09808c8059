//! An authority that limits the rate of the whole account: no server asks before it allows that.

use cara_api::{Timestamp, paths};
use cara_tests::acme::Pebble;
use cara_tests::{eventually, program};
use jiff::ToSpan;
use serde_json::{Value, json};

use super::authority::Authority;
use super::{Plane, World};

/// The status of a certificate that waits for the time that the authority named.
async fn held(plane: &Plane, host: &str, until: Timestamp) -> Value {
    eventually(&format!("{host} waits for the account"), async || {
        let status = plane.certificate(host).await?["status"].clone();
        let next: Timestamp = status["nextTry"].as_str()?.parse().ok()?;
        (next >= until).then_some(status)
    })
    .await
}

/// Runs `caractrl` against a server; what it prints.
async fn ctl(plane: &Plane, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(program("caractrl"));
    command
        .args(args)
        .env("CARA_SERVER", plane.url(""))
        .env("NO_COLOR", "1");
    let output = command.output().await.expect("caractrl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_the_account_holds_all_orders_of_all_servers() {
    let pebble = Pebble::start(1).await;
    let mut world = World::new(&pebble, None, 1);
    let mut authority = Authority::start(&pebble, "newOrder", |_| {
        let kind = "urn:ietf:params:acme:error:rateLimited";
        let detail = "too many new orders (300) from this account";
        (429, json!({"type": kind, "detail": detail}))
    })
    .await;
    world.acme.directory_url = authority.directory_url();
    let until = Timestamp::now() + 1.hour();

    let first = world.plane().await;
    first.claim("shop", "shop.cara.test").await;
    first.claim("news", "news.cara.test").await;
    let hosts = ["shop.cara.test", "news.cara.test"];
    for host in hosts {
        let status = held(&first, host, until).await;
        let said = status["lastError"].as_str().unwrap_or_default();
        assert!(
            said.contains("limits the rate: too many new orders"),
            "{status}"
        );
        assert_eq!(status["failedAttempts"], 0, "the name is not at fault");
        assert_eq!(status["conditions"][0]["reason"], "OrderFailed", "{status}");
    }
    assert_eq!(authority.asked().len(), 1, "one order for both");
    assert_eq!(first.orders(), (0.0, 1.0));
    // It is told to users: a host that nobody asked for waits as well, and why.
    let listed = ctl(&first, &["get", "certificates", "-o", "wide"]).await;
    for host in hosts {
        let name = format!("acme.{host}");
        let row = listed.lines().find(|line| line.starts_with(&name));
        let row = row.unwrap_or_else(|| panic!("no {name}: {listed}"));
        assert!(
            row.contains("OrderFailed") && row.contains("limits the rate"),
            "{row}"
        );
        let page = ctl(&first, &["describe", "certificate", &name]).await;
        assert!(page.contains("Next Try:"), "{page}");
        eventually("events tell of it", async || {
            let told = ctl(&first, &["events", "certificate", &name]).await;
            told.contains("limits the rate").then_some(())
        })
        .await;
    }

    // A server that starts later knows of it, also for what is new.
    first.stop().await;
    let second = world.plane().await;
    second.claim("later", "later.cara.test").await;
    held(&second, "later.cara.test", until).await;
    assert_eq!(authority.asked(), [""; 0], "nothing is asked before");
    // What nobody wants any more does not wait either.
    let path = paths::fill(paths::PROJECT, &["later"]);
    let gone = cara_tests::http().delete(second.url(&path)).send().await;
    assert!(gone.expect("an answer").status().is_success());
    eventually("it is forgotten", async || {
        let found = second.certificate("later.cara.test").await?;
        (found["status"]["nextTry"] == Value::Null).then_some(())
    })
    .await;
    assert_eq!(second.orders(), (0.0, 0.0));
    second.stop().await;
}
