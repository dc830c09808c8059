//! How many failed attempts to be somebody an address has.
//!
//! A bucket for each address of IPv4 and each /64 of IPv6. Who is known is never held up: a
//! neighbour behind the same address cannot lock anybody out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Failures at once.
const BURST: u32 = 10;
/// Time in which one more is forgiven.
const FORGIVES_EVERY: Duration = Duration::from_secs(6);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Failed attempts by address.
#[derive(Debug, Default)]
pub struct Attempts {
    /// When all is forgiven.
    until: HashMap<IpAddr, Instant>,
}

impl Attempts {
    /// How long an address has to wait; none when it may try.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.until.get(&key(address))?;
        let debt = until.saturating_duration_since(now);
        let over = debt.checked_sub(FORGIVES_EVERY * (BURST - 1))?;
        (!over.is_zero()).then_some(over)
    }

    /// Counts a failed attempt.
    pub fn count(&mut self, address: IpAddr, now: Instant) {
        if self.until.len() >= ADDRESSES_MAX {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() >= ADDRESSES_MAX {
            // Attempts from everywhere at once: nobody of them is worth remembering.
            self.until.clear();
        }
        let until = self.until.entry(key(address)).or_insert(now);
        let most = now + FORGIVES_EVERY * BURST;
        *until = ((*until).max(now) + FORGIVES_EVERY).min(most);
    }
}

/// Whom an address belongs to: hosts have a whole /64 of IPv6.
fn key(address: IpAddr) -> IpAddr {
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

    #[test]
    fn an_address_has_ten_attempts_and_one_more_every_six_seconds() {
        let (start, mut attempts) = (Instant::now(), Attempts::default());
        let one: IpAddr = "10.0.0.1".parse().expect("an address");
        let other: IpAddr = "10.0.0.2".parse().expect("an address");
        for _ in 0..10 {
            assert_eq!(attempts.wait(one, start), None);
            attempts.count(one, start);
        }
        assert_eq!(attempts.wait(one, start), Some(Duration::from_secs(6)));
        assert_eq!(attempts.wait(other, start), None);
        let later = start + Duration::from_secs(6);
        assert_eq!(attempts.wait(one, later), None);
        attempts.count(one, later);
        assert_eq!(attempts.wait(one, later), Some(Duration::from_secs(6)));
        // However often it tries meanwhile, it waits for one of them.
        for _ in 0..1_000 {
            attempts.count(one, later);
        }
        assert_eq!(attempts.wait(one, later + FORGIVES_EVERY), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let (now, mut attempts) = (Instant::now(), Attempts::default());
        for host in 1..=10 {
            let address = format!("2001:db8::{host}").parse().expect("an address");
            attempts.count(address, now);
        }
        let wait = |text: &str| attempts.wait(text.parse().expect("an address"), now);
        assert!(wait("2001:db8::99").is_some());
        assert!(wait("2001:db8:0:1::1").is_none());
        assert!(wait("::ffff:10.0.0.1").is_none());
    }
}
