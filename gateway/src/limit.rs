//! Buckets of all rate limits. Memory is bounded, and a bucket that is full again is forgotten:
//! nothing is lost by that (see [`cara_routes::rate`]).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cara_routes::rate::{Rate, Verdict};

const SHARDS: usize = 64;
/// Buckets in a shard at most: 262,144 in all, about 10 MiB.
const SHARD_MAX: usize = 4_096;
/// How long a full shard is not searched again for buckets to forget.
const SEARCH_EVERY: Duration = Duration::from_millis(100);
/// Buckets that are compared when one has to go.
const CANDIDATES: usize = 16;

/// Who shares a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Everybody.
    All,
    /// An IPv4 address, or the first 64 bits of an IPv6 address: as much as one subscriber gets.
    Client(u64),
    /// Nobody knows the client's address.
    Unknown,
}

impl Who {
    /// The bucket of a client.
    pub(crate) fn client(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(v4)) => Self::Client(u64::from(u32::from(v4))),
            // No subscriber has a prefix below 2^32, so the two never meet.
            Some(IpAddr::V6(v6)) => Self::Client(u64::try_from(u128::from(v6) >> 64).unwrap_or(0)),
            None => Self::Unknown,
        }
    }
}

type Key = (u64, Who);

#[derive(Default)]
struct Shard {
    states: HashMap<Key, u64>,
    /// When it was searched for buckets to forget, in nanoseconds since the start.
    searched_at: u64,
}

/// All buckets.
pub(crate) struct Limiter {
    started: Instant,
    hasher: RandomState,
    // Each held for one look and one write.
    shards: Vec<Mutex<Shard>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Limiter {
    /// Takes one event out of a bucket.
    pub(crate) fn check(&self, rule: u64, who: Who, rate: &Rate, now: Instant) -> Verdict {
        let now = now.saturating_duration_since(self.started).as_nanos();
        // The start is not moment 0, at which every bucket is full.
        let now = u64::try_from(now).unwrap_or(u64::MAX).saturating_add(1);
        let key = (rule, who);
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        let Some(shard) = self.shards.get(hash % SHARDS) else {
            return rate.check(0, now);
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.states.get(&key).copied();
        let verdict = rate.check(known.unwrap_or(0), now);
        if let Verdict::Allowed { state, .. } = verdict {
            if known.is_none() {
                shard.make_room(now);
            }
            shard.states.insert(key, state);
        }
        verdict
    }
}

impl Shard {
    fn make_room(&mut self, now: u64) {
        if self.states.len() < SHARD_MAX {
            return;
        }
        let pause = u64::try_from(SEARCH_EVERY.as_nanos()).unwrap_or(u64::MAX);
        if now.saturating_sub(self.searched_at) >= pause {
            self.searched_at = now;
            self.states.retain(|_, state| *state > now);
        }
        if self.states.len() < SHARD_MAX {
            return;
        }
        // Of some, the one that is full again first: who goes on too fast stays known.
        let candidates = self.states.iter().take(CANDIDATES);
        let soonest = candidates.min_by_key(|(_, state)| **state);
        if let Some(key) = soonest.map(|(key, _)| *key) {
            self.states.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_buckets_of_their_own() {
        let client = |text: &str| Who::client(Some(text.parse().expect("an address")));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));

        let limiter = Limiter::default();
        let rate = Rate::new(1, Duration::from_secs(60), 1);
        let now = Instant::now();
        let is_allowed = |rule, who| {
            matches!(
                limiter.check(rule, who, &rate, now),
                Verdict::Allowed { .. }
            )
        };
        assert!(is_allowed(1, client("192.0.2.1")));
        assert!(!is_allowed(1, client("192.0.2.1")));
        assert!(is_allowed(1, client("192.0.2.2")));
        assert!(is_allowed(2, client("192.0.2.1")));
        assert!(is_allowed(1, Who::All));
    }

    #[test]
    fn memory_is_bounded_and_who_is_too_fast_stays_known() {
        let limiter = Limiter::default();
        let rate = Rate::new(10, Duration::from_secs(1), 1_000);
        let now = Instant::now();
        let fast = Who::Client(u64::MAX);
        for _ in 0..1_000 {
            limiter.check(1, fast, &rate, now);
        }
        for number in 0..400_000 {
            limiter.check(1, Who::Client(number), &rate, now);
        }
        let buckets = || -> usize {
            let count = |shard: &Mutex<Shard>| shard.lock().expect("no panic").states.len();
            limiter.shards.iter().map(count).sum()
        };
        assert!(buckets() <= SHARDS * SHARD_MAX);
        let verdict = limiter.check(1, fast, &rate, now);
        assert!(matches!(verdict, Verdict::Denied { .. }), "{verdict:?}");
        // Later all the others are full again, and forgotten when room is needed.
        let later = now + Duration::from_secs(30);
        for number in 1_000_000..1_010_000 {
            limiter.check(1, Who::Client(number), &rate, later);
        }
        assert!(buckets() < 50_000, "{}", buckets());
    }
}
