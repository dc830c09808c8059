//! Looking: what the engine shows of a project.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::engine::Engine;
use super::error::{Error, found};
use super::names;
use crate::plan::{Container, ContainerState, Observed, Presence, Wanted};

impl Engine {
    /// Everything of a project, and everything in the way of it.
    ///
    /// # Errors
    /// The engine does not answer: what is there is unknown, which is not the same as absent.
    pub(crate) async fn observe(&self, wanted: &Wanted) -> Result<Observed, Error> {
        let unknown = |e| Error::new("look at the project", "EngineUnavailable", e);
        let (network, volumes, containers) = tokio::try_join!(
            self.network(wanted),
            self.volumes(wanted),
            self.containers(wanted)
        )
        .map_err(unknown)?;
        let (volumes, persistent) = volumes;
        let (network, duplicate_networks) = network;
        let mut observed = Observed {
            network,
            duplicate_networks,
            volumes,
            persistent,
            containers,
            images: BTreeMap::new(),
        };
        observed.images = self.images(wanted, &observed).await.map_err(unknown)?;
        Ok(observed)
    }

    /// The project's network, and the ids of further ones of the same name that are ours. The one
    /// that is kept is the first that has containers, else the first.
    async fn network(&self, wanted: &Wanted) -> Result<(Presence, BTreeSet<String>), DockerError> {
        let project = wanted.project.as_str();
        let name = names::network(project);
        let filters = HashMap::from([("name", vec![format!("^{name}$")])]);
        let options = ListNetworksOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = self.docker.list_networks(Some(options)).await?;
        let all = listed
            .into_iter()
            .filter(|n| n.name.as_deref() == Some(&name));
        let (mut ours, mut is_foreign) = (Vec::new(), false);
        for network in all {
            let labels = network.labels.unwrap_or_default();
            match self.presence(Some(&labels), wanted) {
                Presence::Ours => ours.extend(network.id),
                Presence::Earlier => return Ok((Presence::Earlier, BTreeSet::new())),
                Presence::Foreign => is_foreign = true,
                Presence::Absent => {}
            }
        }
        if is_foreign {
            return Ok((Presence::Foreign, BTreeSet::new()));
        }
        ours.sort();
        let mut duplicates: BTreeSet<String> = ours.iter().cloned().collect();
        if ours.len() > 1 {
            for id in &ours {
                let network = found(self.docker.inspect_network(id, None).await)?;
                let containers = network.and_then(|n| n.containers).unwrap_or_default();
                if !containers.is_empty() {
                    duplicates.remove(id);
                }
            }
        }
        if let Some(first) = ours.first().filter(|_| duplicates.len() == ours.len()) {
            duplicates.remove(first);
        }
        let presence = if ours.is_empty() {
            Presence::Absent
        } else {
            Presence::Ours
        };
        Ok((presence, duplicates))
    }

    /// Volumes with whose they are, and the names of the Persistent ones.
    async fn volumes(
        &self,
        wanted: &Wanted,
    ) -> Result<(BTreeMap<String, Presence>, BTreeSet<String>), DockerError> {
        let project = wanted.project.as_str();
        let filters = HashMap::from([("label", vec![format!("{}={project}", names::PROJECT)])]);
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = self
            .docker
            .list_volumes(Some(options))
            .await?
            .volumes
            .unwrap_or_default();
        let persistent = listed
            .iter()
            .filter(|v| v.labels.contains_key(names::VOLUME))
            .map(|v| v.name.clone())
            .collect();
        let mut all: BTreeMap<String, Presence> = listed
            .into_iter()
            .map(|v| (v.name, self.presence(Some(&v.labels), wanted)))
            .collect();
        let missing: Vec<&String> = wanted
            .volumes
            .keys()
            .filter(|name| !all.contains_key(*name))
            .collect();
        let looks = missing.into_iter().map(|name| async move {
            let volume = found(self.docker.inspect_volume(name).await)?;
            Ok::<_, DockerError>((
                name.clone(),
                self.presence(volume.map(|v| v.labels).as_ref(), wanted),
            ))
        });
        all.extend(try_join_all(looks).await?);
        Ok((all, persistent))
    }

