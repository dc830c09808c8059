//! From an accepted socket to something that can be served: the shell around the other modules
//! here, which decide.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::admission::Permit;
use super::client::{self, Alpn, ClientInfo, TlsInfo};
use super::connection::{Connection, Patience, Protocol};
use super::hello::{self, HelloError};
use super::metrics::{Handshake, ListenMetrics};
use super::names::{Decision, Names};
use super::passed::Passed;
use super::tls::{self, Configs};
use super::{ListenerKind, TrustedRanges, preamble};
use crate::deadline::Ending;

/// How long a client of a plain listener may take to send its first byte.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(30);

/// What it takes to establish a connection, for all listeners.
pub(crate) struct Establish {
    pub(crate) configs: Arc<Configs>,
    pub(crate) names: Arc<ArcSwap<Names>>,
    pub(crate) metrics: ListenMetrics,
    pub(crate) patience: Patience,
    pub(crate) ending: Arc<Ending>,
}

/// A connection that can be served.
pub(crate) enum Established {
    /// HTTP without TLS.
    Plain(Box<Connection<TcpStream>>),
    /// HTTP inside TLS.
    Tls(Box<Connection<TlsStream<TcpStream>>>),
    /// Bytes for a service that speaks TLS itself.
    Passthrough {
        /// The client.
        client: TcpStream,
        /// What was read of it.
        first: Vec<u8>,
        /// Who it is, as far as the route's allow list is concerned.
        peer: SocketAddr,
        /// Where to pass it on to.
        route: Passed,
    },
}

/// A socket that was accepted.
pub(crate) struct Accepted<'a> {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) kind: ListenerKind,
    pub(crate) trusted: &'a TrustedRanges,
}

impl Establish {
    /// Makes a connection out of a socket. None when it ended before that, which is counted.
    pub(crate) async fn establish(
        &self,
        accepted: Accepted<'_>,
        permit: &mut Permit,
    ) -> Option<Established> {
        let Accepted {
            mut stream,
            peer,
            kind,
            trusted,
        } = accepted;
        let client = self.client(&mut stream, peer, trusted, permit).await?;
        let info = |tls| Arc::new(ClientInfo::new(client, kind, tls));
        match kind {
            ListenerKind::Http => self.plain(stream, info(None)).await,
            ListenerKind::Https => {
                let handshake = timeout(self.patience.head, self.tls(stream, info)).await;
                let (outcome, established) = handshake.unwrap_or((Handshake::Late, None));
                tracing::debug!(%client, ?outcome, "TLS handshake");
                self.metrics.handshake(outcome);
                established
            }
            // Ports have no common first bytes; see `streams`.
            ListenerKind::Tcp => None,
        }
    }

    /// Who the client of a connection is: whom its PROXY header names, where one is due. None when it
    /// does not get in, which is counted.
    pub(crate) async fn client(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        trusted: &TrustedRanges,
        permit: &mut Permit,
    ) -> Option<SocketAddr> {
        let client = preamble::client_of(stream, peer, trusted);
        let client = match timeout(self.patience.head, client).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                tracing::debug!(%peer, error = %error, "closed");
                self.metrics.bad_proxy_header();
                return None;
            }
            Err(_) => {
                self.metrics.bad_proxy_header();
                return None;
            }
        };
        if let Err(refusal) = permit.count_for(client.ip()) {
            self.metrics.refused(refusal);
            return None;
        }
        Some(client)
    }

    async fn plain(&self, mut stream: TcpStream, info: Arc<ClientInfo>) -> Option<Established> {
        let waits = preamble::Patience {
            first: FIRST_BYTES_TIMEOUT,
            rest: self.patience.head,
        };
        // Else silent, or gone before it said what it speaks.
        let begun = preamble::begin(&mut stream, waits).await.ok()?;
        let protocol = if begun.is_h2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        let id = stream.as_raw_fd();
        let (patience, ending) = (self.patience, &self.ending);
        let mut connection = Connection::new(stream, id, protocol, info, patience, ending);
        connection.unread(begun.bytes);
        Some(Established::Plain(Box::new(connection)))
    }

    async fn tls(
        &self,
        mut stream: TcpStream,
        info: impl FnOnce(Option<TlsInfo>) -> Arc<ClientInfo>,
    ) -> (Handshake, Option<Established>) {
        let hello = match hello::read(&mut stream).await {
            Ok(hello) => hello,
            Err(HelloError::Gone(_)) => return (Handshake::Gone, None),
            Err(HelloError::NotTls(_)) => return (Handshake::Protocol, None),
        };
        let sni = tls::server_name(&hello.accepted.client_hello());
        let decision = self.names.load().decide(sni.as_deref());
        let (certificate, client_auth) = match decision {
            Decision::Passthrough(route) => {
                let established = Established::Passthrough {
                    client: stream,
                    first: hello.bytes,
                    peer: info(None).peer,
                    route,
                };
                return (Handshake::Passthrough, Some(established));
            }
            Decision::Unrecognized => {
                hello::refuse_name(&mut stream).await;
                return (Handshake::UnknownName, None);
            }
            Decision::Terminate {
                certificate,
                client_auth,
            } => (certificate, client_auth),
        };
        let config = match &client_auth {
            None => Some(self.configs.open()),
            Some(auth) => auth.config(),
        };
        let Some(config) = config.map(Arc::clone) else {
            return (Handshake::ClientCertificate, None);
        };
        let id = stream.as_raw_fd();
        let accept = StartHandshake::from_parts(hello.accepted, stream).into_stream(config);
        let stream = match accept.await {
            Ok(stream) => stream,
            Err(error) => return (outcome_of(&error), None),
        };
        let session = stream.get_ref().1;
        let outcome = match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                Handshake::Full
            }
        };
        let alpn = alpn_of(session);
        // A resumed session has the one that was shown when it began.
        let shown = client_auth.as_ref().and(session.peer_certificates());
        let client_certificate = shown
            .and_then(<[_]>::first)
            .and_then(|certificate| client::header_value(certificate));
        let tls = TlsInfo {
            version: version_of(session),
            sni,
            certificate,
            client_auth,
            client_certificate,
        };
        let protocol = Protocol::Tls(alpn);
        let (info, patience) = (info(Some(tls)), self.patience);
        let connection = Connection::new(stream, id, protocol, info, patience, &self.ending);
        (outcome, Some(Established::Tls(Box::new(connection))))
    }
}

fn alpn_of(session: &ServerConnection) -> Alpn {
    if session.alpn_protocol() == Some(b"h2") {
        Alpn::Http2
    } else {
        Alpn::Http1
    }
}

fn version_of(session: &ServerConnection) -> &'static str {
    match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    }
}

/// What a failed handshake counts as.
fn outcome_of(error: &std::io::Error) -> Handshake {
    use rustls::Error as E;
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<E>());
    match inner {
        None => Handshake::Gone,
        Some(E::NoCertificatesPresented | E::InvalidCertificate(_)) => Handshake::ClientCertificate,
        Some(E::AlertReceived(_)) => Handshake::Refused,
        Some(_) => Handshake::Protocol,
    }
}
