//! A model of a container engine that does what it is told, and of the processes in it
//! (`#[cfg(test)]`). Panics when it is told to touch what is not the project's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{
    Action, Container, ContainerState, Observed, Presence, Start, VolumeLife, Wanted, WantedService,
};

/// How long a process runs that ends by itself.
const WORK_MS: u64 = 1_000;
/// How long a process takes to open its ports.
const OPENING_MS: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Created,
    Running { since_ms: u64 },
    Exited { code: i64, ran_ms: u64 },
    Dead,
    Other { until_ms: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) id: String,
    pub(super) whose: Presence,
    pub(super) service: String,
    pub(super) fingerprint: String,
    pub(super) state: State,
    pub(super) started_at: String,
    /// The exit code of this run; none when it runs for ever.
    pub(super) ends_with: Option<i64>,
}

impl Thing {
    pub(super) fn start(&self) -> Start {
        Start {
            container: self.id.clone(),
            at: self.started_at.clone(),
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.whose == Presence::Ours
    }

    /// Its process exists.
    fn is_up(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Other { .. })
    }

    fn show(&self, now_ms: u64) -> Container {
        let since = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
        let state = match self.state {
            State::Created => ContainerState::Created,
            State::Running { since_ms } => ContainerState::Running {
                since: since(since_ms),
            },
            State::Exited { code, ran_ms } => ContainerState::Exited {
                code,
                is_oom: false,
                ran_for: Duration::from_millis(ran_ms),
            },
            State::Dead => ContainerState::Dead,
            State::Other { .. } => ContainerState::Other,
        };
        Container {
            id: self.id.clone(),
            is_ours: self.is_ours(),
            is_earlier: self.whose == Presence::Earlier,
            service: self.service.clone(),
            fingerprint: self.fingerprint.clone(),
            state,
            started_at: self.started_at.clone(),
            ..Container::example()
        }
    }
}

/// What a service's processes do: the exit codes of the first runs, and of all later ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) first: Vec<i64>,
    pub(super) later: Option<i64>,
}

/// The engine with everything in it, of one project and in its way.
#[derive(Debug, Clone, Default)]
pub(super) struct Engine {
    pub(super) now_ms: u64,
    pub(super) network: Presence,
    /// Further networks of the same name, by id.
    pub(super) duplicates: BTreeSet<String>,
    /// Volumes that exist, by name: whose, and how long they live.
    pub(super) volumes: BTreeMap<String, (Presence, VolumeLife)>,
    pub(super) containers: BTreeMap<String, Thing>,
    pub(super) images: BTreeSet<String>,
    pub(super) lives: BTreeMap<String, Life>,
    /// What processes answer when they are asked to end.
    pub(super) stop_code: i64,
    pub(super) count: u64,
}

impl Engine {
    pub(super) fn observe(&self, wanted: &Wanted) -> Observed {
        let presence = |name: &String| self.volumes.get(name).map_or(Presence::Absent, |v| v.0);
        let ours = self.volumes.iter().filter(|(_, v)| v.0 == Presence::Ours);
        let shown = self
            .volumes
            .iter()
            .filter(|(_, v)| v.0 != Presence::Foreign);
        let names: BTreeSet<&String> = shown
            .map(|(name, _)| name)
            .chain(wanted.volumes.keys())
            .collect();
        let persistent = ours.filter(|(_, v)| v.1 == VolumeLife::Persistent);
        let images = wanted.services.iter().map(|s| s.definition.image.clone());
        let containers = self.containers.iter();
        Observed {
            network: self.network,
            duplicate_networks: self.duplicates.clone(),
            persistent: persistent.map(|(name, _)| name.clone()).collect(),
            volumes: names
                .into_iter()
                .map(|name| (name.clone(), presence(name)))
                .collect(),
            containers: containers
                .map(|(name, thing)| (name.clone(), thing.show(self.now_ms)))
                .collect(),
            images: images
                .map(|image| (image.clone(), self.images.contains(&image)))
                .collect(),
        }
    }

