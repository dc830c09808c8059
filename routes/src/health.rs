//! What checks say about an endpoint.

use cara_api::gateway::HealthProbe;

/// How an endpoint is, as far as checks tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// Not asked often enough; it takes requests.
    #[default]
    Unknown,
    /// It answers as it should.
    Up,
    /// It does not; it takes no requests while another does.
    Down,
}

/// Results of checks so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    health: Health,
    /// Results in a row that speak against `health`.
    against: u32,
}

impl Checks {
    /// How the endpoint is.
    pub fn health(&self) -> Health {
        self.health
    }

    /// After one more result.
    #[must_use]
    pub fn after(mut self, policy: &HealthProbe, is_well: bool) -> Self {
        let (speaks_for, needed) = if is_well {
            (Health::Up, policy.successes)
        } else {
            (Health::Down, policy.failures)
        };
        // The first success is believed at once: it takes requests already.
        if self.health == speaks_for || (is_well && self.health == Health::Unknown) {
            return Self {
                health: speaks_for,
                against: 0,
            };
        }
        self.against += 1;
        if self.against >= needed.max(1) {
            return Self {
                health: speaks_for,
                against: 0,
            };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_in_a_row_change_the_verdict() {
        let policy = HealthProbe {
            path: "/".into(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            failures: 3,
            successes: 2,
        };
        for (results, expected) in [
            ("", Health::Unknown),
            ("+", Health::Up),
            ("--", Health::Unknown),
            ("---", Health::Down),
            ("+--+--", Health::Up),
            ("+---", Health::Down),
            ("---+", Health::Down),
            ("---+-+", Health::Down),
            ("---++", Health::Up),
        ] {
            let checks = results
                .chars()
                .fold(Checks::default(), |c, r| c.after(&policy, r == '+'));
            assert_eq!(checks.health(), expected, "{results:?}");
        }
    }
}
