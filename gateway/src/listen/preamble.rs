//! What comes before HTTP or TLS on a connection: a PROXY header, and HTTP/2's preface.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::TrustedRanges;
use super::canonical;
use super::proxy_protocol::{self, Fault, HEADER_MAX, Progress, Source};

/// Pause between looks at a connection whose first bytes came one by one.
const PEEK_PAUSE: Duration = Duration::from_millis(5);

/// Why a connection ends before it began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreambleError {
    /// The sender of the connection may not say who the client is.
    #[error("{0} is in no range that PROXY headers are taken from")]
    Untrusted(SocketAddr),
    /// The header is missing or wrong.
    #[error("{0}")]
    Header(#[from] Fault),
    /// The connection broke.
    #[error("the connection broke during its PROXY header")]
    Io(#[from] std::io::Error),
}

/// Takes the PROXY header off a connection, where its listener wants one, and says who the client
/// is and what it connected to. The caller sets a deadline.
///
/// # Errors
/// The connection is not to be served.
pub(crate) async fn client_of(
    stream: &mut TcpStream,
    peer: SocketAddr,
    trusted: &TrustedRanges,
) -> Result<SocketAddr, PreambleError> {
    let peer = canonical(peer);
    if trusted.is_empty() {
        return Ok(peer);
    }
    if !trusted.contains(peer.ip()) {
        return Err(PreambleError::Untrusted(peer));
    }
    match take_header(stream).await? {
        Source::Client { client, .. } => Ok(canonical(client)),
        Source::Sender => Ok(peer),
    }
}

/// Reads just the header: looks first, and takes only what is known to belong to it.
async fn take_header(stream: &mut TcpStream) -> Result<Source, PreambleError> {
    let mut buffer = vec![0; HEADER_MAX];
    let mut taken = 0;
    loop {
        let unseen = buffer.get_mut(taken..).unwrap_or_default();
        let count = stream.peek(unseen).await?;
        if count == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let seen = buffer.get(..taken + count).unwrap_or_default();
        let (end, source) = match proxy_protocol::parse(seen)? {
            Progress::Done { source, length } => (length, Some(source)),
            Progress::More => (taken + count, None),
        };
        let belongs = buffer.get_mut(taken..end).unwrap_or_default();
        stream.read_exact(belongs).await?;
        taken = end;
        if let Some(source) = source {
            return Ok(source);
        }
    }
}

/// Whether a connection begins with HTTP/2's preface (RFC 9113 section 3.4); no HTTP/1 method
/// begins with `PRI`. Looks without consuming. The caller sets a deadline.
pub(crate) async fn begins_as_h2(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut buffer = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut buffer).await?;
        let seen = buffer.get(..count).unwrap_or_default();
        if count == 0 || !PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}
