//! What passes through a WebSocket is no body.

use cara_api::gateway::{BodyLimit, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::streams::{Streams, websocket};
use crate::support::{Edge, ask, rule};

/// The smallest limit that is used.
const LIMIT: usize = 1_024;

#[tokio::test]
async fn a_limit_of_bodies_does_not_count_frames() {
    let service = Streams::start().await;
    let policy = Policy {
        body: Some(BodyLimit {
            bytes: LIMIT as u64,
        }),
        ..Policy::default()
    };
    let edge = Edge::start(&[rule(&[service.address], policy)]).await;
    let mut socket = websocket(&edge, "/").await;
    // A binary frame whose length is two bytes, masked with zeros.
    let mut frame = vec![0x82, 0xFE, 0x04, 0x00, 0, 0, 0, 0];
    frame.resize(frame.len() + LIMIT, b'x');
    for round in 0..10 {
        socket.write_all(&frame).await.expect("sent");
        let mut echo = vec![0; frame.len()];
        let read = socket.read_exact(&mut echo).await;
        assert!(read.is_ok(), "cut in round {round}: {read:?}");
        assert_eq!(echo, frame);
    }
    // Bodies it does count.
    let large = "x".repeat(LIMIT + 1);
    let answer = ask(edge.address, "POST", "/", &[], &large).await;
    assert_eq!(answer.status, 413);
}
