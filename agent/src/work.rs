//! One task for each project: looks, asks [`crate::plan`], starts what is to be done, reports,
//! waits for news.
//!
//! The task owns everything about its project on this node. Actions go on beside the rounds and
//! are cut off when the assignment changes; the next look shows how far they came.

mod checks;
mod jobs;
mod probing;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cara_api::agent::Goal;
use cara_api::client::Prober as HttpProber;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::images::Images;
use crate::outbox::Outbox;
use crate::plan::{self, ContainerState, Memory, Observed, View, Wanted};
use crate::runtime::Engine;
use checks::Checks;
use jobs::{Jobs, Tools};
use probing::Prober;

/// Longest time between two looks at the engine when nothing happens; the engine tells when
/// something does.
const RESYNC: Duration = Duration::from_secs(60);
/// Longest time between two probes of the ports that the gateway must reach.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long an engine may take to end its containers before it goes away itself.
const STOPPING: Duration = Duration::from_secs(15);
/// How long the first checks of containers that ran before may take before something is reported.
const MEETING_MAX: Duration = Duration::from_secs(2);
/// Pause after the engine did not answer.
const ENGINE_RETRY: Duration = Duration::from_secs(1);

/// What a task works with.
pub(crate) struct Work {
    pub(crate) engine: Arc<Engine>,
    pub(crate) images: Arc<Images>,
    pub(crate) http: HttpProber,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    /// Something happened to the project's containers.
    pub(crate) news: Arc<Notify>,
    /// Counts how often the engine went away and came back.
    pub(crate) returns: watch::Receiver<u64>,
    /// False while leftovers of other projects are being removed: nothing new starts before.
    pub(crate) may_begin: watch::Receiver<bool>,
}

/// The project's memory, shared with its jobs and checks; held for map operations only.
type Shared = Arc<Mutex<Memory>>;

fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State between rounds.
struct Rounds {
    memory: Shared,
    prober: Prober,
    jobs: Jobs,
    checks: Checks,
    has_stale_files: bool,
    /// What ran before this agent did has been probed and checked.
    has_met: bool,
    /// Returns of the engine that were taken into account; none before the first look.
    seen_returns: Option<u64>,
    /// When the engine last answered.
    looked_at: Instant,
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

    /// Waits until leftovers are removed, unless this is about removing, too.
    async fn begin(&mut self) {
        let mut wanted = self.wanted.clone();
        // An error means that the supervisor is gone, which cancels this task.
        tokio::select! {
            _ = self.may_begin.wait_for(|may| *may) => {}
            _ = wanted.wait_for(|now| now.goal == Goal::Remove) => {}
        }
    }

    async fn rounds(&mut self) {
        self.begin().await;
        let mut rounds = self.prepare();
        let mut previous: Option<Arc<Wanted>> = None;
        loop {
            let current = self.wanted.borrow_and_update().clone();
            let wanted = match previous.take() {
                Some(old) if *old == current => old,
                old => {
                    if old.is_some() {
                        // The new assignment may have mended what failed.
                        lock(&rounds.memory).start_over();
                        rounds.jobs.cut_off(&current);
                    }
                    rounds.has_stale_files = true;
                    Arc::new(current)
                }
            };
            previous = Some(Arc::clone(&wanted));
            rounds.jobs.settle();
            let returns = *self.returns.borrow();
            let observed = match self.engine.observe(&wanted).await {
                Ok(observed) => observed,
                Err(error) => {
                    tracing::warn!(error = %error.message(), "cannot look; trying again");
                    self.pause(ENGINE_RETRY, &mut rounds.jobs).await;
                    continue;
                }
            };
            let observed = observed.without_leaving(&lock(&rounds.memory));
            rounds.checks.follow(&wanted, &observed);
            excuse_exits(&wanted, &observed, &mut rounds, returns);
            self.read_logs(&wanted, &observed, &rounds).await;
            if !std::mem::replace(&mut rounds.has_met, true) {
                self.meet(&wanted, &observed, &mut rounds).await;
            }
            // First what is new goes out, so that "delivered" is said of it.
            note_services(&wanted, &observed, &rounds);
            self.report(&wanted, &observed, &rounds);
            let step = self.decide(&wanted, &observed, &rounds);
            if !step.actions.is_empty() {
                tracing::info!(%step, "acting");
                rounds.jobs.start(&wanted, step.actions);
            }
            // What goes now gets no more requests.
            let observed = observed.without_leaving(&lock(&rounds.memory));
            self.report(&wanted, &observed, &rounds);
            if wanted.reported.is_none() && plan::is_gone(&observed, false) {
                let project = wanted.project.as_str();
                self.engine.prune_files(project, BTreeSet::new()).await;
                return;
            }
            self.prune_files(&wanted, &observed, &mut rounds).await;
            let until_retry = step
                .retry_at
                .map_or(RESYNC, |at| at.saturating_duration_since(Instant::now()));
            self.probe_and_wait(&wanted, &observed, &mut rounds, until_retry.min(RESYNC))
                .await;
        }
    }

    fn prepare(&self) -> Rounds {
        let memory = Shared::default();
        let tools = Tools {
            engine: Arc::clone(&self.engine),
            images: Arc::clone(&self.images),
            memory: Arc::clone(&memory),
            news: Arc::clone(&self.news),
        };
        let checks = Checks::new(
            Arc::clone(&self.engine),
            self.http.clone(),
            Arc::clone(&memory),
            Arc::clone(&self.news),
        );
        Rounds {
            prober: Prober::default(),
            jobs: Jobs::new(tools),
            checks,
            memory,
            has_stale_files: true,
            has_met: false,
            seen_returns: None,
            looked_at: Instant::now(),
        }
    }

