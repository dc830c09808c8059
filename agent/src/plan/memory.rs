//! What an agent remembers about its tries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::health::Health;
use super::{Container, ContainerState, Probes, Start};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A container that ran for longer had a good start: its exits are counted anew.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// What a failure is about, and what an action that is under way keeps others away from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The project's network.
    Network,
    /// A volume, by engine name.
    Volume(String),
    /// The container of a service.
    Service(String),
    /// A container that should not be there any more, by engine name.
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

/// The last exit of a service's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// How often in a row, when to start again, why.
    pub failure: Failure,
    /// Exit code.
    pub code: i64,
    /// Start that ended, to count each exit once.
    start: Start,
    noted_at: Instant,
    /// The last lines that it logged; empty when it logged nothing or was not asked yet.
    pub log: String,
}

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It cannot be expected to be ready: its container does not run yet, or ended.
    Waiting,
    /// It runs and is not ready.
    NotReady,
    /// It is as it should be.
    Fine,
}

/// Failures, exits and health of one project. Lost when the agent restarts, which only means
/// that the next try comes at once.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    failures: BTreeMap<Subject, Failure>,
    exits: BTreeMap<String, Exit>,
    restarts: BTreeMap<String, u32>,
    pulling: BTreeMap<String, String>,
    busy: BTreeMap<Subject, u32>,
    /// Checks of containers.
    pub health: Health,
    /// Ports that accept connections.
    pub open: Probes,
    engine_away: BTreeMap<Subject, Instant>,
    excused: BTreeSet<Start>,
    waiting_since: BTreeMap<String, Instant>,
    switched_at: BTreeMap<String, (Start, Instant)>,
    /// What takes requests, and since when.
    served: BTreeMap<String, (Start, Instant)>,
    delivered_at: Option<Instant>,
}

impl Memory {
    /// Notes that an action failed.
    pub fn failed(&mut self, subject: Subject, reason: &str, message: String, now: Instant) {
        let attempts = self
            .failures
            .get(&subject)
            .map_or(0, |f| f.attempts)
            .saturating_add(1);
        let failure = Failure {
            attempts,
            retry_at: now + pause(attempts),
            reason: reason.to_owned(),
            message,
        };
        self.failures.insert(subject, failure);
    }

    /// Notes that an action could not be tried, since the engine did not answer. It is tried
    /// again soon, and says nothing about the project.
    pub fn not_tried(&mut self, subject: Subject, now: Instant) {
        self.engine_away.insert(subject, now + FIRST_PAUSE);
    }

    /// Until when an action waits because the engine did not answer.
    pub fn waits_for_engine(&self, subject: &Subject) -> Option<Instant> {
        self.engine_away.get(subject).copied()
    }

