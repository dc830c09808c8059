//! Large things on their way, which may take as long as they move.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Body, RequestBuilder, Response};
use tokio::sync::watch;

use super::{ByteStream, Client, Error};
use crate::paths;

/// A transfer of files or of a backup is given up when nothing moves for so long.
pub const STANDSTILL: Duration = Duration::from_secs(60);
/// How long the server may take to write what it was sent, once all of it is there.
pub const WRITE_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Bytes of a body that are sent at once.
const PIECE: usize = 64 * 1024;

impl Client {
    /// Reads a backup; the stream ends after an error, also when it stands still for
    /// [`STANDSTILL`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn backup(&self) -> Result<ByteStream, Error> {
        let stream = self.stream(paths::BACKUP, &[]).await?;
        Ok(moving(stream, format!("{}{}", self.base(), paths::BACKUP)))
    }

    /// Sends a request whose body is large.
    pub(super) async fn send_large(
        &self,
        request: RequestBuilder,
        url: &str,
        pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<Response, Error> {
        let (moved, movements) = watch::channel(Movement::OnItsWay);
        let body = Body::wrap_stream(noted(pieces.boxed(), moved));
        while_moving(url, movements, self.send(request.body(body))).await
    }
}

/// Bytes as a stream.
pub(super) fn pieces_of(bytes: Bytes) -> impl Stream<Item = std::io::Result<Bytes>> {
    let starts = (0..bytes.len()).step_by(PIECE);
    stream::iter(starts.map(move |at| Ok(bytes.slice(at..bytes.len().min(at + PIECE)))))
}

/// Ends a stream that stands still.
pub(super) fn moving(pieces: ByteStream, url: String) -> ByteStream {
    let state = Some((pieces, url));
    let moving = stream::unfold(state, |state| async move {
        let (mut pieces, url) = state?;
        match tokio::time::timeout(STANDSTILL, pieces.next()).await {
            Ok(piece) => Some((piece?, Some((pieces, url)))),
            Err(_) => Some((Err(stalled(&url, STANDSTILL)), None)),
        }
    });
    moving.boxed()
}

fn stalled(url: &str, limit: Duration) -> Error {
    Error::Stalled {
        url: url.to_owned(),
        limit,
    }
}

/// How far a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Movement {
    OnItsWay,
    AllSent,
}

/// Says so whenever a piece is asked for: then there was room for the one before.
fn noted(
    pieces: BoxStream<'static, std::io::Result<Bytes>>,
    moved: watch::Sender<Movement>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::unfold((pieces, moved), |(mut pieces, moved)| async move {
        moved.send_replace(Movement::OnItsWay);
        let Some(piece) = pieces.next().await else {
            moved.send_replace(Movement::AllSent);
            return None;
        };
        Some((piece, (pieces, moved)))
    })
}

/// Waits for an answer as long as the body moves, and then as long as writing may take.
async fn while_moving<T>(
    url: &str,
    mut movements: watch::Receiver<Movement>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let is_sent = *movements.borrow_and_update() == Movement::AllSent;
        let limit = if is_sent { WRITE_LIMIT } else { STANDSTILL };
        tokio::select! {
            answer = &mut answer => return answer,
            changed = movements.changed() => if changed.is_err() {
                // Nothing more is sent: the answer is on its way.
                let answer = tokio::time::timeout(WRITE_LIMIT, answer).await;
                return answer.unwrap_or_else(|_| Err(stalled(url, WRITE_LIMIT)));
            },
            () = tokio::time::sleep(limit) => return Err(stalled(url, limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_stalled<T>(result: &Result<T, Error>, expected: Duration) -> bool {
        matches!(result, Err(Error::Stalled { limit, .. }) if *limit == expected)
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_slowly_is_taken_and_what_stands_still_is_not() {
        let soon = STANDSTILL - Duration::from_secs(1);
        let slow = stream::iter(0..3).then(move |_| async move {
            tokio::time::sleep(soon).await;
            Ok(Bytes::from_static(b"piece"))
        });
        let mut pieces = moving(slow.chain(stream::pending()).boxed(), "here".to_owned());
        for _ in 0..3 {
            assert!(pieces.next().await.is_some_and(|piece| piece.is_ok()));
        }
        let last = pieces.next().await.expect("an error");
        assert!(is_stalled(&last, STANDSTILL));
        assert!(pieces.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_takes_ends_the_wait() {
        let (moved, movements) = watch::channel(Movement::OnItsWay);
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"piece"))).boxed();
        let mut body = std::pin::pin!(noted(endless, moved));
        let began = tokio::time::Instant::now();
        let server = async {
            for _ in 0..3 {
                tokio::time::sleep(STANDSTILL - Duration::from_secs(1)).await;
                body.next().await;
            }
            std::future::pending::<Result<(), Error>>().await
        };
        let answer = while_moving("here", movements, server).await;
        assert!(is_stalled(&answer, STANDSTILL));
        assert!(began.elapsed() > STANDSTILL * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_may_take_its_time_to_be_written() {
        let (moved, movements) = watch::channel(Movement::OnItsWay);
        let mut body = std::pin::pin!(noted(stream::empty().boxed(), moved));
        let server = async {
            assert!(body.next().await.is_none());
            tokio::time::sleep(WRITE_LIMIT - Duration::from_secs(1)).await;
            Ok(())
        };
        assert!(while_moving("here", movements, server).await.is_ok());
    }
}
