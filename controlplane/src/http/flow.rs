//! Bodies that are passed on as they arrive, and never look whole when they are not.
//!
//! A reader who takes nothing for [`TAKE_LIMIT`] gives back what the stream holds; the connection
//! itself is ended by the system when it takes nothing for longer. A body that ends before its
//! source did breaks the connection off, so that no reader takes it for all there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a reader may take nothing while something waits.
pub(super) const TAKE_LIMIT: Duration = Duration::from_secs(60);
/// The same where a person may be reading.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Pieces that wait for the reader.
const WAITING: usize = 4;

/// The source was cut off before its end.
#[derive(Debug, thiserror::Error)]
#[error("cut off before its end")]
struct Cut;

/// A body of what a source yields, until its end. The source is dropped when it ends, when the reader
/// goes away or takes nothing for `limit`, and when the token is cancelled.
pub(super) fn body<S, E>(
    source: S,
    limit: Duration,
    tasks: &TaskTracker,
    token: CancellationToken,
) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::fmt::Display + Send,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    tasks.spawn(async move {
        tokio::select! {
            () = pass(source, sender.clone(), limit) => {}
            () = sender.closed() => {}
            () = token.cancelled() => {}
        }
    });
    // What ends without its end mark was cut off.
    let pieces = futures_util::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(bytes)) => Some((Ok(bytes), Some(receiver))),
            Some(None) => None,
            None => Some((Err(Cut), None)),
        }
    });
    Body::from_stream(pieces)
}

/// The same body until something happens, which cuts it off.
pub(super) fn cut_when(body: Body, happens: impl Future<Output = ()> + Send + 'static) -> Body {
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = Arc::clone(&cut);
    let until = Box::pin(async move {
        happens.await;
        cut.store(true, Ordering::Release);
    });
    let last = stream::once(async move { is_cut.load(Ordering::Acquire) })
        .filter_map(|is_cut| std::future::ready(is_cut.then_some(Err(axum::Error::new(Cut)))));
    Body::from_stream(body.into_data_stream().take_until(until).chain(last))
}

/// Sends all pieces, and none at the end.
async fn pass<S, E>(source: S, sender: mpsc::Sender<Option<Bytes>>, limit: Duration)
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    let mut source = std::pin::pin!(source);
    loop {
        let piece = match source.next().await.transpose() {
            Ok(piece) => piece,
            Err(error) => {
                tracing::info!(error = %error, "a stream was cut off");
                return;
            }
        };
        let is_over = piece.is_none();
        if let Err(error) = sender.send_timeout(piece, limit).await {
            if matches!(error, mpsc::error::SendTimeoutError::Timeout(_)) {
                tracing::info!(
                    limit_s = limit.as_secs(),
                    "a reader took nothing for too long"
                );
            }
            return;
        }
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    type Item = Result<Bytes, std::io::Error>;

    fn piece() -> Item {
        Ok(Bytes::from_static(b"piece"))
    }

    /// What arrives, and whether it ended as it should.
    async fn read(body: Body) -> (usize, bool) {
        let mut pieces = body.into_data_stream();
        let mut count = 0;
        loop {
            match pieces.next().await {
                Some(Ok(bytes)) => count += bytes.len(),
                Some(Err(_)) => return (count, false),
                None => return (count, true),
            }
        }
    }

    async fn check(source: impl Stream<Item = Item> + Send + 'static, expected: (usize, bool)) {
        let body = body(
            source,
            TAKE_LIMIT,
            &TaskTracker::new(),
            CancellationToken::new(),
        );
        assert_eq!(read(body).await, expected);
    }

    #[tokio::test]
    async fn only_what_came_to_its_end_looks_whole() {
        check(stream::iter([piece(), piece()]), (10, true)).await;
        check(stream::iter([]), (0, true)).await;
        let broken = || Err(std::io::ErrorKind::ConnectionReset.into());
        check(stream::iter([piece(), broken()]), (5, false)).await;
        let token = CancellationToken::new();
        let endless = stream::pending::<Item>();
        let body = body(endless, TAKE_LIMIT, &TaskTracker::new(), token.clone());
        token.cancel();
        assert_eq!(read(body).await, (0, false));
    }

    #[tokio::test]
    async fn what_is_cut_does_not_look_whole() {
        let of = |source, happens| cut_when(Body::from_stream(source), happens);
        let never = std::future::pending().boxed();
        let whole = stream::iter([piece(), piece()]).boxed();
        assert_eq!(read(of(whole, never)).await, (10, true));
        let endless = stream::iter([piece()]).chain(stream::pending()).boxed();
        let soon = tokio::task::yield_now().boxed();
        assert_eq!(read(of(endless, soon)).await, (5, false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_gives_back_what_the_stream_holds() {
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let endless = stream::repeat_with(move || {
            let _held = &holds;
            piece()
        });
        let tasks = TaskTracker::new();
        let mut pieces =
            body(endless, TAKE_LIMIT, &tasks, CancellationToken::new()).into_data_stream();
        // Slow, but not too slow.
        for _ in 0..3 {
            assert!(pieces.next().await.is_some_and(|piece| piece.is_ok()));
            tokio::time::sleep(TAKE_LIMIT - Duration::from_secs(1)).await;
            assert_eq!(Arc::strong_count(&held), 2);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&held), 1);
        tasks.close();
        tasks.wait().await;
        assert!(!read(Body::from_stream(pieces)).await.1);
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_source() {
        let tasks = TaskTracker::new();
        let silent = stream::pending::<Item>();
        drop(body(silent, TAKE_LIMIT, &tasks, CancellationToken::new()));
        tasks.close();
        let ended = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await;
        assert!(ended.is_ok());
    }
}
