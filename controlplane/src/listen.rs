//! The listener of the API: plain, or TLS that asks clients for a certificate and does without.
//!
//! Owns connections until a request comes: handshakes beside one another, each with its time, and
//! what a client showed. It refuses to know what anybody may do.

mod stream;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::peers::Peers;
use crate::plan::admission::Presented;
pub(crate) use stream::ApiStream;
use tls::ServerTls;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes that go on at once; others wait to be accepted.
const HANDSHAKES: usize = 256;
/// Pause after an accept that failed, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long a client may take nothing that waits for it. A person may have stopped a terminal.
const TAKE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// The first byte of a TLS connection (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Said to who speaks plain HTTP where TLS is wanted.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 48\r\n\r\nthis port speaks HTTPS: use https:// in the URL\n";

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// From where it comes.
    pub(crate) remote: SocketAddr,
    /// The node's certificate that it showed, if it did.
    pub(crate) certificate: Option<Arc<Presented>>,
}

impl Connected<IncomingStream<'_, ApiListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, ApiListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Accepts connections of the API.
pub(crate) struct ApiListener {
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    peers: Arc<Peers>,
    handshakes: JoinSet<Option<(ApiStream, Connection)>>,
}

impl ApiListener {
    /// Serves plainly where there is no TLS. Connections of nodes are noted in `peers`.
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<Arc<ServerTls>>,
        peers: Arc<Peers>,
    ) -> Self {
        Self {
            listener,
            tls,
            peers,
            handshakes: JoinSet::new(),
        }
    }

    /// One accepted connection, or a finished handshake.
    async fn step(&mut self) -> Option<(ApiStream, Connection)> {
        let has_room = self.handshakes.len() < HANDSHAKES;
        tokio::select! {
            Some(done) = self.handshakes.join_next() => done.ok().flatten(),
            accepted = self.listener.accept(), if has_room => match accepted {
                Ok((stream, remote)) => self.begin(stream, remote),
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept connections of the API");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    None
                }
            },
        }
    }

    fn begin(&mut self, stream: TcpStream, remote: SocketAddr) -> Option<(ApiStream, Connection)> {
        // Fails only for a connection that is gone, which shows soon.
        let _ = stream.set_nodelay(true);
        end_stalled(&stream, TAKE_LIMIT);
        let Some(tls) = &self.tls else {
            let connection = Connection {
                remote,
                certificate: None,
            };
            return Some((ApiStream::plain(stream), connection));
        };
        let (tls, peers) = (Arc::clone(tls), Arc::clone(&self.peers));
        self.handshakes.spawn(async move {
            let handshake = shake(stream, remote, &tls, &peers);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(done)) => Some(done),
                Ok(Err(error)) => {
                    tracing::debug!(%remote, error = %error, "no TLS with a client of the API");
                    None
                }
                Err(_) => {
                    tracing::debug!(%remote, "a client of the API was too slow with its handshake");
                    None
                }
            }
        });
        None
    }
}

/// Has the system end a connection whose other end is gone, or takes nothing, for so long: else what
/// waits for it is held for ever.
fn end_stalled(stream: &TcpStream, limit: Duration) {
    let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    // A system that cannot do so still ends those whose other end is gone, later.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, limit_ms);
}

async fn shake(
    stream: TcpStream,
    remote: SocketAddr,
    tls: &ServerTls,
    peers: &Arc<Peers>,
) -> std::io::Result<(ApiStream, Connection)> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
        use tokio::io::AsyncWriteExt;
        let mut stream = stream;
        stream.write_all(SPEAK_TLS).await?;
        stream.shutdown().await?;
        return Err(std::io::Error::other("it speaks plain HTTP"));
    }
    let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    // The handshake has checked who issued it.
    let certificate = shown.and_then(|chain| tls::presented(chain.first()?));
    let certificate = certificate.map(Arc::new);
    let connection = Connection {
        remote,
        certificate: certificate.clone(),
    };
    let entry = certificate.map(|presented| peers.enter(presented));
    Ok((ApiStream::tls(stream, entry), connection))
}

impl Listener for ApiListener {
    type Io = ApiStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Some(ready) = self.step().await {
                return ready;
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(Connection {
            remote: self.listener.local_addr()?,
            certificate: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn the_system_ends_a_connection_whose_other_end_takes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let _reads_nothing = TcpStream::connect(address).await.expect("a connection");
        let (mut stream, _) = listener.accept().await.expect("a connection");
        end_stalled(&stream, Duration::from_secs(1));
        let piece = vec![0; 64 * 1024];
        let written = tokio::time::timeout(Duration::from_secs(60), async {
            while stream.write_all(&piece).await.is_ok() {}
        });
        assert!(written.await.is_ok(), "it goes on");
    }
}
