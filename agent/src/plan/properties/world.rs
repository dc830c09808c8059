//! The agent's task for one project over the model engine, and what must hold in the end
//! (`#[cfg(test)]`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cara_api::agent::{Outcome, Report};
use cara_api::project::RestartPolicy;

use super::super::{
    Action, Container, ContainerState, Memory, Presence, View, VolumeLife, Wanted, next, report,
};
use super::case::{Case, DATA, OLD_DATA};
use super::model::{Engine, State, Thing};

/// Looks at the engine after which a project must have settled.
const ROUNDS_MAX: usize = 250;
/// Looks afterwards, two minutes apart, at which nothing may be done.
const STILL_ROUNDS: usize = 4;
/// An action under way.
struct Job {
    action: Action,
    rounds_left: usize,
    fails: bool,
}

/// The agent's task for the project, over the model engine.
pub(super) struct World {
    pub(super) wanted: Wanted,
    pub(super) engine: Engine,
    memory: Memory,
    jobs: Vec<Job>,
    fates: VecDeque<(usize, bool)>,
    base: Instant,
    reported: Option<Report>,
    /// Everything that was done, to be shown when a property does not hold.
    log: Vec<String>,
}

impl World {
    pub(super) fn new(case: &Case, wanted: Wanted) -> Self {
        let engine = case.engine(&wanted);
        let base = Instant::now();
        let mut world = Self {
            memory: Memory::default(),
            jobs: Vec::new(),
            fates: case.fates.iter().copied().collect(),
            base,
            reported: None,
            log: Vec::new(),
            wanted,
            engine,
        };
        world.memory = case.memory(&world.wanted, &world.engine, world.now());
        world
    }

    fn now(&self) -> Instant {
        self.base + Duration::from_millis(self.engine.now_ms)
    }

    /// One look, and what follows from it; whether anything goes on.
    fn round(&mut self) -> bool {
        self.finish_jobs();
        let is_restless = self.engine.live();
        let now = self.now();
        let observed = self.engine.observe(&self.wanted);
        let observed = observed.without_leaving(&self.memory);
        self.memory.open = self.engine.open(&self.wanted);
        let starts = observed.containers.values().map(Container::start);
        self.memory.keep_starts(&starts.collect());
        for service in &self.wanted.services {
            let view = View::of(service, &observed);
            if let Some((_, container)) = view.new {
                self.memory.note_exit(&service.name, container, now);
            }
            view.note(&mut self.memory, now);
        }
        let step = next(&self.wanted, &observed, &self.memory, now);
        for service in &self.wanted.services {
            View::of(service, &observed).note(&mut self.memory, now);
        }
        let again = next(&self.wanted, &observed, &self.memory, now);
        assert_eq!(step, again, "deciding twice");
        self.memory.forget_failures_but(&step.subjects);
        let acts = !step.actions.is_empty();
        if acts {
            self.log.push(format!("{} {step}", self.engine.now_ms));
        }
        self.start_jobs(step.actions);
        let observed = observed.without_leaving(&self.memory);
        let report = report(&self.wanted, &observed, &self.memory, now);
        // What was said a round ago has arrived.
        let is_news = report != self.reported;
        self.memory.note_delivered(!is_news, now);
        self.reported = report;
        if let Some(at) = step.retry_at {
            assert!(at > now, "a time to look again that is over");
        }
        let goes_on = acts || !self.jobs.is_empty() || is_restless || is_news;
        self.engine.now_ms += match step.retry_at.filter(|_| !goes_on) {
            Some(at) => u64::try_from((at - now).as_millis()).unwrap_or(0).max(1),
            None => 100,
        };
        goes_on || step.retry_at.is_some()
    }

    fn start_jobs(&mut self, actions: Vec<Action>) {
        for action in actions {
            let (rounds_left, fails) = self.fates.pop_front().unwrap_or_default();
            match &action {
                Action::Pull { image, .. } => self.memory.set_pulling(image, "…".to_owned()),
                other => self.memory.set_busy(&other.subject(), true),
            }
            self.jobs.push(Job {
                action,
                rounds_left,
                fails,
            });
        }
    }

