//! Pieces of a stream as messages of a WebSocket (RFC 6455).
//!
//! Both sides say something at least every [`PING_PERIOD`]; a side that hears nothing for
//! [`SILENCE_LIMIT`] takes the other for dead. One that takes nothing but is heard is only slow:
//! sending has no deadline of its own.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::frame::{Fault, Frame, PAYLOAD_MAX};

/// Pause after which an idle side sends a ping.
pub const PING_PERIOD: Duration = Duration::from_secs(10);
/// Silence after which the other side counts as dead.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(35);

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It asked.
    Client,
    /// It was asked.
    Server,
}

/// Why a socket ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// Nothing was heard for [`SILENCE_LIMIT`].
    #[error("nothing was heard for {} s", SILENCE_LIMIT.as_secs())]
    Silent,
    /// A message is not what was agreed on.
    #[error("unexpected message")]
    Unreadable(#[from] Fault),
}

impl From<tokio_tungstenite::tungstenite::Error> for Error {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

/// The sending half.
pub struct Sender<T>(SplitSink<WebSocketStream<T>, Message>);

/// The receiving half.
pub struct Receiver<T>(SplitStream<WebSocketStream<T>>);

/// Takes a connection for a WebSocket whose handshake is over.
pub async fn open<T>(connection: T, side: Side) -> (Sender<T>, Receiver<T>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let role = match side {
        Side::Client => Role::Client,
        Side::Server => Role::Server,
    };
    let limit = Some(PAYLOAD_MAX + 1);
    let config = WebSocketConfig::default()
        .max_message_size(limit)
        .max_frame_size(limit)
        .read_buffer_size(64 * 1024)
        .write_buffer_size(0);
    let socket = WebSocketStream::from_raw_socket(connection, role, Some(config)).await;
    let (sink, stream) = socket.split();
    (Sender(sink), Receiver(stream))
}

impl<T: AsyncRead + AsyncWrite + Unpin> Sender<T> {
    async fn message(&mut self, message: Message) -> Result<(), Error> {
        self.0.send(message).await.map_err(Error::from)
    }

    /// Sends a piece. Not cancel-safe: part of it may be sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        self.message(Message::Binary(frame.to_message())).await
    }

    /// Sends bytes as they are, as the older system's port forwarding does.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.message(Message::Binary(bytes)).await
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.message(Message::Ping(Bytes::new())).await
    }

    /// Says that nothing more comes, either way.
    pub async fn close(mut self) {
        // The other side may be gone already.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.0.close()).await;
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Receiver<T> {
    /// The next piece; none when the other side closed. Cancel-safe.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn next(&mut self) -> Result<Option<Frame>, Error> {
        let Some(bytes) = self.next_bytes().await? else {
            return Ok(None);
        };
        Ok(Some(Frame::from_message(bytes)?))
    }

    /// The payload of the next message, whatever it is; none when the other side closed.
    /// Cancel-safe.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let heard = tokio::time::timeout(SILENCE_LIMIT, self.0.next()).await;
            match heard.map_err(|_| Error::Silent)? {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes)),
                Some(Ok(Message::Text(text))) => return Ok(Some(text.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}

/// What the answer to a handshake says, for what the client said (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> String {
    handshake::derive_accept_key(key.as_bytes())
}

/// What a client says in its handshake: 16 bytes that differ each time.
pub(crate) fn new_key() -> String {
    handshake::client::generate_key()
}
