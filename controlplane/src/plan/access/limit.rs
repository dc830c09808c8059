//! How many failed attempts to be somebody there are, and how many logins are begun.
//!
//! ```text
//! what was shown -> does it count? -- yes --> in, whatever failed before
//!                                  -- no ---> one more failure of (address, what was shown) and of the address
//! ```
//!
//! Who is known is never held up: what others behind the same address do locks nobody out. An address is
//! one of IPv4, or a /64 of IPv6. What is remembered is bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Entries of a table: what is forgotten when there are more was not worth remembering.
const ENTRIES_MAX: usize = 10_000;

/// What somebody showed who is not known, as a digest: that of a token's beginning, for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shown(pub u64);

/// So many at once, and one more after each pause.
#[derive(Debug, Clone, Copy)]
struct Budget {
    burst: u32,
    pause: Duration,
}

/// One thing that is shown again and again.
const SAME: Budget = Budget {
    burst: 10,
    pause: Duration::from_secs(6),
};
/// All that an address shows.
const ADDRESS: Budget = Budget {
    burst: 100,
    pause: Duration::from_secs(1),
};
/// Logins that an address begins.
const LOGINS: Budget = Budget {
    burst: 30,
    pause: Duration::from_secs(2),
};

/// Budgets of many, by what they have in common.
#[derive(Debug)]
struct Budgets<K> {
    budget: Budget,
    /// When all is forgiven.
    until: HashMap<K, Instant>,
}

impl<K: Hash + Eq> Budgets<K> {
    fn new(budget: Budget) -> Self {
        Self {
            budget,
            until: HashMap::new(),
        }
    }

    /// How long to wait for one more; none when there is one.
    fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let until = self.until.get(key)?;
        let debt = until.saturating_duration_since(now);
        let over = debt.checked_sub(self.budget.pause * (self.budget.burst - 1))?;
        (!over.is_zero()).then_some(over)
    }

    fn take(&mut self, key: K, now: Instant) {
        if self.until.len() >= ENTRIES_MAX {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() >= ENTRIES_MAX {
            // From everywhere at once: none of them is worth remembering.
            self.until.clear();
        }
        let until = self.until.entry(key).or_insert(now);
        let most = now + self.budget.pause * self.budget.burst;
        *until = ((*until).max(now) + self.budget.pause).min(most);
    }
}

/// What failed and what was begun, by address.
#[derive(Debug)]
pub struct Attempts {
    same: Budgets<(IpAddr, Shown)>,
    address: Budgets<IpAddr>,
    logins: Budgets<IpAddr>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            same: Budgets::new(SAME),
            address: Budgets::new(ADDRESS),
            logins: Budgets::new(LOGINS),
        }
    }
}

impl Attempts {
    /// Counts that somebody showed what does not count, or says how long they have to wait before
    /// they are told so again.
    ///
    /// # Errors
    /// The time to wait.
    pub fn fail(&mut self, address: IpAddr, shown: Shown, now: Instant) -> Result<(), Duration> {
        let address = key(address);
        let waits = [
            self.same.wait(&(address, shown), now),
            self.address.wait(&address, now),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        self.same.take((address, shown), now);
        self.address.take(address, now);
        Ok(())
    }

    /// Whether the same was shown too often already.
    ///
    /// # Errors
    /// The time to wait.
    pub fn may_show(&self, address: IpAddr, shown: Shown, now: Instant) -> Result<(), Duration> {
        match self.same.wait(&(key(address), shown), now) {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    /// Counts that somebody begins a login, or says how long they have to wait.
    ///
    /// # Errors
    /// The time to wait.
    pub fn begin(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = key(address);
        match self.logins.wait(&address, now) {
            Some(wait) => Err(wait),
            None => {
                self.logins.take(address, now);
                Ok(())
            }
        }
    }
}

/// Whom an address belongs to: hosts have a whole /64 of IPv6.
pub(super) fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let net = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(net))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_token_fails_ten_times_and_once_more_every_six_seconds() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let (one, other) = (ip("10.0.0.1"), ip("10.0.0.2"));
        for _ in 0..10 {
            assert_eq!(attempts.fail(one, Shown(1), start), Ok(()));
        }
        assert_eq!(attempts.fail(one, Shown(1), start), Err(6 * S));
        assert_eq!(attempts.may_show(one, Shown(1), start), Err(6 * S));
        assert_eq!(attempts.may_show(one, Shown(2), start), Ok(()));
        // A neighbour is not held up, nor is anybody at another address.
        assert_eq!(attempts.fail(one, Shown(2), start), Ok(()));
        assert_eq!(attempts.fail(other, Shown(1), start), Ok(()));
        // However often it is shown meanwhile, the wait is for one of them.
        for _ in 0..1_000 {
            assert!(attempts.fail(one, Shown(1), start).is_err());
        }
        let later = start + 6 * S;
        assert_eq!(attempts.fail(one, Shown(1), later), Ok(()));
        assert_eq!(attempts.fail(one, Shown(1), later), Err(6 * S));
    }

    #[test]
    fn an_address_that_guesses_is_slowed_whatever_it_shows() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let one = ip("10.0.0.1");
        for shown in 0..100 {
            assert_eq!(attempts.fail(one, Shown(shown), start), Ok(()), "{shown}");
        }
        assert_eq!(attempts.fail(one, Shown(100), start), Err(S));
        assert_eq!(attempts.fail(one, Shown(100), start + S), Ok(()));
        // Failures are no reason to let nobody begin.
        assert_eq!(attempts.begin(one, start), Ok(()));
    }

    #[test]
    fn logins_begin_thirty_at_once_and_one_every_two_seconds() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let one = ip("10.0.0.1");
        for _ in 0..30 {
            assert_eq!(attempts.begin(one, start), Ok(()));
        }
        assert_eq!(attempts.begin(one, start), Err(2 * S));
        assert_eq!(attempts.begin(ip("10.0.0.2"), start), Ok(()));
        assert_eq!(attempts.begin(one, start + 2 * S), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (now, mut attempts) = (Instant::now(), Attempts::default());
        for host in 1..=10 {
            let address = ip(&format!("2001:db8::{host}"));
            assert_eq!(attempts.fail(address, Shown(1), now), Ok(()));
        }
        for (address, expected) in [
            ("2001:db8::99", Err(6 * S)),
            ("2001:db8:0:1::1", Ok(())),
            ("::ffff:10.0.0.1", Ok(())),
        ] {
            assert_eq!(
                attempts.fail(ip(address), Shown(1), now),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (now, mut attempts) = (Instant::now(), Attempts::default());
        for number in 0..30_000_u32 {
            let address = IpAddr::V4(number.into());
            let _ = attempts.fail(address, Shown(number.into()), now);
        }
        assert!(attempts.same.until.len() <= ENTRIES_MAX);
        assert!(attempts.address.until.len() <= ENTRIES_MAX);
    }
}
