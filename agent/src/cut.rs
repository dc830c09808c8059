//! Streams that end with the agent, and then never look whole.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

/// Ends a stream when the token is cancelled, with an error.
pub(crate) fn when_stopped(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    token: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let stopped = token.clone();
    let last = stream::once(async move { stopped.is_cancelled() }).filter_map(|is_stopped| {
        let error = is_stopped.then(|| Err(io::Error::other("the agent stops")));
        std::future::ready(error)
    });
    pieces.take_until(token.cancelled_owned()).chain(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_stop_cuts_off_ends_with_an_error() {
        let piece = || Ok(Bytes::from_static(b"piece"));
        let token = CancellationToken::new();
        let whole = when_stopped(stream::iter([piece()]), token.clone());
        let whole: Vec<_> = whole.map(|piece| piece.is_ok()).collect().await;
        assert_eq!(whole, [true]);
        let endless = stream::iter([piece()]).chain(stream::pending());
        let mut cut = std::pin::pin!(when_stopped(endless, token.clone()));
        assert!(cut.next().await.is_some_and(|piece| piece.is_ok()));
        token.cancel();
        assert!(cut.next().await.is_some_and(|piece| piece.is_err()));
        assert!(cut.next().await.is_none());
    }
}