    /// What is somebody else's: to be seen again as it was.
    pub(super) fn foreign(&self) -> (bool, Vec<String>, Vec<(String, Thing)>) {
        let volumes = self.volumes.iter();
        let volumes = volumes.filter(|(_, v)| v.0 == Presence::Foreign);
        let containers = self.containers.iter();
        let containers = containers.filter(|(_, c)| c.whose == Presence::Foreign);
        (
            self.network == Presence::Foreign,
            volumes.map(|(name, _)| name.clone()).collect(),
            containers
                .map(|(name, c)| (name.clone(), c.clone()))
                .collect(),
        )
    }

    /// Ports that accept connections, given the ports of every service.
    pub(super) fn open(&self, wanted: &Wanted) -> BTreeSet<(Start, u16)> {
        let is_old = |since_ms: u64| self.now_ms >= since_ms + OPENING_MS;
        let up = self
            .containers
            .values()
            .filter(|c| matches!(c.state, State::Running { since_ms } if is_old(since_ms)));
        up.flat_map(|c| {
            let service = wanted.service(&c.service);
            let ports = service.into_iter().flat_map(|s| s.exposed.iter());
            ports.map(|port| (c.start(), *port))
        })
        .collect()
    }

    /// Lets processes do what they do by themselves up to now; whether more will come.
    pub(super) fn live(&mut self) -> bool {
        let now_ms = self.now_ms;
        let mut is_restless = false;
        for thing in self.containers.values_mut().filter(|c| c.is_ours()) {
            match thing.state {
                State::Other { until_ms } if now_ms >= until_ms => {
                    thing.state = State::Running { since_ms: until_ms };
                    is_restless = true;
                }
                State::Other { .. } => is_restless = true,
                State::Running { since_ms } => match thing.ends_with {
                    Some(code) if now_ms >= since_ms + WORK_MS => {
                        let ran_ms = WORK_MS;
                        thing.state = State::Exited { code, ran_ms };
                        is_restless = true;
                    }
                    Some(_) => is_restless = true,
                    None => is_restless |= now_ms < since_ms + OPENING_MS,
                },
                State::Created | State::Exited { .. } | State::Dead => {}
            }
        }
        is_restless
    }

    /// Does what an action asks for.
    ///
    /// # Errors
    /// The engine would refuse it.
    pub(super) fn execute(&mut self, wanted: &Wanted, action: &Action) -> Result<(), String> {
        let service = |name: &str| wanted.service(name).ok_or("no such service".to_owned());
        match action {
            Action::CreateNetwork => {
                assert_ne!(self.network, Presence::Foreign, "{action}");
                self.network = Presence::Ours;
            }
            Action::RemoveNetwork => {
                assert_ne!(self.network, Presence::Foreign, "{action}");
                if self.containers.values().any(|c| c.whose == self.network) {
                    return Err("the network is in use".to_owned());
                }
                self.network = Presence::Absent;
            }
            Action::RemoveDuplicate(id) => {
                self.duplicates.remove(id);
            }
            Action::CreateVolume(name, life) => {
                let found = self.volumes.entry(name.clone());
                let (presence, _) = found.or_insert((Presence::Ours, *life));
                assert_eq!(*presence, Presence::Ours, "{action}");
            }
            Action::RemoveVolume(name) => {
                let found = self.volumes.remove(name);
                let is_foreign = found.is_some_and(|(whose, _)| whose == Presence::Foreign);
                assert!(!is_foreign, "{action}");
            }
            Action::Pull { image, .. } => {
                self.images.insert(image.clone());
            }
            Action::Make(name) => {
                let service = service(name)?;
                self.make(service, &service.container)?;
                if self.network == Presence::Ours {
                    self.start(wanted, &service.container)?;
                }
            }
            Action::Run(name) => {
                let service = service(name)?;
                self.make(service, &service.container)?;
                self.start(wanted, &service.container)?;
            }
            Action::RunBeside(name) => {
                let service = service(name)?;
                self.make(service, &service.successor)?;
                self.start(wanted, &service.successor)?;
            }
            Action::Start { id, .. } => {
                let name = self.named(id).ok_or("no such container")?;
                self.start(wanted, &name)?;
            }
            Action::Stop { id, .. } => {
                let code = self.stop_code;
                if let Some(name) = self.named(id) {
                    self.end(&name, code);
                }
            }
            Action::Rename { service: name, id } => {
                let to = service(name)?.container.clone();
                if self.containers.contains_key(&to) {
                    return Err("the name is in use".to_owned());
                }
                if let Some(thing) = self.named(id).and_then(|n| self.containers.remove(&n)) {
                    self.containers.insert(to, thing);
                }
            }
            Action::Remove { id, .. } => {
                if let Some(name) = self.named(id) {
                    self.containers.remove(&name);
                }
            }
        }
        Ok(())
    }

