//! Clients of HTTP/2 that make work and take nothing. Each ends by itself; others are served.

use std::time::Duration;

use bytes::Bytes;
use cara_gateway::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::fastpath::both_ways_with;
use crate::smuggling_h2::frames::{frame, headers};
use crate::support::{Edge, OK, PATIENCE, Service, eventually};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u8 = 11;

fn short() -> Config {
    let mut config = Config::default();
    config.limits.write_timeout = Duration::from_millis(600);
    config
}

fn post(path: &str, length: &str) -> Vec<u8> {
    headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "web.test"),
        (":path", path),
        ("content-length", length),
    ])
}

/// Sends all of it, and reads to the end of the connection.
async fn exchange(edge: &Edge, bytes: Vec<u8>) -> Vec<u8> {
    let stream = TcpStream::connect(edge.http).await.expect("connects");
    let (mut reads, mut writes) = stream.into_split();
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        // The gateway may have had enough before it has read everything.
        let _ = writes.write_all(&bytes).await;
        // Held open: the end is to come from the gateway.
        std::future::pending::<()>().await;
    });
    let mut seen = Vec::new();
    let read = async {
        // A reset after the last frame is no fault.
        while let Ok(count) = reads.read_buf(&mut seen).await {
            if count == 0 {
                return;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, read).await;
    ended.expect("the gateway ends the connection");
    seen
}

/// The reason that a connection was ended for.
fn reason(mut frames: &[u8]) -> Option<u8> {
    while let [a, b, c, kind, rest @ ..] = frames {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let payload = rest.get(5..5 + length)?;
        if *kind == GOAWAY && payload.get(7) != Some(&0) {
            return payload.get(7).copied();
        }
        frames = rest.get(5 + length..)?;
    }
    None
}

async fn is_served(edge: &Edge) {
    for path in ["/plain", "/other"] {
        assert_eq!(edge.get(path).await.status, 200, "{path}");
    }
}

async fn nothing_is_under_way(edge: &Edge) {
    eventually("nothing is under way", async || {
        (edge.metric("cara_gateway_requests_in_flight") == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_makes_the_gateway_reset_streams_is_cut() {
    let service = Service::start(OK).await;
    let edge = both_ways_with(short(), &service).await;
    for path in ["/plain", "/other"] {
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        // Each breaks its announced length, for which the gateway has to reset it. Pingora's library
        // alone would take more than a thousand of them.
        for number in 0..600 {
            let stream = 2 * number + 1;
            bytes.extend(frame(HEADERS, END_HEADERS, stream, &post(path, "1")));
            bytes.extend(frame(DATA, END_STREAM, stream, b"more than that"));
        }
        let seen = exchange(&edge, bytes).await;
        assert_eq!(reason(&seen), Some(ENHANCE_YOUR_CALM), "{path}");
        nothing_is_under_way(&edge).await;
        is_served(&edge).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_empty_data_without_end_is_cut() {
    let service = Service::start(OK).await;
    let edge = both_ways_with(short(), &service).await;
    for path in ["/plain", "/other"] {
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &post(path, "5")));
        bytes.extend(frame(DATA, 0, 1, b"").repeat(500_000));
        let seen = exchange(&edge, bytes).await;
        assert_eq!(reason(&seen), Some(ENHANCE_YOUR_CALM), "{path}");
        nothing_is_under_way(&edge).await;
        is_served(&edge).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_a_client_opens_no_window_for_are_given_up() {
    let body = "x".repeat(1024 * 1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let service = Service::start(answer).await;
    let edge = both_ways_with(short(), &service).await;
    let stream = TcpStream::connect(edge.http).await.expect("connects");
    let mut client = h2::client::Builder::new();
    client.initial_window_size(0);
    let (send, connection) = client.handshake::<_, Bytes>(stream).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    for path in ["/plain", "/other"] {
        let uri = format!("http://web.test{path}");
        let mut ready = send.clone().ready().await.expect("ready");
        let request = http::Request::get(uri).body(()).expect("a request");
        let (answer, _) = ready.send_request(request, true).expect("sent");
        let answered = async {
            let mut body = answer.await?.into_body();
            while let Some(part) = body.data().await {
                part?;
            }
            Ok::<_, h2::Error>(())
        };
        let ended = tokio::time::timeout(PATIENCE, answered).await;
        ended.expect("in time").expect_err("it was given up");
        nothing_is_under_way(&edge).await;
    }
    is_served(&edge).await;
}
