//! A model of a container engine: does what it is told, later, and sometimes not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use cara_agent::plan::{
    Action, Container, ContainerState, Observed, Presence, VolumeLife, Wanted, WantedService,
};

/// A container of the model.
#[derive(Debug, Clone)]
pub struct Thing {
    pub project: String,
    pub service: String,
    pub image: String,
    id: String,
    fingerprint: String,
    state: State,
    started_at: String,
    ip: IpAddr,
    volumes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running { since_ms: u64 },
    Exited { code: i64, ran_ms: u64 },
}

impl Thing {
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// What one node's engine holds. Everything survives the agent.
#[derive(Debug, Default)]
pub struct Engine {
    node: u8,
    pub containers: BTreeMap<String, Thing>,
    networks: BTreeSet<String>,
    volumes: BTreeMap<String, (String, VolumeLife)>,
    images: BTreeSet<String>,
    count: u64,
}

impl Engine {
    /// The engine of a node, with nothing in it.
    pub fn of_node(node: u8) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }

    /// Names of projects that left anything but Persistent volumes.
    pub fn projects(&self) -> BTreeSet<String> {
        let containers = self.containers.values().map(|c| c.project.clone());
        let volumes = self.volumes.values();
        let volumes = volumes.filter(|(_, life)| *life == VolumeLife::Ephemeral);
        containers
            .chain(self.networks.iter().cloned())
            .chain(volumes.map(|(project, _)| project.clone()))
            .collect()
    }

    pub fn observe(&self, wanted: &Wanted, now_ms: u64) -> Observed {
        let project = wanted.project.as_str();
        let presence = |is_there: bool| {
            if is_there {
                Presence::Ours
            } else {
                Presence::Absent
            }
        };
        let ours = self
            .volumes
            .iter()
            .filter(|(_, (owner, _))| owner == project);
        let mut volumes: BTreeMap<String, Presence> = ours
            .clone()
            .map(|(name, _)| (name.clone(), Presence::Ours))
            .collect();
        for name in wanted.volumes.keys() {
            volumes.entry(name.clone()).or_insert(Presence::Absent);
        }
        let persistent = ours.filter(|(_, (_, life))| *life == VolumeLife::Persistent);
        let containers = self.containers.iter().filter(|(_, c)| c.project == project);
        let images = wanted.services.iter().map(|s| &s.definition.image);
        Observed {
            network: presence(self.networks.contains(project)),
            duplicate_networks: BTreeSet::new(),
            persistent: persistent.map(|(name, _)| name.clone()).collect(),
            volumes,
            containers: containers
                .map(|(name, c)| (name.clone(), show(c, now_ms)))
                .collect(),
            images: images
                .map(|image| (image.clone(), self.images.contains(image)))
                .collect(),
        }
    }

