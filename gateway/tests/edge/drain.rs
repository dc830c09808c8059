//! What happens to open connections when the gateway stops.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::client::{Tls, answer, closed, get, in_time};
use crate::service;
use crate::support::{Edge, Setup, state, with_certificate};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn start(drain: Duration) -> (Edge, Tls) {
    let authority = Authority::new("ca");
    let state = state(&["a.test"], service::start().await);
    let state = with_certificate(state, "a", &authority.leaf(&["a.test"]));
    let mut setup = Setup::default();
    setup.config.drain_timeout = drain;
    let edge = Edge::start(setup, state).await;
    (edge, Tls::new(&authority, &["http/1.1"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_requests_under_way_end() {
    let (edge, client) = start(Duration::from_secs(10)).await;
    let mut idle = TcpStream::connect(edge.http).await.expect("a connection");
    assert_eq!(get(&mut idle, "a.test").await.expect("an answer").0, 200);
    let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(get(&mut secure, "a.test").await.expect("an answer").0, 200);
    let mut half_open = TcpStream::connect(edge.https).await.expect("a connection");
    let mut busy = TcpStream::connect(edge.http).await.expect("a connection");
    let head = b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\nab";
    busy.write_all(head).await.expect("sent");
    edge.counts("cara_gateway_requests_in_flight", "", 1.0)
        .await;
    let start = Instant::now();
    edge.stop();
    closed(&mut idle).await.expect("closed in order");
    // rustls tells when the end of the stream was not announced.
    let _ = closed(&mut secure).await;
    closed(&mut half_open).await.expect("closed in order");
    let address = edge.http;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    busy.write_all(b"cd").await.expect("sent");
    let (status, _) = in_time(answer(&mut busy)).await.expect("an answer");
    assert_eq!(status, 200);
    closed(&mut busy).await.expect("closed in order");
    edge.stopped().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_goes_on_while_the_gateway_drains_and_is_closed_in_order() {
    let (edge, client) = start(Duration::from_secs(4)).await;
    let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
    let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
    plain.write_all(UPGRADE).await.expect("sent");
    secure.write_all(UPGRADE).await.expect("sent");
    assert_eq!(in_time(answer(&mut plain)).await.expect("an answer").0, 101);
    assert_eq!(
        in_time(answer(&mut secure)).await.expect("an answer").0,
        101
    );
    edge.stop();
    let mut echo = [0; 4];
    for _ in 0..3 {
        plain.write_all(b"ping").await.expect("sent");
        in_time(plain.read_exact(&mut echo)).await.expect("an echo");
        secure.write_all(b"ping").await.expect("sent");
        in_time(secure.read_exact(&mut echo))
            .await
            .expect("an echo");
    }
    closed(&mut plain).await.expect("FIN, no RST");
    closed(&mut secure).await.expect("close_notify, then FIN");
    edge.stopped().await;
}
