//! PROXY headers, on listeners of both kinds.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::client::{Tls, closed, get};
use crate::service;
use crate::support::{Edge, Setup, state, with_certificate};

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
