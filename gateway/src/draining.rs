//! How long a gateway that was told to stop waits for what is open, which can change on the way.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How a gateway that was told to stop treats what is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long requests under way and tunnels may take to end.
    pub patience: Duration,
    /// How long HTTP/1 connections between two requests stay open for one more, which is answered
    /// with `Connection: close`.
    pub idle: Duration,
}

impl Drain {
    /// How long they stay open where nobody else serves the next connection: for what is on its way
    /// already.
    pub const ON_ITS_WAY: Duration = Duration::from_millis(500);
}

/// Changes how a gateway drains, before it does and while it does.
#[derive(Debug, Clone)]
pub struct DrainControl(watch::Sender<Drain>);

impl DrainControl {
    pub(crate) fn new(drain: Drain) -> Self {
        Self(watch::Sender::new(drain))
    }

    /// From now on.
    pub fn set(&self, drain: Drain) {
        self.0.send_replace(drain);
    }

    /// Begins to count.
    pub(crate) fn begin(&self) -> Draining {
        Draining {
            drain: self.0.subscribe(),
            since: Instant::now(),
        }
    }
}

/// Counts the time since the stop.
#[derive(Clone)]
pub(crate) struct Draining {
    drain: watch::Receiver<Drain>,
    since: Instant,
}

impl Draining {
    /// Ends when a time since the stop has passed, by the settings of that moment.
    pub(crate) async fn after(&mut self, pick: fn(&Drain) -> Duration) {
        loop {
            let wait = pick(&self.drain.borrow_and_update());
            // A time that no clock reaches stands for ever.
            let deadline = self.since.checked_add(wait);
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                Ok(()) = self.drain.changed() => {}
            }
        }
    }

    /// Waits until all tasks have ended, or patience has; true when they have.
    pub(crate) async fn wait_for(
        &mut self,
        open: &mut [JoinSet<()>],
        note: impl Fn(Result<(), tokio::task::JoinError>),
    ) -> bool {
        let ended = async {
            for tasks in open {
                while let Some(ended) = tasks.join_next().await {
                    note(ended);
                }
            }
        };
        tokio::select! {
            () = ended => true,
            () = self.after(|drain| drain.patience) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_can_be_cut_short_on_the_way() {
        let seconds = Duration::from_secs;
        let drain = |patience| Drain {
            patience: seconds(patience),
            idle: Duration::ZERO,
        };
        let control = DrainControl::new(drain(3_600));
        let mut draining = control.begin();
        let start = Instant::now();
        let cut = async {
            tokio::time::sleep(seconds(30)).await;
            control.set(drain(20));
        };
        tokio::join!(draining.after(|drain| drain.patience), cut);
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
