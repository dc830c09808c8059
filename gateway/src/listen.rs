//! How clients reach the gateway: sockets, who is let in, and what a connection is before its
//! first request.
//!
//! ```text
//! socket -> admission -> PROXY header -> ClientHello -> passthrough (tcp)
//!                             |               '-> TLS handshake -> connection -> proxy
//!                             '-> first bytes (HTTP/1 or HTTP/2) -----'
//! ```
//!
//! Owns everything up to the first request and the limits of a connection. It refuses to know
//! routes: it sees server names and ports, and where they lead.

pub(crate) mod admission;
pub(crate) mod by_name;
pub(crate) mod client;
pub(crate) mod client_auth;
pub(crate) mod connection;
pub(crate) mod establish;
pub(crate) mod follow;
mod frames;
pub(crate) mod hello;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod passed;
pub(crate) mod preamble;
pub(crate) mod proxy_protocol;
pub(crate) mod splice;
pub(crate) mod streams;
pub(crate) mod tls;
mod trusted;
pub(crate) mod watch;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

pub use trusted::{BadRange, TrustedRanges};

/// Time after which the system asks whether a silent client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A bound socket and what is spoken on it.
#[derive(Debug)]
pub struct Listener {
    /// The socket; the caller has bound it.
    pub socket: TcpListener,
    /// What clients speak.
    pub kind: ListenerKind,
    /// Who must send a PROXY header first; empty when nobody does.
    pub proxy_protocol: TrustedRanges,
}

/// What clients speak on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// HTTP/1.1, or HTTP/2 with prior knowledge, without TLS.
    Http,
    /// TLS, with HTTP/1.1 or HTTP/2 inside.
    Https,
    /// Bytes that are passed on as they are.
    Tcp,
}

impl ListenerKind {
    /// The value of a metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }
}

/// Lowest version of TLS that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl std::str::FromStr for TlsVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(()),
        }
    }
}

/// What a connection may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a client may take for its PROXY header, its TLS handshake, and the head of a
    /// request of which a part has arrived; each counts by itself.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle: Duration,
    /// How long a client may take to receive anything of an answer.
    pub write_timeout: Duration,
    /// How long a client may pause within the body of a request over HTTP/1, and take for a small
    /// one over HTTP/2.
    pub body_pause: Duration,
    /// Connections that are open at once.
    pub connections: usize,
    /// Connections of one client that are open at once: an IPv4 address, or the /64 of an IPv6
    /// address. None for no limit.
    pub connections_per_client: Option<usize>,
    /// Connections to services that are kept while nobody uses them.
    pub idle_upstreams: usize,
    /// How long a passed-through connection may be silent in both directions.
    pub stream_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            body_pause: Duration::from_secs(60),
            connections: 50_000,
            connections_per_client: None,
            idle_upstreams: 16_384,
            stream_idle: Duration::from_secs(3_600),
        }
    }
}

/// Bytes that the system takes of an answer beyond what the client's window lets it send. It asks for more when
/// half of them has gone. Without a bound it takes megabytes and asks when a third of them has gone, which
/// takes a slow client long enough to look as if it took nothing.
const UNSENT: u32 = 256 * 1024;

/// Prepares a socket for the accept loop. What is set here, its connections inherit: packets are
/// sent at once, clients that vanished are noticed, and not too much waits for slow ones.
///
/// # Errors
/// The system refuses.
pub(crate) fn prepare(socket: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    let options = socket2::SockRef::from(&socket);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_keepalive(&keepalive)?;
    if let Err(error) = options.set_tcp_notsent_lowat(UNSENT) {
        // Some sandboxes do not know it: there, slow clients are given up sooner.
        tracing::warn!(error = %error, "the bound on what waits for slow clients cannot be set");
    }
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

/// An address with IPv4 in its own form, as sockets for both versions report it mapped.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
