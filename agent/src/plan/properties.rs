//! From whatever the engine shows and the agent remembers, what the planner asks for leads to
//! what is wanted, and then to nothing more (`#[cfg(test)]`).

mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cara_api::agent::{Goal, Outcome, Report};
use cara_api::project::RestartPolicy;
use proptest::prelude::*;
use serde_json::json;

use super::wanted::tests::{assignment, rules};
use super::{
    Action, CheckKind, Container, ContainerState, Memory, Presence, Progress, Subject, View,
    VolumeLife, Wanted, next, report,
};
use model::{Engine, Life, State, Thing};

/// Looks at the engine after which a project must have settled.
const ROUNDS_MAX: usize = 250;
/// Looks afterwards, two minutes apart, at which nothing may be done.
const STILL_ROUNDS: usize = 4;
const DATA: &str = "cara-shop-data";
const OLD_DATA: &str = "cara-shop-old";
const NAMES: [&str; 3] = ["db", "web", "job"];

/// A service of the document.
#[derive(Debug, Clone)]
struct Service {
    mount: &'static str,
    policy: &'static str,
    /// One of the services before it, and how far that must have come.
    depends_on: Option<(usize, &'static str)>,
    is_exposed: bool,
    is_checked: bool,
    /// How often its process crashes before it does what it should.
    crashes: usize,
    /// It does its work and ends, where its policy lets it.
    is_job: bool,
}

impl Service {
    fn is_job(&self) -> bool {
        self.is_job && self.policy != "Always"
    }

    fn life(&self) -> Life {
        Life {
            first: vec![1; self.crashes],
            later: self.is_job().then_some(0),
        }
    }
}

/// A container that is there before the agent looks.
#[derive(Debug, Clone)]
struct Found {
    /// Of which service; of one that is not in the document any more beyond the last.
    service: usize,
    name: &'static str,
    fingerprint: &'static str,
    state: &'static str,
    whose: Presence,
    is_condemned: bool,
    is_excused: bool,
    exits_before: u32,
}

/// Everything that a history begins with.
#[derive(Debug, Clone)]
struct Case {
    services: Vec<Service>,
    volume: &'static str,
    is_rollout: bool,
    network: Presence,
    duplicates: usize,
    volumes: [Presence; 2],
    is_persistent: [bool; 2],
    images: bool,
    found: Vec<Found>,
    failures: Vec<(usize, u32)>,
    is_switched: bool,
    stop_code: i64,
    /// How long actions take, in rounds, and whether they fail; later ones do neither.
    fates: Vec<(usize, bool)>,
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    let service = (
        prop::sample::select(vec!["", "rw", "ro"]),
        prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        prop::option::of((
            0..NAMES.len(),
            prop::sample::select(vec!["Started", "Ready", "Completed"]),
        )),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![3 => Just(0_usize), 1 => 1..3_usize],
        any::<bool>(),
    )
        .prop_map(
            |(mount, policy, depends_on, is_exposed, is_checked, crashes, is_job)| Service {
                mount,
                policy,
                depends_on,
                is_exposed,
                is_checked,
                crashes,
                is_job,
            },
        );
    prop::collection::vec(service, 1..=NAMES.len())
}

fn found() -> impl Strategy<Value = Found> {
    (
        0..=NAMES.len(),
        prop::sample::select(vec!["primary", "successor", "unrelated"]),
        prop::sample::select(vec!["wanted", "wanted", "old", "older"]),
        prop::sample::select(vec!["created", "running", "ok", "crashed", "dead", "other"]),
        prop_oneof![8 => Just(Presence::Ours), 1 => Just(Presence::Earlier), 1 => Just(Presence::Foreign)],
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop_oneof![3 => Just(0_u32), 1 => 1..9_u32],
    )
        .prop_map(
            |(service, name, fingerprint, state, whose, is_condemned, is_excused, exits)| {
                Found {
                    service,
                    name,
                    fingerprint,
                    state,
                    whose,
                    is_condemned,
                    is_excused,
                    exits_before: exits,
                }
            },
        )
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        4 => Just(Presence::Ours),
        3 => Just(Presence::Absent),
        1 => Just(Presence::Earlier),
        1 => Just(Presence::Foreign),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let project = (
        services(),
        prop::sample::select(vec!["Ephemeral", "Persistent"]),
        any::<bool>(),
    );
    let engine = (
        presence(),
        prop_oneof![6 => Just(0_usize), 1 => 1..3_usize],
        [presence(), presence()],
        any::<[bool; 2]>(),
        any::<bool>(),
        prop::collection::vec(found(), 0..7),
        prop::sample::select(vec![0_i64, 143]),
    );
    let memory = (
        prop::collection::vec((0..6_usize, 1..8_u32), 0..4),
        any::<bool>(),
        prop::collection::vec((0..4_usize, prop::bool::weighted(0.2)), 0..12),
    );
    (project, engine, memory).prop_map(
        |(
            (services, volume, is_rollout),
            (network, duplicates, volumes, is_persistent, images, found, stop_code),
            (failures, is_switched, fates),
        )| Case {
            services,
            volume,
            is_rollout,
            network,
            duplicates,
            volumes,
            is_persistent,
            images,
            found,
            failures,
            is_switched,
            stop_code,
            fates,
        },
    )
}

impl Case {
    fn wanted(&self, goal: Goal) -> Wanted {
        let services: Vec<_> = self.services.iter().enumerate().map(|(at, s)| {
            let depends_on: Vec<_> = s.depends_on.iter().filter(|_| at > 0).map(|(on, until)| {
                let on = on % at;
                let can_complete = self.services.get(on).is_some_and(Service::is_job);
                let until = if *until == "Completed" && !can_complete { "Ready" } else { until };
                json!({"service": NAMES[on], "condition": until})
            }).collect();
            let mounts = match s.mount {
                "" => json!([]),
                how => json!([{"name": "data", "mountPath": "/d", "readOnly": how == "ro"}]),
            };
            let checks = if s.is_checked {
                json!({"liveness": {"tcp": {"port": 80}, "failureThreshold": 1}})
            } else {
                json!({})
            };
            json!({"name": NAMES[at], "image": format!("image-{}", at % 2), "restartPolicy": s.policy,
                   "dependsOn": depends_on, "volumeMounts": mounts, "healthCheck": checks})
        }).collect();
        let spec =
            json!({"services": services, "volumes": [{"name": "data", "type": self.volume}]});
        let named = self.services.iter().zip(NAMES);
        // What ends by itself does not serve.
        let exposed = named.filter(|(s, _)| s.is_exposed && !s.is_job());
        let exposed: Vec<(&str, u16)> = exposed.map(|(_, name)| (name, 80)).collect();
        let mut assignment = assignment(spec, &exposed);
        assignment.goal = goal;
        assignment.is_rollout = self.is_rollout;
        Wanted::new(&assignment, &rules(None))
    }

