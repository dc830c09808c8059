//! PROXY headers, on listeners of both kinds.

use std::sync::Arc;

use cara_gateway::TrustedRanges;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::client::{Tls, closed, get, in_time};
use crate::service;
use crate::support::{Edge, Setup, eventually, state, stream_route, with_certificate};

const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x02\x30\x39\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn start(from: &str) -> (Edge, Authority) {
    let authority = Authority::new("ca");
    let state = state(&["a.test"], service::start().await);
    let state = with_certificate(state, "a", &authority.leaf(&["a.test"]));
    let setup = Setup {
        proxy_protocol: from.parse().expect("ranges"),
        ..Setup::default()
    };
    (Edge::start(setup, state).await, authority)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_whom_the_load_balancer_names() {
    let (edge, authority) = start("127.0.0.1").await;
    let client = Tls::new(&authority, &["http/1.1"]);
    for (header, expected) in [
        (
            &b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n"[..],
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n",
            "2001:db8::7",
        ),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (V2, "192.0.2.7"),
        (V2_LOCAL, "127.0.0.1"),
    ] {
        let expected = format!("x-forwarded-for: {expected}\r\n");
        let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
        plain.write_all(header).await.expect("sent");
        let (_, body) = get(&mut plain, "a.test").await.expect("an answer");
        assert!(body.contains(&expected), "{body}");
        let mut stream = TcpStream::connect(edge.https).await.expect("a connection");
        stream.write_all(header).await.expect("sent");
        let mut secure = client.over(stream, "a.test").await.expect("TLS");
        let (_, body) = get(&mut secure, "a.test").await.expect("an answer");
        assert!(body.contains(&expected), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_may_come_byte_by_byte() {
    let (edge, _) = start("127.0.0.1").await;
    for header in [&b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n"[..], V2] {
        let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        for byte in header {
            stream.write_all(&[*byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        let (_, body) = get(&mut stream, "a.test").await.expect("an answer");
        assert!(body.contains("x-forwarded-for: 192.0.2.7\r\n"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_header_and_from_elsewhere_are_refused() {
    let (edge, authority) = start("127.0.0.1").await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    assert!(get(&mut stream, "a.test").await.is_err());
    let client = Tls::new(&authority, &[]);
    assert!(client.connect(edge.https, "a.test").await.is_err());
    let (edge, _) = start("192.0.2.0/24").await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    // Closed before anything is sent, and whatever is sent.
    closed(&mut stream).await.expect("closed in order");
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    let _ = stream.write_all(V2).await;
    assert!(get(&mut stream, "a.test").await.is_err());
    edge.counts("cara_gateway_refused_total", "proxy_header", 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_trusted_a_header_is_no_request() {
    let (edge, _) = start("").await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    let request =
        b"PROXY TCP4 192.0.2.7 198.51.100.2 1 80\r\nGET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_a_setting_of_its_own() {
    let authority = Authority::new("ca");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let echo = service::echo().await;
    let base = state(&["a.test"], service::start().await);
    let mut base = with_certificate(base, "a", &authority.leaf(&["a.test"]));
    let mut route = stream_route(echo);
    route.allow = vec!["192.0.2.0/24".parse().expect("a network")];
    base.ports.insert(port, Arc::new(route));
    let mut setup = Setup {
        proxy_protocol: "127.0.0.1".parse().expect("ranges"),
        https_proxy_protocol: Some(TrustedRanges::default()),
        ..Setup::default()
    };
    let range = port.to_string().parse().expect("a range");
    setup.config.tcp = Some(([127, 0, 0, 1].into(), range));
    setup.config.tcp_proxy_protocol = "127.0.0.1".parse().expect("ranges");
    let edge = Edge::start(setup, base).await;
    // HTTP wants the header, HTTPS wants none.
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n";
    let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
    plain.write_all(header).await.expect("sent");
    let (_, body) = get(&mut plain, "a.test").await.expect("an answer");
    assert!(body.contains("x-forwarded-for: 192.0.2.7\r\n"), "{body}");
    let mut without = TcpStream::connect(edge.http).await.expect("a connection");
    assert!(
        get(&mut without, "a.test").await.is_err(),
        "it never guesses"
    );
    let client = Tls::new(&authority, &["http/1.1"]);
    let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
    let (_, body) = get(&mut secure, "a.test").await.expect("an answer");
    assert!(body.contains("x-forwarded-for: 127.0.0.1\r\n"), "{body}");
    let mut refused = TcpStream::connect(edge.https).await.expect("a connection");
    refused.write_all(header).await.expect("sent");
    let _ = closed(&mut refused).await;
    // The port's allow list is about whom the header names.
    let open = async |header: &[u8]| {
        let mut stream = eventually("the port is open", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        stream.write_all(header).await.ok()?;
        stream.write_all(b"ping").await.ok()?;
        let mut echo = [0; 4];
        in_time(stream.read_exact(&mut echo)).await.ok()?;
        Some(echo)
    };
    assert_eq!(open(header).await.as_ref(), Some(b"ping"));
    assert_eq!(open(V2).await.as_ref(), Some(b"ping"));
    assert_eq!(open(b"").await, None, "no header");
    let other = b"PROXY TCP4 198.51.100.9 198.51.100.2 12345 443\r\n";
    assert_eq!(open(other).await, None, "not allowed");
    edge.stop();
    edge.stopped().await;
}
