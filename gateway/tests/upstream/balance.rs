//! Which service and which endpoint a request goes to.

use std::time::{Duration, Instant};

use cara_api::gateway::{Backend, HealthProbe, Outlier, PathMatch, Policy, Route, Sticky};
use cara_api::project::ProjectPhase;

use crate::support::{Does, Edge, Service, eventually, route, rule, target};

#[tokio::test]
async fn services_share_requests_by_weight() {
    let [stable, canary, off] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let weighted = |service: &Service, weight| {
        let mut target = target(&format!("s{weight}"), &[service.address]);
        target.weight = weight;
        target
    };
    let targets = vec![
        weighted(&stable, 9),
        weighted(&canary, 1),
        weighted(&off, 0),
    ];
    let edge = Edge::start(&[route("web", targets.clone())]).await;
    for _ in 0..500 {
        assert_eq!(edge.get("/", &[]).await.status, 200);
    }
    let counts = [stable.count(), canary.count(), off.count()];
    assert!((20..=90).contains(&counts[1]), "{counts:?}");
    assert_eq!(counts[2], 0);
    // A service that is not there leaves its share to the others.
    let mut without = targets;
    without[0].backend = Backend::Unavailable {
        phase: ProjectPhase::Running,
        reason: "NotReady".into(),
    };
    edge.publish(&[route("web", without)]);
    eventually("the change is known", async || {
        let before = stable.count();
        for _ in 0..20 {
            assert_eq!(edge.get("/", &[]).await.status, 200);
        }
        (stable.count() == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cookie_keeps_a_client_with_its_endpoint() {
    let [a, b] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let policy = || Policy {
        sticky: Some(Sticky {
            cookie: "keep".into(),
            max_age: Some(Duration::from_secs(60)),
        }),
        ..Policy::default()
    };
    let edge = Edge::start(&[rule(&[a.address, b.address], policy())]).await;
    let first = edge.get("/", &[]).await;
    let cookie = first.header("set-cookie").expect("a cookie").to_owned();
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
    assert!(!pair.contains("127"), "{pair}");
    for endpoints in [[a.address, b.address], [b.address, a.address]] {
        edge.publish(&[rule(&endpoints, policy())]);
        for _ in 0..20 {
            let next = edge.get("/", &[("cookie", pair)]).await;
            assert_eq!(next.body, first.body);
            assert_eq!(next.header("set-cookie"), None);
        }
    }
    // Its endpoint is gone: another takes over, with a cookie of its own.
    let other = if first.body == a.address.to_string() {
        &b
    } else {
        &a
    };
    edge.publish(&[rule(&[other.address], policy())]);
    let moved = eventually("the change is known", async || {
        let moved = edge.get("/", &[("cookie", pair)]).await;
        (moved.body != first.body).then_some(moved)
    })
    .await;
    let cookie = moved.header("set-cookie").expect("another cookie");
    assert!(!cookie.starts_with(pair), "{cookie}");
}

#[tokio::test]
async fn a_slow_endpoint_gets_fewer_requests() {
    let slow = Service::start(Does::AnswerAfter(Duration::from_millis(200))).await;
    let fast = Service::start(Does::Answer(200)).await;
    let endpoints = [slow.address, fast.address];
    let edge = std::sync::Arc::new(Edge::start(&[rule(&endpoints, Policy::default())]).await);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let edge = std::sync::Arc::clone(&edge);
        clients.spawn(async move {
            for _ in 0..50 {
                assert_eq!(edge.get("/", &[]).await.status, 200);
            }
        });
    }
    clients.join_all().await;
    let counts = (slow.count(), fast.count());
    assert!(counts.0 * 4 < counts.1, "{counts:?}");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_out_and_comes_back() {
    let bad = Service::start(Does::Answer(503)).await;
    let good = Service::start(Does::Answer(200)).await;
    let policy = Policy {
        outlier: Some(Outlier {
            failures: 3,
            ejection: Duration::from_secs(3),
        }),
        ..Policy::default()
    };
    let edge = Edge::start(&[rule(&[bad.address, good.address], policy)]).await;
    eventually("it failed often enough", async || {
        edge.get("/", &[]).await;
        (edge.metric("cara_gateway_ejections_total") > 0.0).then_some(())
    })
    .await;
    let (seen, started) = (bad.count(), Instant::now());
    for _ in 0..20 {
        let answer = edge.get("/", &[]).await;
        // On a busy machine it may be back already.
        if started.elapsed() < Duration::from_millis(2_500) {
            assert_eq!((answer.status, bad.count()), (200, seen));
        }
    }
    bad.does(Does::Answer(200));
    eventually("it is back", async || {
        edge.get("/", &[]).await;
        (bad.count() > seen).then_some(())
    })
    .await;
    assert!(started.elapsed() > Duration::from_millis(2_500));
}

fn checked(path: &str) -> Policy {
    Policy {
        health: Some(HealthProbe {
            path: path.into(),
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(1),
            failures: 2,
            successes: 2,
        }),
        ..Policy::default()
    }
}

#[tokio::test]
async fn checks_leave_an_endpoint_out_and_bring_it_back() {
    let [sick, well] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    sick.does_at("/health", Does::Answer(500));
    let endpoints = [sick.address, well.address];
    let edge = Edge::start(&[rule(&endpoints, checked("/health"))]).await;
    let is_left_out = async || {
        let before = sick.count();
        for _ in 0..20 {
            assert_eq!(edge.get("/", &[]).await.status, 200);
        }
        sick.count() == before
    };
    eventually("it is left out", async || is_left_out().await.then_some(())).await;
    // What checks said lasts over a change of the rule.
    let mut slower = checked("/health");
    slower.timeouts.response = Some(Duration::from_secs(9));
    edge.publish(&[rule(&endpoints, slower)]);
    assert!(is_left_out().await);
    sick.does_at("/health", Does::Answer(204));
    eventually("it is back", async || (!is_left_out().await).then_some(())).await;
    // All are down: all are tried.
    for service in [&sick, &well] {
        service.does_at("/health", Does::Cut);
    }
    eventually("checks fail", async || {
        let failed = |s: &Service| {
            s.got()
                .iter()
                .rev()
                .take(4)
                .all(|got| got.path == "/health")
        };
        (failed(&sick) && failed(&well)).then_some(())
    })
    .await;
    assert_eq!(edge.get("/", &[]).await.status, 200);
    // Another rule whose checks go on tells the time.
    let clock = Service::start(Does::Answer(200)).await;
    let ticking = Route {
        path: PathMatch::Prefix("/clock".into()),
        ingress: "clock".into(),
        ..rule(&[clock.address], checked("/health"))
    };
    edge.publish(&[rule(&endpoints, Policy::default()), ticking]);
    eventually("checks end", async || {
        let (before, ticks) = (sick.got().len(), clock.got().len());
        eventually("the others go on", async || {
            (clock.got().len() >= ticks + 4).then_some(())
        })
        .await;
        (sick.got().len() == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_endpoint_gets_its_share_step_by_step() {
    let [old, new] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let policy = || Policy {
        slow_start: Some(Duration::from_secs(600)),
        ..Policy::default()
    };
    let edge = Edge::start(&[rule(&[old.address], policy())]).await;
    edge.publish(&[rule(&[old.address, new.address], policy())]);
    eventually("it gets some", async || {
        edge.get("/", &[]).await;
        (new.count() > 0).then_some(())
    })
    .await;
    let before = (old.count(), new.count());
    for _ in 0..200 {
        edge.get("/", &[]).await;
    }
    let share = (old.count() - before.0, new.count() - before.1);
    assert!(share.1 * 4 < share.0, "{share:?}");
}
