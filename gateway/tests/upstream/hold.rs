//! Requests that wait: for their turn, and for the end of a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cara_api::gateway::{
    Action, InFlight, Maintenance, PathMatch, Pause, Policy, Redirect, Respond, Route,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{Answer, Does, Edge, HOST, Service, eventually, rule};

fn limited(max: u32, queue: u32, timeout: Duration) -> Policy {
    Policy {
        in_flight: Some(InFlight {
            max,
            queue,
            timeout,
        }),
        ..Policy::default()
    }
}

fn paused(max_requests: u32, max_wait: Duration) -> Policy {
    Policy {
        pause: Some(Pause {
            max_wait,
            max_requests,
        }),
        ..Policy::default()
    }
}

fn ask_all(edge: &Arc<Edge>, count: usize) -> JoinSet<Answer> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let edge = Arc::clone(edge);
        asking.spawn(async move { edge.get("/", &[]).await });
    }
    asking
}

#[tokio::test]
async fn more_than_a_rule_takes_wait_in_a_queue_with_an_end() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = limited(2, 3, Duration::from_secs(9));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], policy)]).await);
    service.does(Does::AnswerAfter(Duration::from_millis(300)));
    let answers = ask_all(&edge, 9).join_all().await;
    let turned_away: Vec<&Answer> = answers.iter().filter(|a| a.status == 503).collect();
    assert_eq!(turned_away.len(), 4, "{answers:?}");
    for answer in turned_away {
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.body.contains("more requests than it can take"));
    }
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 5);
    assert_eq!(service.most_at_once(), 2);
    assert_eq!(edge.metric("cara_gateway_requests_queued"), 0.0);
    assert_eq!(edge.metric("cara_gateway_overloads_total"), 4.0);
    // Places are given back.
    for _ in 0..5 {
        assert_eq!(edge.get("/", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn those_who_wait_come_in_turn_and_one_at_a_time() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = limited(1, 9, Duration::from_secs(20));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], policy)]).await);
    service.does_at("/first", Does::AnswerAfter(Duration::from_secs(8)));
    let before = service.count();
    let mut asking = JoinSet::new();
    let paths = ["/first", "/a", "/b", "/c", "/d", "/e"];
    for (waiting, path) in paths.into_iter().enumerate() {
        let client = Arc::clone(&edge);
        asking.spawn(async move { client.get(path, &[]).await });
        eventually("it waits behind those before it", async || {
            let queued = edge.metric("cara_gateway_requests_queued");
            (service.count() > before && queued == waiting as f64).then_some(())
        })
        .await;
    }
    let answers = asking.join_all().await;
    assert!(answers.iter().all(|a| a.status == 200), "{answers:?}");
    let got = service.got();
    let served: Vec<&str> = got.iter().skip(before).map(|g| g.path.as_str()).collect();
    assert_eq!(served, paths);
    assert_eq!(service.most_at_once(), 1);
}

#[tokio::test]
async fn who_waits_too_long_is_told() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = limited(1, 9, Duration::from_millis(200));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], policy)]).await);
    service.does(Does::AnswerAfter(Duration::from_secs(4)));
    let answers = ask_all(&edge, 3).join_all().await;
    let mut statuses: Vec<u16> = answers.iter().map(|a| a.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = limited(1, 1, Duration::from_secs(30));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], policy)]).await);
    service.does(Does::AnswerAfter(Duration::from_millis(1_500)));
    let busy = ask_all(&edge, 1);
    eventually("it is under way", async || {
        (service.count() == 2).then_some(())
    })
    .await;
    let mut waiting = TcpStream::connect(edge.address).await.expect("the gateway");
    let text = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    waiting.write_all(text.as_bytes()).await.expect("sent");
    let queued = || edge.metric("cara_gateway_requests_queued");
    eventually("it waits", async || (queued() == 1.0).then_some(())).await;
    drop(waiting);
    eventually("it is forgotten", async || (queued() == 0.0).then_some(())).await;
    let next = ask_all(&edge, 1).join_all().await;
    assert_eq!(next[0].status, 200);
    assert_eq!(busy.join_all().await[0].status, 200);
    assert_eq!(service.count(), 3, "nobody asked for the one that left");
}