    /// Does what an action asks for.
    ///
    /// # Errors
    /// The engine would refuse it.
    pub fn execute(&mut self, wanted: &Wanted, action: &Action, now_ms: u64) -> Result<(), String> {
        let project = wanted.project.as_str();
        let service = |name: &str| wanted.service(name).ok_or("no such service".to_owned());
        match action {
            Action::CreateNetwork => {
                self.networks.insert(project.to_owned());
            }
            Action::CreateVolume(name, life) => {
                self.volumes
                    .insert(name.clone(), (project.to_owned(), *life));
            }
            Action::Pull { image, .. } => {
                self.images.insert(image.clone());
            }
            Action::Make(name) => {
                let service = service(name)?;
                self.make(project, service, &service.container)?;
                if self.networks.contains(project) {
                    self.start(&service.container.clone(), now_ms)?;
                }
            }
            Action::Run(name) => {
                let service = service(name)?;
                self.make(project, service, &service.container)?;
                self.start(&service.container, now_ms)?;
            }
            Action::RunBeside(name) => {
                let service = service(name)?;
                self.make(project, service, &service.successor)?;
                self.start(&service.successor, now_ms)?;
            }
            Action::Start { id, .. } => {
                let name = self.named(id).ok_or("no such container")?;
                self.start(&name, now_ms)?;
            }
            Action::Stop { id, .. } => {
                if let Some(name) = self.named(id) {
                    self.end(&name, 143, now_ms);
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
            // The model makes no second network of a name.
            Action::RemoveDuplicate(_) => {}
            Action::RemoveNetwork => {
                if self.containers.values().any(|c| c.project == project) {
                    return Err("the network has active endpoints".to_owned());
                }
                self.networks.remove(project);
            }
            Action::RemoveVolume(name) => {
                if self.containers.values().any(|c| c.volumes.contains(name)) {
                    return Err("the volume is in use".to_owned());
                }
                self.volumes.remove(name);
            }
        }
        Ok(())
    }

    fn named(&self, id: &str) -> Option<String> {
        let found = self.containers.iter().find(|(_, c)| c.id == id);
        found.map(|(name, _)| name.clone())
    }

    fn make(&mut self, project: &str, service: &WantedService, name: &str) -> Result<(), String> {
        if self.containers.contains_key(name) {
            return Err("the name is in use".to_owned());
        }
        let has_all = service
            .definition
            .volumes()
            .all(|v| self.volumes.contains_key(v));
        if !has_all || !self.images.contains(&service.definition.image) {
            return Err("a volume or the image is missing".to_owned());
        }
        self.count += 1;
        // The third byte is the node: whoever is sent here is seen to be.
        let [high, low] = u16::try_from(self.count % 65_000)
            .unwrap_or(0)
            .to_be_bytes();
        let thing = Thing {
            project: project.to_owned(),
            service: service.name.clone(),
            image: service.definition.image.clone(),
            id: format!("{}-{}", self.node, self.count),
            fingerprint: service.fingerprint.clone(),
            state: State::Created,
            started_at: String::new(),
            ip: IpAddr::from([10, self.node, high, low]),
            volumes: service
                .definition
                .volumes()
                .map(ToOwned::to_owned)
                .collect(),
        };
        self.containers.insert(name.to_owned(), thing);
        Ok(())
    }

    fn start(&mut self, name: &str, now_ms: u64) -> Result<(), String> {
        let thing = self.containers.get_mut(name).ok_or("no such container")?;
        if !self.networks.contains(&thing.project) {
            return Err("the network is missing".to_owned());
        }
        if !thing.is_running() {
            self.count += 1;
            thing.state = State::Running { since_ms: now_ms };
            thing.started_at = format!("{now_ms:012}-{:06}", self.count);
        }
        Ok(())
    }

    /// Ends a container's process.
    pub fn end(&mut self, name: &str, code: i64, now_ms: u64) {
        if let Some(thing) = self.containers.get_mut(name)
            && let State::Running { since_ms } = thing.state
        {
            let ran_ms = now_ms.saturating_sub(since_ms);
            thing.state = State::Exited { code, ran_ms };
        }
    }

    /// Lets containers of broken images crash, 200 ms after they were started.
    pub fn live(&mut self, now_ms: u64) {
        let broken: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, c)| {
                let is_old = |since_ms: u64| now_ms >= since_ms + 200;
                c.image.starts_with("broken")
                    && matches!(c.state, State::Running { since_ms } if is_old(since_ms))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in broken {
            self.end(&name, 1, now_ms);
        }
    }

    /// The engine's machine starts again: nothing runs.
    pub fn reboot(&mut self, now_ms: u64) {
        let names: Vec<String> = self.containers.keys().cloned().collect();
        for name in names {
            self.end(&name, 137, now_ms);
        }
    }
}

fn show(thing: &Thing, now_ms: u64) -> Container {
    let state = match thing.state {
        State::Created => ContainerState::Created,
        State::Running { since_ms } => ContainerState::Running {
            since: Duration::from_millis(now_ms.saturating_sub(since_ms)),
        },
        State::Exited { code, ran_ms } => ContainerState::Exited {
            code,
            is_oom: false,
            ran_for: Duration::from_millis(ran_ms),
        },
    };
    Container {
        id: thing.id.clone(),
        is_ours: true,
        is_earlier: false,
        service: thing.service.clone(),
        fingerprint: thing.fingerprint.clone(),
        state,
        ip: Some(thing.ip),
        exposed: BTreeSet::from([80]),
        published: BTreeMap::new(),
        started_at: thing.started_at.clone(),
        stop_grace: Duration::from_secs(10),
    }
}
