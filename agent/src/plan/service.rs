//! A service as the engine shows it: its container, and older ones that it replaces.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cara_api::project::{DependencyCondition, RestartPolicy};

use super::{Container, ContainerState, Memory, Observed, Progress, WantedService};

/// A container that exited before counts as up only after it ran this long, unless it exited once and
/// an open port or a check shows that it works.
const SETTLED: Duration = Duration::from_secs(5);
/// One whose service has neither a port nor a check to show that it works, after this long.
const PROVED: Duration = Duration::from_secs(1);

/// The containers of a service.
#[derive(Debug)]
pub struct View<'a> {
    /// What is wanted.
    pub service: &'a WantedService,
    /// The container of the wanted definition, with its engine name; not one on its way out.
    pub new: Option<(&'a str, &'a Container)>,
    /// Containers of other definitions or on their way out, with their engine names, newest
    /// first.
    pub old: Vec<(&'a str, &'a Container)>,
    /// Somebody else's container has the service's name.
    pub is_taken: bool,
}

/// Whether a container under the service's name is the service's: names are joined with `-`,
/// so `a` + `b-c` and `a-b` + `c` meet.
fn is_of(container: &Container, service: &WantedService) -> bool {
    container.is_ours && container.service == service.name
}

impl<'a> View<'a> {
    /// Finds the containers of a service.
    pub fn of(service: &'a WantedService, observed: &'a Observed) -> Self {
        let mut view = Self {
            service,
            new: None,
            old: Vec::new(),
            is_taken: observed
                .containers
                .get(&service.container)
                .is_some_and(|c| !is_of(c, service) && !c.is_earlier),
        };
        let mine = observed
            .containers
            .iter()
            .filter(|(_, c)| is_of(c, service));
        for (name, container) in mine {
            let is_wanted = container.fingerprint == service.fingerprint
                && container.state != ContainerState::Dead;
            match view.new {
                None if is_wanted => view.new = Some((name, container)),
                // Two of the wanted definition: the one that runs is kept.
                Some(first) if is_wanted && !first.1.is_running() && container.is_running() => {
                    view.old.push(first);
                    view.new = Some((name, container));
                }
                Some(_) | None => view.old.push((name, container)),
            }
        }
        // The newest first: it is what served last, as long as nothing else is known.
        view.old
            .sort_by(|(_, a), (_, b)| b.started_at.cmp(&a.started_at));
        view
    }

