//! Connections without TLS whose first bytes do not say yet which version of HTTP they speak.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{answer, closed, in_time};
use crate::service;
use crate::support::{Edge, Setup, state};

/// Far less than the time for the first bytes, and that for a head.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn start() -> Edge {
    let state = state(&["a.test"], service::start().await);
    Edge::start(Setup::default(), state).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_begin_with_one_byte_and_go_on_later() {
    let edge = start().await;
    for pieces in [
        &[
            "P",
            "OST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi",
        ][..],
        &["P", "R", "O", "PFIND / HTTP/1.1\r\nhost: a.test\r\n\r\n"],
        &["PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"],
        &["G", "ET / HTTP/1.1\r\nhost: a.test\r\n\r\n"],
    ] {
        let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.expect("sent");
            // So that the pieces arrive one by one.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (status, body) = in_time(answer(&mut stream)).await.expect("an answer");
        assert_eq!(status, 200, "{pieces:?}");
        let line: String = pieces.concat().split("\r\n").take(1).collect();
        assert!(body.starts_with(&line.to_lowercase()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_may_begin_with_one_byte() {
    let edge = start().await;
    let (client, gateway) = tokio::io::duplex(1_024);
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    // Passes the first bytes on one by one.
    let slow = tokio::spawn(async move {
        let mut gateway = gateway;
        for _ in 0..4 {
            let byte = tokio::io::AsyncReadExt::read_u8(&mut gateway).await?;
            stream.write_u8(byte).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::io::copy_bidirectional(&mut gateway, &mut stream).await
    });
    let (send, connection) = h2::client::handshake(client).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://a.test/").body(());
    let mut ready = send.ready().await.expect("ready");
    let sent = ready.send_request(request.expect("a request"), true);
    let answer = in_time(sent.expect("sent").0).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    connection.abort();
    slow.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_after_the_first_bytes_is_let_go_at_once() {
    let edge = start().await;
    for bytes in ["", "P", "PR"] {
        let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("closed");
        let took = closed(&mut stream).await.expect("closed in order");
        assert!(took < AT_ONCE, "{bytes:?}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_bytes_that_stop_are_a_head_that_stops() {
    let mut setup = Setup::default();
    setup.config.limits.header_timeout = Duration::from_millis(600);
    let state = state(&["a.test"], service::start().await);
    let edge = Edge::start(setup, state).await;
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    stream.write_all(b"P").await.expect("sent");
    let took = closed(&mut stream).await.expect("closed in order");
    assert!(took < AT_ONCE, "{took:?}");
}
