//! Deadlines of connections, which cost nothing until a client is late.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A timer that is made when it is first needed and kept from then on.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    is_armed: bool,
}

impl Deadline {
    /// True while time counts.
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed
    }

    /// Ready when `patience` has passed since the first poll after the deadline was disarmed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, patience: Duration) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => {
                if !self.is_armed {
                    timer.as_mut().reset(Instant::now() + patience);
                }
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep(patience))),
        };
        self.is_armed = true;
        timer.as_mut().poll(cx)
    }

    /// Stops the time.
    pub(crate) fn disarm(&mut self) {
        self.is_armed = false;
    }
}

/// A deadline that moves on with every step, and seldom touches its timer.
#[derive(Debug, Default)]
pub(crate) struct MovingDeadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl MovingDeadline {
    /// Moves it.
    pub(crate) fn set(&mut self, at: Instant) {
        self.at = Some(at);
        if let Some(timer) = &mut self.timer
            && at < timer.deadline()
        {
            timer.as_mut().reset(at);
        }
    }

    /// Ready when it has passed; never before it was set.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(Box::pin(tokio::time::sleep_until(at))),
        };
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            // It was set for an earlier step.
            timer.as_mut().reset(at);
        }
    }
}

/// The moment at which connections that never end by themselves have to.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    is_near: AtomicBool,
    has_come: AtomicBool,
    token: CancellationToken,
}

impl Ending {
    /// True from then on.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire)
    }

    /// It comes soon, unless that changes.
    pub(crate) fn is_near(&self) -> bool {
        self.is_near.load(Ordering::Acquire) || self.has_come()
    }

    /// Says whether it comes soon. Wakes nobody.
    pub(crate) fn set_near(&self, is_near: bool) {
        self.is_near.store(is_near, Ordering::Release);
    }

    /// Wakes everybody who waits.
    pub(crate) fn come(&self) {
        self.has_come.store(true, Ordering::Release);
        self.token.cancel();
    }
}

/// Waits for the ending, and takes its lock only once for each task that waits.
pub(crate) struct EndingWait {
    ending: Arc<Ending>,
    wait: Option<(Pin<Box<WaitForCancellationFutureOwned>>, Waker)>,
}

impl EndingWait {
    pub(crate) fn new(ending: &Arc<Ending>) -> Self {
        Self {
            ending: Arc::clone(ending),
            wait: None,
        }
    }

    /// Ready when the ending has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ending.has_come() {
            return Poll::Ready(());
        }
        let is_known = self
            .wait
            .as_ref()
            .is_some_and(|(_, w)| w.will_wake(cx.waker()));
        if is_known {
            return Poll::Pending;
        }
        let token = self.ending.token.clone();
        let mut future = Box::pin(token.cancelled_owned());
        let outcome = future.as_mut().poll(cx);
        self.wait = Some((future, cx.waker().clone()));
        outcome
    }
}

impl fmt::Debug for EndingWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndingWait").finish_non_exhaustive()
    }
}

/// Waits for the ending of what is used, one after the other. What ends within a second costs a timer
/// that is seldom touched; only what lasts takes the ending's lock.
#[derive(Debug, Default)]
pub(crate) struct LastingWait {
    used: Option<Arc<Ending>>,
    soon: MovingDeadline,
    wait: Option<EndingWait>,
}

/// How long something is under way before it counts as lasting.
const LASTING: Duration = Duration::from_secs(1);

impl LastingWait {
    /// Ready when the ending of what is used has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, used: &Arc<Ending>) -> Poll<()> {
        if used.has_come() {
            return Poll::Ready(());
        }
        let known = self.used.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, used)) {
            self.used = Some(Arc::clone(used));
            self.wait = None;
            self.soon.set(Instant::now() + LASTING);
        }
        let wait = match &mut self.wait {
            Some(wait) => wait,
            none => {
                ready!(self.soon.poll(cx));
                none.insert(EndingWait::new(used))
            }
        };
        wait.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_lasts_hears_of_the_ending_and_what_is_used_next_does_not() {
        let [first, next] = [Arc::new(Ending::default()), Arc::new(Ending::default())];
        let mut wait = LastingWait::default();
        let start = Instant::now();
        let come = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            first.come();
        };
        tokio::join!(std::future::poll_fn(|cx| wait.poll(cx, &first)), come);
        assert_eq!(start.elapsed().as_secs(), 7);
        let other = std::future::poll_fn(|cx| wait.poll(cx, &next));
        let other = tokio::time::timeout(Duration::from_secs(7), other).await;
        assert!(other.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_moving_deadline_passes_when_it_was_last_set_to() {
        let start = Instant::now();
        let seconds = |n| start + Duration::from_secs(n);
        let mut deadline = MovingDeadline::default();
        for (first, then) in [(60, 90), (200, 120)] {
            deadline.set(seconds(first));
            let polled = std::future::poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await;
            assert!(polled.is_pending());
            deadline.set(seconds(then));
            std::future::poll_fn(|cx| deadline.poll(cx)).await;
            assert_eq!(start.elapsed().as_secs(), then);
        }
    }
}
