//! When a request is tried again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cara_api::gateway::{Policy, Retries};

use crate::support::{Does, Edge, Service, eventually, rule};

/// An address that refuses connections.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn retries(attempts: u32, on_status: &[u16]) -> Policy {
    Policy {
        retries: Retries {
            attempts,
            budget_percent: 20,
            on_status: on_status.to_vec(),
        },
        ..Policy::default()
    }
}

#[tokio::test]
async fn what_was_not_sent_is_tried_elsewhere_whatever_the_method() {
    let service = Service::start(Does::Answer(200)).await;
    let edge = Edge::start(&[rule(&[nobody(), service.address], Policy::default())]).await;
    for method in ["GET", "POST", "PATCH"].repeat(10) {
        assert_eq!(edge.send(method, "a body").await.status, 200, "{method}");
    }
    assert!(service.got().iter().skip(1).all(|got| got.body == "a body"));
    // Nowhere else to go.
    edge.publish(&[rule(&[nobody()], Policy::default())]);
    eventually("the change is known", async || {
        (edge.get("/", &[]).await.status == 502).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_is_never_sent_twice() {
    let [a, b] = [
        Service::start(Does::Cut).await,
        Service::start(Does::Cut).await,
    ];
    let edge = Edge::start(&[rule(&[a.address, b.address], retries(5, &[502, 503, 504]))]).await;
    let begun = a.count() + b.count();
    for (number, method) in (1..).zip(["POST", "PATCH", "PUT", "DELETE"]) {
        assert_eq!(edge.send(method, "a body").await.status, 502, "{method}");
        assert_eq!(a.count() + b.count(), begun + number, "{method}");
    }
    let begun = begun + 4;
    // Not even a request without a body, when doing it twice is not the same as once.
    assert_eq!(edge.send("POST", "").await.status, 502);
    assert_eq!(a.count() + b.count(), begun + 1);
    // Answers are taken as they are, too.
    a.does(Does::Answer(503));
    b.does(Does::Answer(503));
    for method in ["POST", "PUT"] {
        assert_eq!(edge.send(method, "a body").await.status, 503, "{method}");
    }
    assert_eq!(a.count() + b.count(), begun + 3);
}

#[tokio::test]
async fn a_safe_request_is_tried_at_another_endpoint() {
    let bad = Service::start(Does::Cut).await;
    let good = Service::start(Does::Answer(200)).await;
    let policy = || retries(2, &[503]);
    let edge = Edge::start(&[rule(&[bad.address, good.address], policy())]).await;
    for (does, name) in [(Does::Cut, "cut"), (Does::Answer(503), "status")] {
        bad.does(does);
        let before = bad.count();
        eventually("it was asked", async || {
            assert_eq!(edge.get("/", &[]).await.status, 200, "{name}");
            (bad.count() > before).then_some(())
        })
        .await;
    }
    assert!(edge.metric("cara_gateway_retries_total") >= 2.0);
    // A status that is not named is an answer like any other.
    bad.does(Does::Answer(504));
    eventually("it was passed on", async || {
        (edge.get("/", &[]).await.status == 504).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_is_tried_as_often_as_the_rule_says() {
    for attempts in 1..=4_u32 {
        let service = Service::start(Does::Answer(200)).await;
        let edge = Edge::start(&[rule(&[service.address], retries(attempts, &[503]))]).await;
        service.does(Does::Answer(503));
        let before = service.count();
        assert_eq!(edge.get("/", &[]).await.status, 503);
        let tries = u32::try_from(service.count() - before).expect("few");
        assert_eq!(tries, attempts);
        let counted = edge.metric("cara_gateway_retries_total");
        assert_eq!(counted, f64::from(attempts - 1));
    }
}

/// A hundred requests that fail earn so many retries in a hundred, and three more in ten seconds
/// are always there, on a slow machine more than once.
#[tokio::test]
async fn retries_stay_within_their_budget() {
    for (budget_percent, expected) in [(0, 3..=9), (20, 20..=30), (80, 80..=90)] {
        let service = Service::start(Does::Answer(200)).await;
        let mut policy = retries(5, &[503]);
        policy.retries.budget_percent = budget_percent;
        let edge = Edge::start(&[rule(&[service.address], policy)]).await;
        service.does(Does::Answer(503));
        let before = service.count();
        for _ in 0..100 {
            assert_eq!(edge.get("/", &[]).await.status, 503);
        }
        let extra = service.count() - before - 100;
        assert!(
            expected.contains(&extra),
            "{budget_percent} %: {extra} retries"
        );
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_fails_no_request() {
    let service = Service::start(Does::Answer(200)).await;
    let edge = Edge::start(&[rule(&[service.address], Policy::default())]).await;
    // The service takes the request on the kept connection, and closes it instead of answering.
    service.does_at("/once", Does::CutOnce);
    assert_eq!(edge.get("/once", &[]).await.status, 200);
    let got = service.got();
    assert_eq!(got.iter().filter(|g| g.path == "/once").count(), 2);
    // It may have acted on what is not idempotent.
    service.does(Does::CutOnce);
    assert_eq!(edge.send("POST", "a body").await.status, 502);
    assert_eq!(edge.send("POST", "a body").await.status, 200);
    let got = service.got();
    assert_eq!(got.iter().filter(|g| g.method == "POST").count(), 2);
}

#[tokio::test]
async fn a_rule_has_timeouts_of_its_own() {
    let service = Service::start(Does::Answer(200)).await;
    let mut policy = Policy::default();
    policy.timeouts.response = Some(Duration::from_millis(300));
    let edge = Edge::start(&[rule(&[service.address], policy)]).await;
    service.does(Does::AnswerAfter(Duration::from_secs(9)));
    let started = Instant::now();
    assert_eq!(edge.get("/", &[]).await.status, 504);
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!(service.count(), 2, "silence is not tried again");
}
