//! Actions that go on beside the rounds of a project, so that none waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use super::{Shared, lock};
use crate::images::Images;
use crate::plan::{Action, Subject, Wanted, WantedService};
use crate::runtime::{Engine, Error};

/// Shortest time between two reports of a pull's progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What actions need.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) engine: Arc<Engine>,
    pub(super) images: Arc<Images>,
    pub(super) memory: Shared,
    pub(super) news: Arc<Notify>,
}

/// What a job is about.
enum Kind {
    Pull(String),
    Actions(Vec<Subject>),
}

/// The actions of one project that are under way; dropping it cuts them off.
pub(super) struct Jobs {
    tools: Tools,
    running: JoinSet<()>,
    kinds: BTreeMap<u64, (Kind, AbortHandle)>,
    next: u64,
}

impl Jobs {
    pub(super) fn new(tools: Tools) -> Self {
        Self {
            tools,
            running: JoinSet::new(),
            kinds: BTreeMap::new(),
            next: 0,
        }
    }

    /// Starts the actions of a step. They run side by side; only what is made together with its
    /// network or volumes starts together with them, without another look.
    pub(super) fn start(&mut self, wanted: &Arc<Wanted>, actions: Vec<Action>) {
        let is_ground = |action: &Action| {
            matches!(
                action,
                Action::CreateNetwork | Action::CreateVolume(..) | Action::Make(_)
            )
        };
        let (ground, others): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_ground);
        if !ground.is_empty() {
            self.spawn(wanted, ground);
        }
        for action in others {
            match action {
                Action::Pull { service, image } => self.pull(service, image),
                other => self.spawn(wanted, vec![other]),
            }
        }
    }

    fn spawn(&mut self, wanted: &Arc<Wanted>, actions: Vec<Action>) {
        let subjects: Vec<Subject> = actions.iter().map(Action::subject).collect();
        for subject in &subjects {
            lock(&self.tools.memory).set_busy(subject, true);
        }
        let (tools, wanted) = (self.tools.clone(), Arc::clone(wanted));
        let task = async move { tools.execute_all(&wanted, actions).await };
        let handle = self.running.spawn(task.in_current_span());
        self.note_started(Kind::Actions(subjects), handle);
    }

    fn pull(&mut self, service: String, image: String) {
        lock(&self.tools.memory).set_pulling(&image, "starting".to_owned());
        let (tools, name) = (self.tools.clone(), image.clone());
        let task = async move { tools.pull(&service, &name).await };
        let handle = self.running.spawn(task.in_current_span());
        self.note_started(Kind::Pull(image), handle);
    }

    fn note_started(&mut self, kind: Kind, handle: AbortHandle) {
        self.kinds.insert(self.next, (kind, handle));
        self.next += 1;
    }

    /// Takes in the jobs that ended.
    pub(super) fn settle(&mut self) {
        while let Some(ended) = self.running.try_join_next() {
            log_panic(ended);
        }
        let memory = &self.tools.memory;
        self.kinds.retain(|_, (kind, handle)| {
            let is_running = !handle.is_finished();
            if !is_running {
                release(memory, kind);
            }
            is_running
        });
    }

    /// Cuts off what the new assignment does not ask for: everything but pulls of its images, and
    /// removals, which cannot be taken back half-way. The engine goes on with what it was told;
    /// the next look shows how far it came.
    pub(super) fn cut_off(&mut self, wanted: &Wanted) {
        let memory = &self.tools.memory;
        self.kinds.retain(|_, (kind, handle)| {
            let keep = match kind {
                Kind::Pull(image) => wanted.services.iter().any(|s| s.definition.image == *image),
                Kind::Actions(subjects) => {
                    let is_removal = |subject: &Subject| matches!(subject, Subject::Extra(_));
                    subjects.iter().all(is_removal)
                }
            };
            if !keep {
                handle.abort();
                release(memory, kind);
            }
            keep
        });
    }

    /// Waits until a job ended; for ever when there is none. Cancel-safe.
    pub(super) async fn one_ended(&mut self) {
        match self.running.join_next().await {
            Some(ended) => log_panic(ended),
            None => std::future::pending().await,
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && !error.is_cancelled()
    {
        tracing::error!(error = %error, "an action panicked");
    }
}

fn release(memory: &Shared, kind: &Kind) {
    let mut memory = lock(memory);
    match kind {
        Kind::Pull(image) => memory.set_pulling(image, String::new()),
        Kind::Actions(subjects) => {
            for subject in subjects {
                memory.set_busy(subject, false);
            }
        }
    }
}

impl Tools {
    async fn pull(&self, service: &str, image: &str) {
        let mut told_at: Option<Instant> = None;
        let tell = |progress: String| {
            lock(&self.memory).set_pulling(image, progress);
            if told_at.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
                told_at = Some(Instant::now());
                self.news.notify_one();
            }
        };
        let result = self.engine.pull(image, tell).await;
        if result.is_ok() {
            self.images.note_pulled(image).await;
        }
        let subject = Subject::Service(service.to_owned());
        self.note_result(&subject, "pull", result);
    }

    /// Runs actions side by side, and then starts what was made meanwhile.
    async fn execute_all(&self, wanted: &Wanted, actions: Vec<Action>) {
        let results = join_all(actions.iter().map(|action| async move {
            let result = self.execute(wanted, action).await;
            let made = result.as_ref().ok().cloned().flatten();
            let is_done = result.is_ok();
            self.note_result(&action.subject(), action, result.map(drop));
            (made, is_done)
        }))
        .await;
        if results.iter().any(|(_, is_done)| !is_done) {
            return;
        }
        let starts = results.into_iter().filter_map(|(made, _)| made);
        join_all(starts.map(|start| async move {
            let result = self.execute(wanted, &start).await;
            self.note_result(&start.subject(), &start, result.map(drop));
        }))
        .await;
    }

    /// Does one thing; what follows from it at once, if anything does.
    async fn execute(&self, wanted: &Wanted, action: &Action) -> Result<Option<Action>, Error> {
        let project = wanted.project.as_str();
        let engine = &self.engine;
        let done = match action {
            Action::CreateNetwork => engine.create_network(wanted).await,
            Action::CreateVolume(name, life) => engine.create_volume(wanted, name, *life).await,
            // Started by `start`.
            Action::Pull { .. } => Ok(()),
            Action::Make(name) => {
                let Some(service) = wanted.service(name) else {
                    return Ok(None);
                };
                let id = self.make(wanted, service, &service.container).await?;
                return Ok(Some(Action::Start {
                    service: name.clone(),
                    id,
                }));
            }
            Action::Run(name) | Action::RunBeside(name) => {
                let Some(service) = wanted.service(name) else {
                    return Ok(None);
                };
                let is_beside = matches!(action, Action::RunBeside(_));
                let engine_name = if is_beside {
                    &service.successor
                } else {
                    &service.container
                };
                let id = self.make(wanted, service, engine_name).await?;
                engine.start(project, service, &id).await
            }
            Action::Start { service: name, id } => match wanted.service(name) {
                Some(service) => {
                    let result = engine.start(project, service, id).await;
                    if lock(&self.memory).exit(name).is_some() && result.is_ok() {
                        lock(&self.memory).note_restart(name);
                    }
                    result
                }
                None => Ok(()),
            },
            Action::Stop { id, grace, .. } => engine.stop(id, *grace).await,
            Action::Rename { service, id } => match wanted.service(service) {
                Some(service) => engine.rename(id, &service.container).await,
                None => Ok(()),
            },
            Action::Remove { id, grace, .. } => engine.remove(id, *grace).await,
            Action::RemoveDuplicate(id) => engine.remove_network_by_id(id).await,
            Action::RemoveNetwork => engine.remove_network(project).await,
            Action::RemoveVolume(name) => engine.remove_volume(name).await,
        };
        done.map(|()| None)
    }

    async fn make(
        &self,
        wanted: &Wanted,
        service: &WantedService,
        name: &str,
    ) -> Result<String, Error> {
        self.images.note_used(&service.definition.image).await;
        self.engine.make(wanted, service, name).await
    }

    fn note_result(
        &self,
        subject: &Subject,
        action: impl std::fmt::Display,
        result: Result<(), Error>,
    ) {
        match result {
            Ok(()) => lock(&self.memory).succeeded(subject),
            Err(error) => {
                tracing::warn!(%action, error = %error.message(), "action failed");
                if error.is_engine_away() {
                    lock(&self.memory).not_tried(subject.clone(), Instant::now());
                    return;
                }
                let (reason, message) = (error.reason(), error.message());
                lock(&self.memory).failed(subject.clone(), reason, message, Instant::now());
            }
        }
    }
}
