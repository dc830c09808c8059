//! What only TLS has: HSTS, and calls that go both ways at once over HTTP/2 by ALPN.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cara_api::gateway::{Action, GatewayState, HeaderRules, Host, Hsts, Policy, Protocol, Route};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::client::{Tls, in_time};
use crate::service;
use crate::support::{Edge, Setup, state, with_certificate};

/// A state whose rules were changed.
fn changed(mut state: GatewayState, change: impl Fn(&mut Route)) -> GatewayState {
    let hosts = state.hosts.iter().map(|(name, host)| {
        let mut host = Host::clone(host);
        for route in &mut host.routes {
            change(Arc::make_mut(route));
        }
        (name.clone(), Arc::new(host))
    });
    state.hosts = hosts.collect();
    state
}

/// The head of an answer over HTTP/1.1, in lower case.
async fn head<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(in_time(stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8_lossy(&head).to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn hsts_is_sent_over_tls_only_on_every_way() {
    const WANTED: &str = "strict-transport-security: max-age=63072000\r\n";
    let authority = Authority::new("ca");
    let service = service::start().await;
    for is_plain in [true, false] {
        let base = state(&["a.test"], service);
        let base = with_certificate(base, "a", &authority.leaf(&["a.test"]));
        let routes = changed(base, |route| {
            let mut policy = Policy {
                hsts: Some(Hsts {
                    value: "max-age=63072000".into(),
                }),
                ..Policy::default()
            };
            if !is_plain {
                policy.request_headers = HeaderRules {
                    remove: vec!["x-nobody-sends".into()],
                    ..HeaderRules::default()
                };
            }
            route.policy = Arc::new(policy);
        });
        let edge = Edge::start(Setup::default(), routes).await;
        let client = Tls::new(&authority, &["http/1.1"]);
        let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
        let over_tls = head(&mut secure).await;
        assert!(over_tls.contains(WANTED), "{is_plain}: {over_tls}");
        let client = Tls::new(&authority, &["h2"]);
        let stream = client.connect(edge.https, "a.test").await.expect("TLS");
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let request = Request::get("https://a.test/").body(());
        let request = request.expect("a request");
        let mut ready = send.ready().await.expect("ready");
        let (answer, _) = ready.send_request(request, true).expect("sent");
        let answer = in_time(answer).await.expect("an answer");
        let hsts = answer.headers().get("strict-transport-security");
        assert_eq!(hsts.expect("it is there"), "max-age=63072000");
        let mut plain = TcpStream::connect(edge.http).await.expect("connects");
        let without = head(&mut plain).await;
        assert!(!without.contains("strict-transport"), "{without}");
        let passed = edge.metric("cara_gateway_plain_requests_total").await;
        assert_eq!(passed, if is_plain { 3.0 } else { 0.0 });
        edge.stop();
        edge.stopped().await;
    }
}

/// A gRPC service that sends each message back as it comes, and a status at the end.
async fn calls() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut streams = JoinSet::new();
        while let Some(Ok((mut request, mut respond))) = connection.accept().await {
            streams.spawn(async move {
                let head = Response::builder().header("content-type", "application/grpc");
                let head = head.body(()).expect("an answer");
                let mut answer = respond.send_response(head, false).expect("sent");
                while let Some(Ok(message)) = request.body_mut().data().await {
                    answer.send_data(message, false).expect("sent");
                }
                let status = HeaderName::from_static("grpc-status");
                let trailers = HeaderMap::from_iter([(status, HeaderValue::from_static("0"))]);
                answer.send_trailers(trailers).expect("sent");
            });
        }
    });
    (address, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_call_pass_both_ways_as_they_are_sent() {
    let authority = Authority::new("ca");
    let (service, _tasks) = calls().await;
    let base = with_certificate(
        state(&["a.test"], service),
        "a",
        &authority.leaf(&["a.test"]),
    );
    let routes = changed(base, |route| {
        if let Action::Forward(forward) = &mut route.action {
            forward.targets[0].protocol = Protocol::H2c;
        }
    });
    let edge = Edge::start(Setup::default(), routes).await;
    let client = Tls::new(&authority, &["h2"]);
    let stream = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let request = Request::post("https://a.test/package.Service/Talk")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut ready = send.ready().await.expect("ready");
    let (answer, mut messages) = ready.send_request(request, false).expect("sent");
    let mut answer = in_time(answer).await.expect("an answer").into_body();
    for number in 0..20 {
        let message = Bytes::from(format!("message {number}"));
        messages.send_data(message.clone(), false).expect("sent");
        let mut back = Vec::new();
        // The next one is sent only after this one came back.
        while back.len() < message.len() {
            let part = in_time(answer.data()).await.expect("goes on");
            back.extend_from_slice(&part.expect("no reset"));
        }
        assert_eq!(back, message);
    }
    messages.send_data(Bytes::new(), true).expect("sent");
    assert!(in_time(answer.data()).await.is_none());
    let trailers = in_time(answer.trailers()).await.expect("no reset");
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    edge.stop();
    edge.stopped().await;
}
