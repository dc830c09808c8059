//! What has left the tables while something of it is still under way: it gets a time to end in.
//!
//! ```text
//! listed (by so many) --the last one goes--> leaving --drain--> ended
//!          ^------------------it came back------'
//! ```
//!
//! Requests note nothing here: who lasts looks at the [`Ending`] of what it uses. Refuses to know
//! what that is.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deadline::Ending;

/// Whether something is in a table, and when what is under way there has to end.
#[derive(Debug, Default)]
pub(crate) struct Stay {
    /// How many entries lead there.
    listed: AtomicU32,
    /// How often the last of them went.
    departures: AtomicU32,
    /// Made when somebody lasts there.
    ending: OnceLock<Arc<Ending>>,
}

/// What may leave.
pub(crate) trait Stays: Send + Sync {
    fn stay(&self) -> &Stay;
}

impl Stay {
    /// One more entry leads there.
    pub(crate) fn list(&self) {
        let before = self.listed.fetch_add(1, Ordering::SeqCst);
        if before == 0
            && let Some(ending) = self.ending.get()
        {
            ending.set_near(false);
        }
    }

    /// When what is under way there has to end.
    pub(crate) fn ending(&self) -> &Arc<Ending> {
        self.ending.get_or_init(|| {
            let ending = Ending::default();
            let has_left = self.departures.load(Ordering::SeqCst) > 0;
            ending.set_near(has_left && !self.is_listed());
            Arc::new(ending)
        })
    }

    /// True when the time for what was under way is over: it must not be listed again.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some_and(|ending| ending.has_come())
    }

    fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst) > 0
    }
}

/// What left, each with the time at which it did.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    drain: Duration,
    left: Mutex<VecDeque<Left>>,
    wake: Notify,
}

struct Left {
    at: Instant,
    what: Weak<dyn Stays>,
    /// Which of its departures this is.
    number: u32,
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Left").field("at", &self.at).finish()
    }
}

impl Departures {
    /// What leaves gets so long.
    pub(crate) fn new(drain: Duration) -> Self {
        Self {
            drain,
            ..Self::default()
        }
    }

    /// One entry fewer leads to `what`; after the last one it is leaving.
    pub(crate) fn leave<T: Stays + 'static>(&self, what: &Arc<T>) {
        let stay = what.stay();
        if stay.listed.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let number = stay.departures.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(ending) = stay.ending.get() {
            ending.set_near(true);
        }
        let weak = Arc::downgrade(what);
        self.left().push_back(Left {
            at: Instant::now(),
            what: weak,
            number,
        });
        self.wake.notify_one();
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<Left>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what has left, each when its time is over. Cancel-safe.
    pub(crate) async fn follow(&self) -> Infallible {
        loop {
            let next = self.left().front().map(|left| left.at + self.drain);
            match next {
                Some(due) => {
                    tokio::time::sleep_until(due).await;
                    self.end_due(Instant::now());
                }
                None => self.wake.notified().await,
            }
        }
    }

    fn end_due(&self, now: Instant) {
        let mut left = self.left();
        while let Some(first) = left.front() {
            if first.at + self.drain > now {
                return;
            }
            let first = left.pop_front();
            let Some((what, number)) = first.and_then(|l| Some((l.what.upgrade()?, l.number)))
            else {
                continue;
            };
            let stay = what.stay();
            // It may have come back, and may have left again since.
            if !stay.is_listed() && stay.departures.load(Ordering::SeqCst) == number {
                stay.ending().come();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Thing(Stay);

    impl Stays for Thing {
        fn stay(&self) -> &Stay {
            &self.0
        }
    }

    const DRAIN: Duration = Duration::from_secs(4);

    async fn after(departures: &Departures, time: Duration) {
        tokio::select! {
            _ = departures.follow() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_left_ends_after_its_time_and_not_before() {
        let (departures, thing) = (Departures::new(DRAIN), Arc::new(Thing::default()));
        let ending = Arc::clone(thing.0.ending());
        thing.0.list();
        thing.0.list();
        departures.leave(&thing);
        after(&departures, 3 * DRAIN).await;
        assert!(
            !ending.is_near() && !ending.has_come(),
            "something leads there"
        );
        departures.leave(&thing);
        after(&departures, DRAIN / 2).await;
        assert!(ending.is_near() && !ending.has_come());
        after(&departures, DRAIN).await;
        assert!(ending.has_come() && thing.0.has_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_back_in_time_goes_on() {
        let (departures, thing) = (Departures::new(DRAIN), Arc::new(Thing::default()));
        thing.0.list();
        departures.leave(&thing);
        after(&departures, DRAIN / 2).await;
        assert!(thing.0.ending().is_near(), "also for who asks late");
        thing.0.list();
        assert!(!thing.0.ending().is_near());
        after(&departures, DRAIN / 4).await;
        departures.leave(&thing);
        after(&departures, DRAIN / 2).await;
        assert!(!thing.0.has_ended(), "its time began anew");
        after(&departures, DRAIN).await;
        assert!(thing.0.has_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_after_the_end_finds_it() {
        let (departures, thing) = (Departures::new(DRAIN), Arc::new(Thing::default()));
        thing.0.list();
        departures.leave(&thing);
        after(&departures, 2 * DRAIN).await;
        assert!(thing.0.ending().has_come());
        assert!(departures.left().is_empty());
    }
}
