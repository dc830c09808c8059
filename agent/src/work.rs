//! One task for each project: looks, asks [`crate::plan`], acts, reports, waits.
//!
//! The task owns everything about its project on this node, so nothing needs a lock. An action
//! under way is dropped when the assignment changes; the next look shows how far it came.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cara_api::agent::Goal;
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::outbox::Outbox;
use crate::plan::{self, Action, Doubts, Memory, Observed, Probes, Wanted};
use crate::runtime::{Engine, Error};

/// Longest time between two looks at the engine.
const RESYNC: Duration = Duration::from_secs(10);
/// First and longest pause between probes of a port that does not answer yet.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How long a port may take to accept a connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after the engine did not answer.
const ENGINE_RETRY: Duration = Duration::from_secs(1);
/// Shortest time between two reports of a pull's progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What a task works with.
pub(crate) struct Work {
    pub(crate) engine: Arc<Engine>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    /// Something happened to the project's containers.
    pub(crate) news: Arc<Notify>,
}

/// State between rounds.
#[derive(Default)]
struct Rounds {
    memory: Arc<Mutex<Memory>>,
    probes: Probes,
    doubts: Doubts,
    probe_pause: Option<Duration>,
}

impl Work {
    /// Works on a project until cancelled; ends by itself when nothing of the project is left
    /// and nobody wants anything of it.
    pub(crate) async fn run(mut self, token: CancellationToken) {
        let project = self.wanted.borrow().project.clone();
        let span = tracing::info_span!("project", %project);
        async {
            tokio::select! {
                () = self.rounds() => {}
                () = token.cancelled() => {}
            }
        }
        .instrument(span)
        .await;
    }

