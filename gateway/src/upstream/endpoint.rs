//! What the gateway remembers about an endpoint: its load, its failures, its health.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cara_api::gateway::{HealthProbe, Outlier};
use cara_routes::health::{Checks, Health};
use cara_routes::outlier::{Fleet, Record};

use crate::leaving::{Stay, Stays};

/// How long an endpoint that refused a connection is left out when the rule says nothing about
/// failures: nothing under way looks like no load, which would draw requests to it.
const REFUSED: Duration = Duration::from_secs(1);

/// An address that requests are sent to. It lives as long as some rule or request knows it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    in_flight: AtomicU32,
    /// When it came, on the gateway's clock, in milliseconds.
    since_ms: AtomicU64,
    /// Until when it is left out, on the same clock.
    out_until_ms: AtomicU64,
    /// Checks say that it is down.
    is_down: AtomicBool,
    /// There is something in `memory` that a success changes.
    is_troubled: AtomicBool,
    /// Made when there is something to remember.
    memory: OnceLock<Box<Mutex<Memory>>>,
    stay: Stay,
}

impl Stays for Endpoint {
    fn stay(&self) -> &Stay {
        &self.stay
    }
}

#[derive(Debug, Default)]
struct Memory {
    record: Record,
    checks: Checks,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr, now: Duration) -> Self {
        Self {
            address,
            in_flight: AtomicU32::new(0),
            since_ms: AtomicU64::new(milliseconds(now)),
            out_until_ms: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            is_troubled: AtomicBool::new(false),
            memory: OnceLock::new(),
            stay: Stay::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        let memory = self.memory.get_or_init(Box::default);
        memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It takes its full share from now on.
    pub(super) fn count_as_old(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Time since it came; very long when it was there from the start.
    pub(super) fn age(&self, now: Duration) -> Duration {
        match self.since_ms.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            since => now.saturating_sub(Duration::from_millis(since)),
        }
    }

    /// Whether it takes requests.
    pub(super) fn is_in(&self, now: Duration) -> bool {
        !self.is_down.load(Ordering::Relaxed)
            && milliseconds(now) >= self.out_until_ms.load(Ordering::Relaxed)
    }

    /// Notes a failure. True when it is left out from now on.
    pub(super) fn failed(
        &self,
        policy: Option<&Outlier>,
        is_refusal: bool,
        fleet: Fleet,
        now: Duration,
    ) -> bool {
        let Some(policy) = policy else {
            if is_refusal {
                let until = milliseconds(now + REFUSED);
                self.out_until_ms.fetch_max(until, Ordering::Relaxed);
            }
            return false;
        };
        let mut memory = self.memory();
        let was_in = !memory.record.is_out(now);
        memory.record = memory.record.failed(policy, fleet, now, fastrand::u32(..));
        let until = milliseconds(memory.record.out_until());
        self.out_until_ms.store(until, Ordering::Relaxed);
        self.is_troubled.store(true, Ordering::Relaxed);
        was_in && memory.record.is_out(now)
    }

    /// Notes a success; costs nothing while there was no failure.
    pub(super) fn succeeded(&self, now: impl Fn() -> Duration) {
        if !self.is_troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut memory = self.memory();
        memory.record = memory.record.succeeded(now());
        let is_clean = memory.record.is_clean();
        self.is_troubled.store(!is_clean, Ordering::Relaxed);
    }

    /// Notes the result of a check; gives what it changed to, if it did.
    pub(super) fn checked(&self, policy: &HealthProbe, is_well: bool) -> Option<Health> {
        let mut memory = self.memory();
        let before = memory.checks.health();
        memory.checks = memory.checks.after(policy, is_well);
        let health = memory.checks.health();
        self.is_down
            .store(health == Health::Down, Ordering::Relaxed);
        (health != before).then_some(health)
    }

    /// Forgets what checks said, when there are none any more.
    pub(super) fn unchecked(&self) {
        let mut memory = self.memory();
        memory.checks = Checks::default();
        self.is_down.store(false, Ordering::Relaxed);
    }
}

/// Milliseconds of the gateway's clock, never 0: that stands for "always".
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A request under way at an endpoint; ends when it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Endpoint>);

impl InFlight {
    pub(super) fn begin(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: Fleet = Fleet { total: 2, out: 0 };

    fn endpoint() -> Endpoint {
        let address = "127.0.0.1:1".parse().expect("an address");
        Endpoint::new(address, Duration::from_secs(1))
    }

    #[test]
    fn a_refused_connection_is_remembered_for_a_second() {
        let endpoint = endpoint();
        let now = Duration::from_secs(5);
        assert!(!endpoint.failed(None, false, FLEET, now) && endpoint.is_in(now));
        assert!(!endpoint.failed(None, true, FLEET, now) && !endpoint.is_in(now));
        assert!(endpoint.is_in(now + REFUSED));
    }

    #[test]
    fn failures_in_a_row_leave_it_out_and_a_success_between_does_not() {
        let policy = Outlier {
            failures: 2,
            ejection: Duration::from_secs(10),
        };
        let endpoint = endpoint();
        let now = Duration::from_secs(5);
        for _ in 0..3 {
            assert!(!endpoint.failed(Some(&policy), false, FLEET, now));
            endpoint.succeeded(|| now);
        }
        assert!(!endpoint.failed(Some(&policy), false, FLEET, now));
        assert!(endpoint.failed(Some(&policy), false, FLEET, now));
        assert!(!endpoint.is_in(now));
        assert!(endpoint.is_in(now + Duration::from_secs(12)));
    }

    #[test]
    fn a_request_counts_until_it_is_dropped() {
        let endpoint = Arc::new(endpoint());
        let requests = [InFlight::begin(&endpoint), InFlight::begin(&endpoint)];
        assert_eq!(endpoint.in_flight(), 2);
        drop(requests);
        assert_eq!(endpoint.in_flight(), 0);
    }
}
