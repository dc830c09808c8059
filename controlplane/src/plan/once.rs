//! What becomes of a request that carries an idempotency key: whether it is the first one, the same
//! again, or another one under a key that was used.

use std::time::Duration;

use cara_api::Timestamp;
use jiff::SignedDuration;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a request may be under way; its server has died when it takes longer.
pub const UNDER_WAY: Duration = Duration::from_secs(60);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Digest of the request that used it first.
    pub request: String,
    /// When that came.
    pub at: Timestamp,
    /// Whether it was answered.
    pub is_answered: bool,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nobody used the key: do what is asked for.
    First,
    /// Somebody did, and nothing holds of it any more: do what is asked for.
    Over,
    /// Give the answer that was given before.
    Again,
    /// The first one is not answered yet.
    UnderWay,
    /// The key belongs to another request.
    Other,
}

/// Decides it for a request with this digest.
pub fn turn(seen: Option<&Seen>, request: &str, now: Timestamp) -> Turn {
    let Some(seen) = seen else {
        return Turn::First;
    };
    if is_over(seen.at, now) {
        return Turn::Over;
    }
    if seen.request != request {
        return Turn::Other;
    }
    match seen.is_answered {
        true => Turn::Again,
        false if is_past(seen.at, UNDER_WAY, now) => Turn::Over,
        false => Turn::UnderWay,
    }
}

/// Whether what was kept at that time is kept no longer.
pub fn is_over(at: Timestamp, now: Timestamp) -> bool {
    is_past(at, KEPT, now)
}

fn is_past(at: Timestamp, limit: Duration, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    SignedDuration::try_from(limit).is_ok_and(|limit| age >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_one_request() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).expect("a time");
        let day = 24 * 60 * 60;
        let seen = |is_answered| Seen {
            request: "a".to_owned(),
            at: at(0),
            is_answered,
        };
        for (seen, request, second, expected) in [
            (None, "a", 0, Turn::First),
            (Some(seen(false)), "a", 59, Turn::UnderWay),
            (Some(seen(false)), "a", 60, Turn::Over),
            (Some(seen(false)), "b", 60, Turn::Other),
            (Some(seen(true)), "a", 0, Turn::Again),
            // Clocks of servers differ.
            (Some(seen(true)), "a", -30, Turn::Again),
            (Some(seen(true)), "a", day - 1, Turn::Again),
            (Some(seen(true)), "b", day - 1, Turn::Other),
            (Some(seen(true)), "a", day, Turn::Over),
            (Some(seen(true)), "b", day, Turn::Over),
        ] {
            assert_eq!(
                turn(seen.as_ref(), request, at(second)),
                expected,
                "{seen:?} {second}"
            );
        }
    }
}
