//! What the checks of a container add up to. Pure.
//!
//! ```text
//! startup:   waiting --pass--> started          failures >= threshold --> condemned
//! readiness: not ready --pass--> ready          failures >= threshold --> not ready
//! liveness:  (after started)                    failures >= threshold --> condemned
//! ```

use std::collections::{BTreeMap, BTreeSet};

use cara_api::project::{HealthCheck, Probe};

use super::Start;

/// Which of a service's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckKind {
    /// Has it started?
    Startup,
    /// May it get requests?
    Readiness,
    /// Must it be started again?
    Liveness,
}

impl CheckKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// The check of this kind, if the service has one.
    pub fn of(self, checks: &HealthCheck) -> Option<&Probe> {
        match self {
            Self::Startup => checks.startup.as_ref(),
            Self::Readiness => checks.readiness.as_ref(),
            Self::Liveness => checks.liveness.as_ref(),
        }
    }

    /// Failures in a row that count when the check does not say.
    fn default_threshold(self) -> u32 {
        match self {
            Self::Startup => 30,
            Self::Readiness | Self::Liveness => 3,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Tally {
    has_passed: bool,
    passes: bool,
    failures: u32,
    error: String,
}

/// Results of all checks, by start of a container.
#[derive(Debug, Clone, Default)]
pub struct Health {
    tallies: BTreeMap<(Start, CheckKind), Tally>,
    condemned: BTreeMap<Start, (&'static str, String)>,
}

impl Health {
    /// Takes in the result of a check; true when it changes what follows from the checks.
    pub fn note(
        &mut self,
        start: &Start,
        kind: CheckKind,
        probe: &Probe,
        result: Result<(), String>,
    ) -> bool {
        let threshold = probe.failure_threshold(kind.default_threshold());
        let tally = self.tallies.entry((start.clone(), kind)).or_default();
        let before = (tally.has_passed, tally.passes);
        match result {
            Ok(()) => {
                tally.has_passed = true;
                tally.passes = true;
                tally.failures = 0;
                tally.error.clear();
            }
            Err(error) => {
                tally.failures = tally.failures.saturating_add(1);
                tally.passes &= tally.failures < threshold;
                tally.error = error;
            }
        }
        let is_condemned = match kind {
            CheckKind::Startup => !tally.has_passed && tally.failures >= threshold,
            CheckKind::Liveness => tally.failures >= threshold,
            CheckKind::Readiness => false,
        };
        let mut is_news = before != (tally.has_passed, tally.passes) || tally.failures == 1;
        if is_condemned && !self.condemned.contains_key(start) {
            let reason = match kind {
                CheckKind::Startup => "StartupFailed",
                CheckKind::Readiness | CheckKind::Liveness => "LivenessFailed",
            };
            let why = format!("its {} check failed: {}", kind.noun(), tally.error);
            self.condemned.insert(start.clone(), (reason, why));
            is_news = true;
        }
        is_news
    }

    /// Whether a container has started, as far as its checks say.
    pub fn has_started(&self, start: &Start, checks: &HealthCheck) -> bool {
        checks.startup.is_none() || self.has_passed(start, CheckKind::Startup)
    }

    /// Whether the checks that decide about readiness have been made at least once.
    pub fn is_judged(&self, start: &Start, checks: &HealthCheck) -> bool {
        let is_known = |kind| self.tallies.contains_key(&(start.clone(), kind));
        let is_startup_known = checks.startup.is_none() || is_known(CheckKind::Startup);
        let is_due = checks.readiness.is_some() && self.has_started(start, checks);
        is_startup_known && (!is_due || is_known(CheckKind::Readiness))
    }

    fn has_passed(&self, start: &Start, kind: CheckKind) -> bool {
        let tally = self.tallies.get(&(start.clone(), kind));
        tally.is_some_and(|tally| tally.has_passed)
    }

    /// Whether a container passes its readiness check; none when it has none or was not checked
    /// yet.
    pub fn readiness(&self, start: &Start) -> Option<bool> {
        let tally = self.tallies.get(&(start.clone(), CheckKind::Readiness))?;
        Some(tally.passes)
    }

    /// Why a container must be started again: reason and sentence.
    pub fn condemned(&self, start: &Start) -> Option<&(&'static str, String)> {
        self.condemned.get(start)
    }

    /// What the failing checks of a container say; empty when none fails.
    pub fn complaint(&self, start: &Start) -> String {
        let failing = CheckKind::ALL.iter().filter_map(|kind| {
            let tally = self.tallies.get(&(start.clone(), *kind))?;
            let fails = tally.failures > 0;
            fails.then(|| format!("{} check failed: {}", kind.noun(), tally.error))
        });
        failing.collect::<Vec<_>>().join("; ")
    }

    /// Forgets the results of a check that is not asked for any more.
    pub fn forget(&mut self, start: &Start, kind: CheckKind) {
        self.tallies.remove(&(start.clone(), kind));
        self.condemned.remove(start);
    }

    /// Forgets containers that are gone.
    pub fn keep(&mut self, starts: &BTreeSet<Start>) {
        self.tallies.retain(|(start, _), _| starts.contains(start));
        self.condemned.retain(|start, _| starts.contains(start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kind: CheckKind, threshold: i64, results: &str) -> Health {
        let start = start();
        let probe = Probe {
            failure_threshold: Some(threshold),
            ..Probe::default()
        };
        let mut health = Health::default();
        for result in results.chars() {
            let result = if result == '+' {
                Ok(())
            } else {
                Err("answered 500".to_owned())
            };
            health.note(&start, kind, &probe, result);
        }
        health
    }

    fn start() -> Start {
        Start {
            container: "c".into(),
            at: "t".into(),
        }
    }

    #[test]
    fn readiness_comes_with_one_pass_and_goes_with_failures_in_a_row() {
        for (results, expected) in [
            ("", None),
            ("-", Some(false)),
            ("+", Some(true)),
            ("+-", Some(true)),
            ("+--", Some(false)),
            ("+-+-", Some(true)),
            ("+--+", Some(true)),
        ] {
            let health = after(CheckKind::Readiness, 2, results);
            assert_eq!(health.readiness(&start()), expected, "{results}");
            assert_eq!(health.condemned(&start()), None, "readiness never kills");
        }
    }

    #[test]
    fn a_container_is_judged_when_the_checks_that_count_were_made() {
        let checks = |startup: bool, readiness: bool| HealthCheck {
            startup: startup.then(Probe::default),
            readiness: readiness.then(Probe::default),
            ..HealthCheck::default()
        };
        let none = Health::default();
        let startup = |results| after(CheckKind::Startup, 9, results);
        let ready = |results| after(CheckKind::Readiness, 9, results);
        for (health, checks, expected) in [
            (&none, checks(false, false), true),
            (&none, checks(true, false), false),
            (&none, checks(false, true), false),
            (&startup("-"), checks(true, false), true),
            (&startup("-"), checks(true, true), true),
            (&startup("+"), checks(true, true), false),
            (&ready("-"), checks(false, true), true),
            (&ready("+"), checks(false, true), true),
        ] {
            assert_eq!(health.is_judged(&start(), &checks), expected, "{checks:?}");
        }
    }

    #[test]
    fn startup_and_liveness_condemn_a_container_that_fails_too_often() {
        for (kind, results, expected) in [
            (CheckKind::Startup, "-", false),
            (CheckKind::Startup, "--", true),
            (CheckKind::Startup, "+---", false),
            (CheckKind::Liveness, "+-", false),
            (CheckKind::Liveness, "+--", true),
        ] {
            let health = after(kind, 2, results);
            assert_eq!(
                health.condemned(&start()).is_some(),
                expected,
                "{kind:?} {results}"
            );
        }
        let health = after(CheckKind::Liveness, 1, "-");
        assert_eq!(
            health.condemned(&start()),
            Some(&(
                "LivenessFailed",
                "its liveness check failed: answered 500".to_owned()
            ))
        );
    }
}
