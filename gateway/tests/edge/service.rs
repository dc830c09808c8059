//! A service behind the gateway: tells what it was asked, echoes after an upgrade.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Starts the service; it ends with the test's runtime.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Answers with the request's head as the body. `/slow` waits for the body's end, `/big` sends
/// 64 MiB, and what ends in `/heads/COUNT/BYTES` gets so many headers with values
/// of so many bytes.
async fn serve(mut stream: TcpStream) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if text.contains("upgrade: websocket") {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.ok()?;
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.ok()?;
            return None;
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        if text.starts_with("get /big") {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n";
            stream.write_all(head.as_bytes()).await.ok()?;
            for _ in 0..1_024 {
                stream.write_all(&[b'x'; 65_536]).await.ok()?;
            }
            continue;
        }
        let more = large_head(&text).unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{more}\r\n{text}",
            text.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The headers that a request asks for.
fn large_head(request: &str) -> Option<String> {
    let (_, wanted) = request.lines().next()?.split_once("/heads/")?;
    let (count, bytes) = wanted.split(' ').next()?.split_once('/')?;
    let value = "v".repeat(bytes.parse().ok()?);
    let lines = (0..count.parse().ok()?).map(|n: usize| format!("x-{n:02}: {value}\r\n"));
    Some(lines.collect())
}

/// Starts a service that sends back every byte, and ends when its client does.
pub async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.write_all(b" end").await;
            });
        }
    });
    address
}
