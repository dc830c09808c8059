//! Limits on open connections.

use cara_gateway::TrustedRanges;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{answer, closed, get, in_time};
use crate::service;
use crate::support::{Edge, Setup, eventually, state};

async fn connect(edge: &Edge) -> TcpStream {
    TcpStream::connect(edge.http).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_limit_are_closed_and_places_come_back() {
    let mut setup = Setup::default();
    setup.config.limits.connections = 2;
    let edge = Edge::start(setup, state(&["a.test"], service::start().await)).await;
    let (mut first, mut second) = (connect(&edge).await, connect(&edge).await);
    for stream in [&mut first, &mut second] {
        assert_eq!(get(stream, "a.test").await.expect("an answer").0, 200);
    }
    closed(&mut connect(&edge).await)
        .await
        .expect("closed in order");
    edge.counts("cara_gateway_refused_total", "total", 1.0)
        .await;
    drop(first);
    eventually("a place comes back", async || {
        get(&mut connect(&edge).await, "a.test").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_take_all_connections() {
    let mut setup = Setup::default();
    setup.config.limits.connections_per_client = Some(2);
    setup.proxy_protocol = "127.0.0.0/8".parse::<TrustedRanges>().expect("a range");
    let edge = Edge::start(setup, state(&["a.test"], service::start().await)).await;
    let visit = async |client: &str| {
        let mut stream = connect(&edge).await;
        let request =
            format!("PROXY TCP6 {client} ::1 1000 80\r\nGET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        in_time(answer(&mut stream))
            .await
            .map(|(status, _)| (status, stream))
    };
    let mut open = Vec::new();
    for client in ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"] {
        let (status, stream) = visit(client).await.expect("an answer");
        assert_eq!(status, 200);
        open.push(stream);
    }
    // The first two are of one network, which has no place left.
    assert!(visit("2001:db8::3").await.is_err());
    edge.counts("cara_gateway_refused_total", "client", 1.0)
        .await;
    open.clear();
    eventually("places come back", async || visit("2001:db8::3").await.ok()).await;
}
