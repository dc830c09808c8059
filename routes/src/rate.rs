//! How often something may happen: the generic cell rate algorithm, a token bucket whose whole
//! state is one moment.
//!
//! Moments are nanoseconds since a start that the caller chooses. State 0, and any state that lies
//! in the past, is that of a bucket that is full: it need not be kept.

use std::time::Duration;

/// A rate with room for bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Time that one event takes, in nanoseconds; at least 1.
    interval: u64,
    /// Time that all events of a burst take, in nanoseconds; at least `interval`.
    depth: u64,
    burst: u32,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may happen.
    Allowed {
        /// The new state.
        state: u64,
        /// How many more may happen at this moment.
        remaining: u32,
        /// When as many as ever may happen again.
        reset: Duration,
    },
    /// It may not; the state stays as it is.
    Denied {
        /// When it may.
        retry_after: Duration,
    },
}

impl Rate {
    /// `requests` in each `per`, and `burst` of them at once. Zeros count as ones.
    pub fn new(requests: u32, per: Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval = (per / u64::from(requests.max(1))).max(1);
        let burst = burst.max(1);
        Self {
            interval,
            depth: interval.saturating_mul(u64::from(burst)),
            burst,
        }
    }

    /// How many may happen at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Decides about an event now.
    pub fn check(&self, state: u64, now: u64) -> Verdict {
        let next = state.max(now).saturating_add(self.interval);
        let used = next - now;
        match used.checked_sub(self.depth) {
            None | Some(0) => Verdict::Allowed {
                state: next,
                remaining: u32::try_from((self.depth - used) / self.interval).unwrap_or(u32::MAX),
                reset: Duration::from_nanos(used),
            },
            Some(excess) => Verdict::Denied {
                retry_after: Duration::from_nanos(excess),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let rate = Rate::new(2, Duration::from_secs(1), 3);
        let mut state = 0;
        let mut shown = Vec::new();
        for now in [0, 0, 0, 0, SECOND / 2, SECOND / 2, 10 * SECOND] {
            shown.push(match rate.check(state, now) {
                Verdict::Allowed {
                    state: next,
                    remaining,
                    ..
                } => {
                    state = next;
                    format!("{remaining} left")
                }
                Verdict::Denied { retry_after } => format!("in {retry_after:?}"),
            });
        }
        assert_eq!(
            shown,
            [
                "2 left", "1 left", "0 left", "in 500ms", "0 left", "in 500ms", "2 left"
            ]
        );
    }

    proptest! {
        /// In any window there are at most a burst and what the rate allows; who was refused
        /// passes after the time that was said; who keeps to the rate is never refused.
        #[test]
        fn no_window_holds_more_than_the_burst_and_the_rate(
            requests in 1_u32..50,
            per_ms in 1_u64..5_000,
            burst in 1_u32..20,
            gaps in prop::collection::vec(0_u64..400_000_000, 1..120),
        ) {
            let rate = Rate::new(requests, Duration::from_millis(per_ms), burst);
            let (mut state, mut now) = (0, 7);
            let mut allowed: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                match rate.check(state, now) {
                    Verdict::Allowed { state: next, .. } => {
                        prop_assert!(next > now);
                        state = next;
                        allowed.push(now);
                    }
                    Verdict::Denied { retry_after } => {
                        let later = now + u64::try_from(retry_after.as_nanos()).expect("small");
                        let is_allowed = matches!(rate.check(state, later), Verdict::Allowed { .. });
                        prop_assert!(is_allowed);
                        let earlier = rate.check(state, later - 1);
                        let is_denied = matches!(earlier, Verdict::Denied { .. });
                        prop_assert!(is_denied);
                    }
                }
            }
            for (first, start) in allowed.iter().enumerate() {
                for (last, end) in allowed.iter().enumerate().skip(first) {
                    let count = u64::try_from(last - first + 1).expect("small");
                    let most = u64::from(burst) + (end - start) / rate.interval + 1;
                    prop_assert!(count <= most);
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(
            requests in 1_u32..1_000, per_ms in 1_u64..100_000, burst in 1_u32..5,
        ) {
            let rate = Rate::new(requests, Duration::from_millis(per_ms), burst);
            let mut state = 0;
            for turn in 1..100 {
                let Verdict::Allowed { state: next, .. } = rate.check(state, turn * rate.interval)
                else {
                    return Err(TestCaseError::fail("refused"));
                };
                state = next;
            }
        }

        #[test]
        fn any_numbers_do(
            requests: u32, per in 0_u64..u64::MAX, burst: u32, state: u64, now: u64,
        ) {
            Rate::new(requests, Duration::from_nanos(per), burst).check(state, now);
        }
    }
}
