//! The checks that services ask for: one task for each check of each running container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cara_api::client::Prober as HttpProber;
use cara_api::project::Probe;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use super::{Shared, lock};
use crate::plan::{CheckKind, Observed, Start, Wanted};
use crate::runtime::Engine;

/// The checks of one project; dropping it ends them.
pub(super) struct Checks {
    engine: Arc<Engine>,
    http: HttpProber,
    memory: Shared,
    news: Arc<Notify>,
    running: JoinSet<()>,
    tasks: BTreeMap<(Start, CheckKind), (Probe, AbortHandle)>,
}

/// One check of one start of a container.
struct Check {
    engine: Arc<Engine>,
    http: HttpProber,
    memory: Shared,
    news: Arc<Notify>,
    start: Start,
    kind: CheckKind,
    probe: Probe,
    ip: Option<IpAddr>,
    /// The command that was last run in the container.
    command: Option<String>,
    /// A startup check comes before this one.
    waits_for_startup: bool,
}

impl Checks {
    pub(super) fn new(
        engine: Arc<Engine>,
        http: HttpProber,
        memory: Shared,
        news: Arc<Notify>,
    ) -> Self {
        Self {
            engine,
            http,
            memory,
            news,
            running: JoinSet::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// Ends checks of containers that do not run any more, and starts those that are missing.
    /// Containers of older definitions keep the checks that they have.
    pub(super) fn follow(&mut self, wanted: &Wanted, observed: &Observed) {
        while self.running.try_join_next().is_some() {}
        let up: BTreeSet<Start> = observed
            .containers
            .values()
            .filter(|c| c.is_ours && c.is_running())
            .map(crate::plan::Container::start)
            .collect();
        let memory = &self.memory;
        let wanted_probe = |key: &(Start, CheckKind)| {
            let container = observed.containers.values().find(|c| c.start() == key.0)?;
            let service = wanted.service(&container.service)?;
            // Older containers keep the checks that they have.
            (container.fingerprint == service.fingerprint).then(|| key.1.of(&service.checks))
        };
        self.tasks.retain(|key, (probe, handle)| {
            let is_changed = wanted_probe(key).is_some_and(|now| now != Some(&*probe));
            let keep = up.contains(&key.0) && !is_changed;
            if !keep {
                handle.abort();
            }
            if is_changed {
                lock(memory).health.forget(&key.0, key.1);
            }
            keep
        });
        let known = observed
            .containers
            .values()
            .map(crate::plan::Container::start);
        lock(&self.memory).keep_starts(&known.collect());
        for container in observed
            .containers
            .values()
            .filter(|c| c.is_ours && c.is_running())
        {
            let Some(service) = wanted.service(&container.service) else {
                continue;
            };
            if container.fingerprint != service.fingerprint {
                continue;
            }
            for kind in CheckKind::ALL {
                let key = (container.start(), kind);
                let Some(probe) = kind.of(&service.checks) else {
                    continue;
                };
                if self.tasks.contains_key(&key) {
                    continue;
                }
                let check = Check {
                    engine: Arc::clone(&self.engine),
                    http: self.http.clone(),
                    memory: Arc::clone(&self.memory),
                    news: Arc::clone(&self.news),
                    start: container.start(),
                    kind,
                    probe: probe.clone(),
                    ip: container.ip,
                    command: None,
                    waits_for_startup: kind != CheckKind::Startup
                        && service.checks.startup.is_some(),
                };
                let handle = self.running.spawn(check.run().in_current_span());
                self.tasks.insert(key, (probe.clone(), handle));
            }
        }
    }
}

/// Until a check first passes it is repeated at least this often, so that nobody waits for an
/// interval that is meant for the time after.
const EAGER: std::time::Duration = std::time::Duration::from_millis(250);

impl Check {
    /// Checks again and again, until aborted or until nothing can follow from it any more.
    async fn run(mut self) {
        let mut has_passed = false;
        loop {
            let is_due = !self.waits_for_startup || self.has_started();
            if is_due {
                let result = self.once().await;
                has_passed |= result.is_ok();
                let is_news =
                    lock(&self.memory)
                        .health
                        .note(&self.start, self.kind, &self.probe, result);
                if is_news {
                    self.news.notify_one();
                }
                if has_passed && self.kind == CheckKind::Startup {
                    return;
                }
            }
            let is_eager = !has_passed && self.kind == CheckKind::Readiness || !is_due;
            let pause = if is_eager {
                self.probe.interval().min(EAGER)
            } else {
                self.probe.interval()
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn has_started(&self) -> bool {
        let checks = cara_api::project::HealthCheck {
            startup: Some(Probe::default()),
            ..Default::default()
        };
        lock(&self.memory).health.has_started(&self.start, &checks)
    }

    async fn once(&mut self) -> Result<(), String> {
        let limit = self.probe.timeout();
        let answer = tokio::time::timeout(limit, self.ask()).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
    }

    async fn ask(&mut self) -> Result<(), String> {
        if let Some(exec) = &self.probe.exec {
            let (container, command) = (&self.start.container, &exec.command);
            let last = &mut self.command;
            return self.engine.run_in(container, command, last).await;
        }
        let port = |port: i64| u16::try_from(port).map_err(|_| "no port".to_owned());
        let ip = self
            .ip
            .ok_or_else(|| "the container has no address".to_owned())?;
        if let Some(http) = &self.probe.http {
            let address = SocketAddr::new(ip, port(http.port)?);
            let path = if http.path.is_empty() {
                "/"
            } else {
                &http.path
            };
            let status = self.http.status(address, path).await?;
            return match status {
                200..=399 => Ok(()),
                status => Err(format!("GET {path} answered {status}")),
            };
        }
        let Some(tcp) = &self.probe.tcp else {
            return Ok(());
        };
        let address = SocketAddr::new(ip, port(tcp.port)?);
        let connected = TcpStream::connect(address).await;
        connected
            .map(drop)
            .map_err(|error| format!("port {}: {error}", tcp.port))
    }
}
