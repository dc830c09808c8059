//! What a browser and an API client get from the gateway.

use std::time::{Duration, Instant};

use cara_tests::{Server, unique};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

fn app(host: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]}],
        "ingress": [
            {"name": "web", "host": host, "target": {"service": "web", "port": 8080}},
            {"name": "full", "host": format!("{host}.example.test"), "target": {"service": "web", "port": 8080}}]})
}

async fn start() -> (Server, String) {
    let server = Server::with_agent(
        &unique("node"),
        &["--environment", "pr-42", "--base-domain", "example.com"],
    )
    .await;
    let name = unique("browse");
    server.create(&name, &app(&name)).await;
    server.running(&name).await;
    (server, name)
}

#[tokio::test]
async fn weakness_13_hostnames_are_resolved_as_documented_in_any_case() {
    let (server, name) = start().await;
    for host in [
        format!("{name}.pr-42.example.com"),
        format!("{}.PR-42.Example.COM", name.to_uppercase()),
        format!("{name}.pr-42.example.com."),
        format!("{name}.pr-42.example.com:8000"),
        format!("{name}.example.test"),
    ] {
        assert_eq!(
            server.page(&host, "/").await,
            (200, "version 1\n".to_owned()),
            "{host}"
        );
    }
    for host in [
        name.clone(),
        format!("{name}.dev.example.com"),
        format!("x{name}.pr-42.example.com"),
    ] {
        assert_eq!(server.page(&host, "/").await.0, 404, "{host}");
    }
    let project = server.project(&name).await.expect("it exists");
    let port = server.http.port();
    let urls: Vec<&str> = project
        .status
        .ingress
        .iter()
        .map(|i| i.url.as_str())
        .collect();
    assert_eq!(
        urls,
        [
            format!("http://{name}.pr-42.example.com:{port}/"),
            format!("http://{name}.example.test:{port}/")
        ]
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn services_learn_about_the_client_from_the_gateway_only() {
    let (server, name) = start().await;
    let host = format!("{name}.example.test");
    let answer = cara_tests::http()
        .get(format!("http://{}/headers", server.http))
        .header("host", &host)
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=6.6.6.6")
        .header("connection", "x-secret, keep-alive")
        .header("x-secret", "hop")
        .header("x-request-id", "from-client")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.headers()["x-request-id"], "from-client");
    let seen: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!(seen["host"], host.as_str());
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["x-forwarded-host"], host.as_str());
    assert_eq!(seen["x-forwarded-proto"], "http");
    assert_eq!(seen["x-request-id"], "from-client");
    for absent in ["forwarded", "x-secret"] {
        assert_eq!(seen.get(absent), None, "{absent} must not pass");
    }
    server.delete(&name).await;
}

#[tokio::test]
async fn websockets_and_event_streams_pass_unbuffered_and_survive_changes_of_other_routes() {
    let (server, name) = start().await;
    let host = format!("{name}.example.test");
    let mut socket = websocket(&server, &host).await;
    let mut echo = async |text: &str| {
        socket.send(Message::text(text)).await.expect("it is sent");
        let answer = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        assert_eq!(
            answer.expect("in time").expect("open").expect("a message"),
            Message::text(text)
        );
    };
    echo("before").await;
    let other = unique("other");
    server.create(&other, &app(&other)).await;
    server.running(&other).await;
    echo("while another project came").await;
    server.delete(&other).await;
    echo("and went").await;
    let started = Instant::now();
    let answer = server.browse(&host, "/events").await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.bytes_stream();
    let first = events.next().await.expect("open").expect("bytes");
    let until_first = started.elapsed();
    let mut text = String::from_utf8_lossy(&first).into_owned();
    while let Some(bytes) = events.next().await {
        text.push_str(&String::from_utf8_lossy(&bytes.expect("bytes")));
    }
    assert_eq!(text.matches("data: ").count(), 10);
    let in_all = started.elapsed();
    assert!(
        until_first * 2 < in_all,
        "the first event came after {until_first:?}, the last after {in_all:?}"
    );
    server.delete(&name).await;
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn websocket(server: &Server, host: &str) -> Socket {
    let mut request = format!("ws://{}/ws", server.http)
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("host", host.parse().expect("a value"));
    let connected = tokio_tungstenite::connect_async(request).await;
    connected.expect("the upgrade passes").0
}

/// Waits for the close frame of a WebSocket, and gives its status.
async fn closed(socket: &mut Socket) -> CloseCode {
    let closed = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code,
                Some(Ok(_)) => {}
                other => panic!("no close frame, but {other:?}"),
            }
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
    closed.expect("in time")
}

#[tokio::test]
async fn a_websocket_is_closed_in_order_when_its_version_is_replaced_or_its_project_deleted() {
    let (server, name) = start().await;
    let host = format!("{name}.example.test");
    let mut first = websocket(&server, &host).await;
    let mut next = app(&name);
    next["services"][0]["env"][0]["value"] = "2".into();
    server.replace(&name, &next).await;
    assert_eq!(closed(&mut first).await, CloseCode::Away);
    server.running(&name).await;
    let mut second = websocket(&server, &host).await;
    let (code, ()) = tokio::join!(closed(&mut second), server.delete(&name));
    assert_eq!(code, CloseCode::Away);
}

#[tokio::test]
async fn bodies_stream_both_ways_and_http2_without_tls_is_served() {
    let (server, name) = start().await;
    let host = format!("{name}.example.test");
    let chunks =
        futures_util::stream::iter((0..64).map(|n| Ok::<_, std::io::Error>(vec![n; 65_536])));
    let answer = cara_tests::http()
        .post(format!("http://{}/echo", server.http))
        .header("host", &host)
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await
        .expect("an answer");
    let body = answer.bytes().await.expect("a body");
    assert_eq!(body.len(), 64 * 65_536);
    assert!(
        body.chunks(65_536)
            .zip(0..)
            .all(|(chunk, n)| chunk.iter().all(|b| *b == n)),
        "in order and whole"
    );
    let client = cara_tests::http_builder()
        .http2_prior_knowledge()
        .resolve(&host, server.http)
        .build()
        .expect("a client");
    let url = format!("http://{host}:{}/", server.http.port());
    let answer = client.get(&url).send().await.expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.expect("a body"), "version 1\n");
    let echoed = client
        .post(format!("{url}echo"))
        .body("two")
        .send()
        .await
        .expect("an answer");
    assert_eq!(echoed.text().await.expect("a body"), "two");
    server.delete(&name).await;
}
