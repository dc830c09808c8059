//! The first message of a TLS connection, read without answering, so that its server name can
//! decide who answers.

use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest ClientHello that is accepted, in bytes: post-quantum key shares need some 2 KiB, and a
/// record holds 16.
const HELLO_MAX: usize = 20 * 1024;
/// What most of them need, in bytes.
const HELLO_USUAL: usize = 2 * 1024;

/// A ClientHello.
pub(crate) struct Hello {
    /// It, as rustls read it.
    pub(crate) accepted: Accepted,
    /// All bytes that were read, for whoever speaks TLS in our place.
    pub(crate) bytes: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    /// The client went, or the connection broke.
    #[error("the client went before its ClientHello was complete")]
    Gone(#[source] std::io::Error),
    /// What came is not TLS, or longer than allowed.
    #[error("the client does not speak TLS: {0}")]
    NotTls(String),
}

/// Reads a ClientHello. A client that sends something else is told so, as TLS does.
///
/// The caller sets a deadline. Not cancel-safe: the connection is of no use afterwards.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Hello, HelloError> {
    let mut bytes = Vec::with_capacity(HELLO_USUAL);
    let mut acceptor = Acceptor::default();
    loop {
        let before = bytes.len();
        let count = stream.read_buf(&mut bytes).await;
        if count.map_err(HelloError::Gone)? == 0 {
            return Err(HelloError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if bytes.len() > HELLO_MAX {
            return Err(HelloError::NotTls("the ClientHello is too long".into()));
        }
        let mut fresh = bytes.get(before..).unwrap_or_default();
        while !fresh.is_empty() {
            let fed = acceptor.read_tls(&mut fresh);
            if fed.map_err(|error| HelloError::NotTls(error.to_string()))? == 0 {
                break;
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(Hello { accepted, bytes }),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut record = Vec::new();
                if alert.write_all(&mut record).is_ok() {
                    send(stream, &record).await;
                }
                return Err(HelloError::NotTls(error.to_string()));
            }
        }
    }
}

/// Tells a client that nothing here has the name that it asked for: a fatal alert of the kind
/// `unrecognized_name` (RFC 6066 section 3).
pub(crate) async fn refuse_name(stream: &mut TcpStream) {
    send(stream, &[21, 3, 3, 0, 2, 2, 112]).await;
}

/// A few bytes fit into the socket's buffer; a client for which they do not gets none.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    const PATIENCE: Duration = Duration::from_millis(100);
    let sent = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    };
    // The client may be gone already, which is what is wanted.
    let _ = tokio::time::timeout(PATIENCE, sent).await;
}
