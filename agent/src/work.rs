//! One task for each project: looks, asks [`crate::plan`], acts, reports, waits.
//!
//! The task owns everything about its project on this node. An action under way is dropped when
//! the assignment changes; the next look shows how far it came. Pulls go on beside the rounds,
//! so that a large image of one service does not hold up the others.

mod probing;
mod pulls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::outbox::Outbox;
use crate::plan::{self, Action, Memory, Observed, Subject, Wanted};
use crate::runtime::{Engine, Error};
use probing::Prober;
use pulls::Pulls;

/// Longest time between two looks at the engine.
const RESYNC: Duration = Duration::from_secs(10);
/// Pause after the engine did not answer.
const ENGINE_RETRY: Duration = Duration::from_secs(1);

/// What a task works with.
pub(crate) struct Work {
    pub(crate) engine: Arc<Engine>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    /// Something happened to the project's containers.
    pub(crate) news: Arc<Notify>,
}

/// The project's memory, shared with its pulls; held for map operations only.
type Shared = Arc<Mutex<Memory>>;

fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State between rounds.
struct Rounds {
    memory: Shared,
    prober: Prober,
    pulls: Pulls,
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
        let memory = Shared::default();
        let pulls = Pulls::new(
            Arc::clone(&self.engine),
            Arc::clone(&memory),
            Arc::clone(&self.news),
        );
        let mut rounds = Rounds {
            memory,
            prober: Prober::default(),
            pulls,
        };
        let mut previous: Option<Wanted> = None;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if previous.as_ref().is_some_and(|old| *old != wanted) {
                // The new assignment may have mended what failed.
                lock(&rounds.memory).start_over();
            }
            previous = Some(wanted.clone());
            rounds.pulls.settle(&wanted);
            let observed = match self.engine.observe(&wanted).await {
                Ok(observed) => observed,
                Err(error) => {
                    tracing::warn!(error = %error.message(), "cannot look; trying again");
                    self.pause(ENGINE_RETRY, &mut rounds.pulls).await;
                    continue;
                }
            };
            let step = {
                let mut memory = lock(&rounds.memory);
                note_exits(&mut memory, &wanted, &observed);
                let step = plan::next(&wanted, &observed, &memory, Instant::now());
                memory.forget_failures_but(&step.subjects);
                memory.set_stopping(stopping(&step.actions));
                step
            };
            self.report(&wanted, &observed, &rounds);
            if !step.actions.is_empty() {
                tracing::info!(%step, "acting");
                self.act(&wanted, &mut rounds, step.actions).await;
                continue;
            }
            if wanted.reported.is_none() && plan::is_gone(&observed) {
                return;
            }
            let until_retry = step
                .retry_at
                .map_or(RESYNC, |at| at.saturating_duration_since(Instant::now()));
            self.probe_and_wait(&wanted, &observed, &mut rounds, until_retry.min(RESYNC))
                .await;
        }
    }

    /// Probes and reports, again and again while a port does not answer, until there is news or
    /// `limit` is over.
    async fn probe_and_wait(
        &mut self,
        wanted: &Wanted,
        observed: &Observed,
        rounds: &mut Rounds,
        limit: Duration,
    ) {
        let ends_at = Instant::now() + limit;
        loop {
            let until_probe = rounds.prober.probe(wanted, observed).await;
            self.report(wanted, observed, rounds);
            let left = ends_at.saturating_duration_since(Instant::now());
            let pause = until_probe.map_or(left, |pause| pause.min(left));
            if self.pause(pause, &mut rounds.pulls).await || Instant::now() >= ends_at {
                return;
            }
        }
    }

    /// Waits for news, at most `pause`; true when there is some.
    async fn pause(&mut self, pause: Duration, pulls: &mut Pulls) -> bool {
        let is_closed = tokio::select! {
            changed = self.wanted.changed() => changed.is_err(),
            () = self.news.notified() => false,
            () = pulls.one_ended() => false,
            () = tokio::time::sleep(pause) => return false,
        };
        if is_closed {
            // The supervisor is gone; it cancels this task next.
            tokio::time::sleep(RESYNC).await;
        }
        true
    }

    fn report(&self, wanted: &Wanted, observed: &Observed, rounds: &Rounds) {
        let memory = lock(&rounds.memory);
        if let Some(report) = plan::report(wanted, observed, &memory, rounds.prober.open()) {
            self.outbox.put(report);
        }
    }

    /// Starts the pulls of a step, and runs its other actions at the same time, until all of
    /// these ended or the assignment changed.
    async fn act(&mut self, wanted: &Wanted, rounds: &mut Rounds, actions: Vec<Action>) {
        let (pulls, others): (Vec<Action>, Vec<Action>) = actions
            .into_iter()
            .partition(|action| matches!(action, Action::Pull { .. }));
        for pull in pulls {
            rounds.pulls.start(pull);
        }
        let mut changes = self.wanted.clone();
        let (this, memory) = (&*self, &rounds.memory);
        let all = async {
            let results = join_all(others.into_iter().map(|action| async move {
                let result = this.execute(wanted, &action).await;
                let made = result.as_ref().ok().cloned().flatten();
                let is_done = result.is_ok();
                note_result(memory, &action, result.map(drop));
                (made, is_done)
            }))
            .await;
            // What was made while its network was made can start now, without another look.
            if results.iter().all(|(_, is_done)| *is_done) {
                let starts = results.into_iter().filter_map(|(made, _)| made);
                join_all(starts.map(|start| async move {
                    let result = this.execute(wanted, &start).await;
                    note_result(memory, &start, result.map(drop));
                }))
                .await;
            }
        };
        tokio::select! {
            () = all => {}
            _ = changes.wait_for(|now| now != wanted) => tracing::info!("the assignment changed; looking again"),
        }
    }

    /// Does one thing; what follows from it at once, if anything does.
    async fn execute(&self, wanted: &Wanted, action: &Action) -> Result<Option<Action>, Error> {
        let project = wanted.project.as_str();
        let service = |name: &String| wanted.services.iter().find(|s| s.name == *name);
        let done = match action {
            Action::CreateNetwork => self.engine.create_network(project).await,
            Action::CreateVolume(name) => self.engine.create_volume(project, name).await,
            // Started by `act`, beside the rounds.
            Action::Pull { .. } => Ok(()),
            Action::Make(name) => {
                let Some(service) = service(name) else {
                    return Ok(None);
                };
                let id = self.engine.make(project, service).await?;
                return Ok(Some(Action::Start {
                    service: name.clone(),
                    id,
                }));
            }
            Action::Run(name) => match service(name) {
                Some(service) => self.engine.run(project, service).await,
                None => Ok(()),
            },
            Action::Start { service, id } => self.engine.start(service, id).await,
            Action::Remove { id, .. } => self.engine.remove(id).await,
            Action::RemoveNetwork => self.engine.remove_network(project).await,
            Action::RemoveVolume(name) => self.engine.remove_volume(name).await,
        };
        done.map(|()| None)
    }
}

fn note_result(memory: &Shared, action: &Action, result: Result<(), Error>) {
    match result {
        Ok(()) => lock(memory).succeeded(&action.subject()),
        Err(error) => {
            tracing::warn!(%action, error = %error.message(), "action failed");
            lock(memory).failed(
                action.subject(),
                error.reason(),
                error.message(),
                Instant::now(),
            );
        }
    }
}

/// Services whose containers a step takes away: no request should go there any more.
fn stopping(actions: &[Action]) -> Vec<String> {
    let removed = actions.iter().filter_map(|action| match action {
        Action::Remove {
            subject: Subject::Service(service),
            ..
        } => Some(service.clone()),
        _ => None,
    });
    removed.collect()
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