#[tokio::test]
async fn who_waits_goes_on_when_the_limit_is_taken_away() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = limited(1, 9, Duration::from_secs(10));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], policy)]).await);
    service.does(Does::AnswerAfter(Duration::from_secs(3)));
    let asking = ask_all(&edge, 4);
    let queued = || edge.metric("cara_gateway_requests_queued");
    eventually("three wait", async || (queued() == 3.0).then_some(())).await;
    edge.publish(&[rule(&[service.address], Policy::default())]);
    eventually("none waits", async || (queued() == 0.0).then_some(())).await;
    for answer in asking.join_all().await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(edge.metric("cara_gateway_overloads_total"), 0.0);
}

#[tokio::test]
async fn a_client_that_sends_more_while_it_waits_gets_its_answer_and_no_other() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = limited(1, 1, Duration::from_secs(30));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], policy)]).await);
    service.does(Does::AnswerAfter(Duration::from_secs(2)));
    let busy = ask_all(&edge, 1);
    eventually("it is under way", async || {
        (service.count() == 2).then_some(())
    })
    .await;
    let mut waiting = TcpStream::connect(edge.address).await.expect("the gateway");
    let text = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    let first = text("/first");
    waiting.write_all(first.as_bytes()).await.expect("sent");
    let queued = || edge.metric("cara_gateway_requests_queued");
    eventually("it waits", async || (queued() == 1.0).then_some(())).await;
    let second = text("/second");
    waiting.write_all(second.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // The connection ends, in order or not: more was sent than was read.
    let ended = waiting.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .expect("the connection ends");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(busy.join_all().await[0].status, 200);
    let got = service.got();
    assert!(got.iter().any(|got| got.path == "/first"), "{got:?}");
    assert!(got.iter().all(|got| got.path != "/second"), "{got:?}");
}

#[tokio::test]
async fn requests_are_held_during_a_pause_and_then_go_on() {
    let [old, new] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let edge = Edge::start(&[rule(&[old.address], Policy::default())]).await;
    let edge = Arc::new(edge);
    edge.publish(&[rule(&[old.address], paused(200, Duration::from_secs(30)))]);
    let mut asking = JoinSet::new();
    let held = || edge.metric("cara_gateway_requests_held");
    // The first ones may come before the pause.
    eventually("the pause is known", async || {
        let edge = Arc::clone(&edge);
        asking.spawn(async move { edge.get("/", &[]).await });
        (held() > 0.0).then_some(())
    })
    .await;
    while held() < 200.0 {
        let missing = 200 - held() as usize;
        for _ in 0..missing {
            let edge = Arc::clone(&edge);
            asking.spawn(async move { edge.get("/", &[]).await });
        }
        let target = held() + missing as f64;
        eventually("they are held", async || {
            (held() >= target.min(200.0)).then_some(())
        })
        .await;
    }
    let before = old.count();
    let more = edge.get("/", &[]).await;
    assert_eq!(more.status, 503, "{more:?}");
    assert!(more.body.contains("on hold for a moment") && more.header("retry-after").is_some());
    // A change of something else wakes nobody.
    let still = rule(&[old.address], paused(200, Duration::from_secs(30)));
    edge.publish_beside(&[still], &[]);
    edge.publish(&[rule(&[new.address], Policy::default())]);
    let answers = asking.join_all().await;
    assert!(answers.len() >= 200);
    // Those that were asked for while 200 were held already have been turned away.
    let passed = answers.iter().filter(|a| a.status == 200).count();
    assert!(passed >= 200, "{passed} of {}", answers.len());
    assert_eq!(
        old.count(),
        before,
        "held requests go where the rule leads now"
    );
    assert!(new.count() >= 200);
    assert_eq!(held(), 0.0);
}

