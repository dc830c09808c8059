//! Keeps one task for each project, and sweeps up what no assignment names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cara_api::ProjectName;
use cara_api::agent::Assignments;
use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::outbox::Outbox;
use crate::plan::{Wanted, orphans};
use crate::runtime::Engine;
use crate::work::Work;

/// Everything is compared with the engine again this often.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Pause before the engine's events are subscribed to again.
const EVENTS_RETRY: Duration = Duration::from_secs(1);
/// Events that may wait to be passed on; more wait in the engine's stream.
const EVENTS_QUEUE: usize = 256;

struct Task {
    wanted: watch::Sender<Wanted>,
    news: Arc<Notify>,
}

/// Owner of all project tasks.
pub(crate) struct Supervisor {
    config: Arc<Config>,
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    tasks: BTreeMap<ProjectName, Task>,
    running: JoinSet<()>,
    names: HashMap<Id, ProjectName>,
}

impl Supervisor {
    pub(crate) fn new(config: Arc<Config>, engine: Arc<Engine>, outbox: Arc<Outbox>) -> Self {
        Self {
            config,
            engine,
            outbox,
            tasks: BTreeMap::new(),
            running: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// Follows the assignments until cancelled, then waits for the tasks to end.
    pub(crate) async fn run(
        mut self,
        mut assignments: watch::Receiver<Option<Arc<Assignments>>>,
        token: CancellationToken,
    ) {
        let (events, mut happened) = mpsc::channel(EVENTS_QUEUE);
        let watcher = watch_engine(Arc::clone(&self.engine), events);
        tokio::pin!(watcher);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = assignments.changed() => {
                    if changed.is_err() { break }
                    let current = assignments.borrow_and_update().clone();
                    if let Some(current) = current {
                        self.assign(&current, &token);
                        self.sweep(&current, &token).await;
                    }
                }
                Some(project) = happened.recv() => self.notify(&project),
                Some(ended) = self.running.join_next_with_id() => self.reap(ended, &token),
                _ = sweep.tick() => {
                    let current = assignments.borrow().clone();
                    if let Some(current) = current {
                        self.sweep(&current, &token).await;
                    }
                }
                () = &mut watcher => {}
                () = token.cancelled() => break,
            }
        }
        token.cancel();
        while self.running.join_next().await.is_some() {}
    }

    fn assign(&mut self, assignments: &Assignments, token: &CancellationToken) {
        let mut named = BTreeSet::new();
        for assignment in &assignments.projects {
            named.insert(assignment.name.clone());
            self.want(Wanted::new(assignment, self.config.publish_on()), token);
        }
        let left: Vec<ProjectName> = self
            .tasks
            .keys()
            .filter(|name| !named.contains(*name))
            .cloned()
            .collect();
        for name in left {
            self.outbox.forget(&name);
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
            engine: Arc::clone(&self.engine),
            outbox: Arc::clone(&self.outbox),
            wanted: receiver,
            news: Arc::clone(&news),
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

    /// Forgets a task that ended. One that panicked, or got a new aim at the last moment, starts
    /// again.
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
            if has_panicked || wanted.reported.is_some() {
                self.want(wanted, token);
            }
        }
    }

    /// Starts the removal of everything that carries our label and is not assigned.
    async fn sweep(&mut self, assignments: &Assignments, token: &CancellationToken) {
        let found = match self.engine.projects().await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %error.message(), "cannot look for leftovers; trying again later");
                return;
            }
        };
        let assigned = assignments
            .projects
            .iter()
            .map(|a| a.name.as_str().to_owned())
            .collect();
        for name in orphans(found, &assigned) {
            let name = ProjectName::trusted(&name);
            if !self.tasks.contains_key(&name) {
                tracing::warn!(project = %name, "removing what is left of a project that is not assigned here");
                self.want(Wanted::nothing(name), token);
            }
        }
    }
}

/// Passes on which projects' containers changed; never ends.
async fn watch_engine(engine: Arc<Engine>, events: mpsc::Sender<String>) {
    loop {
        let stream = engine.events();
        tokio::pin!(stream);
        while let Some(project) = stream.next().await {
            // The supervisor is gone when this fails, and with it this future.
            let _ = events.send(project).await;
        }
        tracing::debug!("the engine's events ended; subscribing again");
        tokio::time::sleep(EVENTS_RETRY).await;
    }
}
