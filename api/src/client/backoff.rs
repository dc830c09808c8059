//! Growing pauses between tries.

use std::time::Duration;

/// Doubling pauses with jitter: each is between half and the whole of its nominal length, so
/// that many clients which lost the same server do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts at `first` and never exceeds `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            tries: 0,
        }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let nominal = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.tries))
            .min(self.cap);
        self.tries = self.tries.saturating_add(1);
        nominal.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// True before the first pause after a success.
    pub fn is_fresh(&self) -> bool {
        self.tries == 0
    }

    /// Begins again at the first pause, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_below_the_cap_and_begin_again() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, cap);
        let pauses: Vec<Duration> = (0..100).map(|_| backoff.pause()).collect();
        assert!(pauses.iter().all(|p| *p <= cap && *p >= first / 2));
        assert!(pauses.iter().skip(6).all(|p| *p >= cap / 2));
        backoff.reset();
        assert!(backoff.pause() <= first);
    }
}
