//! A model of an agent: the real planner over the model engine, with jobs that take time and a
//! network that delays, repeats and reorders what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cara_agent::plan::{
    self, Action, ContainerState, Defaults, Memory, NodeRules, Subject, Timing, View, Wanted,
};
use cara_api::ProjectName;
use cara_api::agent::{Assignment, Report};
use fastrand::Rng;

use crate::engine::Engine;

/// An action that is under way.
struct Job {
    wanted: Arc<Wanted>,
    action: Action,
    ends_ms: u64,
}

/// What the agent knows of one project. Lost when the agent restarts.
struct Task {
    wanted: Arc<Wanted>,
    memory: Memory,
    jobs: Vec<Job>,
}

/// A node: engine and agent.
pub struct Node {
    pub engine: Engine,
    /// The network between agent and server works.
    pub is_connected: bool,
    pub is_up: bool,
    tasks: BTreeMap<ProjectName, Task>,
    /// Newest report of each project, and whether the server has it.
    outbox: BTreeMap<ProjectName, (Report, bool)>,
    /// On the way to the server: when it arrives.
    pub sent: Vec<(u64, Report, (u64, u64))>,
    /// Run of the agent, and requests of it so far.
    session: u64,
    sequence: u64,
    has_assignments: bool,
}

/// How often things go wrong, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    pub failure: f64,
    pub repeat: f64,
    pub slowest_ms: u64,
}

fn instant(base: Instant, now_ms: u64) -> Instant {
    base + Duration::from_millis(now_ms)
}

fn rules() -> NodeRules {
    NodeRules {
        publish_on: None,
        defaults: Defaults {
            memory_bytes: 0,
            pids: 100,
        },
        timing: Timing::default(),
    }
}

impl Node {
    pub fn new(number: u8) -> Self {
        Self {
            engine: Engine::of_node(number),
            is_connected: true,
            is_up: true,
            tasks: BTreeMap::new(),
            outbox: BTreeMap::new(),
            sent: Vec::new(),
            session: 0,
            sequence: 0,
            has_assignments: false,
        }
    }

    /// The agent restarts: what it remembered is lost, and actions under way are cut off.
    pub fn restart(&mut self) {
        self.tasks.clear();
        self.outbox.clear();
        self.has_assignments = false;
        self.session += 1;
        self.sequence = 0;
    }

    /// The connection came back: everything is sent again.
    pub fn reconnect(&mut self) {
        self.is_connected = true;
        for (_, is_sent) in self.outbox.values_mut() {
            *is_sent = false;
        }
    }

    /// Takes in the whole desired set.
    pub fn assign(&mut self, assignments: &[Assignment]) {
        self.has_assignments = true;
        let named: BTreeSet<ProjectName> = assignments.iter().map(|a| a.name.clone()).collect();
        for assignment in assignments {
            self.want(Wanted::new(assignment, &rules()));
        }
        let known = self.tasks.keys().cloned();
        let left = self.engine.projects().into_iter();
        let all: BTreeSet<ProjectName> = known
            .chain(left.map(|name| ProjectName::trusted(&name)))
            .collect();
        for name in all.difference(&named) {
            self.outbox.remove(name);
            self.want(Wanted::nothing(name.clone()));
        }
    }

    fn want(&mut self, wanted: Wanted) {
        match self.tasks.get_mut(&wanted.project) {
            Some(task) if *task.wanted == wanted => {}
            Some(task) => {
                let wanted = Arc::new(wanted);
                task.memory.start_over();
                // As the agent does: removals go on, everything else is cut off.
                let memory = &mut task.memory;
                task.jobs.retain(|job| {
                    let keep = matches!(job.action, Action::Remove { .. });
                    if !keep {
                        release(memory, &job.action);
                    }
                    keep
                });
                task.wanted = wanted;
            }
            None => {
                let task = Task {
                    wanted: Arc::new(wanted.clone()),
                    memory: Memory::default(),
                    jobs: Vec::new(),
                };
                self.tasks.insert(wanted.project, task);
            }
        }
    }

