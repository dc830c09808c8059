//! Whether a request that failed is tried again.
//!
//! Trying again is safe when the service did not get the request, or when the method is
//! idempotent (RFC 9110 section 9.2.2) and what was sent can be sent once more.

use std::time::Duration;

use cara_api::gateway::Retries;

/// The time that a budget looks back.
const WINDOW: Duration = Duration::from_secs(10);
/// Retries in a window that are always allowed, so that a service with little traffic has some.
const ALWAYS: u64 = 3;
/// One retry, in the unit in which budgets count.
const RETRY: u64 = 100_000;

/// Tries beyond those of the policy after kept connections that the service had closed: each of them
/// takes one.
const UNSEEN: u32 = 2;

/// How a try ended, before any of an answer was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: nothing was sent.
    Connect,
    /// The service said that it did not look at the request (RFC 9113 section 8.7).
    Refused,
    /// A kept connection was closed before any of an answer came, as services close idle ones.
    Stale,
    /// A new connection died before any of an answer came.
    Died,
    /// The service answered with this status.
    Status(u16),
    /// Anything else, such as silence: the service may be at work.
    Other,
}

/// What of a request matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Doing it twice is the same as doing it once.
    pub is_idempotent: bool,
    /// It has no body.
    pub has_no_body: bool,
    /// All of the body that was read is still there.
    pub is_replayable: bool,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tries, the one that just failed included.
    pub tries: u32,
    /// Time since the first try.
    pub elapsed: Duration,
    /// Time for all tries.
    pub limit: Duration,
    /// An endpoint is left that this request has not failed at.
    pub has_other_endpoint: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The client is told.
    GiveUp,
    /// Try again: the service was not burdened by the try that failed.
    Again,
    /// Try again if the budget allows.
    AgainWithinBudget,
}

/// What to do after a failure.
pub fn decide(policy: &Retries, failure: Failure, shape: Shape, progress: Progress) -> Decision {
    let more = match failure {
        Failure::Stale if policy.attempts > 1 => UNSEEN,
        _ => 0,
    };
    let attempts = policy.attempts.saturating_add(more);
    if progress.tries >= attempts || progress.elapsed >= progress.limit {
        return Decision::GiveUp;
    }
    let is_safe = shape.is_idempotent && shape.has_no_body;
    match failure {
        // The same endpoint would refuse again at once.
        Failure::Connect if progress.has_other_endpoint && shape.is_replayable => Decision::Again,
        Failure::Refused if shape.is_replayable => Decision::Again,
        Failure::Stale if shape.is_idempotent && shape.is_replayable => Decision::Again,
        Failure::Died if is_safe => Decision::AgainWithinBudget,
        Failure::Status(status) if is_safe && policy.on_status.contains(&status) => {
            Decision::AgainWithinBudget
        }
        Failure::Connect
        | Failure::Refused
        | Failure::Stale
        | Failure::Died
        | Failure::Status(_)
        | Failure::Other => Decision::GiveUp,
    }
}

/// How many retries there may be: a share of the requests of the last ten seconds, so that a
/// service that fails everything is not sent a multiple of its load. What is not used runs off
/// within the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Earned by requests; [`RETRY`] is one retry.
    earned: u64,
    /// Used of what is always allowed.
    used: u64,
    /// Requests when it was last asked.
    seen: u64,
    at: Duration,
}