    async fn containers(
        &self,
        wanted: &Wanted,
    ) -> Result<BTreeMap<String, Container>, DockerError> {
        let project = wanted.project.as_str();
        let filters = HashMap::from([("label", vec![format!("{}={project}", names::PROJECT)])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.docker.list_containers(Some(options)).await?;
        let names: BTreeSet<&str> = listed
            .iter()
            .flat_map(|c| c.names.iter().flatten())
            .map(|name| name.trim_start_matches('/'))
            .collect();
        let wanted_names = wanted.services.iter().map(|s| s.container.as_str());
        let others = wanted_names.filter(|name| !names.contains(name));
        // By id: one that is renamed meanwhile must not seem to be gone.
        let ids = listed.iter().filter_map(|c| c.id.as_deref());
        let looks = ids
            .chain(others)
            .map(|key| async move { found(self.docker.inspect_container(key, None).await) });
        let looked = try_join_all(looks).await?.into_iter().flatten();
        // Nor to be there twice.
        let by_id: BTreeMap<String, (String, Container)> = looked
            .filter_map(|mut info| {
                let name = info.name.take()?.trim_start_matches('/').to_owned();
                let container = self.container(info, wanted);
                Some((container.id.clone(), (name, container)))
            })
            .collect();
        Ok(by_id.into_values().collect())
    }

    /// Looks for the images of services that have no container of the wanted definition.
    async fn images(
        &self,
        wanted: &Wanted,
        observed: &Observed,
    ) -> Result<BTreeMap<String, bool>, DockerError> {
        let is_made = |s: &&crate::plan::WantedService| {
            let mut containers = observed.containers.values();
            containers.any(|c| c.service == s.name && c.fingerprint == s.fingerprint)
        };
        let needed: BTreeSet<&String> = wanted
            .services
            .iter()
            .filter(|s| !is_made(s))
            .map(|s| &s.definition.image)
            .collect();
        let looks = needed.into_iter().map(|image| async move {
            let is_there = found(self.docker.inspect_image(image).await)?.is_some();
            Ok::<_, DockerError>((image.clone(), is_there))
        });
        Ok(try_join_all(looks).await?.into_iter().collect())
    }

    /// Whose a thing is. What carries no node's label was made by the older system's agent on
    /// this engine, and is taken over.
    fn presence(&self, labels: Option<&HashMap<String, String>>, wanted: &Wanted) -> Presence {
        let Some(labels) = labels else {
            return Presence::Absent;
        };
        let is_here = labels
            .get(names::NODE)
            .is_none_or(|node| *node == self.node);
        let project = wanted.project.as_str();
        let uid = labels.get(names::UID).map_or("", String::as_str);
        let is_same = uid.is_empty() || wanted.uid.is_empty() || uid == wanted.uid;
        match labels.get(names::PROJECT) {
            Some(owner) if owner == project && is_here && is_same => Presence::Ours,
            // Data that was to be kept is not thrown away, nor handed to a namesake.
            Some(owner) if owner == project && is_here && !labels.contains_key(names::VOLUME) => {
                Presence::Earlier
            }
            Some(_) | None => Presence::Foreign,
        }
    }

    fn container(&self, info: ContainerInspectResponse, wanted: &Wanted) -> Container {
        let project = wanted.project.as_str();
        let config = info.config.unwrap_or_default();
        let stop_grace = config.stop_timeout.and_then(|s| u64::try_from(s).ok());
        let labels = config.labels.unwrap_or_default();
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let settings = info.network_settings.unwrap_or_default();
        let network = settings
            .networks
            .unwrap_or_default()
            .remove(&names::network(project));
        let state = info.state.unwrap_or_default();
        let started_at = state.started_at.clone().unwrap_or_default();
        Container {
            id: info.id.unwrap_or_default(),
            is_ours: self.presence(Some(&labels), wanted) == Presence::Ours,
            is_earlier: self.presence(Some(&labels), wanted) == Presence::Earlier,
            service: label(names::SERVICE),
            fingerprint: label(names::FINGERPRINT),
            state: container_state(&state),
            ip: network.and_then(|n| n.ip_address?.parse::<IpAddr>().ok()),
            exposed: label(names::PORTS)
                .split(',')
                .filter_map(|port| port.parse().ok())
                .collect(),
            published: published(settings.ports.unwrap_or_default()),
            started_at,
            stop_grace: stop_grace.map_or(STOP_GRACE, Duration::from_secs),
        }
    }
}

/// What Docker gives a container to stop that does not say.
const STOP_GRACE: Duration = Duration::from_secs(10);

fn container_state(state: &bollard::models::ContainerState) -> ContainerState {
    let started_at = state.started_at.as_deref().unwrap_or_default();
    let finished_at = state.finished_at.as_deref().unwrap_or_default();
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running {
            since: between(started_at, Some(Timestamp::now())),
        },
        Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited {
            code: state.exit_code.unwrap_or(-1),
            is_oom: state.oom_killed.unwrap_or(false),
            ran_for: between(started_at, finished_at.parse().ok()),
        },
        Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => {
            ContainerState::Dead
        }
        _ => ContainerState::Other,
    }
}

fn between(start: &str, end: Option<Timestamp>) -> Duration {
    let start: Option<Timestamp> = start.parse().ok();
    let span = start.zip(end).map(|(start, end)| end.duration_since(start));
    span.and_then(|s| Duration::try_from(s).ok())
        .unwrap_or(Duration::ZERO)
}

fn published(ports: bollard::models::PortMap) -> BTreeMap<u16, SocketAddr> {
    let all = ports.into_iter().filter_map(|(key, bindings)| {
        let port: u16 = key.strip_suffix("/tcp")?.parse().ok()?;
        let binding = bindings?.into_iter().next()?;
        let ip: IpAddr = binding.host_ip?.parse().ok()?;
        Some((port, SocketAddr::new(ip, binding.host_port?.parse().ok()?)))
    });
    all.collect()
}
