//! Bytes passed on as they are, in both directions, between a client and a service.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use crate::deadline::{Ending, EndingWait};

/// Bytes on their way, in each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long a passed-through connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For an endpoint to accept.
    pub(crate) connect: Duration,
    /// For silence in both directions at once.
    pub(crate) idle: Duration,
}

/// Why a connection was not passed on to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpliceError {
    /// No endpoint accepted.
    #[error("no endpoint of the service accepts connections")]
    Unreachable,
    /// One side broke the connection.
    #[error("the connection broke")]
    Broken(#[from] std::io::Error),
    /// The endpoint left, and the time to end in is over.
    #[error("the endpoint has left")]
    Over,
    /// Neither side sent anything for too long.
    #[error("the connection was silent for too long")]
    Idle,
}

/// Connects to the first endpoint that accepts, beginning at a random one.
pub(crate) async fn connect(
    endpoints: &[SocketAddr],
    patience: Duration,
) -> Result<(TcpStream, SocketAddr), SpliceError> {
    let count = endpoints.len();
    let start = fastrand::usize(..count.max(1));
    for endpoint in endpoints.iter().cycle().skip(start).take(count) {
        let connected = tokio::time::timeout(patience, TcpStream::connect(endpoint)).await;
        if let Ok(Ok(service)) = connected {
            service.set_nodelay(true)?;
            return Ok((service, *endpoint));
        }
    }
    Err(SpliceError::Unreachable)
}

/// Passes `first`, which the client has sent already, and everything after it on to a service, and
/// its answers back, until both sides have ended, or the endpoint's time has (`ends`). Either side
/// may end before the other.
pub(crate) async fn run(
    client: TcpStream,
    first: &[u8],
    (endpoints, ends): (
        &[SocketAddr],
        impl FnOnce(SocketAddr) -> Option<Arc<Ending>>,
    ),
    patience: Patience,
) -> Result<(), SpliceError> {
    let (mut service, endpoint) = connect(endpoints, patience.connect).await?;
    let mut ending = ends(endpoint).map(|ending| EndingWait::new(&ending));
    let over = poll_fn(|cx| match &mut ending {
        Some(ending) => ending.poll(cx),
        None => Poll::Pending,
    });
    service.write_all(first).await?;
    let moved = AtomicBool::new(true);
    let mut client = Watched {
        stream: client,
        moved: &moved,
    };
    let copied =
        copy_bidirectional_with_sizes(&mut client, &mut service, BUFFER_BYTES, BUFFER_BYTES);
    tokio::select! {
        copied = copied => Ok(copied.map(|_| ())?),
        () = silence(&moved, patience.idle) => Err(SpliceError::Idle),
        () = over => Err(SpliceError::Over),
    }
}

/// Ends when nothing moved for one to two periods.
async fn silence(moved: &AtomicBool, idle: Duration) {
    while moved.swap(false, Ordering::Relaxed) {
        tokio::time::sleep(idle).await;
    }
}

/// Notes that bytes moved.
struct Watched<'a> {
    stream: TcpStream,
    moved: &'a AtomicBool,
}

impl Watched<'_> {
    fn note<T>(&self, outcome: &Poll<T>) {
        if outcome.is_ready() {
            self.moved.store(true, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Watched<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(&outcome);
        outcome
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