#[tokio::test]
async fn a_pause_that_lasts_too_long_or_ends_with_the_rule_is_told() {
    let service = Service::start(Does::Answer(200)).await;
    let short = paused(9, Duration::from_millis(200));
    let edge = Arc::new(Edge::start(&[rule(&[service.address], short)]).await);
    let asked = Instant::now();
    assert_eq!(edge.get("/", &[]).await.status, 503);
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert_eq!(service.count(), 0, "it is held, not sent");
    // A rule that comes with the longer pause tells when that is known.
    let beside = Route {
        path: PathMatch::Prefix("/beside".into()),
        ingress: "beside".into(),
        ..rule(&[service.address], Policy::default())
    };
    let long = paused(9, Duration::from_secs(30));
    edge.publish(&[rule(&[service.address], long), beside]);
    eventually("the longer pause is known", async || {
        (edge.get("/beside", &[]).await.status == 200).then_some(())
    })
    .await;
    let asking = ask_all(&edge, 1);
    let held = || edge.metric("cara_gateway_requests_held");
    eventually("it is held", async || (held() == 1.0).then_some(())).await;
    edge.publish(&[]);
    assert_eq!(asking.join_all().await[0].status, 404);
}

#[tokio::test]
async fn held_requests_get_what_the_rule_does_when_they_go_on() {
    let service = Service::start(Does::Answer(200)).await;
    let open = |policy| rule(&[service.address], policy);
    let does = |action| Route {
        action,
        ..open(Policy::default())
    };
    let redirect = does(Action::Redirect(Redirect {
        to: "/new".into(),
        status: 307,
    }));
    let respond = does(Action::Respond(Respond {
        status: 418,
        content_type: "text/plain".into(),
        body: "moved out".into(),
    }));
    let closed = open(Policy {
        maintenance: Some(Maintenance {
            message: "We move.".into(),
            allow: Vec::new(),
        }),
        ..Policy::default()
    });
    for (after, status, text) in [
        (redirect, 307, ""),
        (respond.clone(), 418, "moved out"),
        (closed, 503, "We move."),
    ] {
        let (answer, forwarded) = held(&service, open(Policy::default()), after).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(text), "{answer:?}");
        assert_eq!(forwarded, 0, "{answer:?}");
    }
    let (answer, forwarded) = held(&service, respond, open(Policy::default())).await;
    assert_eq!((answer.status, forwarded), (200, 1), "{answer:?}");
}

/// Holds a request by a rule that is paused, and lets it go on by another one: what comes of it, and
/// how often the service is asked then.
async fn held(service: &Service, before: Route, after: Route) -> (Answer, usize) {
    let edge = Arc::new(Edge::start(std::slice::from_ref(&before)).await);
    edge.publish(&[Route {
        policy: Arc::new(paused(9, Duration::from_secs(30))),
        ..before
    }]);
    let asking = eventually("it is held", async || {
        let asking = ask_all(&edge, 1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        (edge.metric("cara_gateway_requests_held") == 1.0).then_some(asking)
    })
    .await;
    let asked = service.count();
    edge.publish(&[after]);
    let mut answers = asking.join_all().await;
    (answers.remove(0), service.count() - asked)
}

#[tokio::test]
async fn a_thousand_changes_fail_no_request() {
    let services = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let [a, b, c] = [0, 1, 2].map(|place: usize| services[place].address);
    let limit = || limited(50, 50, Duration::from_secs(9));
    let edge = Arc::new(Edge::start(&[rule(&[a, b], limit())]).await);
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let edge = Arc::clone(&edge);
        clients.spawn(async move {
            for _ in 0..100 {
                let answer = edge.get("/", &[]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    let held = || paused(50, Duration::from_secs(9));
    for round in 0..1_000 {
        edge.publish(&[match round % 4 {
            0 => rule(&[c, b], limit()),
            1 => rule(&[b], limited(5, 50, Duration::from_secs(9))),
            2 => rule(&[b, a, c], held()),
            _ => rule(&[a, c], Policy::default()),
        }]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    clients.join_all().await;
    assert_eq!(edge.metric("cara_gateway_upstream_errors_total"), 0.0);
    assert_eq!(edge.metric("cara_gateway_requests_held"), 0.0);
    assert!(services.iter().all(|service| service.count() > 0));
}