    /// The container that requests go to, and that counts for services that depend on this one:
    /// the new one once it is ready, until then the old one that served last. That need not be the
    /// one that was started last: a project that returns to an earlier generation may find that
    /// one's container still there.
    pub fn serving(&self, memory: &Memory) -> Option<&'a Container> {
        let new = self.new.map(|(_, c)| c);
        let is_ready = |c: &&Container| self.is_container_ready(c, memory);
        let old = || self.old.iter().map(|(_, c)| *c).filter(is_ready);
        let served = || old().find(|c| self.served_last(c, memory));
        new.filter(is_ready)
            .or_else(served)
            .or_else(|| old().next())
            .or(new)
    }

    /// Whether a container is the last one that took requests.
    pub fn served_last(&self, container: &Container, memory: &Memory) -> bool {
        memory.served_last(&self.service.name, &container.start())
    }

    /// True when the container of the wanted definition is up, proved itself and passes its
    /// checks.
    pub fn is_ready(&self, memory: &Memory) -> bool {
        let new = self.new.map(|(_, c)| c);
        new.is_some_and(|c| self.is_settled(c, memory) && self.is_container_ready(c, memory))
    }

    fn is_settled(&self, container: &Container, memory: &Memory) -> bool {
        let ContainerState::Running { since } = container.state else {
            return false;
        };
        since >= self.probation(memory)
    }

    /// How long the container must run before it counts as up: until it proved itself, unless an
    /// open port or a check does that.
    pub fn probation(&self, memory: &Memory) -> Duration {
        let checks = &self.service.checks;
        let has_proof = !self.service.exposed.is_empty()
            || checks.readiness.is_some()
            || checks.startup.is_some();
        match memory.exit(&self.service.name) {
            // One that crashed once and serves again is up; one that goes on crashing is not.
            Some(exit) if has_proof && exit.failure.attempts <= 1 => Duration::ZERO,
            Some(_) => SETTLED,
            None if has_proof => Duration::ZERO,
            None => PROVED,
        }
    }

    /// True for a container that is up and whose checks pass.
    pub fn is_container_ready(&self, container: &Container, memory: &Memory) -> bool {
        let is_open = |port: &u16| memory.open.contains(&(container.start(), *port));
        container.is_running()
            && self.passes_checks(container, memory)
            && self.ports(container).iter().all(is_open)
    }

    /// Ports of a container that the gateway must reach: those that are wanted, or of an older one
    /// those that were wanted when it was made.
    pub fn ports<'c>(&'c self, container: &'c Container) -> &'c BTreeSet<u16> {
        // One without a note of its ports was made by an earlier version.
        let is_noted = !container.exposed.is_empty();
        if container.fingerprint == self.service.fingerprint || !is_noted {
            &self.service.exposed
        } else {
            &container.exposed
        }
    }

    /// True for a container that is up as far as startup and readiness check say. An older one,
    /// whose checks the agent may not know any more, passes until a check says otherwise.
    pub fn passes_checks(&self, container: &Container, memory: &Memory) -> bool {
        let start = container.start();
        let is_wanted = container.fingerprint == self.service.fingerprint;
        let must_pass = is_wanted && self.service.checks.readiness.is_some();
        let has_started = !is_wanted || memory.health.has_started(&start, &self.service.checks);
        let is_condemned = memory.health.condemned(&start).is_some();
        has_started && !is_condemned && memory.health.readiness(&start).unwrap_or(!must_pass)
    }

    /// True when the container did its work: it ended with exit code 0 and shall not run again.
    pub fn is_completed(&self, memory: &Memory) -> bool {
        let ended_by_itself = |c: &Container| {
            let start = c.start();
            !memory.is_excused(&start) && memory.health.condemned(&start).is_none()
        };
        let code = self.new.and_then(|(_, c)| match c.state {
            ContainerState::Exited { code, .. } if ended_by_itself(c) => Some(code),
            _ => None,
        });
        match self.service.restart {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure | RestartPolicy::Never => code == Some(0),
        }
    }

    /// True when the service has come as far as one that depends on it asks for.
    pub fn has_come(&self, until: DependencyCondition, memory: &Memory) -> bool {
        let is_running = || {
            self.new
                .iter()
                .chain(&self.old)
                .any(|(_, c)| c.is_running())
        };
        match until {
            DependencyCondition::Started => is_running() || self.is_completed(memory),
            DependencyCondition::Ready => {
                let serving = self.serving(memory);
                serving.is_some_and(|c| self.is_container_ready(c, memory))
                    || self.is_completed(memory)
            }
            DependencyCondition::Completed => self.is_completed(memory),
        }
    }

    /// Where the gateway reaches a port of a container.
    pub fn address(&self, container: &Container, port: u16) -> Option<SocketAddr> {
        match self.service.definition.publish_on {
            Some(ip) => Some(SocketAddr::new(ip, container.published.get(&port)?.port())),
            None => Some(SocketAddr::new(container.ip?, port)),
        }
    }

    /// Takes the service's state into the memory, for what depends on how long it lasts.
    pub fn note(&self, memory: &mut Memory, now: Instant) {
        let is_up = self.new.is_some_and(|(_, c)| c.is_running());
        let progress = match (self.is_ready(memory) || self.is_completed(memory), is_up) {
            (true, _) => Progress::Fine,
            (false, true) => Progress::NotReady,
            (false, false) => Progress::Waiting,
        };
        let serving = self
            .serving(memory)
            .filter(|c| self.is_container_ready(c, memory));
        if let Some(serving) = serving {
            memory.note_serving(&self.service.name, serving.start(), now);
        }
        let replacing = self.new.filter(|_| !self.old.is_empty());
        let replacing = replacing.map(|(_, c)| c.start());
        memory.note_service(&self.service.name, progress, replacing, now);
    }
}

impl WantedService {
    /// Whether an exit with this code may be the engine's doing: after the engine was away every
    /// one that the policy does not leave alone; at the first look of an agent, and for exits
    /// that were seen, one with exit code 0 may be work that is done.
    pub fn may_excuse(&self, code: i64, was_away: bool) -> bool {
        match self.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => was_away || code != 0,
            RestartPolicy::Never => false,
        }
    }
}
