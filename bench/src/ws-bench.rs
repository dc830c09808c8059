//! Both ends of a WebSocket measurement.
//!
//! Usage: `ws-bench echo LISTEN`, or `ws-bench load ADDRESS HOST CONNECTIONS SECONDS`: each connection
//! sends 64 bytes, waits for the echo, and so on; prints messages/s, and milliseconds for one
//! message there and back (median and 99th percentile).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long an echo may take beyond the end of the measurement.
const PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["echo", listen] => echo(listen.parse()?).await,
        ["load", address, host, connections, seconds] => {
            let end = Instant::now() + Duration::from_secs(seconds.parse()?);
            load(address.parse()?, host, connections.parse()?, end).await
        }
        _ => Err("usage: ws-bench echo LISTEN | load ADDRESS HOST CONNECTIONS SECONDS".into()),
    }
}

async fn echo(listen: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(answer(accepted?.0));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

async fn load(
    address: SocketAddr,
    host: &str,
    connections: usize,
    end: Instant,
) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(ping(address, host.to_owned(), end));
    }
    let mut times: Vec<Duration> = Vec::new();
    let late = end.duration_since(begin) + PATIENCE;
    while let Some(done) = tokio::time::timeout(late, clients.join_next()).await? {
        times.extend(done??);
    }
    times.sort_unstable();
    let seconds = begin.elapsed().as_secs_f64();
    let at = |share: usize| {
        let time = times.get(times.len() * share / 100).copied();
        time.unwrap_or_default().as_secs_f64() * 1_000.0
    };
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let rate = times.len() as f64 / seconds;
    println!("{} {rate:.1} {:.3} {:.3}", times.len(), at(50), at(99));
    Ok(())
}

async fn ping(address: SocketAddr, host: String, end: Instant) -> Result<Vec<Duration>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!("ws://{host}/ws").into_client_request()?;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let mut times = Vec::new();
    while Instant::now() < end {
        let sent = Instant::now();
        socket.send(Message::Binary(vec![b'x'; 64].into())).await?;
        match socket.next().await {
            Some(message) => drop(message?),
            None => return Err("the connection ended".into()),
        }
        times.push(sent.elapsed());
    }
    socket.close(None).await?;
    Ok(times)
}