    /// Finds out how containers are that ran before this agent did, before anything is reported: an
    /// agent that starts again must take no route away for want of knowledge.
    async fn meet(&self, wanted: &Wanted, observed: &Observed, rounds: &mut Rounds) {
        rounds.prober.probe(wanted, observed).await;
        lock(&rounds.memory).open.clone_from(rounds.prober.open());
        let up = observed.containers.values();
        let up = up.filter(|c| wanted.goal == Goal::Run && c.is_ours && c.is_running());
        let checked: Vec<_> = up
            .filter_map(|container| {
                let service = wanted.service(&container.service)?;
                let has_checks = container.fingerprint == service.fingerprint;
                has_checks.then(|| (container.start(), &service.checks))
            })
            .collect();
        let judged = async {
            let is_judged = |rounds: &Rounds| {
                let memory = lock(&rounds.memory);
                let mut all = checked.iter();
                all.all(|(start, checks)| memory.health.is_judged(start, checks))
            };
            while !is_judged(rounds) {
                self.news.notified().await;
            }
        };
        // A check that takes longer says what it says when it does.
        let _ = tokio::time::timeout(MEETING_MAX, judged).await;
        // The wait may have taken notice of something else.
        self.news.notify_one();
    }

    /// Asks what to do.
    fn decide(&self, wanted: &Wanted, observed: &Observed, rounds: &Rounds) -> plan::Step {
        let now = Instant::now();
        let mut memory = lock(&rounds.memory);
        memory.note_delivered(self.outbox.is_delivered(&wanted.project), now);
        let step = plan::next(wanted, observed, &memory, now);
        memory.forget_failures_but(&step.subjects);
        step
    }

    /// Takes in exits, with the last lines that the containers logged.
    async fn read_logs(&self, wanted: &Wanted, observed: &Observed, rounds: &Rounds) {
        for service in &wanted.services {
            let view = View::of(service, observed);
            let Some((_, container)) = view.new else {
                continue;
            };
            let is_news = lock(&rounds.memory).note_exit(&service.name, container, Instant::now());
            if is_news {
                let log = self
                    .engine
                    .last_lines(&container.id, &container.started_at)
                    .await;
                lock(&rounds.memory).set_log(&service.name, &container.start(), log);
            }
        }
    }

    /// Removes the files of services that are neither wanted nor there any more.
    async fn prune_files(&self, wanted: &Wanted, observed: &Observed, rounds: &mut Rounds) {
        let ours = observed.containers.values().filter(|c| c.is_ours);
        let is_wanted = |c: &plan::Container| {
            wanted
                .service(&c.service)
                .is_some_and(|s| s.fingerprint == c.fingerprint)
        };
        // Files of a container go after it.
        rounds.has_stale_files |= !ours.clone().all(is_wanted);
        let is_settled = ours.clone().all(is_wanted);
        let kept = ours.map(|c| format!("{}.{}", c.service, c.fingerprint));
        let wanted_names = wanted.services.iter();
        let wanted_names = wanted_names.map(|s| format!("{}.{}", s.name, s.fingerprint));
        if rounds.has_stale_files && is_settled {
            rounds.has_stale_files = false;
            let keep = kept.chain(wanted_names).collect();
            self.engine.prune_files(wanted.project.as_str(), keep).await;
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
            let is_change = {
                let mut memory = lock(&rounds.memory);
                let is_change = memory.open != *rounds.prober.open();
                if is_change {
                    memory.open.clone_from(rounds.prober.open());
                }
                is_change
            };
            if is_change {
                note_services(wanted, observed, rounds);
            }
            self.report(wanted, observed, rounds);
            if is_change {
                // What follows from it, such as starting who waited for this service.
                return;
            }
            let left = ends_at.saturating_duration_since(Instant::now());
            let pause = until_probe.unwrap_or(PROBE_EVERY).min(left);
            if self.pause(pause, &mut rounds.jobs).await || Instant::now() >= ends_at {
                return;
            }
        }
    }

    /// Waits for news, at most `pause`; true when there is some.
    async fn pause(&mut self, pause: Duration, jobs: &mut Jobs) -> bool {
        let is_closed = tokio::select! {
            changed = self.wanted.changed() => changed.is_err(),
            () = self.news.notified() => false,
            () = jobs.one_ended() => false,
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
        if let Some(report) = plan::report(wanted, observed, &memory, Instant::now()) {
            self.outbox.put(report);
        }
    }
}

/// Takes in how far each service is.
fn note_services(wanted: &Wanted, observed: &Observed, rounds: &Rounds) {
    let mut memory = lock(&rounds.memory);
    for service in &wanted.services {
        View::of(service, observed).note(&mut memory, Instant::now());
    }
}

/// Does not count exits that are the engine's doing: those found at the first look after it was
/// away, or after the agent itself came up.
fn excuse_exits(wanted: &Wanted, observed: &Observed, rounds: &mut Rounds, returns: u64) {
    let now = Instant::now();
    let looked_at = std::mem::replace(&mut rounds.looked_at, now);
    let seen = rounds.seen_returns.replace(returns);
    if seen == Some(returns) {
        return;
    }
    let mut memory = lock(&rounds.memory);
    if let Some(since) = looked_at.checked_sub(STOPPING).filter(|_| seen.is_some()) {
        memory.excuse_exits_since(since, |service, code| {
            wanted
                .service(service)
                .is_some_and(|s| s.may_excuse(code, false))
        });
    }
    memory.wait_anew();
    for service in &wanted.services {
        let view = View::of(service, observed);
        let containers = view.new.iter().chain(&view.old);
        for (_, container) in containers.copied() {
            if let ContainerState::Exited { code, .. } = container.state
                && service.may_excuse(code, seen.is_some())
            {
                memory.excuse_exit(&service.name, container);
            }
        }
    }
}
