//! Clients that send frames of HTTP/2 without end, without TLS and by hand.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{get, in_time};
use crate::service;
use crate::support::{Edge, Setup, eventually, state};

const SHORT: Duration = Duration::from_millis(600);
/// The preface, and empty settings.
const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method`, `:scheme` and `:path` of the static table.
const HEAD: [u8; 3] = [0x82, 0x86, 0x84];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let header = [
        length[1], length[2], length[3], kind, flags, 0, 0, 0, stream,
    ];
    [&header, payload].concat()
}

/// Sends frames, and reads nothing, until the gateway has had enough; how many bytes it took.
async fn flood(edge: &Edge, first: &[u8], again: &[u8]) -> usize {
    let mut stream = TcpStream::connect(edge.http).await.expect("a connection");
    stream.write_all(BEGIN).await.expect("sent");
    stream.write_all(first).await.expect("sent");
    let many = again.repeat(64 * 1024 / again.len() + 1);
    let mut sent = 0;
    // It ends long before this.
    while sent < 1024 * 1024 * 1024 {
        if in_time(stream.write_all(&many)).await.is_err() {
            return sent;
        }
        sent += many.len();
    }
    panic!("the gateway took {sent} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flood_of_frames_is_taken_for_ever_and_others_are_served_meanwhile() {
    let mut setup = Setup::default();
    setup.config.limits.write_timeout = SHORT;
    let edge = Edge::start(setup, state(&["a.test"], service::start().await)).await;
    let header = frame(1, 0, 1, &HEAD);
    for (name, first, again) in [
        ("pings", vec![], frame(6, 0, 0, &[7; 8])),
        ("settings", vec![], frame(4, 0, 0, &[])),
        ("empty continuations", header.clone(), frame(9, 0, 1, &[])),
        ("continuations", header, frame(9, 0, 1, &[0x84; 8_192])),
    ] {
        let (taken, _) = tokio::join!(flood(&edge, &first, &again), async {
            let mut other = TcpStream::connect(edge.http).await.expect("a connection");
            let (status, _) = get(&mut other, "a.test").await.expect("an answer");
            assert_eq!(status, 200, "{name}");
        });
        assert!(taken < 512 * 1024 * 1024, "{name}: {taken} bytes");
    }
    eventually("nothing is left of them", async || {
        let open = edge
            .labelled("cara_gateway_listener_connections", "http")
            .await;
        (open < 0.5).then_some(())
    })
    .await;
}
