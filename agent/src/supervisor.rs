//! Keeps one task for each project, and sweeps up what no assignment names.
//!
//! After each connection to the control plane, leftovers of projects that moved away meanwhile
//! are removed before anything new is started.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cara_api::ProjectName;
use cara_api::agent::Assignments;
use cara_api::client::Prober;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::images::Images;
use crate::outbox::Outbox;
use crate::plan::{Wanted, orphans};
use crate::runtime::{Engine, Error};
use crate::work::Work;

/// Leftovers are looked for this often: what an engine was told by a request that was cut off it may
/// do late.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// Pause before the engine's events are subscribed to again.
const EVENTS_RETRY: Duration = Duration::from_millis(500);
/// Events that may wait to be passed on; more wait in the engine's stream.
const EVENTS_QUEUE: usize = 256;
/// Pause before a sweep that failed is tried again.
const SWEEP_RETRY: Duration = Duration::from_secs(2);
/// New projects start after this time even if leftovers could not be removed: what cannot be
/// stopped must not stop everything else.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(30);

/// What the control plane assigned, and over which connection it said so.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) connection: u64,
    pub(crate) assignments: Arc<Assignments>,
}

/// What the tasks of all projects share.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) images: Arc<Images>,
    pub(crate) http: Prober,
    pub(crate) outbox: Arc<Outbox>,
}

struct Task {
    wanted: watch::Sender<Wanted>,
    news: Arc<Notify>,
}

/// Names of projects that left something on the engine.
type Sweep = BoxFuture<'static, Result<BTreeSet<String>, Error>>;

/// Owner of all project tasks.
pub(crate) struct Supervisor {
    parts: Parts,
    tasks: BTreeMap<ProjectName, Task>,
    running: JoinSet<()>,
    names: HashMap<Id, ProjectName>,
    /// Aims of tasks that panicked.
    resting: Vec<Wanted>,
    /// Looks for leftovers, while that is under way.
    sweeping: Option<Sweep>,
    /// Until when new projects wait for leftovers, and whether these are all known.
    fence: Option<(Instant, bool)>,
    may_begin: watch::Sender<bool>,
    /// Counts how often the engine went away and came back.
    returns: watch::Sender<u64>,
}

impl Supervisor {
    pub(crate) fn new(parts: Parts) -> Self {
        let (may_begin, _) = watch::channel(false);
        Self {
            parts,
            tasks: BTreeMap::new(),
            running: JoinSet::new(),
            names: HashMap::new(),
            resting: Vec::new(),
            sweeping: None,
            fence: None,
            may_begin,
            returns: watch::channel(0).0,
        }
    }

