//! When an endpoint that fails is left out, and for how long.
//!
//! ```text
//! in --failures in a row--> out --time over--> in, on probation --failure--> out, twice as long
//!                                                      '--success--> in
//! ```
//!
//! Times are those of a clock that never goes back; its origin does not matter.

use std::time::Duration;

use cara_api::gateway::Outlier;

/// Longest time out, unless the first one is longer.
const EJECTION_MAX: Duration = Duration::from_secs(300);
/// Most doublings; more would only overflow.
const DOUBLINGS_MAX: u32 = 16;

/// What is remembered about an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Failures since the last success.
    failures: u32,
    /// Times that it was left out lately.
    ejections: u32,
    /// Until when it is left out; the past: it is in.
    out_until: Duration,
    /// How long it was left out the last time.
    last: Duration,
}

/// The endpoints of a service when one of them fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// All of them.
    pub total: usize,
    /// Those that are left out already.
    pub out: usize,
}

impl Fleet {
    /// Whether one more may be left out: at most half of them are.
    fn can_spare_one(self) -> bool {
        (self.out + 1) * 2 <= self.total
    }
}

impl Record {
    /// Until when it is left out.
    pub fn out_until(&self) -> Duration {
        self.out_until
    }

    /// Whether it is left out.
    pub fn is_out(&self, now: Duration) -> bool {
        now < self.out_until
    }

    /// True when nothing needs to be remembered.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// After a failure. `jitter` is any number; it lengthens the time out by up to a tenth, so that
    /// endpoints that failed together do not come back together.
    #[must_use]
    pub fn failed(mut self, policy: &Outlier, fleet: Fleet, now: Duration, jitter: u32) -> Self {
        // What was sent before it was left out says nothing new.
        if self.is_out(now) {
            return self;
        }
        self.failures = self.failures.saturating_add(1);
        let on_probation = self.ejections > 0;
        let is_enough = on_probation || self.failures >= policy.failures.max(1);
        if !is_enough || !fleet.can_spare_one() {
            return self;
        }
        let longest = EJECTION_MAX.max(policy.ejection);
        let doubled = policy
            .ejection
            .saturating_mul(1 << self.ejections.min(DOUBLINGS_MAX));
        self.last = doubled.min(longest);
        self.out_until = now + self.last + self.last / 1_000 * (jitter % 100);
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        self
    }

    /// After a success. What was left out stays so until its time is over; an endpoint that did
    /// well for as long as it was left out last has a clean record again.
    #[must_use]
    pub fn succeeded(mut self, now: Duration) -> Self {
        if self.is_out(now) {
            return self;
        }
        self.failures = 0;
        if now >= self.out_until + self.last {
            return Self::default();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Outlier = Outlier {
        failures: 3,
        ejection: Duration::from_secs(10),
    };
    const FLEET: Fleet = Fleet { total: 4, out: 0 };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_in_a_row_put_it_out_for_a_time_that_doubles_up_to_a_cap() {
        let mut record = Record::default();
        for _ in 0..2 {
            record = record.failed(&POLICY, FLEET, s(100), 0);
            assert!(!record.is_out(s(100)));
        }
        record = record.failed(&POLICY, FLEET, s(100), 0);
        assert_eq!(record.out_until(), s(110));
        // On probation one failure is enough.
        let mut now = s(110);
        for expected in [20, 40, 80, 160, 300, 300] {
            assert!(!record.is_out(now));
            record = record.failed(&POLICY, FLEET, now, 0);
            assert_eq!(record.out_until(), now + s(expected));
            now = record.out_until();
        }
    }

    #[test]
    fn a_success_starts_the_count_again() {
        let mut record = Record::default();
        for _ in 0..9 {
            record = record
                .failed(&POLICY, FLEET, s(1), 0)
                .failed(&POLICY, FLEET, s(1), 0)
                .succeeded(s(1));
        }
        assert!(record.is_clean());
    }

    #[test]
    fn doing_well_for_as_long_as_it_was_out_cleans_the_record() {
        let strict = Outlier {
            failures: 1,
            ..POLICY
        };
        let out = Record::default().failed(&strict, FLEET, s(0), 0);
        assert_eq!(out.out_until(), s(10));
        assert!(!out.succeeded(s(15)).is_clean());
        assert!(out.succeeded(s(20)).is_clean());
        // An answer to what was sent before does not bring it back.
        assert!(out.succeeded(s(5)).is_out(s(5)));
    }

    #[test]
    fn at_most_half_are_out() {
        let strict = Outlier {
            failures: 1,
            ..POLICY
        };
        for (total, out, expected) in [
            (1, 0, false),
            (2, 0, true),
            (2, 1, false),
            (3, 0, true),
            (3, 1, false),
            (4, 1, true),
            (4, 2, false),
            (0, 0, false),
        ] {
            let record = Record::default().failed(&strict, Fleet { total, out }, s(0), 0);
            assert_eq!(record.is_out(s(0)), expected, "{out} of {total}");
        }
    }

    proptest! {
        /// Whatever happens, it is never out for longer than the cap and a tenth, and always comes
        /// back by itself.
        #[test]
        fn it_always_comes_back(
            steps in prop::collection::vec((any::<bool>(), 0_u64..400, any::<u32>()), 0..60)
        ) {
            let (mut record, mut now) = (Record::default(), Duration::ZERO);
            for (is_failure, pause, jitter) in steps {
                now += s(pause);
                record = if is_failure {
                    record.failed(&POLICY, FLEET, now, jitter)
                } else {
                    record.succeeded(now)
                };
                prop_assert!(record.out_until() <= now + EJECTION_MAX + EJECTION_MAX / 10);
            }
        }
    }
}
