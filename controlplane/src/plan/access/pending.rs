//! Logins of devices that are under way: how many there may be, and how often each may ask (RFC 8628
//! section 3.5).
//!
//! ```text
//! begin -> takes a place --> poll (not before its pause is over) ... -> end
//!                       \--> nobody asks for a while: the place is free again
//! ```
//!
//! Handles are signed and carry what a login needs, so this is not what a login lives on: one that lost
//! its place, or comes to another server, takes a new one when it asks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::limit::key;

/// Logins under way of all addresses.
pub const ALL_MAX: usize = 1_000;
/// Logins under way of one address.
pub const ADDRESS_MAX: usize = 20;
/// How much longer the pause becomes for who asks too early.
const SLOWER: Duration = Duration::from_secs(5);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A login that did not ask for so long has been given up.
const IDLE: Duration = Duration::from_secs(120);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The address has as many as it may have.
    Address,
    /// There are as many as there may be.
    All,
}

/// What to do with a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Ask the login service.
    Ask,
    /// It came too early: to come again after this pause.
    Early(Duration),
    /// The login ended already.
    Over,
}

#[derive(Debug)]
struct Login {
    address: IpAddr,
    /// When somebody asked last.
    seen: Instant,
    /// When they may ask again.
    next: Instant,
    /// How much longer than said at first they have to wait.
    slower: Duration,
    is_over: bool,
}

/// Logins of devices that are under way.
#[derive(Debug, Default)]
pub struct Pending {
    all: HashMap<Uuid, Login>,
}

impl Pending {
    /// Gives a login a place.
    ///
    /// # Errors
    /// There is none.
    pub fn begin(&mut self, id: Uuid, address: IpAddr, now: Instant) -> Result<(), Full> {
        let address = key(address);
        self.all
            .retain(|_, login| now.saturating_duration_since(login.seen) < IDLE);
        if self.all.len() >= ALL_MAX {
            return Err(Full::All);
        }
        let of_address = self.all.values().filter(|login| login.address == address);
        if of_address.count() >= ADDRESS_MAX {
            return Err(Full::Address);
        }
        let login = Login {
            address,
            seen: now,
            next: now,
            slower: Duration::ZERO,
            is_over: false,
        };
        self.all.insert(id, login);
        Ok(())
    }

    /// Decides what becomes of a poll; `pause` is the one that was said at the beginning.
    ///
    /// # Errors
    /// The login has no place, and there is none.
    pub fn poll(
        &mut self,
        id: Uuid,
        address: IpAddr,
        pause: Duration,
        now: Instant,
    ) -> Result<Turn, Full> {
        if !self.all.contains_key(&id) {
            self.begin(id, address, now)?;
        }
        let Some(login) = self.all.get_mut(&id) else {
            return Ok(Turn::Over);
        };
        login.seen = now;
        if login.is_over {
            return Ok(Turn::Over);
        }
        if now < login.next {
            login.slower = (login.slower + SLOWER).min(PAUSE_MAX);
            login.next = (login.next + SLOWER).min(now + PAUSE_MAX);
            return Ok(Turn::Early(login.next - now));
        }
        login.next = now + (pause + login.slower).min(PAUSE_MAX);
        Ok(Turn::Ask)
    }

    /// The login service wants a login to ask less often. Gives the pause from now on.
    pub fn slow_down(&mut self, id: Uuid, pause: Duration, now: Instant) -> Duration {
        let Some(login) = self.all.get_mut(&id) else {
            return (pause + SLOWER).min(PAUSE_MAX);
        };
        login.slower = (login.slower + SLOWER).min(PAUSE_MAX);
        let pause = (pause + login.slower).min(PAUSE_MAX);
        login.next = now + pause;
        pause
    }

    /// How long a login waits between two polls.
    pub fn pause(&self, id: Uuid, pause: Duration) -> Duration {
        let slower = self.all.get(&id).map(|login| login.slower);
        (pause + slower.unwrap_or_default()).min(PAUSE_MAX)
    }

    /// A login is complete or was refused: the login service is not asked about it again.
    pub fn end(&mut self, id: Uuid) {
        if let Some(login) = self.all.get_mut(&id) {
            login.is_over = true;
        }
    }

    /// A login did not begin after all.
    pub fn forget(&mut self, id: Uuid) {
        self.all.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn who_asks_too_early_is_slowed_and_costs_the_login_service_nothing() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        let (id, one) = (Uuid::from_u128(1), ip(1));
        assert_eq!(pending.begin(id, one, start), Ok(()));
        for (after_s, expected) in [
            (0, Turn::Ask),
            // To be asked at 5: too early, so at 10, and 10 s between two from then on.
            (1, Turn::Early(9 * S)),
            (10, Turn::Ask),
            (19, Turn::Early(6 * S)),
            (25, Turn::Ask),
            // 15 s between two by now.
            (40, Turn::Ask),
        ] {
            let turn = pending.poll(id, one, 5 * S, start + after_s * S);
            assert_eq!(turn, Ok(expected), "{after_s}");
        }
        // Never longer than a minute, however often somebody asks.
        for _ in 0..100 {
            let turn = pending.poll(id, one, 5 * S, start + 41 * S);
            assert!(matches!(turn, Ok(Turn::Early(wait)) if wait <= PAUSE_MAX));
        }
        assert_eq!(pending.poll(id, one, 5 * S, start + 101 * S), Ok(Turn::Ask));
    }

    #[test]
    fn slow_down_of_the_login_service_holds_for_all_that_follows() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        let (id, one) = (Uuid::from_u128(1), ip(1));
        assert_eq!(pending.poll(id, one, 5 * S, start), Ok(Turn::Ask));
        assert_eq!(pending.slow_down(id, 5 * S, start), 10 * S);
        assert_eq!(pending.poll(id, one, 5 * S, start + 10 * S), Ok(Turn::Ask));
        assert_eq!(pending.pause(id, 5 * S), 10 * S);
        assert_eq!(pending.slow_down(id, 5 * S, start + 10 * S), 15 * S);
    }

    #[test]
    fn a_login_that_ended_is_not_asked_about() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        let (id, one) = (Uuid::from_u128(1), ip(1));
        assert_eq!(pending.poll(id, one, S, start), Ok(Turn::Ask));
        pending.end(id);
        assert_eq!(pending.poll(id, one, S, start + 9 * S), Ok(Turn::Over));
    }

    #[test]
    fn places_are_bounded_for_an_address_and_in_all_and_come_free() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        let mut id = 0;
        let mut begin = |pending: &mut Pending, address, now| {
            id += 1;
            pending.begin(Uuid::from_u128(id), ip(address), now)
        };
        for _ in 0..ADDRESS_MAX {
            assert_eq!(begin(&mut pending, 1, start), Ok(()));
        }
        assert_eq!(begin(&mut pending, 1, start), Err(Full::Address));
        assert_eq!(begin(&mut pending, 2, start), Ok(()));
        for address in 3.. {
            if begin(&mut pending, address, start) == Err(Full::All) {
                break;
            }
        }
        assert_eq!(pending.all.len(), ALL_MAX);
        // One that is polled keeps its place, the others gave up.
        let kept = Uuid::from_u128(1);
        assert!(pending.poll(kept, ip(1), S, start + 60 * S).is_ok());
        assert_eq!(begin(&mut pending, 1, start + IDLE), Ok(()));
        assert_eq!(pending.all.len(), 2);
        pending.forget(kept);
        assert_eq!(pending.all.len(), 1);
    }
}
