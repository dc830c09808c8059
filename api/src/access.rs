//! Who may do what: roles, what they are given for, and the documents that say so.
//!
//! Owns the words ([`Verb`], [`Role`], [`Grant`]), the documents [`User`], [`Token`] and
//! [`Federation`], the text form of tokens ([`value`]), what is said at a login ([`login`]), and
//! what each route of each listener asks for ([`routes`]). It refuses to decide: the control plane
//! does, in one function.

mod documents;
mod grant;
pub mod login;
pub mod pin;
pub mod routes;
pub mod validate;
pub mod value;

use std::time::Duration;

pub use documents::{
    Federation, FederationSpec, Token, TokenOrigin, TokenSpec, TokenStatus, User, UserSpec, WhoAmI,
};
pub use grant::{Grant, Role, Verb};

/// How long a token is good unless its document says so: 90 days.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(90 * DAY_S);
/// How long a token is good at most that somebody makes who is known by a login: 30 days.
pub const PERSON_LIFE_MAX: Duration = Duration::from_secs(30 * DAY_S);
/// How long a token of a login or of a federation rule is good at most: 12 hours.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3_600);
/// The label by which a secret belongs to a project.
pub const PROJECT_LABEL: &str = "project";

const DAY_S: u64 = 86_400;

/// Reads how long something is good: `90d`, or a duration such as `12h` or `1h 30m`; none when it
/// is neither, or zero.
pub fn life(text: &str) -> Option<Duration> {
    let days = text.trim().strip_suffix('d').map(str::trim);
    let life = match days.and_then(|days| days.parse::<u64>().ok()) {
        Some(days) => Duration::from_secs(days.checked_mul(DAY_S)?),
        None => Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok()?,
    };
    (!life.is_zero()).then_some(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_days_or_a_duration() {
        for (text, expected_s) in [
            ("90d", Some(7_776_000)),
            ("1 d", Some(86_400)),
            ("12h", Some(43_200)),
            ("1h 30m", Some(5_400)),
            ("0d", None),
            ("0s", None),
            ("-1h", None),
            ("d", None),
            ("99999999999999999d", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(life(text).map(|life| life.as_secs()), expected_s, "{text}");
        }
    }
}
