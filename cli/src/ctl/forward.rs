//! `port-forward`: ports of this machine that lead to ports of a service.
//!
//! Each connection is a stream of its own through the server. One that comes while the service is
//! being replaced waits a little; the ports stay open.

mod ports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use cara_api::client::{Backoff, Client, Connection};
use cara_api::paths;
use cara_api::stream::frame::PIECE;
use cara_api::stream::socket::{PING_PERIOD, Receiver, Sender};
use cara_api::stream::{Channel, End, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::args::Forward;
use super::failure::Failure;
use super::logs::service_of;
use super::{Context, tell};
use ports::split;

/// Connections at once.
const CONNECTIONS: usize = 200;
/// How long a connection waits for a service that is being replaced.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits for a port that nobody listens on.
const PORT_PATIENCE: Duration = Duration::from_secs(3);
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Listens until interrupted.
pub async fn run(context: &Context, options: Forward) -> Result<(), Failure> {
    if options.node.is_some() {
        tell(format_args!(
            "--node is not needed: the server knows where the project runs"
        ));
    }
    let (words, ports) = split(&options.words)?;
    let subject = context.subject(words).await?;
    let (project, named) = (subject.project, subject.services.first());
    let service = service_of(context, &project, named.map(String::as_str)).await?;
    let whom = format!("{project}/{service}");
    let mut listeners = JoinSet::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    for port in ports {
        let address = SocketAddr::new(options.address, port.local);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::other(format!("cannot listen on {address}: {error}"))
                .with("choose another port: LOCAL:REMOTE, or 0:REMOTE for any that is free")
        })?;
        let local = listener.local_addr().unwrap_or(address);
        tell(format_args!("Forwarding {local} -> {whom}:{}", port.remote));
        let path = paths::fill(
            paths::SERVICE_FORWARD,
            &[&project, &service, &port.remote.to_string()],
        );
        let door = Door {
            client: context.client.clone(),
            path,
            slots: Arc::clone(&slots),
        };
        listeners.spawn(door.listen(listener));
    }
    if !options.address.is_loopback() {
        tell(format_args!(
            "Warning: whoever reaches {} reaches the service",
            options.address
        ));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| Failure::other(error.to_string()))?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        Some(_) = listeners.join_next() => return Err(Failure::other("a port could not be kept open")),
    }
    tell(format_args!("Shutting down..."));
    Ok(())
}

/// A port of this machine.
#[derive(Clone)]
struct Door {
    client: Client,
    path: String,
    slots: Arc<Semaphore>,
}

impl Door {
    async fn listen(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, peer)) = accepted else {
                        // Out of files: some will be given back.
                        tokio::time::sleep(PAUSES.1).await;
                        continue;
                    };
                    connections.spawn(self.clone().serve(stream, peer));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let Ok(_slot) = self.slots.try_acquire() else {
            tell(format_args!(
                "Connection from {peer}: {CONNECTIONS} are open, which is the most"
            ));
            return;
        };
        tell(format_args!("Handling connection for {peer}"));
        let _ = stream.set_nodelay(true);
        match self.open().await {
            Ok((sender, receiver)) => match carry(stream, sender, receiver).await {
                Ok(()) => tell(format_args!("Connection from {peer} closed")),
                Err(error) => tell(format_args!("Connection from {peer} broke: {error}")),
            },
            Err(error) => tell(format_args!("Connection from {peer}: {error}")),
        }
    }

    /// Opens a stream, again and again while the service is being replaced.
    async fn open(
        &self,
    ) -> Result<(Sender<Connection>, Receiver<Connection>), cara_api::client::Error> {
        let since = tokio::time::Instant::now();
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            let error = match self.client.socket(&self.path, &[]).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            let patience = match error.status() {
                Some(502) => PORT_PATIENCE,
                None | Some(404 | 409 | 503) => PATIENCE,
                Some(_) => Duration::ZERO,
            };
            if since.elapsed() > patience {
                return Err(error);
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// Carries bytes both ways; each direction ends by itself. What breaks must not look like an end to whoever
/// connected here: then their connection is reset.
async fn carry(
    stream: TcpStream,
    sender: Sender<Connection>,
    receiver: Receiver<Connection>,
) -> Result<(), String> {
    let (mut read, mut write) = stream.into_split();
    let ended = tokio::select! {
        ended = inward(&mut write, receiver) => ended,
        ended = outward(&mut read, sender) => ended,
    };
    if ended.is_err() {
        // Fails only for one that is gone.
        let _ = read.as_ref().set_zero_linger();
    }
    ended
}

/// From here to the service. Goes on after the end of what comes from here, so that the other
/// direction can end by itself.
async fn outward(read: &mut OwnedReadHalf, mut sender: Sender<Connection>) -> Result<(), String> {
    let mut buffer = BytesMut::new();
    let mut is_over = false;
    loop {
        buffer.reserve(PIECE);
        let sent = tokio::select! {
            count = read.read_buf(&mut buffer), if !is_over => match count {
                Ok(0) => {
                    is_over = true;
                    sender.send(&Frame::eof()).await
                }
                Ok(_) => sender.send(&Frame::new(Channel::Stdin, buffer.split().freeze())).await,
                Err(error) => {
                    sender.close().await;
                    return Err(error.to_string());
                }
            },
            () = tokio::time::sleep(PING_PERIOD) => sender.ping().await,
        };
        if let Err(error) = sent {
            // What the service still says may have arrived.
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(error.to_string());
        }
    }
}

/// From the service to here, until the server says that both directions ended.
async fn inward(
    write: &mut OwnedWriteHalf,
    mut receiver: Receiver<Connection>,
) -> Result<(), String> {
    loop {
        let frame = receiver.next().await.map_err(|error| error.to_string())?;
        let frame = frame.ok_or("the server closed the connection")?;
        match frame.channel {
            Channel::Stdout => {
                let written = write.write_all(&frame.payload).await;
                written.map_err(|error| error.to_string())?;
            }
            Channel::Eof => {
                // Whoever connected here may be gone already.
                let _ = write.shutdown().await;
            }
            Channel::Status => {
                let end: End = frame.read().unwrap_or_default();
                return end.error.map_or(Ok(()), Err);
            }
            Channel::Stdin
            | Channel::Stderr
            | Channel::Resize
            | Channel::Signal
            | Channel::Taken => {}
        }
    }
}