    async fn rounds(&mut self) {
        let mut rounds = Rounds::default();
        let mut previous: Option<Wanted> = None;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if let Some(old) = &previous {
                start_over(&rounds, old, &wanted);
            }
            previous = Some(wanted.clone());
            let observed = match self.engine.observe(&wanted).await {
                Ok(observed) => observed,
                Err(error) => {
                    tracing::warn!(error = %error.message(), "cannot look; trying again");
                    self.pause(ENGINE_RETRY).await;
                    continue;
                }
            };
            let step = {
                let mut memory = rounds.memory.lock().unwrap_or_else(PoisonError::into_inner);
                note_exits(&mut memory, &wanted, &observed);
                plan::next(&wanted, &observed, &memory, Instant::now())
            };
            self.report(&wanted, &observed, &rounds);
            if !step.actions.is_empty() {
                tracing::info!(%step, "acting");
                self.act(&wanted, &observed, &rounds, step.actions).await;
                continue;
            }
            if wanted.reported.is_none() && plan::is_gone(&observed) {
                return;
            }
            let until_probe = self.probe(&wanted, &observed, &mut rounds).await;
            self.report(&wanted, &observed, &rounds);
            let until_retry = step
                .retry_at
                .map(|at| at.saturating_duration_since(Instant::now()));
            let pause = [until_probe, until_retry]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(RESYNC)
                .min(RESYNC);
            self.pause(pause).await;
        }
    }

    /// Waits for news, at most `pause`.
    async fn pause(&mut self, pause: Duration) {
        let closed = tokio::select! {
            changed = self.wanted.changed() => changed.is_err(),
            () = self.news.notified() => false,
            () = tokio::time::sleep(pause) => false,
        };
        if closed {
            // The supervisor is gone; it cancels this task next.
            tokio::time::sleep(pause).await;
        }
    }

    fn report(&self, wanted: &Wanted, observed: &Observed, rounds: &Rounds) {
        let memory = rounds.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = plan::report(wanted, observed, &memory, &rounds.probes) {
            self.outbox.put(report);
        }
    }

    /// Runs the actions of a step at the same time, until all ended or the assignment changed.
    async fn act(
        &mut self,
        wanted: &Wanted,
        observed: &Observed,
        rounds: &Rounds,
        actions: Vec<Action>,
    ) {
        let mut changes = self.wanted.clone();
        let this = &*self;
        let all = join_all(actions.into_iter().map(|action| async move {
            let result = this.execute(wanted, observed, rounds, &action).await;
            let mut memory = rounds.memory.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(()) => memory.succeeded(&action.subject()),
                Err(error) => {
                    tracing::warn!(%action, error = %error.message(), "action failed");
                    memory.failed(
                        action.subject(),
                        error.reason(),
                        error.message(),
                        Instant::now(),
                    );
                }
            }
        }));
        tokio::select! {
            _ = all => {}
            _ = changes.wait_for(|now| now != wanted) => tracing::info!("the assignment changed; looking again"),
        }
        let mut memory = rounds.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for service in &wanted.services {
            memory.set_pulling(&service.image, String::new());
        }
    }

    async fn execute(
        &self,
        wanted: &Wanted,
        observed: &Observed,
        rounds: &Rounds,
        action: &Action,
    ) -> Result<(), Error> {
        let project = wanted.project.as_str();
        let service = |name: &String| wanted.services.iter().find(|s| s.name == *name);
        match action {
            Action::CreateNetwork => self.engine.create_network(project).await,
            Action::CreateVolume(name) => self.engine.create_volume(project, name).await,
            Action::Pull { image, .. } => self.pull(wanted, observed, rounds, image).await,
            Action::Make(name) => match service(name) {
                Some(service) => self.engine.make(project, service).await.map(drop),
                None => Ok(()),
            },
            Action::Run(name) => match service(name) {
                Some(service) => self.engine.run(project, service).await,
                None => Ok(()),
            },
            Action::Start { service, id } => self.engine.start(service, id).await,
            Action::Remove { id, .. } => self.engine.remove(id).await,
            Action::RemoveNetwork => self.engine.remove_network(project).await,
            Action::RemoveVolume(name) => self.engine.remove_volume(name).await,
        }
    }

    async fn pull(
        &self,
        wanted: &Wanted,
        observed: &Observed,
        rounds: &Rounds,
        image: &str,
    ) -> Result<(), Error> {
        let mut told_at: Option<Instant> = None;
        let tell = |progress: String| {
            let is_early = told_at.is_some_and(|at| at.elapsed() < PROGRESS_EVERY);
            rounds
                .memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .set_pulling(image, progress);
            if !is_early {
                told_at = Some(Instant::now());
                self.report(wanted, observed, rounds);
            }
        };
        self.engine.pull(image, tell).await
    }

    /// Probes every exposed port; how soon to probe again, if one does not answer.
    async fn probe(
        &self,
        wanted: &Wanted,
        observed: &Observed,
        rounds: &mut Rounds,
    ) -> Option<Duration> {
        let targets = wanted
            .services
            .iter()
            .filter(|_| wanted.goal == Goal::Run)
            .flat_map(|service| {
                let container = observed
                    .containers
                    .get(&service.container)
                    .filter(|c| c.is_ours);
                let up =
                    container.filter(|c| matches!(c.state, plan::ContainerState::Running { .. }));
                up.into_iter()
                    .flat_map(|c| service.exposed.iter().map(move |port| (c, *port)))
            });
        let checks = targets.map(|(container, port)| async move {
            let ip = container.ip?;
            let connect = TcpStream::connect((ip, port));
            let is_open = tokio::time::timeout(PROBE_TIMEOUT, connect)
                .await
                .is_ok_and(|r| r.is_ok());
            Some((
                (container.id.clone(), container.started_at.clone(), port),
                is_open,
            ))
        });
        let results: Vec<_> = join_all(checks).await.into_iter().flatten().collect();
        let open = rounds.doubts.judge(&results, &rounds.probes);
        let is_waiting = results.iter().any(|(_, is_open)| !is_open);
        rounds.probes = open;
        let (first, longest) = PROBE_PAUSES;
        let pause = rounds
            .probe_pause
            .map_or(first, |old| (old * 3 / 2).min(longest));
        rounds.probe_pause = is_waiting.then_some(pause);
        rounds.probe_pause
    }
}

/// Forgets failures that the new assignment may have mended.
fn start_over(rounds: &Rounds, old: &Wanted, new: &Wanted) {
    if old == new {
        return;
    }
    rounds
        .memory
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .start_over();
}

fn note_exits(memory: &mut Memory, wanted: &Wanted, observed: &Observed) {
    let now = Instant::now();
    for service in &wanted.services {
        let container = observed
            .containers
            .get(&service.container)
            .filter(|c| c.is_ours);
        if let Some(container) = container {
            memory.note_exit(&service.name, container, now);
        }
    }
}
