//! What is known about the client of a connection, for everybody who serves its requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use cara_certs::Bundle;
use http::HeaderValue;
use pingora_proxy::Session;

use super::ListenerKind;
use super::client_auth::ClientAuth;
use crate::deadline::Ending;

/// What a connection is, from its first byte to its end.
#[derive(Debug)]
pub(crate) struct ClientInfo {
    /// The client; what a trusted PROXY header says goes before the socket's own address.
    pub(crate) peer: SocketAddr,
    /// The kind of the listener.
    pub(crate) listener: ListenerKind,
    /// What TLS says; none without it.
    pub(crate) tls: Option<TlsInfo>,
    stage: AtomicU8,
    /// When the answer that is under way over HTTP/1 has to end. Only the connection's own task
    /// looks at it.
    answer_ends: Mutex<Option<Arc<Ending>>>,
}

/// What the handshake of a connection settled.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    /// The version, as logs show it: `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The server name that the client asked for, in lower case without trailing dot.
    pub(crate) sni: Option<Box<str>>,
    /// The certificate that stood for the name at the handshake.
    pub(crate) certificate: Arc<Bundle>,
    /// Who had to vouch for the client, and did.
    pub(crate) client_auth: Option<Arc<ClientAuth>>,
    /// The certificate that the client showed, as services are told ([`header_value`]).
    pub(crate) client_certificate: Option<HeaderValue>,
}

/// A certificate (DER) as a value of `Client-Cert` (RFC 9440 section 2.1).
pub(crate) fn header_value(certificate: &[u8]) -> Option<HeaderValue> {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    HeaderValue::try_from(format!(":{text}:")).ok()
}

/// The protocol inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// HTTP/1.1, asked for or by default.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where a connection is between two requests and the next; decides which deadline applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Nothing of the next request has arrived.
    Idle = 0,
    /// A part of a request's head has arrived.
    Head = 1,
    /// The head is complete, or the connection speaks HTTP/2 and counts its streams itself.
    Open = 2,
    /// The connection was upgraded, such as to WebSocket: it stays silent for as long as it likes,
    /// and ends when the gateway does.
    Tunnel = 3,
}

impl ClientInfo {
    pub(crate) fn new(peer: SocketAddr, listener: ListenerKind, tls: Option<TlsInfo>) -> Self {
        Self {
            peer,
            listener,
            tls,
            stage: AtomicU8::new(Stage::Idle as u8),
            answer_ends: Mutex::default(),
        }
    }

    /// When the answer that is under way has to end; none before it has begun.
    pub(crate) fn answer_ends(&self) -> Option<Arc<Ending>> {
        let ends = self.answer_ends.lock();
        ends.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// To be called when a request begins, and when its answer does.
    pub(crate) fn set_answer_ends(&self, ends: Option<Arc<Ending>>) {
        let now = self.answer_ends.lock();
        *now.unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// The stage of the connection.
    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Idle,
            1 => Stage::Head,
            2 => Stage::Open,
            _ => Stage::Tunnel,
        }
    }

    /// Moves on. Only the connection's task and the requests on it do, one after the other.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// To be called before a request is read; `has_begun` says that a part of its head is there.
    pub(crate) fn next_request(&self, has_begun: bool) {
        self.set_stage(if has_begun { Stage::Head } else { Stage::Idle });
    }

    /// To be called when a request's head is complete.
    pub(crate) fn head_is_complete(&self, is_upgrade: bool) {
        self.set_stage(if is_upgrade {
            Stage::Tunnel
        } else {
            Stage::Open
        });
    }
}

/// What is known about the client of a request, over HTTP/1 and HTTP/2 alike. None only for
/// sessions that no listener of ours accepted.
pub(crate) fn client_info(session: &Session) -> Option<&ClientInfo> {
    let digest = session.as_downstream().digest()?;
    let data = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
    data.downcast_ref::<Arc<ClientInfo>>().map(Arc::as_ref)
}
