//! What is not finished: connections between two requests, bodies that do not end, answers that do
//! before their request.

use std::time::Duration;

use bytes::Bytes;
use cara_api::gateway::{Outlier, Policy, Protocol, Route, Timeouts};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Does, Edge, HOST, Service, eventually, route, rule, target};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(500);

fn quick() -> Policy {
    Policy {
        timeouts: Timeouts {
            response: Some(SHORT),
            ..Timeouts::default()
        },
        ..Policy::default()
    }
}

/// A service of HTTP/2 without TLS; what it does with each request is the test's.
async fn http2_service<F, Fut>(serve: F) -> (std::net::SocketAddr, JoinSet<()>)
where
    F: Fn(Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            connections.spawn(async move {
                let mut streams = JoinSet::new();
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    streams.spawn(serve(request, respond));
                }
            });
        }
    });
    (address, tasks)
}

fn over_http2(address: std::net::SocketAddr, policy: Policy) -> Route {
    let mut spec = target("web", &[address]);
    spec.protocol = Protocol::H2c;
    Route {
        policy: std::sync::Arc::new(policy),
        ..route("web", vec![spec])
    }
}

/// Until the gateway closes the connection: what came.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
    read.await.expect("closed in time").expect("in order");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn idle_connections_are_closed_whichever_way_their_requests_went() {
    let service = Service::start(Does::Answer(200)).await;
    let limits = |config: &mut cara_gateway::Config| config.limits.idle = Duration::from_secs(1);
    let edge = Edge::configured(limits, &[rule(&[service.address], Policy::default())]).await;
    // A plain request; one that is not, by its host's case; two of these; and one to nobody.
    for (hosts, status) in [
        (vec![HOST], "200"),
        (vec!["WEB.test"], "200"),
        (vec!["WEB.test", HOST], "200"),
        (vec!["NOBODY.test"], "404"),
    ] {
        let mut stream = TcpStream::connect(edge.address).await.expect("the gateway");
        let mut answers = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            let is_last = number + 1 == hosts.len();
            while !is_last && !answers.ends_with(service.address.to_string().as_bytes()) {
                let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answers));
                assert!(read.await.expect("in time").expect("read") > 0);
            }
        }
        let mut answers = String::from_utf8_lossy(&answers).into_owned();
        answers.push_str(&until_closed(&mut stream).await);
        let answered = answers.matches(&format!("HTTP/1.1 {status}")).count();
        assert_eq!(answered, hosts.len(), "{answers}");
    }
}

#[tokio::test]
async fn a_stream_that_was_answered_before_its_request_ended_does_not_stay() {
    let (address, _service) = http2_service(|_request, mut respond| async move {
        let head = Response::builder().status(404).body(());
        let mut body = respond.send_response(head.expect("an answer"), false);
        let body = body.as_mut().expect("sent");
        body.send_data(Bytes::from_static(b"no"), true)
            .expect("sent");
        // Keeps the request's end open, too.
        std::future::pending::<()>().await;
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hasty = listener.local_addr().expect("an address");
    let mut service = JoinSet::new();
    service.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            connections.spawn(async move {
                let answer =
                    b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
                let mut is_answered = false;
                while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {
                    // What comes later is the rest of a request.
                    if !is_answered {
                        stream.write_all(answer).await.expect("sent");
                        is_answered = true;
                    }
                }
            });
        }
    });
    for route in [
        over_http2(address, Policy::default()),
        rule(&[hasty], Policy::default()),
    ] {
        let limits = |config: &mut cara_gateway::Config| config.limits.write_timeout = SHORT;
        let edge = Edge::configured(limits, &[route]).await;
        let stream = TcpStream::connect(edge.address).await.expect("the gateway");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        let request = Request::post(format!("http://{HOST}/")).body(());
        let mut client = client.ready().await.expect("ready");
        let sent = client.send_request(request.expect("a request"), false);
        let (answer, mut body) = sent.expect("sent");
        let piece = Bytes::from_static(b"a beginning");
        body.send_data(piece, false).expect("sent");
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.expect("in time").expect("an answer");
        assert_eq!(answer.status(), 404);
        eventually("nothing is under way any more", async || {
            (edge.metric("cara_gateway_requests_in_flight") == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn clients_that_stop_within_a_body_say_nothing_about_endpoints() {
    let service = Service::start(Does::Answer(200)).await;
    let policy = Policy {
        outlier: Some(Outlier {
            failures: 2,
            ejection: PATIENCE,
        }),
        ..quick()
    };
    let edge = Edge::start(&[rule(&[service.address], policy)]).await;
    for _ in 0..4 {
        let mut stream = TcpStream::connect(edge.address).await.expect("the gateway");
        let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100000\r\n\r\nabc");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let answer = until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(edge.metric("cara_gateway_ejections_total"), 0.0);
    assert_eq!(edge.get("/", &[]).await.status, StatusCode::OK.as_u16());
}
