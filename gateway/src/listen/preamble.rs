//! What comes before HTTP or TLS on a connection: a PROXY header, and HTTP/2's preface.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::TrustedRanges;
use super::canonical;
use super::proxy_protocol::{self, Fault, HEADER_MAX, Progress, Source};

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

/// What HTTP/2 begins with (RFC 9113 section 3.4); no HTTP/1 method begins so.
const PREFACE: &[u8; 3] = b"PRI";

/// The first bytes of a connection without TLS, which say what it speaks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) is_h2: bool,
    /// What was read; whoever serves the connection has to read it again.
    pub(crate) bytes: Vec<u8>,
}

/// How long a client may take to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until its first byte.
    pub(crate) first: Duration,
    /// From then on.
    pub(crate) rest: Duration,
}

/// Reads until it is known what a connection speaks, which is one byte for nearly all of HTTP/1.
///
/// Not cancel-safe: the connection is of no use afterwards.
///
/// # Errors
/// The client is silent for too long, or the connection has ended or broken.
pub(crate) async fn begin(
    stream: &mut (impl AsyncRead + Unpin),
    patience: Patience,
) -> std::io::Result<Beginning> {
    let mut bytes = Vec::with_capacity(PREFACE.len());
    timeout(patience.first, more(stream, &mut bytes)).await??;
    let is_h2 = match begins_as_h2(&bytes) {
        Some(is_h2) => is_h2,
        None => {
            let rest = async {
                loop {
                    more(stream, &mut bytes).await?;
                    if let Some(is_h2) = begins_as_h2(&bytes) {
                        return std::io::Result::Ok(is_h2);
                    }
                }
            };
            timeout(patience.rest, rest).await??
        }
    };
    Ok(Beginning { is_h2, bytes })
}

/// None when more bytes have to tell.
fn begins_as_h2(bytes: &[u8]) -> Option<bool> {
    if bytes.starts_with(PREFACE) {
        return Some(true);
    }
    (!PREFACE.starts_with(bytes)).then_some(false)
}

/// Reads what there is of the first bytes; the end is an error.
async fn more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let left = PREFACE.len().saturating_sub(bytes.len());
    match stream.read_buf(&mut bytes.limit(left)).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncWriteExt, DuplexStream, ReadBuf};
    use tokio::task::JoinSet;

    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(30),
        rest: Duration::from_secs(15),
    };

    /// Counts how often it is asked for bytes.
    struct Counted {
        stream: DuplexStream,
        polls: usize,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.polls += 1;
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    /// What comes of a client that sends these pieces, each a second after the one before it, and
    /// then says nothing more; and how often it was asked.
    async fn begun(pieces: &[&str]) -> (Result<Beginning, std::io::ErrorKind>, usize) {
        let (stream, mut sender) = tokio::io::duplex(64);
        let mut counted = Counted { stream, polls: 0 };
        let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        // A task of its own: what it does wakes nobody else.
        let mut client = JoinSet::new();
        client.spawn(async move {
            for piece in pieces {
                tokio::time::sleep(Duration::from_secs(1)).await;
                sender.write_all(piece.as_bytes()).await.expect("sent");
            }
            std::future::pending::<()>().await;
        });
        let begun = begin(&mut counted, PATIENCE).await;
        (begun.map_err(|error| error.kind()), counted.polls)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_say_what_is_spoken_and_nobody_looks_in_vain() {
        let h1 = |bytes: &str| (false, bytes.as_bytes().to_vec());
        for (pieces, (is_h2, bytes), polls_max) in [
            (&["GET / HTTP/1.1"][..], h1("GET"), 2),
            (&["G", "ET"], h1("G"), 2),
            (&["P", "OST"], h1("POS"), 4),
            (&["P", "R", "O", "P"], h1("PRO"), 6),
            (&["PRI * HTTP/2.0"], (true, b"PRI".to_vec()), 2),
            (&["PR", "I"], (true, b"PRI".to_vec()), 4),
        ] {
            let (begun, polls) = begun(pieces).await;
            assert_eq!(begun, Ok(Beginning { is_h2, bytes }), "{pieces:?}");
            assert!(polls <= polls_max, "{pieces:?}: {polls}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_no_more_is_waited_for_without_looking() {
        for (pieces, seconds) in [(&[][..], 30), (&["P"], 16), (&["P", "R"], 16)] {
            let started = tokio::time::Instant::now();
            let (begun, polls) = begun(pieces).await;
            assert_eq!(begun, Err(std::io::ErrorKind::TimedOut), "{pieces:?}");
            assert_eq!(started.elapsed().as_secs(), seconds, "{pieces:?}");
            // A few for each piece, and at the deadlines.
            assert!(polls <= 3 * pieces.len() + 3, "{pieces:?}: {polls}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_closes_is_not_waited_for() {
        for piece in ["", "P", "PR"] {
            let (mut stream, mut client) = tokio::io::duplex(64);
            client.write_all(piece.as_bytes()).await.expect("sent");
            drop(client);
            let started = tokio::time::Instant::now();
            let begun = begin(&mut stream, PATIENCE).await;
            let kind = begun.map_err(|error| error.kind());
            assert_eq!(kind, Err(std::io::ErrorKind::UnexpectedEof), "{piece}");
            assert_eq!(started.elapsed(), Duration::ZERO, "{piece}");
        }
    }
}
