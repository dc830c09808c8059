//! Who is let in: limits on open connections, in total and by client.
//!
//! Memory is bounded by the open connections: a client is forgotten with its last one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;

/// Parts of the table, each with a lock of its own that is held for one look-up.
const SHARDS: usize = 32;

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many as may be are open.
    Total,
    /// As many as may be are open from this client.
    Client,
}

impl Refusal {
    /// The value of a metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "client",
        }
    }
}

/// Whether one more fits, by the number that are open already. No limit is None.
fn fits(open: usize, limit: Option<usize>) -> bool {
    limit.is_none_or(|limit| open < limit)
}

/// Who counts as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client(u128);

impl Client {
    /// An IPv4 address; the /64 of an IPv6 address, which is what one household has.
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) << 64),
        }
    }

    fn shard(self) -> usize {
        // Multiplicative hashing: both halves of the address take part.
        let low = u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(self.0 >> 64).unwrap_or_default();
        let mixed = (low ^ high.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(mixed).unwrap_or_default() % SHARDS
    }
}

/// Counts open connections.
pub(crate) struct Admission {
    connections: usize,
    per_client: Option<usize>,
    open: AtomicUsize,
    by_client: [Mutex<HashMap<Client, usize>>; SHARDS],
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            connections: limits.connections,
            per_client: limits.connections_per_client,
            open: AtomicUsize::new(0),
            by_client: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Lets a connection in, as far as the total allows.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Permit, Refusal> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        // Made first: dropping it takes the number back.
        let permit = Permit {
            admission: Arc::clone(self),
            client: None,
        };
        if fits(open, Some(self.connections)) {
            Ok(permit)
        } else {
            Err(Refusal::Total)
        }
    }

    fn shard(&self, client: Client) -> Option<&Mutex<HashMap<Client, usize>>> {
        self.by_client.get(client.shard())
    }

    fn take(&self, client: Client, limit: usize) -> bool {
        let Some(shard) = self.shard(client) else {
            return true;
        };
        let mut clients = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let open = clients.get(&client).copied().unwrap_or(0);
        let is_admitted = fits(open, Some(limit));
        if is_admitted {
            clients.insert(client, open + 1);
        }
        is_admitted
    }

    fn give_back(&self, client: Client) {
        let Some(shard) = self.shard(client) else {
            return;
        };
        let mut clients = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match clients.get_mut(&client) {
            Some(open) if *open > 1 => *open -= 1,
            Some(_) | None => drop(clients.remove(&client)),
        }
    }
}

/// Stands for one open connection; dropping it lets another one in.
pub(crate) struct Permit {
    admission: Arc<Admission>,
    client: Option<Client>,
}

impl Permit {
    /// Counts the connection for its client, once it is known.
    ///
    /// # Errors
    /// The client has as many as it may have.
    pub(crate) fn count_for(&mut self, ip: IpAddr) -> Result<(), Refusal> {
        let Some(limit) = self.admission.per_client else {
            return Ok(());
        };
        let client = Client::of(ip);
        if !self.admission.take(client, limit) {
            return Err(Refusal::Client);
        }
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.admission.give_back(client);
        }
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The network that counts as one client, for the tests.
#[cfg(test)]
fn network(text: &str) -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::from_bits(Client::of(text.parse().expect("an address")).0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admission(connections: usize, per_client: Option<usize>) -> Arc<Admission> {
        Arc::new(Admission::new(&Limits {
            connections,
            connections_per_client: per_client,
            ..Limits::default()
        }))
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_an_ipv4_client_its_address() {
        for (ip, expected) in [
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ] {
            assert_eq!(
                network(ip),
                expected.parse::<std::net::Ipv6Addr>().expect("an address"),
                "{ip}"
            );
        }
    }

    #[test]
    fn the_total_and_each_client_are_limited_and_places_come_back() {
        let admission = admission(3, Some(2));
        let [a, b]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().expect("an ip"));
        let enter = |ip| {
            let mut permit = admission.enter()?;
            permit.count_for(ip).map(|()| permit)
        };
        let first = enter(a).ok();
        let _second = enter(a).ok();
        assert_eq!(enter(a).err(), Some(Refusal::Client));
        let _third = enter(b).ok();
        assert_eq!(enter(b).err(), Some(Refusal::Total));
        drop(first);
        assert!(enter(a).is_ok());
    }

    proptest! {
        /// Whatever comes and goes, no limit is exceeded, and nothing is remembered at the end.
        #[test]
        fn limits_hold(steps in prop::collection::vec((0_u8..6, any::<bool>()), 1..80)) {
            let admission = admission(8, Some(3));
            let mut open: Vec<(u8, Permit)> = Vec::new();
            for (who, comes) in steps {
                if comes {
                    let ip = IpAddr::from([192, 0, 2, who]);
                    let of_client = open.iter().filter(|(w, _)| *w == who).count();
                    let permit = admission.enter().and_then(|mut p| p.count_for(ip).map(|()| p));
                    prop_assert_eq!(permit.is_ok(), open.len() < 8 && of_client < 3);
                    open.extend(permit.ok().map(|p| (who, p)));
                } else if let Some(place) = open.iter().position(|(w, _)| *w == who) {
                    open.swap_remove(place);
                }
            }
            drop(open);
            prop_assert_eq!(admission.open.load(Ordering::Relaxed), 0);
            for shard in &admission.by_client {
                prop_assert!(shard.lock().expect("not poisoned").is_empty());
            }
        }
    }
}
