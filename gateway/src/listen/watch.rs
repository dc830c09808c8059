//! Watches over streams of HTTP/2 that pingora serves, from outside: ends what has to end though pingora
//! would wait on. Refuses to know why: it is told for how long nothing may pass.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use pingora_proxy::Session;
use tokio::time::Instant;

use super::client::client_info;
use crate::deadline::{Deadline, Ending, LastingWait, MovingDeadline};

/// What a stream gets to end with its next piece, after the time is over.
const STREAM_GRACE: Duration = Duration::from_millis(500);

/// What is agreed between a stream and who watches over it.
#[derive(Debug, Default)]
struct Watch {
    /// When the answer that is under way has to end.
    ends: OnceLock<Arc<Ending>>,
    /// When something has to have happened. Only the task that is watched looks at it.
    due: Mutex<Option<Instant>>,
}

impl Watch {
    fn due(&self) -> MutexGuard<'_, Option<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

/// Why something was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its endpoint has left, and the time to end in came to its end.
    EndpointLeft,
    /// What was expected did not happen in time.
    Silent,
}

/// To be called when the answer to a request begins that goes pingora's way.
pub(crate) fn note_answer(session: &Session, ends: Option<&Arc<Ending>>) {
    if !session.is_http2() {
        if let Some(client) = client_info(session) {
            client.set_answer_ends(ends.cloned());
        }
        return;
    }
    if let Some(ends) = ends {
        // A stream has one answer, and a task of its own.
        let _ = WATCH.try_with(|watch| watch.ends.set(Arc::clone(ends)));
    }
}

/// From now on something has to happen within `patience`, which calls this again.
pub(crate) fn expect_within(patience: Duration) {
    // A time that no clock reaches stands for ever.
    let at = Instant::now().checked_add(patience);
    // Over HTTP/1 there is no watch: pingora's own timers do.
    let _ = WATCH.try_with(|watch| *watch.due() = at);
}

/// Serves a stream for as long as it may last. When it had to end it is dropped, which resets it; where
/// something of an answer still passed, it has ended in order before.
///
/// # Errors
/// It had to end.
pub(crate) async fn watched<T>(serving: impl Future<Output = T>) -> Result<T, Ended> {
    let watch: Arc<Watch> = Arc::default();
    let mut serving = pin!(WATCH.scope(Arc::clone(&watch), serving));
    let (mut lasting, mut grace) = (LastingWait::default(), Deadline::default());
    let mut silence = MovingDeadline::default();
    poll_fn(|cx| {
        if let Poll::Ready(served) = serving.as_mut().poll(cx) {
            return Poll::Ready(Ok(served));
        }
        let due = *watch.due();
        if let Some(due) = due {
            silence.set(due);
            if silence.poll(cx).is_ready() {
                return Poll::Ready(Err(Ended::Silent));
            }
        }
        let Some(ends) = watch.ends.get() else {
            return Poll::Pending;
        };
        ready!(lasting.poll(cx, ends));
        let end = grace.poll(cx, STREAM_GRACE);
        end.map(|()| Err(Ended::EndpointLeft))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_happens_again_and_again_lasts_and_silence_ends() {
        let begin = Instant::now();
        let served = watched(async {
            for _ in 0..10 {
                expect_within(3 * SECOND);
                tokio::time::sleep(2 * SECOND).await;
            }
            expect_within(SECOND);
            std::future::pending::<()>().await;
        });
        assert_eq!(served.await, Err(Ended::Silent));
        assert_eq!(begin.elapsed().as_secs(), 21);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_clock_reaches_ends_nothing() {
        let served = watched(async {
            expect_within(SECOND);
            expect_within(Duration::MAX);
            tokio::time::sleep(60 * SECOND).await;
            7
        });
        assert_eq!(served.await, Ok(7));
    }
}