    /// Follows the assignments until cancelled, then waits for the tasks to end.
    pub(crate) async fn run(
        mut self,
        mut assignments: watch::Receiver<Option<Received>>,
        token: CancellationToken,
    ) {
        let (events, mut happened) = mpsc::channel(EVENTS_QUEUE);
        let watcher = watch_engine(Arc::clone(&self.parts.engine), events);
        tokio::pin!(watcher);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            tokio::select! {
                changed = assignments.changed() => {
                    if changed.is_err() { break }
                    let current = assignments.borrow_and_update().clone();
                    if let Some(current) = current {
                        if connection.replace(current.connection) != Some(current.connection) {
                            self.raise_fence();
                        }
                        self.assign(&current.assignments, &token);
                        self.start_sweep();
                    }
                }
                Some(news) = happened.recv() => match news {
                    News::Changed(project) => self.notify(&project),
                    News::Returned => {
                        self.engine_returned();
                        if assignments.borrow().is_some() {
                            self.start_sweep();
                        }
                    }
                },
                Some(ended) = self.running.join_next_with_id() => self.reap(ended, &token),
                found = swept(&mut self.sweeping) => {
                    self.sweeping = None;
                    let current = assignments.borrow().clone();
                    match (found, current) {
                        (Ok(found), Some(current)) => self.remove_orphans(found, &current.assignments, &token),
                        (Ok(_), None) => {}
                        (Err(error), _) => {
                            tracing::warn!(error = %error.message(), "cannot look for leftovers; trying again");
                            sweep.reset_after(SWEEP_RETRY);
                        }
                    }
                }
                _ = sweep.tick() => {
                    for wanted in std::mem::take(&mut self.resting) {
                        if !self.tasks.contains_key(&wanted.project) {
                            self.want(wanted, &token);
                        }
                    }
                    if assignments.borrow().is_some() {
                        self.start_sweep();
                    }
                }
                () = until(self.fence.map(|(at, _)| at)) => {}
                () = &mut watcher => {}
                () = token.cancelled() => break,
            }
            self.lower_fence();
        }
        token.cancel();
        while self.running.join_next().await.is_some() {}
    }

    /// Holds new projects back until leftovers are known and removed.
    fn raise_fence(&mut self) {
        self.fence = Some((Instant::now() + LEFTOVERS_LIMIT, false));
        self.may_begin.send_replace(false);
        // A sweep that began before says nothing about now.
        self.sweeping = None;
    }

    fn lower_fence(&mut self) {
        let Some((until, is_known)) = self.fence else {
            return;
        };
        let mut aims = self
            .tasks
            .values()
            .map(|task| task.wanted.borrow().reported);
        let is_clear = is_known && aims.all(|reported| reported.is_some());
        if is_clear || Instant::now() >= until {
            if !is_clear {
                tracing::warn!("leftovers could not be removed in time; going on without");
            }
            self.fence = None;
            self.may_begin.send_replace(true);
        }
    }

    fn start_sweep(&mut self) {
        if self.sweeping.is_none() {
            let engine = Arc::clone(&self.parts.engine);
            self.sweeping = Some(Box::pin(async move { engine.projects().await }));
        }
    }

    fn assign(&mut self, assignments: &Assignments, token: &CancellationToken) {
        let rules = self.parts.config.rules();
        let mut named = BTreeSet::new();
        for assignment in &assignments.projects {
            named.insert(assignment.name.clone());
            self.want(Wanted::new(assignment, &rules), token);
        }
        let left: Vec<ProjectName> = self
            .tasks
            .keys()
            .filter(|name| !named.contains(*name))
            .cloned()
            .collect();
        for name in left {
            self.parts.outbox.forget(&name);
            self.want(Wanted::nothing(name), token);
        }
    }

    /// Gives a project's task its new aim, starting the task when there is none.
    fn want(&mut self, wanted: Wanted, token: &CancellationToken) {
        if let Some(task) = self.tasks.get(&wanted.project) {
            task.wanted.send_if_modified(|old| {
                let is_new = *old != wanted;
                if is_new {
                    *old = wanted;
                }
                is_new
            });
            return;
        }
        let name = wanted.project.clone();
        let (wanted, receiver) = watch::channel(wanted);
        let news = Arc::new(Notify::new());
        let work = Work {
            engine: Arc::clone(&self.parts.engine),
            images: Arc::clone(&self.parts.images),
            http: self.parts.http.clone(),
            outbox: Arc::clone(&self.parts.outbox),
            wanted: receiver,
            news: Arc::clone(&news),
            may_begin: self.may_begin.subscribe(),
            returns: self.returns.subscribe(),
        };
        let handle = self.running.spawn(work.run(token.child_token()));
        self.names.insert(handle.id(), name.clone());
        self.tasks.insert(name, Task { wanted, news });
    }

    fn notify(&self, project: &str) {
        if let Some(task) = self.tasks.get(project) {
            task.news.notify_one();
        }
    }

    /// Lets everybody look again: whatever happened while the engine was away was not told.
    fn engine_returned(&mut self) {
        self.returns.send_modify(|count| *count += 1);
        for task in self.tasks.values() {
            task.news.notify_one();
        }
    }

    /// Forgets a task that ended. One that got a new aim at the last moment starts again, one
    /// that panicked with the next sweep.
    fn reap(&mut self, ended: Result<(Id, ()), JoinError>, token: &CancellationToken) {
        let (id, has_panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => {
                tracing::error!(error = %error, "a project's task panicked");
                (error.id(), true)
            }
        };
        let task = self
            .names
            .remove(&id)
            .and_then(|name| self.tasks.remove(&name));
        if let Some(task) = task {
            let wanted = task.wanted.borrow().clone();
            if has_panicked {
                // Not at once: it may panic again.
                self.resting.push(wanted);
            } else if wanted.reported.is_some() {
                self.want(wanted, token);
            }
        }
    }

    /// Starts the removal of everything that carries our label and is not assigned.
    fn remove_orphans(
        &mut self,
        found: BTreeSet<String>,
        assignments: &Assignments,
        token: &CancellationToken,
    ) {
        let assigned = assignments
            .projects
            .iter()
            .map(|a| a.name.as_str().to_owned())
            .collect();
        for name in orphans(found, &assigned) {
            // Labels and directories are what anybody may have made.
            let Ok(name) = ProjectName::parse(&name) else {
                tracing::debug!(name, "left alone: not the name of a project");
                continue;
            };
            if !self.tasks.contains_key(&name) {
                tracing::warn!(project = %name, "removing what is left of a project that is not assigned here");
                self.want(Wanted::nothing(name), token);
            }
        }
        if let Some((_, is_known)) = &mut self.fence {
            *is_known = true;
        }
    }
}

/// The result of a sweep; never comes when there is none under way. Cancel-safe.
async fn swept(sweeping: &mut Option<Sweep>) -> Result<BTreeSet<String>, Error> {
    match sweeping {
        Some(sweep) => sweep.await,
        None => std::future::pending().await,
    }
}

/// Waits until a moment; for ever when there is none. Cancel-safe.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// What is heard of the engine.
enum News {
    /// Something happened to the containers of a project.
    Changed(String),
    /// The engine was away and is back.
    Returned,
}

/// Passes on what happens on the engine; never ends.
async fn watch_engine(engine: Arc<Engine>, events: mpsc::Sender<News>) {
    let mut is_first = true;
    loop {
        // An engine that answers is there; its events may not come for a long time.
        if engine.answers().await {
            let stream = engine.events();
            tokio::pin!(stream);
            if !std::mem::take(&mut is_first) {
                // The supervisor is gone when this fails, and with it this future.
                let _ = events.send(News::Returned).await;
            }
            while let Some(project) = stream.next().await {
                let _ = events.send(News::Changed(project)).await;
            }
            tracing::debug!("the engine's events ended; subscribing again");
        }
        tokio::time::sleep(EVENTS_RETRY).await;
    }
}
