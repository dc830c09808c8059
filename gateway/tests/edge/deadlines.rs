//! Clients that take their time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::client::{Tls, closed, get, in_time};
use crate::service;
use crate::support::{Edge, Setup, state, with_certificate};

const SHORT: Duration = Duration::from_millis(600);

async fn start() -> (Edge, Tls) {
    let authority = Authority::new("ca");
    let state = state(&["a.test"], service::start().await);
    let state = with_certificate(state, "a", &authority.leaf(&["a.test"]));
    let mut setup = Setup::default();
    setup.config.limits.header_timeout = SHORT;
    setup.config.limits.write_timeout = SHORT;
    let edge = Edge::start(setup, state).await;
    (edge, Tls::new(&authority, &["http/1.1"]))
}

/// Sends a byte every 50 ms, until that fails; how long it went on.
async fn drip(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Duration {
    let start = Instant::now();
    for byte in bytes.iter().cycle() {
        let sent = async {
            stream.write_all(&[*byte]).await?;
            stream.flush().await
        };
        if in_time(sent).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "it goes on and on"
        );
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_cut_over_plain_and_tls() {
    let (edge, client) = start().await;
    let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nx: ")
        .await
        .expect("sent");
    let took = drip(&mut plain, b"y").await;
    assert!(took >= SHORT && took < SHORT * 5, "{took:?}");
    let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
    secure
        .write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nx: ")
        .await
        .expect("sent");
    let took = drip(&mut secure, b"y").await;
    assert!(took >= SHORT && took < SHORT * 5, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_stops_is_cut_also_on_a_connection_that_served_requests() {
    let (edge, _) = start().await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    for _ in 0..2 {
        assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
    }
    stream.write_all(b"GET / HT").await.expect("sent");
    let took = closed(&mut stream).await.expect("closed in order");
    assert!(took >= SHORT / 2 && took < SHORT * 5, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_slow_bodies_are_no_slow_heads() {
    let (edge, _) = start().await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
    // A head in two pieces, then a body in two, each a while after the other.
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a.test\r\n")
        .await
        .expect("sent");
    tokio::time::sleep(SHORT / 4).await;
    stream
        .write_all(b"content-length: 2\r\n\r\na")
        .await
        .expect("sent");
    tokio::time::sleep(SHORT * 2).await;
    stream.write_all(b"b").await.expect("sent");
    let (status, _) = in_time(crate::client::answer(&mut stream))
        .await
        .expect("an answer");
    assert_eq!(status, 200);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stops_or_drips_is_cut() {
    let (edge, _) = start().await;
    let mut silent = TcpStream::connect(edge.https).await.expect("a connection");
    let took = closed(&mut silent).await.expect("closed in order");
    assert!(took >= SHORT / 2 && took < SHORT * 5, "{took:?}");
    let mut slow = TcpStream::connect(edge.https).await.expect("a connection");
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
        .await
        .expect("sent");
    let took = drip(&mut slow, &[0]).await;
    assert!(took >= SHORT && took < SHORT * 5, "{took:?}");
    edge.counts("cara_gateway_tls_handshakes_total", "late", 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_of_http2_that_stops_is_cut() {
    let (edge, client) = start().await;
    let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
    plain.write_all(b"PRI * HTTP/2.0\r\n").await.expect("sent");
    closed(&mut plain).await.expect("closed in order");
    drop(client);
    let authority = Authority::new("ca");
    let state = with_certificate(
        state(&["a.test"], service::start().await),
        "a",
        &authority.leaf(&["a.test"]),
    );
    edge.publish(state).await;
    let h2 = Tls::new(&authority, &["h2"]);
    let mut secure = crate::support::eventually("the certificate is served", async || {
        h2.connect(edge.https, "a.test").await.ok()
    })
    .await;
    // Nothing at all is sent inside TLS.
    let took = closed(&mut secure).await.unwrap_or(SHORT);
    assert!(took >= SHORT / 2 && took < SHORT * 5, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut() {
    let (edge, _) = start().await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    let request = b"GET /big HTTP/1.1\r\nhost: a.test\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    edge.counts("cara_gateway_listener_connections", "http", 1.0)
        .await;
    crate::support::eventually("the connection is cut", async || {
        let open = edge
            .labelled("cara_gateway_listener_connections", "http")
            .await;
        (open < 0.5).then_some(())
    })
    .await;
    // One that reads slowly is not.
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    stream.write_all(request).await.expect("sent");
    let mut total = 0;
    let mut buffer = vec![0; 4 * 1024 * 1024];
    let start = Instant::now();
    while start.elapsed() < SHORT * 6 && total < 64 * 1024 * 1024 {
        tokio::time::sleep(SHORT / 8).await;
        let count = in_time(stream.read(&mut buffer)).await.expect("not cut");
        assert!(count > 0, "cut after {total} bytes");
        total += count;
    }
    assert!(total > 1024 * 1024, "{total} bytes in {SHORT:?} times 6");
}