    fn finish_jobs(&mut self) {
        let now = self.now();
        let (done, running) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|job: &Job| job.rounds_left == 0);
        self.jobs = running;
        for job in &mut self.jobs {
            job.rounds_left -= 1;
        }
        for job in done {
            let subject = job.action.subject();
            match &job.action {
                Action::Pull { image, .. } => self.memory.set_pulling(image, String::new()),
                _ => self.memory.set_busy(&subject, false),
            }
            let result = if job.fails {
                Err("the engine had a bad day".to_owned())
            } else {
                self.engine.execute(&self.wanted, &job.action)
            };
            match result {
                Ok(()) => self.memory.succeeded(&subject),
                Err(text) => self.memory.failed(subject, "Failed", text, now),
            }
        }
    }

    /// Goes on until nothing happens any more, and makes sure that it stays so.
    pub(super) fn settle(&mut self) {
        let mut rounds = 0;
        while self.round() {
            rounds += 1;
            assert!(
                rounds < ROUNDS_MAX,
                "does not settle: {:#?}\n{:#?}",
                self.log,
                self.engine
            );
        }
        for _ in 0..STILL_ROUNDS {
            self.engine.now_ms += 120_000;
            assert!(!self.round(), "settled, and then: {:#?}", self.log.last());
        }
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.reported.as_ref().map(|report| &report.outcome)
    }

    /// Containers of a service, by name.
    fn of_service(&self, service: &str) -> BTreeMap<&str, &Thing> {
        let all = self.engine.containers.iter();
        all.filter(|(_, c)| c.is_ours() && c.service == service)
            .map(|(name, c)| (name.as_str(), c))
            .collect()
    }

    /// Whether somebody else has a name that the project needs.
    fn is_obstructed(&self) -> bool {
        let mut services = self.wanted.services.iter();
        self.engine.network == Presence::Foreign
            || self
                .engine
                .volumes
                .get(DATA)
                .is_some_and(|v| v.0 == Presence::Foreign)
            || services.any(|s| {
                self.engine
                    .containers
                    .get(&s.container)
                    .is_some_and(|c| !c.is_ours())
            })
    }

    /// Services that ended for good without having done their work, and those that wait for them.
    fn hopeless(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let mut failed = BTreeSet::new();
        let mut waiting = BTreeSet::new();
        for service in &self.wanted.services {
            let mut on = service.depends_on.iter();
            if on.any(|(other, _)| failed.contains(&**other) || waiting.contains(&**other)) {
                waiting.insert(service.name.as_str());
            }
            let view = self.engine.observe(&self.wanted);
            let view = View::of(service, &view);
            let is_over = view
                .new
                .is_some_and(|(_, c)| matches!(c.state, ContainerState::Exited { .. }));
            if service.restart == RestartPolicy::Never
                && is_over
                && !view.is_completed(&self.memory)
            {
                failed.insert(service.name.as_str());
            }
        }
        (failed, waiting)
    }

    pub(super) fn check_running(&self) {
        if self.is_obstructed() {
            let is_told = matches!(self.outcome(), Some(Outcome::Failed { reason, .. }) if reason == "NameCollision");
            assert!(is_told, "{:?}", self.outcome());
            return;
        }
        let (failed, waiting) = self.hopeless();
        for service in &self.wanted.services {
            let mine = self.of_service(&service.name);
            let shown = || format!("{}: {mine:#?}\n{:#?}", service.name, self.log);
            let is_wanted = |c: &&&Thing| c.fingerprint == service.fingerprint;
            let count = mine.values().filter(is_wanted).count();
            if waiting.contains(service.name.as_str()) {
                let is_alive = |c: &&&Thing| is_wanted(c) && c.state != State::Dead;
                let count = mine.values().filter(is_alive).count();
                assert!(count <= 1, "at most one of {}", shown());
                continue;
            }
            assert_eq!(count, 1, "one of the wanted definition of {}", shown());
            if failed.contains(service.name.as_str()) {
                let mut others = mine.values().filter(|c| !is_wanted(c));
                let serves = |c: &&Thing| matches!(c.state, State::Running { .. });
                assert!(
                    others.all(serves),
                    "only what serves is kept of {}",
                    shown()
                );
                continue;
            }
            assert_eq!(
                mine.keys().collect::<Vec<_>>(),
                [&service.container],
                "{}",
                shown()
            );
            let is_up = mine.values().all(|c| match c.state {
                State::Running { .. } => c.ends_with.is_none(),
                // One that was stopped for its checks did not come to its end.
                State::Exited { code, .. } => {
                    let is_condemned = self.memory.health.condemned(&c.start()).is_some();
                    code == 0 && service.restart != RestartPolicy::Always && !is_condemned
                }
                State::Created | State::Dead | State::Other { .. } => false,
            });
            assert!(is_up, "up, or at its end: {}", shown());
        }
        if failed.is_empty() && waiting.is_empty() {
            assert_eq!(self.outcome(), Some(&Outcome::Running), "{:#?}", self.log);
            let extra = self.engine.volumes.get(OLD_DATA);
            let is_kept = extra.is_some_and(|v| *v == (Presence::Ours, VolumeLife::Ephemeral));
            assert!(!is_kept, "a volume that the document does not name");
        } else {
            let is_told = matches!(self.outcome(), Some(Outcome::Failed { .. }));
            assert!(is_told, "{:?} {failed:?} {waiting:?}", self.outcome());
        }
        // A rollout that failed is taken back: what the earlier generation has stays.
        let may_stay = self.wanted.is_rollout && !(failed.is_empty() && waiting.is_empty());
        let is_gone = self.of_service("gone").is_empty();
        assert!(may_stay || is_gone, "{:#?}", self.log);
        assert_eq!(self.engine.network, Presence::Ours);
    }

    pub(super) fn check_removed(&self) {
        let is_deleted = self.wanted.reported.is_some();
        assert!(
            self.engine
                .containers
                .values()
                .all(|c| c.whose == Presence::Foreign)
        );
        assert!(matches!(
            self.engine.network,
            Presence::Absent | Presence::Foreign
        ));
        assert!(self.engine.duplicates.is_empty());
        for (name, (whose, life)) in &self.engine.volumes {
            let may_stay = !is_deleted && *life == VolumeLife::Persistent;
            assert!(*whose == Presence::Foreign || may_stay, "{name} is left");
        }
        assert_eq!(self.outcome(), is_deleted.then_some(&Outcome::Removed));
    }
}
