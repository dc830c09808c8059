//! WebSockets that stay open.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::connect::{Over, Stream, Target};
use crate::tally::Tally;
use crate::{Failure, LIMIT};

/// Pause between an echo and the next message.
const PAUSE: Duration = Duration::from_millis(100);
const MESSAGE_BYTES: usize = 64;

/// Sends messages until `end` and waits for each echo. Tells how the socket was closed, unless it
/// is the client who closes it, at the end.
pub(crate) async fn exchange(target: &Target, over: Over, end: Instant, tally: &Tally) {
    match messages(target, over, end, tally).await {
        Ok(None) => {}
        Ok(Some(closed)) => tally.socket_closed(closed),
        Err(error) => tally.socket_closed(error.to_string()),
    }
}

async fn messages(
    target: &Target,
    over: Over,
    end: Instant,
    tally: &Tally,
) -> Result<Option<String>, Failure> {
    let stream = target.connect(over).await?;
    let scheme = match over {
        Over::Tcp => "ws",
        Over::Tls => "wss",
    };
    let url = format!("{scheme}://{}/ws", target.host);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    while Instant::now() < end {
        let sent = Instant::now();
        if let Some(closed) = echo(&mut socket).await? {
            return Ok(Some(closed));
        }
        tally.message(sent.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    socket.close(None).await?;
    while let Ok(Some(Ok(_))) = tokio::time::timeout(LIMIT, socket.next()).await {}
    Ok(None)
}

/// One message there and back; how the socket was closed, if it was.
async fn echo(socket: &mut WebSocketStream<Stream>) -> Result<Option<String>, Failure> {
    socket
        .send(Message::Binary(vec![b'x'; MESSAGE_BYTES].into()))
        .await?;
    match tokio::time::timeout(LIMIT, socket.next()).await? {
        Some(Ok(Message::Binary(back))) if back.len() == MESSAGE_BYTES => Ok(None),
        Some(Ok(Message::Close(Some(frame)))) => Ok(Some(u16::from(frame.code).to_string())),
        Some(Ok(Message::Close(None))) => Ok(Some("without a code".to_owned())),
        Some(Ok(other)) => Ok(Some(format!("{other:?}"))),
        Some(Err(error)) => Err(error.into()),
        None => Ok(Some("the connection ended".to_owned())),
    }
}
