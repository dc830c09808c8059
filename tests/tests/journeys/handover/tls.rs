//! What clients of HTTPS see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cara_tests::tls::is_resumed;
use cara_tests::{Server, TlsClient, eventually, unique};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Load, Pace};

const LIMIT: Duration = Duration::from_secs(20);

fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// Asks for `/` and reads the answer; whether the connection may be kept.
async fn ask(stream: &mut TlsStream<TcpStream>, host: &str, ending: &str) -> Result<bool, String> {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: {ending}\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        while !answer.ends_with(b"version 1\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    let ended: std::io::Result<()> = tokio::time::timeout(LIMIT, exchange).await.map_err(text)?;
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    ended.map_err(|error| format!("{error}: {head}"))?;
    match head.starts_with("http/1.1 200") {
        true => Ok(!head.contains("connection: close")),
        false => Err(head),
    }
}

/// HTTP/1.1 on a connection for as long as it may be kept.
async fn keep_alive(tls: TlsClient, host: String, pace: Pace) -> Result<(), String> {
    while pace.goes_on() {
        let mut stream = tls.connect(&host, "http/1.1").await.map_err(text)?;
        while pace.goes_on() {
            let is_kept = ask(&mut stream, &host, "keep-alive").await?;
            pace.answered();
            if !is_kept {
                break;
            }
        }
    }
    Ok(())
}

/// HTTP/1.1 on a connection for each request.
async fn anew(tls: TlsClient, host: String, pace: Pace) -> Result<(), String> {
    while pace.goes_on() {
        let mut stream = tls.connect(&host, "http/1.1").await.map_err(text)?;
        ask(&mut stream, &host, "close").await?;
        pace.answered();
    }
    Ok(())
}

/// HTTP/2 on a connection until the server tells to go (GOAWAY), which is counted.
async fn over_h2(
    tls: TlsClient,
    host: String,
    told: Arc<AtomicU32>,
    pace: Pace,
) -> Result<(), String> {
    while pace.goes_on() {
        let stream = tls.connect(&host, "h2").await.map_err(text)?;
        let (mut requests, connection) = h2::client::handshake(stream).await.map_err(text)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        while pace.goes_on() {
            requests = match requests.ready().await {
                Ok(ready) => ready,
                Err(error) if error.is_go_away() && error.is_remote() => {
                    told.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(error) => return Err(text(error)),
            };
            let request = Request::get(format!("https://{host}/")).body(());
            let sent = requests.send_request(request.map_err(text)?, true);
            let (answer, _) = sent.map_err(text)?;
            let answer = tokio::time::timeout(LIMIT, answer).await.map_err(text)?;
            let (head, mut body) = answer.map_err(text)?.into_parts();
            let mut length = 0;
            while let Some(part) = body.data().await {
                length += part.map_err(text)?.len();
            }
            if head.status != 200 || length == 0 {
                return Err(format!("status {}, {length} bytes", head.status));
            }
            pace.answered();
        }
    }
    Ok(())
}

async fn echo(socket: &mut WebSocketStream<TlsStream<TcpStream>>, text: &str) {
    socket.send(Message::text(text)).await.expect("it is sent");
    let answer = tokio::time::timeout(LIMIT, socket.next()).await;
    let answer = answer.expect("in time").expect("open").expect("a message");
    assert_eq!(answer, Message::text(text));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_no_request_fails_h2_is_told_to_go_and_a_websocket_stays() {
    let listen = ["--https-listen", "127.0.0.1:0"];
    let mut server = Server::with_agent(&unique("node"), &listen).await;
    let name = unique("handover-tls");
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let tls = TlsClient::of(&server).await;
    let mut first = eventually("the certificate is served", async || {
        tls.connect(&host, "http/1.1").await.ok()
    })
    .await;
    assert_eq!(ask(&mut first, &host, "keep-alive").await, Ok(true));
    let stream = tls.connect(&host, "http/1.1").await.expect("a connection");
    assert!(is_resumed(&stream));
    let (mut socket, _) = tokio_tungstenite::client_async(format!("wss://{host}/ws"), stream)
        .await
        .expect("the upgrade passes");
    echo(&mut socket, "hello").await;

    let told = Arc::new(AtomicU32::new(0));
    let mut load = Load::default();
    for _ in 0..2 {
        load.add(|pace| keep_alive(tls.clone(), host.clone(), pace));
        load.add(|pace| anew(tls.clone(), host.clone(), pace));
        load.add(|pace| over_h2(tls.clone(), host.clone(), Arc::clone(&told), pace));
    }
    let mut replaced = Vec::new();
    for turn in 1..=2 {
        load.go_on(100).await;
        replaced.push(server.take_over().await);
        load.go_on(100).await;
        eventually("HTTP/2 clients are told to go", async || {
            let all_failed = load.clients.is_empty();
            (told.load(Ordering::Relaxed) >= 2 * turn || all_failed).then_some(())
        })
        .await;
        echo(&mut socket, "still there").await;
        // The new one takes its own sessions up again, and refuses none of another process.
        let resumed = eventually("sessions are taken up", async || {
            let mut stream = tls.connect(&host, "http/1.1").await.expect("no refusal");
            assert_eq!(ask(&mut stream, &host, "close").await, Ok(false));
            is_resumed(&stream).then_some(())
        });
        resumed.await;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
    assert_eq!(told.load(Ordering::Relaxed), 4);
    // Nobody asked on it for a while: the first server gives one more answer, and the last.
    assert_eq!(ask(&mut first, &host, "keep-alive").await, Ok(false));
    assert!(!replaced[0].has_ended(), "{}", replaced[0].log());
    socket.close(None).await.expect("closed");
    for process in &mut replaced {
        eventually("the servers that were replaced end", async || {
            process.has_ended().then_some(())
        })
        .await;
    }
    server.delete(&name).await;
}
