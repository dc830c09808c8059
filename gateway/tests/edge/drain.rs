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

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_told_that_the_gateway_goes_away_between_two_frames() {
    let (edge, client) = start(Duration::from_millis(300)).await;
    let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
    let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
    let mut half_way = TcpStream::connect(edge.http).await.expect("a connection");
    plain.write_all(UPGRADE).await.expect("sent");
    secure.write_all(UPGRADE).await.expect("sent");
    half_way.write_all(UPGRADE).await.expect("sent");
    assert_eq!(in_time(answer(&mut plain)).await.expect("an answer").0, 101);
    assert_eq!(
        in_time(answer(&mut secure)).await.expect("an answer").0,
        101
    );
    assert_eq!(
        in_time(answer(&mut half_way)).await.expect("an answer").0,
        101
    );
    // The service echoes: whole frames to two of them, a part of one to the third.
    let frame = *b"\x82\x04ping";
    let mut echo = [0; 6];
    plain.write_all(&frame).await.expect("sent");
    in_time(plain.read_exact(&mut echo)).await.expect("an echo");
    secure.write_all(&frame).await.expect("sent");
    in_time(secure.read_exact(&mut echo))
        .await
        .expect("an echo");
    half_way.write_all(&frame[..5]).await.expect("sent");
    in_time(half_way.read_exact(&mut echo[..5]))
        .await
        .expect("an echo");
    edge.stop();
    let going_away = [0x88, 2, 0x03, 0xE9];
    let mut rest = Vec::new();
    in_time(plain.read_to_end(&mut rest)).await.expect("FIN");
    assert_eq!(rest, going_away);
    rest.clear();
    in_time(secure.read_to_end(&mut rest)).await.expect("FIN");
    assert_eq!(rest, going_away);
    rest.clear();
    in_time(half_way.read_to_end(&mut rest)).await.expect("FIN");
    assert_eq!(rest, [0; 0]);
    edge.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_gateway_serves_idle_connections_get_one_more_answer() {
    let (edge, client) = start(Duration::from_secs(10)).await;
    let mut plain = TcpStream::connect(edge.http).await.expect("a connection");
    let mut secure = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(get(&mut plain, "a.test").await.expect("an answer").0, 200);
    // Accepted, and silent until after the stop.
    let mut fresh = TcpStream::connect(edge.http).await.expect("a connection");
    let late = TcpStream::connect(edge.https).await.expect("a connection");
    edge.counts("cara_gateway_accepted_total", "http", 2.0)
        .await;
    edge.counts("cara_gateway_accepted_total", "https", 2.0)
        .await;
    edge.drains.set(cara_gateway::Drain {
        patience: Duration::from_secs(10),
        idle: Duration::from_secs(10),
    });
    edge.stop();
    crate::support::eventually("nobody listens", async || {
        TcpStream::connect(edge.http).await.err()
    })
    .await;
    late.set_nodelay(true).expect("no delay");
    let mut late = client.over(late, "a.test").await.expect("TLS");
    assert_eq!(get(&mut late, "a.test").await.expect("an answer").0, 200);
    closed(&mut late).await.expect("closed after the answer");
    for stream in [&mut plain, &mut fresh] {
        assert_eq!(get(stream, "a.test").await.expect("an answer").0, 200);
        closed(stream).await.expect("closed after the answer");
    }
    assert_eq!(get(&mut secure, "a.test").await.expect("an answer").0, 200);
    closed(&mut secure).await.expect("closed after the answer");
    let start = Instant::now();
    edge.stopped().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_stays_open_however_quickly_the_service_answers() {
    let (edge, _client) = start(Duration::from_secs(4)).await;
    for number in 0..300 {
        let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
        stream.write_all(UPGRADE).await.expect("sent");
        let (status, _) = in_time(answer(&mut stream)).await.expect("an answer");
        assert_eq!(status, 101);
        let mut echo = [0; 4];
        stream.write_all(b"ping").await.expect("sent");
        let read = in_time(stream.read_exact(&mut echo)).await;
        assert!(read.is_ok(), "tunnel {number}: {read:?}");
    }
}
