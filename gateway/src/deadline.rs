//! Deadlines of connections, which cost nothing until a client is late.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
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

/// The moment at which connections that never end by themselves have to.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    has_come: AtomicBool,
    token: CancellationToken,
}

impl Ending {
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
        if self.ending.has_come.load(Ordering::Acquire) {
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