impl Budget {
    /// Takes one retry, if there is one. `requests` counts all requests there ever were; `now` is
    /// of a clock that never goes back.
    pub fn take(&mut self, percent: u32, requests: u64, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.at).min(WINDOW);
        let left = |amount: u64| {
            let kept = u128::from(amount) * (WINDOW - elapsed).as_millis() / WINDOW.as_millis();
            u64::try_from(kept).unwrap_or(u64::MAX)
        };
        // Requests of a longer time count as if they had come evenly.
        let since = now.saturating_sub(self.at).max(WINDOW);
        let new =
            u128::from(requests.saturating_sub(self.seen)) * WINDOW.as_millis() / since.as_millis();
        let new = u64::try_from(new).unwrap_or(u64::MAX);
        let worth = u64::from(percent.min(100)) * (RETRY / 100);
        self.earned = left(self.earned).saturating_add(new.saturating_mul(worth));
        self.used = left(self.used);
        (self.seen, self.at) = (requests, now);
        if self.earned >= RETRY {
            self.earned -= RETRY;
            return true;
        }
        if self.used + RETRY <= ALWAYS * RETRY {
            self.used += RETRY;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: Shape = Shape {
        is_idempotent: true,
        has_no_body: true,
        is_replayable: true,
    };
    const PUT: Shape = Shape {
        has_no_body: false,
        ..GET
    };
    const POST: Shape = Shape {
        is_idempotent: false,
        ..PUT
    };
    const FIRST: Progress = Progress {
        tries: 1,
        elapsed: Duration::ZERO,
        limit: Duration::from_secs(60),
        has_other_endpoint: true,
    };

    fn policy(attempts: u32) -> Retries {
        Retries {
            attempts,
            budget_percent: 20,
            on_status: vec![503],
        }
    }

    #[test]
    fn only_what_is_safe_is_tried_again() {
        use Decision::{Again, AgainWithinBudget as Budgeted, GiveUp};
        use Failure::{Connect, Died, Other, Refused, Stale, Status};
        let alone = Progress {
            has_other_endpoint: false,
            ..FIRST
        };
        let cut = Shape {
            is_replayable: false,
            ..PUT
        };
        for (failure, shape, progress, expected) in [
            (Connect, GET, FIRST, Again),
            (Connect, POST, FIRST, Again),
            (Connect, POST, alone, GiveUp),
            (Connect, cut, FIRST, GiveUp),
            (Refused, POST, alone, Again),
            (Refused, cut, FIRST, GiveUp),
            (Stale, GET, alone, Again),
            (Stale, PUT, FIRST, Again),
            (Stale, cut, FIRST, GiveUp),
            (Stale, POST, FIRST, GiveUp),
            (Died, GET, FIRST, Budgeted),
            (Died, GET, alone, Budgeted),
            (Died, PUT, FIRST, GiveUp),
            (Died, POST, FIRST, GiveUp),
            (Status(503), GET, FIRST, Budgeted),
            (Status(502), GET, FIRST, GiveUp),
            (Status(503), PUT, FIRST, GiveUp),
            (Status(503), POST, FIRST, GiveUp),
            (Other, GET, FIRST, GiveUp),
        ] {
            assert_eq!(
                decide(&policy(2), failure, shape, progress),
                expected,
                "{failure:?} {shape:?} {progress:?}"
            );
        }
    }

    #[test]
    fn tries_and_time_are_limited() {
        let third = Progress { tries: 3, ..FIRST };
        let late = Progress {
            elapsed: Duration::from_secs(60),
            ..FIRST
        };
        for (attempts, progress, expected) in [
            (1, FIRST, Decision::GiveUp),
            (2, FIRST, Decision::Again),
            (3, third, Decision::GiveUp),
            (4, third, Decision::Again),
            (5, late, Decision::GiveUp),
        ] {
            let decision = decide(&policy(attempts), Failure::Connect, GET, progress);
            assert_eq!(decision, expected, "{attempts} {progress:?}");
        }
        let fourth = Progress { tries: 4, ..FIRST };
        for (attempts, progress, expected) in [
            (1, FIRST, Decision::GiveUp),
            (2, third, Decision::Again),
            (2, fourth, Decision::GiveUp),
        ] {
            let decision = decide(&policy(attempts), Failure::Stale, GET, progress);
            assert_eq!(
                decision, expected,
                "kept connections: {attempts} {progress:?}"
            );
        }
        // A service that refuses unseen may do so since it has too much to do.
        let refused = decide(&policy(2), Failure::Refused, GET, third);
        assert_eq!(refused, Decision::GiveUp);
    }

    fn taken(budget: &mut Budget, percent: u32, requests: u64, at_s: u64) -> usize {
        let now = Duration::from_secs(at_s);
        (0..10_000)
            .take_while(|_| budget.take(percent, requests, now))
            .count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests_of_the_last_ten_seconds() {
        // Three are always allowed.
        assert_eq!(taken(&mut Budget::default(), 20, 0, 0), 3);
        assert_eq!(taken(&mut Budget::default(), 20, 100, 10), 23);
        // 1,000 requests in 100 seconds are 100 in the last ten.
        assert_eq!(taken(&mut Budget::default(), 20, 1_000, 100), 23);
        let mut budget = Budget::default();
        assert_eq!(taken(&mut budget, 20, 100, 10), 23);
        assert_eq!(taken(&mut budget, 20, 100, 10), 0);
        assert_eq!(taken(&mut budget, 20, 200, 12), 20);
        assert_eq!(taken(&mut budget, 20, 200, 30), 3);
    }

    proptest! {
        /// However requests and retries are mixed, in ten seconds there are never more retries than
        /// the share of all requests so far and twice what is always allowed.
        #[test]
        fn a_budget_is_never_exceeded(
            steps in prop::collection::vec((0_u64..50, 0_u32..30, 0_u64..500), 1..50)
        ) {
            let (mut budget, mut requests, mut retries) = (Budget::default(), 0, 0);
            let mut now = Duration::from_secs(10);
            for (more, tries, pause_ms) in steps {
                requests += more;
                now += Duration::from_millis(pause_ms);
                for _ in 0..tries {
                    retries += u64::from(budget.take(20, requests, now));
                }
            }
            let windows = (now.as_millis() / WINDOW.as_millis()) as u64;
            prop_assert!(retries <= requests / 5 + ALWAYS * (windows + 1) + 1, "{} of {}", retries, requests);
        }
    }
}
