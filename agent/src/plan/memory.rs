//! What an agent remembers about its tries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Container, ContainerState};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A container that ran for longer had a good start: its exits are counted anew.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// What a failure is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The project's network.
    Network,
    /// A volume, by engine name.
    Volume(String),
    /// The container of a service.
    Service(String),
    /// A container that should not be there, by engine name.
    Extra(String),
}

/// The last failure of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How often it failed in a row.
    pub attempts: u32,
    /// Not to be tried again before.
    pub retry_at: Instant,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// Failures and exits of one project. Lost when the agent restarts, which only means that the
/// next try comes at once.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    failures: BTreeMap<Subject, Failure>,
    exits: BTreeMap<String, Exit>,
    pulling: BTreeMap<String, String>,
    stopping: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Exit {
    /// Start that ended, to count each exit once.
    started_at: String,
    failure: Failure,
}

impl Memory {
    /// Notes that an action failed.
    pub fn failed(&mut self, subject: Subject, reason: &str, message: String, now: Instant) {
        let attempts = self
            .failures
            .get(&subject)
            .map_or(0, |f| f.attempts)
            .saturating_add(1);
        let retry_at = now + pause(attempts);
        self.failures.insert(
            subject,
            Failure {
                attempts,
                retry_at,
                reason: reason.to_owned(),
                message,
            },
        );
    }

    /// Notes that an action succeeded.
    pub fn succeeded(&mut self, subject: &Subject) {
        self.failures.remove(subject);
    }

    /// The last failure of a subject.
    pub fn failure(&self, subject: &Subject) -> Option<&Failure> {
        self.failures.get(subject)
    }

    /// All failures.
    pub fn failures(&self) -> impl Iterator<Item = (&Subject, &Failure)> {
        self.failures.iter()
    }

    /// The last exit of a service's container.
    pub fn exit(&self, service: &str) -> Option<&Failure> {
        self.exits.get(service).map(|exit| &exit.failure)
    }

    /// Notes the exit of a service's container; each start can end once.
    pub fn note_exit(&mut self, service: &str, container: &Container, now: Instant) {
        let ContainerState::Exited {
            code,
            is_oom,
            ran_for,
        } = &container.state
        else {
            return;
        };
        let old = self.exits.get(service);
        if old.is_some_and(|exit| exit.started_at == container.started_at) {
            return;
        }
        let before = old
            .filter(|_| *ran_for < GOOD_RUN)
            .map_or(0, |exit| exit.failure.attempts);
        let attempts = before.saturating_add(1);
        let reason = if *is_oom {
            "OutOfMemory"
        } else {
            "ContainerExited"
        }
        .to_owned();
        let failure = Failure {
            attempts,
            retry_at: now + pause(attempts),
            reason,
            message: format!("{service}(exit={code})"),
        };
        self.exits.insert(
            service.to_owned(),
            Exit {
                started_at: container.started_at.clone(),
                failure,
            },
        );
    }

    /// Forgets all failures: the spec changed, so everything is worth a new try.
    pub fn start_over(&mut self) {
        self.failures.clear();
        self.exits.clear();
    }

    /// Forgets failures of what is as wanted by now, however it came to be.
    pub fn forget_failures_but(&mut self, subjects: &BTreeSet<Subject>) {
        self.failures
            .retain(|subject, _| subjects.contains(subject));
    }

    /// Notes which services' containers are being taken away.
    pub fn set_stopping(&mut self, services: impl IntoIterator<Item = String>) {
        self.stopping = services.into_iter().collect();
    }

    /// Whether a service's container is being taken away.
    pub fn is_stopping(&self, service: &str) -> bool {
        self.stopping.contains(service)
    }

    /// Notes how far the pull of an image is; empty when it ended.
    pub fn set_pulling(&mut self, image: &str, progress: String) {
        if progress.is_empty() {
            self.pulling.remove(image);
        } else {
            self.pulling.insert(image.to_owned(), progress);
        }
    }

    /// How far the pull of an image is, if it is being pulled.
    pub fn pulling(&self, image: &str) -> Option<&str> {
        self.pulling.get(image).map(String::as_str)
    }

    /// All pulls that go on.
    pub fn pulls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pulling
            .iter()
            .map(|(image, progress)| (image.as_str(), progress.as_str()))
    }
}

/// 1 s, 2 s, 4 s … 60 s.
fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(started_at: &str, ran_for: u64) -> Container {
        Container {
            id: "1".into(),
            is_ours: true,
            service: "web".into(),
            fingerprint: String::new(),
            state: ContainerState::Exited {
                code: 3,
                is_oom: false,
                ran_for: Duration::from_secs(ran_for),
            },
            ip: None,
            published: BTreeMap::new(),
            started_at: started_at.into(),
        }
    }

    #[test]
    fn each_exit_counts_once_and_a_good_run_starts_the_count_anew() {
        let now = Instant::now();
        let mut memory = Memory::default();
        let mut attempts = |started_at, ran_for| {
            memory.note_exit("web", &exited(started_at, ran_for), now);
            memory.exit("web").map(|f| {
                (
                    f.attempts,
                    f.retry_at.duration_since(now).as_secs(),
                    f.message.clone(),
                )
            })
        };
        let exit = |attempts, pause| Some((attempts, pause, "web(exit=3)".to_owned()));
        assert_eq!(attempts("a", 0), exit(1, 1));
        assert_eq!(attempts("a", 0), exit(1, 1));
        assert_eq!(attempts("b", 0), exit(2, 2));
        assert_eq!(attempts("c", 59), exit(3, 4));
        assert_eq!(attempts("d", 60), exit(1, 1));
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let seconds: Vec<u64> = [1, 2, 3, 6, 7, 40].map(|n| pause(n).as_secs()).to_vec();
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60]);
    }
}