    /// One round of everything that the agent does.
    pub fn step(&mut self, rng: &mut Rng, trouble: Trouble, base: Instant, now_ms: u64) {
        self.engine.live(now_ms);
        if !self.is_up || !self.has_assignments {
            return;
        }
        let now = instant(base, now_ms);
        for (name, task) in &mut self.tasks {
            task.finish_jobs(&mut self.engine, rng, trouble, now, now_ms);
            let is_delivered = self.outbox.get(name).is_some_and(|(_, is_sent)| *is_sent);
            let report = task.round(&self.engine, rng, trouble, is_delivered, now, now_ms);
            if let Some(report) = report {
                let is_known = self.outbox.get(name).is_some_and(|(old, _)| *old == report);
                if !is_known {
                    self.outbox.insert(name.clone(), (report, false));
                }
            }
        }
        self.tasks.retain(|name, task| {
            let observed = self.engine.observe(&task.wanted, now_ms);
            let is_over = task.wanted.reported.is_none() && plan::is_gone(&observed, false);
            if is_over {
                self.outbox.remove(name);
            }
            !is_over
        });
        if self.is_connected {
            self.send(rng, trouble, now_ms);
        }
    }

    fn send(&mut self, rng: &mut Rng, trouble: Trouble, now_ms: u64) {
        for (report, is_sent) in self.outbox.values_mut() {
            if *is_sent {
                continue;
            }
            *is_sent = true;
            self.sequence += 1;
            let order = (self.session, self.sequence);
            self.sent.push((now_ms + 1, report.clone(), order));
            if rng.f64() < trouble.repeat {
                let late = now_ms + rng.u64(1..=trouble.slowest_ms);
                self.sent.push((late, report.clone(), order));
            }
        }
    }
}

fn release(memory: &mut Memory, action: &Action) {
    match action {
        Action::Pull { image, .. } => memory.set_pulling(image, String::new()),
        other => memory.set_busy(&other.subject(), false),
    }
}

impl Task {
    fn finish_jobs(
        &mut self,
        engine: &mut Engine,
        rng: &mut Rng,
        trouble: Trouble,
        now: Instant,
        now_ms: u64,
    ) {
        let (done, running) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|job: &Job| job.ends_ms <= now_ms);
        self.jobs = running;
        for job in done {
            release(&mut self.memory, &job.action);
            let result = if rng.f64() < trouble.failure {
                Err("the engine had a bad day".to_owned())
            } else {
                engine.execute(&job.wanted, &job.action, now_ms)
            };
            let subject: Subject = job.action.subject();
            match result {
                Ok(()) => {
                    self.memory.succeeded(&subject);
                    if let Action::Start { service, .. } = &job.action {
                        self.memory.note_restart(service);
                    }
                }
                Err(text) => self.memory.failed(subject, "Failed", text, now),
            }
        }
    }

    fn round(
        &mut self,
        engine: &Engine,
        rng: &mut Rng,
        trouble: Trouble,
        is_delivered: bool,
        now: Instant,
        now_ms: u64,
    ) -> Option<Report> {
        let wanted = Arc::clone(&self.wanted);
        let observed = engine
            .observe(&wanted, now_ms)
            .without_leaving(&self.memory);
        self.memory.note_delivered(is_delivered, now);
        self.memory.open = observed
            .containers
            .values()
            .filter(|c| matches!(c.state, ContainerState::Running { since } if since.as_millis() >= 100))
            .map(|c| (c.start(), 80))
            .collect();
        for service in &wanted.services {
            let view = View::of(service, &observed);
            if let Some((_, container)) = view.new {
                self.memory.note_exit(&service.name, container, now);
            }
            view.note(&mut self.memory, now);
        }
        let step = plan::next(&wanted, &observed, &self.memory, now);
        self.memory.forget_failures_but(&step.subjects);
        for action in step.actions {
            match &action {
                Action::Pull { image, .. } => self.memory.set_pulling(image, "…".to_owned()),
                other => self.memory.set_busy(&other.subject(), true),
            }
            self.jobs.push(Job {
                wanted: Arc::clone(&wanted),
                action,
                ends_ms: now_ms + rng.u64(1..=trouble.slowest_ms),
            });
        }
        let observed = observed.without_leaving(&self.memory);
        plan::report(&wanted, &observed, &self.memory, now)
    }
}
