//! Who guesses: how often a client may show a wrong password.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that a client may have at once.
const BURST: u32 = 20;
/// Time that takes one failure off.
const FORGIVE_AFTER: Duration = Duration::from_secs(6);
/// Clients that are remembered.
const CLIENTS_MAX: usize = 65_536;

/// A client at a project. Of IPv6, the 64 bits that one subscriber has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Guesser(IpAddr, String);

impl Guesser {
    pub(super) fn new(client: Option<IpAddr>, project: &str) -> Self {
        let client = client.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let client = match client.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        };
        Self(client, project.to_owned())
    }
}

/// Failures that are not forgiven yet: the time when all will be.
#[derive(Debug, Clone, Copy)]
struct Failures {
    forgiven_at: Instant,
}

impl Failures {
    /// How long to wait before the next try; none when it may be made now.
    fn wait(self, now: Instant) -> Option<Duration> {
        let left = self.forgiven_at.saturating_duration_since(now);
        let excess = (left + FORGIVE_AFTER).checked_sub(FORGIVE_AFTER * BURST)?;
        (!excess.is_zero()).then_some(excess)
    }
}

/// Counts failures by client; bounded.
#[derive(Default)]
pub(super) struct Guesses {
    // Held for one look-up or one write.
    failed: Mutex<HashMap<Guesser, Failures>>,
}

impl Guesses {
    /// Notes a try as a failure, before it is made: so that many at once are not more than one
    /// after the other. See [`Self::take_back`].
    ///
    /// # Errors
    /// How long the client has to wait before it may try; nothing is noted then.
    pub(super) fn count(&self, guesser: &Guesser, now: Instant) -> Result<(), Duration> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = failed.get(guesser).and_then(|failures| failures.wait(now)) {
            return Err(wait);
        }
        if failed.len() >= CLIENTS_MAX && !failed.contains_key(guesser) {
            failed.retain(|_, f| f.forgiven_at > now);
            // All of them are recent: an attack from everywhere, which a list cannot stop.
            if failed.len() >= CLIENTS_MAX {
                failed.clear();
            }
        }
        let entry = failed
            .entry(guesser.clone())
            .or_insert(Failures { forgiven_at: now });
        entry.forgiven_at = entry.forgiven_at.max(now) + FORGIVE_AFTER;
        Ok(())
    }

    /// Takes back a try that was no failure, or was not made.
    pub(super) fn take_back(&self, guesser: &Guesser) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = failed.get_mut(guesser)
            && let Some(earlier) = entry.forgiven_at.checked_sub(FORGIVE_AFTER)
        {
            entry.forgiven_at = earlier;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_after_its_failures_and_others_do_not() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let client = Guesser::new("192.0.2.1".parse().ok(), "shop");
        for count in 0..BURST {
            assert_eq!(guesses.count(&client, now), Ok(()), "after {count}");
        }
        assert_eq!(guesses.count(&client, now), Err(FORGIVE_AFTER));
        for other in [("192.0.2.2", "shop"), ("192.0.2.1", "other")] {
            let other = Guesser::new(other.0.parse().ok(), other.1);
            assert_eq!(guesses.count(&other, now), Ok(()));
        }
        assert_eq!(guesses.count(&client, now + FORGIVE_AFTER), Ok(()));
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let client = Guesser::new("192.0.2.1".parse().ok(), "shop");
        for _ in 0..3 * BURST {
            assert_eq!(guesses.count(&client, now), Ok(()));
            guesses.take_back(&client);
        }
        guesses.take_back(&Guesser::new("192.0.2.2".parse().ok(), "shop"));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client() {
        let of = |ip: &str| Guesser::new(ip.parse().ok(), "shop");
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
