//! Clients that announce a body, send half of it and then nothing: each is ended, and so is what
//! waits for it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::client::{Tls, get, in_time};
use crate::service;
use crate::support::{Edge, Setup, eventually, state, with_certificate};

/// How long a client may pause.
const PAUSE: Duration = Duration::from_millis(1_500);
/// Timers may end so much early.
const TICK: Duration = Duration::from_millis(10);
/// How long a service may be silent, where that is what ends a client.
const SILENCE: Duration = Duration::from_secs(2);
/// Plain, and too large for the short way.
const LENGTHS: [usize; 2] = [1_000, 100_000];

async fn start(change: impl FnOnce(&mut Setup)) -> (Edge, Authority) {
    let authority = Authority::new("ca");
    let state = state(&["a.test"], service::start().await);
    let state = with_certificate(state, "a", &authority.leaf(&["a.test"]));
    let mut setup = Setup::default();
    change(&mut setup);
    (Edge::start(setup, state).await, authority)
}

async fn nothing_is_left(edge: &Edge) {
    for gauge in [
        "cara_gateway_requests_in_flight",
        "cara_gateway_listener_connections",
    ] {
        eventually(gauge, async || {
            (edge.metric(gauge).await < 0.5).then_some(())
        })
        .await;
    }
}

/// Sends half of a body; what came back until the gateway closed, and how long that took.
async fn half(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    length: usize,
) -> (String, Duration) {
    let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
    let half = [head.as_bytes(), &vec![b'x'; length / 2]].concat();
    let start = Instant::now();
    stream.write_all(&half).await.expect("sent");
    stream.flush().await.expect("sent");
    let mut seen = Vec::new();
    // A reset after the answer is an end too.
    let _ = in_time(stream.read_to_end(&mut seen)).await;
    (String::from_utf8_lossy(&seen).into_owned(), start.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_ended_over_plain_and_tls() {
    let (edge, authority) = start(|setup| setup.config.limits.body_pause = PAUSE).await;
    let tls = Tls::new(&authority, &["http/1.1"]);
    for length in LENGTHS {
        let plain = TcpStream::connect(edge.http).await.expect("a connection");
        let secure = tls.connect(edge.https, "a.test").await.expect("TLS");
        let both = tokio::join!(half(plain, length), half(secure, length));
        for (seen, took) in [both.0, both.1] {
            assert!(seen.starts_with("HTTP/1.1 408 "), "{length}: {seen}");
            assert!(took + TICK >= PAUSE, "{length}: {took:?}");
        }
        nothing_is_left(&edge).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_goes_on_within_the_time_is_served() {
    let (edge, _) = start(|setup| setup.config.limits.body_pause = PAUSE).await;
    for length in LENGTHS {
        let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
        let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Longer than a pause in all, and than a small body may take.
        for _ in 0..20 {
            tokio::time::sleep(PAUSE / 10).await;
            let part = vec![b'x'; length / 20];
            stream.write_all(&part).await.expect("sent");
        }
        let (status, _) = in_time(crate::client::answer(&mut stream))
            .await
            .expect("an answer");
        assert_eq!(status, 200, "{length}");
        assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_body_stops_is_ended_and_others_go_on() {
    let (edge, authority) = start(|setup| {
        setup.config.limits.body_pause = PAUSE;
        setup.config.upstream_timeout = SILENCE;
    })
    .await;
    let tls = Tls::new(&authority, &["h2"]);
    let stream = tls.connect(edge.https, "a.test").await.expect("TLS");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    // A large one goes to the service as it comes, which is waited for.
    for (length, (limit, status)) in LENGTHS
        .into_iter()
        .zip([(PAUSE, None), (SILENCE, Some(408))])
    {
        let post = Request::post("https://a.test/").header("content-length", length);
        let post = post.body(()).expect("a request");
        let mut ready = in_time(send.clone().ready()).await.expect("ready");
        let (answer, mut body) = ready.send_request(post, false).expect("sent");
        let half = Bytes::from(vec![b'x'; length / 2]);
        let begun = Instant::now();
        body.send_data(half, false).expect("sent");
        let answer = in_time(answer).await.map(|answer| answer.status().as_u16());
        let took = begun.elapsed();
        assert_eq!(
            answer.as_ref().ok(),
            status.as_ref(),
            "{length}: {answer:?}"
        );
        assert!(took + TICK >= limit, "{length}: {took:?}");
        eventually("the request has ended", async || {
            (edge.metric("cara_gateway_requests_in_flight").await < 0.5).then_some(())
        })
        .await;
        let get = Request::get("https://a.test/").body(()).expect("a request");
        let mut ready = in_time(send.clone().ready()).await.expect("ready");
        let (answer, _) = ready.send_request(get, true).expect("sent");
        assert_eq!(in_time(answer).await.expect("an answer").status(), 200);
    }
    connection.abort();
}
