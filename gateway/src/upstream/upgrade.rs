//! Connections to services for requests that upgrade them, such as to WebSocket.
//!
//! Pingora passes the end of a request's body and the service's answer through one place, in
//! whatever order it comes to them. When a service answers 101 so quickly that the end of the
//! (empty) body was not passed on yet, that end is taken for the end of the tunnel, which closes at
//! once. So the first reads after a write yield once: what is ready besides is then done first.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_error::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Reads that yield: those of the answer's head, and of a TLS handshake before it.
const YIELDS: u8 = 16;

/// Connects, within a time.
pub(super) fn dialer(limit: Duration) -> Arc<dyn Connect + Send + Sync> {
    Arc::new(Dialer { limit })
}

/// Keeps these connections apart from those that other requests share.
pub(super) fn group(group: u64) -> u64 {
    group.rotate_left(1) ^ 0x7570_6772_6164_6521
}

#[derive(Debug)]
struct Dialer {
    limit: Duration,
}

#[async_trait]
impl Connect for Dialer {
    async fn connect(&self, address: &Address) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::InternalError, "a service has an IP address");
        };
        let connected = tokio::time::timeout(self.limit, open(address)).await;
        let socket = match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                let kind = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                    _ => ErrorType::ConnectError,
                };
                return Error::e_because(kind, "connecting for an upgrade", error);
            }
            Err(_) => return Error::e_explain(ErrorType::ConnectTimedout, "connecting"),
        };
        let socket = Yielding {
            socket,
            yields: YIELDS,
            has_written: false,
        };
        Ok(Stream::from(VirtualSocketStream::new(Box::new(socket))))
    }
}

async fn open(address: &SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A socket whose first reads after writes yield.
#[derive(Debug)]
struct Yielding {
    socket: TcpStream,
    yields: u8,
    has_written: bool,
}

impl Yielding {
    fn note_write(
        &mut self,
        outcome: Poll<std::io::Result<usize>>,
    ) -> Poll<std::io::Result<usize>> {
        let written = ready!(outcome);
        self.has_written = true;
        Poll::Ready(written)
    }
}

impl AsyncRead for Yielding {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.yields > 0 && std::mem::take(&mut self.has_written) {
            self.yields -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Yielding {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note_write(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note_write(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

impl VirtualSocket for Yielding {
    /// What is wanted is set from the beginning.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> std::io::Result<()> {
        Ok(())
    }
}