    fn engine(&self, wanted: &Wanted) -> Engine {
        let duplicates = (0..self.duplicates).map(|id| id.to_string());
        let mut engine = Engine {
            now_ms: 1_000_000,
            network: seen(self.network, wanted),
            duplicates: duplicates
                .filter(|_| self.network == Presence::Ours)
                .collect(),
            stop_code: self.stop_code,
            ..Engine::default()
        };
        for ((name, presence), is_persistent) in [DATA, OLD_DATA]
            .into_iter()
            .zip(self.volumes)
            .zip(self.is_persistent)
        {
            // Data of an earlier project that was to be kept is somebody else's.
            let life = if is_persistent && presence != Presence::Earlier {
                VolumeLife::Persistent
            } else {
                VolumeLife::Ephemeral
            };
            if presence != Presence::Absent {
                engine
                    .volumes
                    .insert(name.to_owned(), (seen(presence, wanted), life));
            }
        }
        if self.images {
            engine.images.insert("image-0".to_owned());
        }
        for (service, name) in self.services.iter().zip(NAMES) {
            engine.lives.insert(name.to_owned(), service.life());
        }
        for (at, found) in self.found.iter().enumerate() {
            let (name, thing) = found.thing(at, self, wanted);
            engine.containers.insert(name, thing);
        }
        engine
    }

    /// What an agent may remember of all this.
    fn memory(&self, wanted: &Wanted, engine: &Engine, now: Instant) -> Memory {
        let mut memory = Memory::default();
        for (subject, attempts) in &self.failures {
            let subject = match subject {
                0 => Subject::Network,
                1 => Subject::Volume(DATA.to_owned()),
                2 => Subject::Extra("shop-x0".to_owned()),
                at => Subject::Service(NAMES[at - 3].to_owned()),
            };
            for _ in 0..*attempts {
                memory.failed(subject.clone(), "Failed", "so it was".to_owned(), now);
            }
            memory.not_tried(subject, now);
        }
        let observed = engine.observe(wanted);
        for found in &self.found {
            let name = found.service_name(self);
            let Some(service) = wanted.service(name) else {
                continue;
            };
            let progress = if self.is_switched {
                Progress::Fine
            } else {
                Progress::NotReady
            };
            let view = View::of(service, &observed);
            let replacing = view.new.filter(|_| self.is_switched);
            let replacing = replacing.map(|(_, c)| c.start());
            memory.note_service(name, progress, replacing, now);
            for exit in 0..found.exits_before {
                let ended = Container {
                    started_at: format!("exit-{exit}"),
                    state: ContainerState::Exited {
                        code: 1,
                        is_oom: false,
                        ran_for: Duration::ZERO,
                    },
                    ..Container::example()
                };
                memory.note_exit(name, &ended, now);
            }
            for (_, container) in view.new.iter().chain(&view.old) {
                if let ContainerState::Exited { code, .. } = container.state
                    && found.is_excused
                    && service.may_excuse(code, true)
                {
                    memory.excuse_exit(name, container);
                }
                if let Some(check) = &service.checks.liveness
                    && found.is_condemned
                {
                    let failed = Err("refused".to_owned());
                    let (start, kind) = (container.start(), CheckKind::Liveness);
                    memory.health.note(&start, kind, check, failed);
                }
            }
        }
        memory
    }
}

/// Whose a thing looks to be: who only cleans up knows of no namesakes.
fn seen(whose: Presence, wanted: &Wanted) -> Presence {
    match whose {
        Presence::Earlier if wanted.reported.is_none() => Presence::Ours,
        other => other,
    }
}

impl Found {
    fn service_name(&self, case: &Case) -> &'static str {
        let names = NAMES.iter().take(case.services.len());
        names.copied().nth(self.service).unwrap_or("gone")
    }