    /// The name of the project's container with an id.
    fn named(&self, id: &str) -> Option<String> {
        let (name, thing) = self.containers.iter().find(|(_, c)| c.id == id)?;
        assert_ne!(thing.whose, Presence::Foreign, "{name} is somebody else's");
        Some(name.clone())
    }

    fn make(&mut self, service: &WantedService, name: &str) -> Result<(), String> {
        if self.containers.contains_key(name) {
            return Err("the name is in use".to_owned());
        }
        let mut volumes = service.definition.volumes();
        let is_ours = |volume: &str| {
            self.volumes
                .get(volume)
                .is_some_and(|v| v.0 == Presence::Ours)
        };
        assert!(volumes.all(is_ours), "volumes come before {name}");
        if !self.images.contains(&service.definition.image) {
            return Err("the image is missing".to_owned());
        }
        self.count += 1;
        let thing = Thing {
            id: format!("made-{}", self.count),
            whose: Presence::Ours,
            service: service.name.clone(),
            fingerprint: service.fingerprint.clone(),
            state: State::Created,
            started_at: String::new(),
            ends_with: None,
        };
        self.containers.insert(name.to_owned(), thing);
        Ok(())
    }

    fn start(&mut self, wanted: &Wanted, name: &str) -> Result<(), String> {
        let thing = self.containers.get(name).ok_or("no such container")?;
        assert_eq!(self.network, Presence::Ours, "{name} needs its network");
        assert!(self.duplicates.is_empty(), "{name} needs one network");
        if thing.is_up() {
            return Ok(());
        }
        let service = thing.service.clone();
        let mut others = self.containers.iter().filter(|(other, c)| {
            *other != name && c.is_ours() && c.service == service && c.is_up()
        });
        let is_exclusive = wanted.service(&service).is_some_and(|s| s.is_exclusive);
        if let Some((other, _)) = others.next().filter(|_| is_exclusive) {
            panic!("{name} is started while {other} writes to the same volume");
        }
        self.count += 1;
        let life = self.lives.entry(service).or_default();
        let ends_with = if life.first.is_empty() {
            life.later
        } else {
            Some(life.first.remove(0))
        };
        let (since_ms, count) = (self.now_ms, self.count);
        if let Some(thing) = self.containers.get_mut(name) {
            thing.state = State::Running { since_ms };
            thing.started_at = format!("t{since_ms:012}-{count}");
            thing.ends_with = ends_with;
        }
        Ok(())
    }

    fn end(&mut self, name: &str, code: i64) {
        let now_ms = self.now_ms;
        if let Some(thing) = self.containers.get_mut(name)
            && let State::Running { since_ms } = thing.state
        {
            let ran_ms = now_ms.saturating_sub(since_ms);
            thing.state = State::Exited { code, ran_ms };
        }
    }
}
