//! How many requests of a rule are under way at once, and who waits for their end.
//!
//! The first that waits is the first that goes on. Waiting ends with the task that waits: nothing
//! is left behind when a client goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cara_api::gateway::InFlight;
use tokio::sync::Semaphore;

/// Places that there are without a limit: more than there will ever be requests.
const UNLIMITED: u32 = 1 << 28;

/// The way in. Without a limit everybody passes.
#[derive(Debug)]
pub(super) struct Gate {
    semaphore: Semaphore,
    /// Places that there are now.
    max: AtomicU32,
    /// Places that are to be taken away when requests end.
    surplus: AtomicU32,
    waiting: AtomicU32,
}

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// As many wait as may.
    Queue,
    /// It waited for too long.
    Time,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            semaphore: Semaphore::new(UNLIMITED as usize),
            max: AtomicU32::new(UNLIMITED),
            surplus: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        }
    }
}

impl Gate {
    /// Follows a limit; requests under way stay, and all who wait pass when it goes. Only one task
    /// calls it.
    pub(super) fn resize(&self, limit: Option<&InFlight>) {
        let wanted = limit.map_or(UNLIMITED, |limit| limit.max);
        let now = self.max.swap(wanted, Ordering::Relaxed);
        let more = wanted.saturating_sub(now);
        let kept = take(&self.surplus, more);
        self.semaphore.add_permits((more - kept) as usize);
        let fewer = now.saturating_sub(wanted);
        let taken = self.semaphore.forget_permits(fewer as usize);
        let taken = u32::try_from(taken).unwrap_or(fewer);
        self.surplus.fetch_add(fewer - taken, Ordering::Relaxed);
    }

    /// Goes in at once, if nobody waits and there is room.
    pub(super) fn try_enter(&self) -> bool {
        match self.semaphore.try_acquire() {
            Ok(permit) => {
                permit.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for its turn. Cancel-safe.
    pub(super) async fn enter(&self, queue: u32, patience: Duration) -> Result<(), Full> {
        let waiting = Waiting::begin(&self.waiting, queue).ok_or(Full::Queue)?;
        let entered = tokio::time::timeout(patience, self.semaphore.acquire()).await;
        drop(waiting);
        match entered {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Full::Time),
        }
    }

    /// Gives a place back.
    fn leave(&self) {
        if take(&self.surplus, 1) == 0 {
            self.semaphore.add_permits(1);
        }
    }
}

/// Takes off as many as there are, but not more than `most`; how many it took.
fn take(count: &AtomicU32, most: u32) -> u32 {
    let less = |n: u32| Some(n.saturating_sub(most));
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .map_or(0, |before| before.min(most))
}

/// A place in a number that may not exceed a limit.
pub(crate) struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    /// Takes a place, if there is one.
    pub(super) fn begin(count: &'a AtomicU32, limit: u32) -> Option<Self> {
        if count.fetch_add(1, Ordering::Relaxed) < limit {
            return Some(Self(count));
        }
        count.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that went in; leaves when it is dropped.
pub(crate) struct Permit(pub(super) Arc<super::State>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.rest().gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max: u32) -> InFlight {
        InFlight {
            max,
            queue: 1,
            timeout: Duration::from_secs(5),
        }
    }

    fn room(gate: &Gate) -> usize {
        gate.semaphore.available_permits()
    }

    #[test]
    fn a_limit_can_grow_and_shrink_while_requests_are_under_way() {
        let gate = Gate::default();
        gate.resize(Some(&limit(3)));
        assert!((0..3).all(|_| gate.try_enter()) && !gate.try_enter());
        gate.resize(Some(&limit(1)));
        gate.leave();
        gate.leave();
        assert_eq!(room(&gate), 0, "one is under way, and one may be");
        gate.leave();
        assert_eq!(room(&gate), 1);
        gate.resize(Some(&limit(4)));
        assert_eq!(room(&gate), 4);
        gate.resize(None);
        assert!(gate.try_enter(), "without a limit everybody passes");
        gate.leave();
        gate.resize(Some(&limit(2)));
        assert_eq!(room(&gate), 2);
    }

    #[tokio::test]
    async fn all_who_wait_pass_when_the_limit_goes_and_count_when_there_is_one_again() {
        let gate = Arc::new(Gate::default());
        gate.resize(Some(&limit(1)));
        assert!(gate.try_enter());
        let mut waiters = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let gate = Arc::clone(&gate);
            waiters.spawn(async move { gate.enter(3, Duration::from_secs(5)).await });
        }
        while gate.waiting.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        gate.resize(None);
        assert_eq!(waiters.join_all().await, [Ok(()); 3]);
        assert!(gate.try_enter(), "and those who come now");
        gate.resize(Some(&limit(2)));
        assert!(!gate.try_enter(), "five are under way");
        for _ in 0..3 {
            gate.leave();
        }
        assert_eq!(room(&gate), 0, "two are");
        gate.leave();
        assert_eq!(room(&gate), 1);
    }

    #[test]
    fn growing_takes_back_what_was_to_go() {
        let gate = Gate::default();
        gate.resize(Some(&limit(2)));
        assert!(gate.try_enter() && gate.try_enter());
        gate.resize(None);
        gate.resize(Some(&limit(2)));
        assert!(!gate.try_enter());
        gate.leave();
        gate.leave();
        assert_eq!(room(&gate), 2);
    }

    #[tokio::test]
    async fn who_waits_too_long_or_finds_too_many_is_turned_away() {
        let gate = Arc::new(Gate::default());
        gate.resize(Some(&limit(1)));
        assert!(gate.try_enter());
        let short = Duration::from_millis(10);
        assert_eq!(gate.enter(1, short).await, Err(Full::Time));
        assert_eq!(gate.enter(0, short).await, Err(Full::Queue));
        let mut waiter = tokio::task::JoinSet::new();
        waiter.spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(1, Duration::from_secs(5)).await }
        });
        while gate.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter(1, short).await, Err(Full::Queue));
        gate.leave();
        assert_eq!(waiter.join_all().await, [Ok(())]);
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_behind() {
        let gate = Gate::default();
        gate.resize(Some(&limit(1)));
        assert!(gate.try_enter());
        let waiting = gate.enter(1, Duration::from_secs(5));
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
        gate.leave();
        assert!(gate.try_enter());
    }
}
