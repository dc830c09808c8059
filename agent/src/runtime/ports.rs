//! Host ports for what is published.
//!
//! The agent chooses them, so that a container keeps its port when the engine restarts: an
//! engine that chooses by itself may hand the port of one project to another, to which gateways
//! then still send the first one's requests.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range`).
const RANGE: RangeInclusive<u16> = 20_000..=32_000;
/// Ports that were given out are not given out again before so many others.
const REST: usize = 2_000;
/// Tries before giving up.
const TRIES: usize = 200;

/// Gives out host ports.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    // Held for queue operations and a bind, which does not wait.
    recent: Mutex<VecDeque<u16>>,
}

impl Ports {
    /// A port of `ip` that nobody listens on and that was not given out lately. Blocking, short.
    pub(crate) fn choose(&self, ip: IpAddr, taken: &BTreeSet<u16>) -> Option<u16> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let port = fastrand::u16(RANGE);
            if taken.contains(&port) || recent.contains(&port) {
                continue;
            }
            if TcpListener::bind((ip, port)).is_ok() {
                recent.push_back(port);
                if recent.len() > REST {
                    recent.pop_front();
                }
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_given_out_twice_in_a_row_nor_when_somebody_has_it() {
        let (ports, ip) = (Ports::default(), IpAddr::from([127, 0, 0, 1]));
        let first = ports.choose(ip, &BTreeSet::new()).expect("a port");
        let mut seen = BTreeSet::from([first]);
        for _ in 0..100 {
            assert!(seen.insert(ports.choose(ip, &BTreeSet::new()).expect("a port")));
        }
        let all: BTreeSet<u16> = RANGE.collect();
        assert_eq!(ports.choose(ip, &all), None);
    }
}