    fn thing(&self, at: usize, case: &Case, wanted: &Wanted) -> (String, Thing) {
        let service = self.service_name(case);
        let known = wanted.service(service);
        let fingerprint = match self.fingerprint {
            "wanted" => known.map_or("gone", |s| s.fingerprint.as_str()),
            other => other,
        };
        let primary = format!("shop-{service}");
        let name = match self.name {
            "primary" => primary,
            // Such a name says which definition the container is of; nobody else uses it.
            "successor" if self.whose == Presence::Foreign => format!("{primary}.foreign"),
            "successor" => match known.filter(|s| s.fingerprint == fingerprint) {
                Some(service) => service.successor.clone(),
                None => format!("{primary}.{fingerprint}"),
            },
            _ => format!("shop-x{at}"),
        };
        let state = match self.state {
            "created" => State::Created,
            "running" => State::Running { since_ms: 900_000 },
            "ok" => State::Exited {
                code: 0,
                ran_ms: 90_000,
            },
            "crashed" => State::Exited {
                code: 1,
                ran_ms: 10,
            },
            "dead" => State::Dead,
            _ => State::Other {
                until_ms: 1_000_700,
            },
        };
        let life = case.services.get(self.service);
        let thing = Thing {
            id: format!("found-{at}"),
            whose: seen(self.whose, wanted),
            service: service.to_owned(),
            fingerprint: fingerprint.to_owned(),
            state,
            started_at: format!("found-{at}"),
            ends_with: life.and_then(|s| s.is_job().then_some(0)),
        };
        (name, thing)
    }
}

/// An action under way.
struct Job {
    action: Action,
    rounds_left: usize,
    fails: bool,
}

/// The agent's task for the project, over the model engine.
struct World {
    wanted: Wanted,
    engine: Engine,
    memory: Memory,
    jobs: Vec<Job>,
    fates: VecDeque<(usize, bool)>,
    base: Instant,
    reported: Option<Report>,
    /// Everything that was done, to be shown when a property does not hold.
    log: Vec<String>,
}

impl World {
    fn new(case: &Case, wanted: Wanted) -> Self {
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
    fn settle(&mut self) {
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

    fn check_running(&self) {
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

    fn check_removed(&self) {
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

fn goes_well(case: &Case, wanted: Wanted) {
    let mut world = World::new(case, wanted);
    let foreign = world.engine.foreign();
    let persistent = |world: &World| -> Vec<String> {
        let all = world.engine.volumes.iter();
        let all = all.filter(|(_, v)| **v == (Presence::Ours, VolumeLife::Persistent));
        all.map(|(name, _)| name.clone()).collect()
    };
    let kept = persistent(&world);
    world.settle();
    assert_eq!(world.engine.foreign(), foreign, "somebody else's");
    match world.wanted.goal {
        Goal::Run => world.check_running(),
        Goal::Remove => world.check_removed(),
    }
    if world.wanted.reported.is_none() || world.wanted.goal == Goal::Run {
        let left = persistent(&world);
        assert!(kept.iter().all(|name| left.contains(name)), "data is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn whatever_is_found_becomes_what_is_wanted_and_stays_so(case in cases()) {
        goes_well(&case, case.wanted(Goal::Run));
    }

    #[test]
    fn whatever_is_found_goes_when_the_project_is_deleted(case in cases()) {
        goes_well(&case, case.wanted(Goal::Remove));
    }

    #[test]
    fn whatever_is_found_goes_when_the_project_left_the_node_but_persistent_data(case in cases()) {
        let project = case.wanted(Goal::Remove).project;
        goes_well(&case, Wanted::nothing(project));
    }
}
