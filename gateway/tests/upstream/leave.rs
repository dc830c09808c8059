//! What becomes of what is open when its endpoint or its rule goes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cara_api::gateway::{InFlight, PathMatch, Policy, Route};

use crate::streams::{
    Begun, CLIENT_GOING_AWAY, FRAME, GOING_AWAY, LATE, Streams, echoes, rest, upgraded, websocket,
    whole_http2,
};
use crate::support::{Does, Edge, Service, ask, eventually, rule};

const DRAIN: Duration = Duration::from_millis(1_500);
const EVENTS: &str = "text/event-stream";

async fn start(routes: &[Route]) -> Edge {
    Edge::configured(|config| config.endpoint_drain = DRAIN, routes).await
}

/// A rule of its own for a part of the host.
fn at(path: &str, endpoint: SocketAddr, policy: Policy) -> Route {
    Route {
        path: PathMatch::Prefix(path.into()),
        ingress: path.into(),
        ..rule(&[endpoint], policy)
    }
}

/// Until requests are answered by a service.
async fn is_served(edge: &Edge, path: &str, by: &Service) {
    let before = by.count();
    eventually("the change is served", async || {
        let answer = tokio::time::timeout(Duration::from_secs(1), edge.get(path, &[]));
        (answer.await.ok()?.status == 200 && by.count() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_websocket_whose_endpoint_left_is_closed_in_order_and_others_live() {
    let (old, other) = (Streams::start().await, Streams::start().await);
    let next = Service::start(Does::Answer(200)).await;
    let plain = Policy::default;
    let edge = start(&[
        at("/a", old.address, plain()),
        at("/b", other.address, plain()),
    ])
    .await;
    let mut leaving = websocket(&edge, "/a").await;
    let mut half_way = websocket(&edge, "/a").await;
    let mut staying = websocket(&edge, "/b").await;
    half_way.write_part().await;
    echoes(&mut leaving).await;
    let started = Instant::now();
    // The other rule changes too, but not where it leads.
    let changed = Policy {
        compression: true,
        ..plain()
    };
    edge.publish(&[
        at("/a", next.address, plain()),
        at("/b", other.address, changed),
    ]);
    is_served(&edge, "/a", &next).await;
    echoes(&mut leaving).await;
    echoes(&mut staying).await;
    assert_eq!(rest(&mut leaving).await, GOING_AWAY);
    assert!(started.elapsed() >= DRAIN, "{:?}", started.elapsed());
    // In the middle of a message only the end can be told.
    assert_eq!(rest(&mut half_way).await, &FRAME[..5]);
    eventually("the service was told", async || {
        let heard = old.heard.lock().expect("no panic");
        heard.ends_with(CLIENT_GOING_AWAY).then_some(())
    })
    .await;
    echoes(&mut staying).await;
    edge.publish(&[]);
    assert_eq!(rest(&mut staying).await, GOING_AWAY, "its rule is gone");
}

trait Part {
    async fn write_part(&mut self);
}

impl Part for tokio::net::TcpStream {
    /// Sends the beginning of a frame, and waits until it came back.
    async fn write_part(&mut self) {
        use tokio::io::AsyncWriteExt;
        self.write_all(&FRAME[..5]).await.expect("sent");
        let mut echo = [0; 5];
        eventually("the echo", async || {
            (self.peek(&mut echo).await.ok()? == 5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_endpoint_that_comes_back_in_time_keeps_its_websockets() {
    let service = Streams::start().await;
    let here = || at("/s", service.address, Policy::default());
    let edge = start(&[here()]).await;
    let mut socket = websocket(&edge, "/s").await;
    edge.publish(&[]);
    eventually("it has left", async || {
        let answer = tokio::time::timeout(Duration::from_millis(200), edge.get("/s", &[]));
        (answer.await.ok()?.status == 404).then_some(())
    })
    .await;
    edge.publish(&[here()]);
    let back = websocket(&edge, "/s").await;
    let since = Instant::now();
    while since.elapsed() < DRAIN + Duration::from_millis(500) {
        echoes(&mut socket).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(back);
}

#[tokio::test]
async fn a_container_that_goes_first_leaves_a_client_that_was_told() {
    let (old, next) = (
        Streams::start().await,
        Service::start(Does::Answer(200)).await,
    );
    let edge = start(&[at("/s", old.address, Policy::default())]).await;
    let mut socket = websocket(&edge, "/s").await;
    echoes(&mut socket).await;
    edge.publish(&[at("/s", next.address, Policy::default())]);
    is_served(&edge, "/s", &next).await;
    old.cut();
    assert_eq!(rest(&mut socket).await, GOING_AWAY);
}

#[tokio::test]
async fn answers_without_end_break_off_and_those_of_other_endpoints_go_on() {
    let (old, other) = (Streams::start().await, Streams::start().await);
    let edge = start(&[
        at("/s", old.address, Policy::default()),
        at("/stay/talk", other.address, Policy::default()),
    ])
    .await;
    // Those that ask for events take the long way.
    let mut open = Vec::new();
    let mut staying = Vec::new();
    for accept in [EVENTS, "*/*"] {
        for path in ["/s/talk", "/s/silent"] {
            open.push((path, accept, Begun::http1(&edge, path, accept).await));
            open.push((path, accept, Begun::http2(&edge, path, accept).await));
        }
        staying.push(Begun::http1(&edge, "/stay/talk", accept).await);
        staying.push(Begun::http2(&edge, "/stay/talk", accept).await);
    }
    let started = Instant::now();
    edge.publish(&[at("/stay/talk", other.address, Policy::default())]);
    for (path, accept, answer) in &mut open {
        let is_http2 = matches!(answer, Begun::Http2 { .. });
        assert!(answer.breaks_off().await, "{path} {accept} {is_http2}");
        assert!(started.elapsed() >= DRAIN, "{path} {accept} {is_http2}");
    }
    for answer in &mut staying {
        answer.goes_on().await;
    }
    drop((open, staying));
    eventually("nothing is under way", async || {
        (edge.metric("cara_gateway_requests_in_flight") == 0.0).then_some(())
    })
    .await;
}

/// One request of each way and protocol, for what is waited for at two rules.
async fn ask_all(edge: &Edge) -> [(usize, bool); 4] {
    let http1 = async |method, path, body| {
        let answer = ask(edge.address, method, path, &[], body).await;
        (answer.body.len(), answer.status == 200)
    };
    let (a, b, c, d) = tokio::join!(
        http1("GET", "/short/late", ""),
        whole_http2(edge, "/short/late"),
        http1("POST", "/long/late", "a slow question"),
        whole_http2(edge, "/long/late"),
    );
    [a, b, c, d]
}

#[tokio::test]
async fn requests_that_wait_for_their_answer_get_it() {
    let old = Streams::start().await;
    let next = Service::start(Does::Answer(200)).await;
    let limited = || Policy {
        in_flight: Some(InFlight {
            max: 100,
            queue: 0,
            timeout: Duration::from_secs(1),
        }),
        ..Policy::default()
    };
    let rules = |to| {
        [
            at("/short", to, Policy::default()),
            at("/long", to, limited()),
        ]
    };
    let edge = start(&rules(old.address)).await;
    let mut open = [
        websocket(&edge, "/short").await,
        websocket(&edge, "/long").await,
    ];
    let change = async {
        old.waiting(5).await;
        edge.publish(&rules(next.address));
        for socket in &mut open {
            assert_eq!(rest(socket).await, GOING_AWAY);
        }
        // The time of the endpoints is over now.
        old.answer();
    };
    let (answers, socket, ()) = tokio::join!(ask_all(&edge), upgraded(&edge, "/long/late"), change);
    assert_eq!(answers, [(LATE, true); 4]);
    assert_eq!(edge.metric("cara_gateway_plain_requests_total"), 2.0);
    let mut socket = socket.expect("an upgrade");
    assert_eq!(rest(&mut socket).await, GOING_AWAY, "that lasts");
}

#[tokio::test]
async fn a_rule_that_comes_back_while_a_request_of_it_waits_is_served_anew() {
    let service = Streams::start().await;
    let here = || at("/s", service.address, Policy::default());
    let edge = start(&[here()]).await;
    let mut before = websocket(&edge, "/s").await;
    let asked = whole_http2(&edge, "/s/late");
    let change = async {
        service.waiting(1).await;
        edge.publish(&[]);
        assert_eq!(rest(&mut before).await, GOING_AWAY);
        edge.publish(&[here()]);
        let mut again = websocket(&edge, "/s").await;
        for _ in 0..10 {
            echoes(&mut again).await;
        }
        for accept in [EVENTS, "*/*"] {
            let mut answer = Begun::http1(&edge, "/s/talk", accept).await;
            answer.goes_on().await;
            answer.goes_on().await;
        }
        service.answer();
        again
    };
    let (answer, mut again) = tokio::join!(asked, change);
    assert_eq!(answer, (LATE, true));
    echoes(&mut again).await;
    edge.publish(&[]);
    assert_eq!(rest(&mut again).await, GOING_AWAY, "it leaves as before");
}
