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
    assert_eq!(off.count(), 0, "no share is no share, whoever is missing");
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
    assert!(!pair.contains("127.0"), "{pair}");
    for endpoints in [[a.address, b.address], [b.address, a.address]] {
        edge.publish(&[rule(&endpoints, policy())]);
        for _ in 0..20 {
            let next = edge.get("/", &[("cookie", pair)]).await;
            assert_eq!(next.body, first.body);
            assert_eq!(next.header("set-cookie"), None);
        }
    }
    // Nobody signed that one.
    let forged = edge.get("/", &[("cookie", "keep=0123456789abcdef")]).await;
    assert!(forged.header("set-cookie").is_some(), "{forged:?}");
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
    assert_eq!(bad.count(), 3, "failures in a row");
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

#[tokio::test]
async fn failures_count_in_a_row_and_the_last_endpoint_stays() {
    let failing = |failures| Policy {
        outlier: Some(Outlier {
            failures,
            ejection: Duration::from_secs(60),
        }),
        ..Policy::default()
    };
    let ejections = |edge: &Edge| edge.metric("cara_gateway_ejections_total");
    let [first, second] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let endpoints = [first.address, second.address];
    let edge = Edge::start(&[rule(&endpoints, failing(3))]).await;
    // Two failures each at most, then a success: nobody is left out.
    for _ in 0..10 {
        for status in [503, 200] {
            for service in [&first, &second] {
                service.does(Does::Answer(status));
            }
            let until = [&first, &second].map(|s| s.count() + if status == 503 { 2 } else { 1 });
            // One may have its two before the other has any.
            eventually("both answered so", async || {
                for (service, until) in [&first, &second].into_iter().zip(until) {
                    if service.count() >= until {
                        service.does(Does::Answer(200));
                    }
                }
                edge.get("/", &[]).await;
                (first.count() >= until[0] && second.count() >= until[1]).then_some(())
            })
            .await;
        }
    }
    assert_eq!(ejections(&edge), 0.0);
    // Both fail: one is left out, and the other goes on, as bad as it is.
    for service in [&first, &second] {
        service.does(Does::Answer(503));
    }
    for _ in 0..40 {
        assert_eq!(edge.get("/", &[]).await.status, 503);
    }
    assert_eq!(ejections(&edge), 1.0);
    // A single one never is.
    let edge = Edge::start(&[rule(&[first.address], failing(1))]).await;
    let before = first.count();
    for _ in 0..10 {
        assert_eq!(edge.get("/", &[]).await.status, 503);
    }
    assert_eq!((first.count() - before, ejections(&edge)), (10, 0.0));
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
async fn checks_count_in_a_row_and_one_that_hangs_fails() {
    let [sick, well] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let endpoints = [sick.address, well.address];
    let probe = |failures, successes| {
        let mut policy = checked("/health");
        policy.health = policy.health.map(|probe| HealthProbe {
            timeout: Duration::from_millis(300),
            failures,
            successes,
            ..probe
        });
        rule(&endpoints, policy)
    };
    let asks = async |edge: &Edge| {
        let before = sick.count();
        for _ in 0..20 {
            assert_eq!(edge.get("/", &[]).await.status, 200);
        }
        sick.count() - before
    };
    let more_checks = async || {
        let before = sick.checks();
        eventually("more checks", async || {
            (sick.checks() >= before + 8).then_some(())
        })
        .await;
    };
    // So many failures never come.
    sick.does_at("/health", Does::Answer(500));
    let edge = Edge::start(&[probe(1_000, 1)]).await;
    more_checks().await;
    assert!(asks(&edge).await > 0, "too few failures");
    drop(edge);
    // One that gives no answer in time is one that failed.
    sick.does_at("/health", Does::AnswerAfter(Duration::from_secs(30)));
    let edge = Edge::start(&[probe(2, 1_000)]).await;
    eventually("it is left out", async || {
        (asks(&edge).await == 0).then_some(())
    })
    .await;
    // And so many successes never come.
    sick.does_at("/health", Does::Answer(200));
    more_checks().await;
    assert_eq!(asks(&edge).await, 0, "too few successes");
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

#[tokio::test]
async fn a_new_endpoint_gets_its_whole_share_in_the_end_and_the_first_ones_at_once() {
    let services = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let [a, b, c] = [0, 1, 2].map(|place: usize| services[place].address);
    let policy = |window| Policy {
        slow_start: Some(window),
        ..Policy::default()
    };
    let shares = async |edge: &Edge| {
        let before: Vec<usize> = services.iter().map(Service::count).collect();
        for _ in 0..200 {
            assert_eq!(edge.get("/", &[]).await.status, 200);
        }
        let now = services.iter().map(Service::count);
        now.zip(before)
            .map(|(now, before)| now - before)
            .collect::<Vec<usize>>()
    };
    // Half of 200 is 100, give or take 7.
    let long = Duration::from_secs(600);
    let edge = Edge::start(&[rule(&[a, b], policy(long))]).await;
    let first = shares(&edge).await;
    assert!(first[0] > 50 && first[1] > 50, "{first:?}");
    drop(edge);
    let edge = Edge::start(&[rule(&[a], policy(Duration::from_secs(1)))]).await;
    edge.publish(&[rule(&[a, c], policy(Duration::from_secs(1)))]);
    eventually("it has its share", async || {
        let now = shares(&edge).await;
        (now[2] > 70 && now[0] > 70).then_some(())
    })
    .await;
}