    /// Notes that an action succeeded.
    pub fn succeeded(&mut self, subject: &Subject) {
        self.engine_away.remove(subject);
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
    pub fn exit(&self, service: &str) -> Option<&Exit> {
        self.exits.get(service)
    }

    /// How often a service's container was started again after it ended.
    pub fn restarts(&self, service: &str) -> u32 {
        self.restarts.get(service).copied().unwrap_or(0)
    }

    /// Notes the exit of a service's container; each start can end once. True when it is news.
    pub fn note_exit(&mut self, service: &str, container: &Container, now: Instant) -> bool {
        let ContainerState::Exited {
            code,
            is_oom,
            ran_for,
        } = &container.state
        else {
            return false;
        };
        let start = container.start();
        let old = self.exits.get(service);
        if old.is_some_and(|exit| exit.start == start) || self.excused.contains(&start) {
            return false;
        }
        let before = old
            .filter(|_| *ran_for < GOOD_RUN)
            .map_or(0, |exit| exit.failure.attempts);
        let attempts = before.saturating_add(1);
        let condemned = self.health.condemned(&start).map(ToOwned::to_owned);
        let (reason, why) = match (condemned, is_oom) {
            (Some((reason, why)), _) => (reason, Some(why)),
            (None, true) => ("OutOfMemory", Some("killed for want of memory".to_owned())),
            (None, false) => ("ContainerExited", None),
        };
        let why = why.map(|why| format!(", {why}")).unwrap_or_default();
        let failure = Failure {
            attempts,
            retry_at: now + pause(attempts),
            reason: reason.to_owned(),
            message: format!("{service}(exit={code}{why})"),
        };
        let exit = Exit {
            failure,
            code: *code,
            start,
            noted_at: now,
            log: String::new(),
        };
        self.exits.insert(service.to_owned(), exit);
        true
    }

    /// Excuses an exit that is not known yet: the container did not end by itself, its engine or
    /// machine did. It is started again at once and does not count.
    pub fn excuse_exit(&mut self, service: &str, container: &Container) {
        let start = container.start();
        let is_known = self.exits.get(service).is_some_and(|e| e.start == start);
        if matches!(container.state, ContainerState::Exited { .. }) && !is_known {
            self.excused.insert(start);
        }
    }

    /// Excuses exits that were noted since a moment: an engine that is told to stop ends its
    /// containers first.
    pub fn excuse_exits_since(&mut self, since: Instant, may_excuse: impl Fn(&str, i64) -> bool) {
        let excused = &mut self.excused;
        self.exits.retain(|service, exit| {
            let is_recent = exit.noted_at >= since && may_excuse(service, exit.code);
            if is_recent {
                excused.insert(exit.start.clone());
            }
            !is_recent
        });
    }

    /// Whether the end of a start was excused.
    pub fn is_excused(&self, start: &Start) -> bool {
        self.excused.contains(start)
    }

    /// Forgets what was noted of starts that are over.
    pub fn keep_starts(&mut self, starts: &BTreeSet<Start>) {
        self.health.keep(starts);
        self.excused.retain(|start| starts.contains(start));
        self.served.retain(|_, (start, _)| starts.contains(start));
    }

    /// Adds the last lines that a container logged to its exit.
    pub fn set_log(&mut self, service: &str, start: &Start, log: String) {
        if let Some(exit) = self.exits.get_mut(service).filter(|e| e.start == *start) {
            exit.log = log;
        }
    }

    /// Notes that a service's container is started again after it ended.
    pub fn note_restart(&mut self, service: &str) {
        let count = self.restarts.entry(service.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Forgets all failures: the spec changed, so everything is worth a new try.
    pub fn start_over(&mut self) {
        self.failures.clear();
        self.exits.clear();
        self.restarts.clear();
        self.waiting_since.clear();
    }

    /// Forgets failures of what is as wanted by now, however it came to be.
    pub fn forget_failures_but(&mut self, subjects: &BTreeSet<Subject>) {
        self.failures
            .retain(|subject, _| subjects.contains(subject));
    }

    /// Notes that an action begins or ends.
    pub fn set_busy(&mut self, subject: &Subject, is_busy: bool) {
        if is_busy {
            *self.busy.entry(subject.clone()).or_insert(0) += 1;
        } else if let Some(count) = self.busy.get_mut(subject) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.busy.remove(subject);
            }
        }
    }

    /// Whether an action on a subject is under way.
    pub fn is_busy(&self, subject: &Subject) -> bool {
        self.busy.contains_key(subject)
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

    /// Notes how far a service is, and which start of its container is to serve in place of others
    /// that are still there.
    pub fn note_service(
        &mut self,
        service: &str,
        progress: Progress,
        replacing: Option<Start>,
        now: Instant,
    ) {
        let is_ready = progress == Progress::Fine;
        if progress == Progress::NotReady {
            self.waiting_since.entry(service.to_owned()).or_insert(now);
        } else {
            self.waiting_since.remove(service);
        }
        match replacing.filter(|_| is_ready) {
            // Back and forth, requests under way get their time anew.
            Some(start) => {
                let known = self.switched_at.get(service);
                if known.is_none_or(|(known, _)| *known != start) {
                    self.switched_at.insert(service.to_owned(), (start, now));
                }
            }
            None => {
                self.switched_at.remove(service);
            }
        }
    }

    /// Notes which start of a service's containers takes requests.
    pub fn note_serving(&mut self, service: &str, start: Start, now: Instant) {
        if !self.served_last(service, &start) {
            self.served.insert(service.to_owned(), (start, now));
        }
    }

    /// Whether this start is the last one that took requests of a service.
    pub fn served_last(&self, service: &str, start: &Start) -> bool {
        self.serving_since(service, start).is_some()
    }

    /// Since when this start takes a service's requests; none when another one did last.
    pub fn serving_since(&self, service: &str, start: &Start) -> Option<Instant> {
        let (served, since) = self.served.get(service)?;
        (served == start).then_some(*since)
    }

    /// Begins to wait anew for services to be ready: for a while nobody could see them.
    pub fn wait_anew(&mut self) {
        self.waiting_since.clear();
    }

    /// Since when a service runs and is not ready.
    pub fn waiting_since(&self, service: &str) -> Option<Instant> {
        self.waiting_since.get(service).copied()
    }

    /// Notes whether the control plane has the latest report.
    pub fn note_delivered(&mut self, is_delivered: bool, now: Instant) {
        self.delivered_at = is_delivered.then(|| self.delivered_at.unwrap_or(now));
    }

    /// Since when the control plane has the latest report; none while it has not.
    pub fn delivered_at(&self) -> Option<Instant> {
        self.delivered_at
    }

    /// Since when a newer container serves in place of an older one that is still there.
    pub fn switched_at(&self, service: &str) -> Option<Instant> {
        self.switched_at.get(service).map(|(_, at)| *at)
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
            service: "web".into(),
            state: ContainerState::Exited {
                code: 3,
                is_oom: false,
                ran_for: Duration::from_secs(ran_for),
            },
            started_at: started_at.into(),
            ..Container::example()
        }
    }

    #[test]
    fn each_exit_counts_once_and_a_good_run_starts_the_count_anew() {
        let now = Instant::now();
        let mut memory = Memory::default();
        let mut attempts = |started_at, ran_for| {
            memory.note_exit("web", &exited(started_at, ran_for), now);
            memory.exit("web").map(|exit| {
                let pause = exit.failure.retry_at.duration_since(now).as_secs();
                (exit.failure.attempts, pause, exit.failure.message.clone())
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
    fn an_older_container_that_serves_again_begins_a_drain_of_its_own() {
        let mut memory = Memory::default();
        let start = |container: &str| Start {
            container: container.into(),
            at: "t".into(),
        };
        let now = Instant::now();
        let mut switched_after = |replacing: Option<&str>, seconds| {
            let at = now + Duration::from_secs(seconds);
            memory.note_service("web", Progress::Fine, replacing.map(start), at);
            let switched = memory.switched_at("web")?;
            Some(switched.duration_since(now).as_secs())
        };
        assert_eq!(switched_after(Some("second"), 0), Some(0));
        assert_eq!(switched_after(Some("second"), 4), Some(0));
        assert_eq!(switched_after(Some("first"), 5), Some(5));
        assert_eq!(switched_after(None, 6), None, "nothing is left to go");
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let seconds: Vec<u64> = [1, 2, 3, 6, 7, 40].map(|n| pause(n).as_secs()).to_vec();
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60]);
    }
}
