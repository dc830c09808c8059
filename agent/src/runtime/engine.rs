//! Doing: every change on the engine, each one idempotent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder, RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt};

use super::definition;
use super::error::{Error, found, is_status};
use super::files::{Files, allowed_directory};
use super::names;
use super::ports::Ports;
use crate::Config;
use crate::plan::{VolumeLife, Wanted, WantedService};

/// Deadline of every call to the engine but for streams and stops.
const CALL_TIMEOUT_S: u64 = 120;
/// How long a sign of life of the engine may take.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// What a stop may take beyond the container's own time.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// Changes of containers that a project's task must look at. Commands run in containers (as
/// checks are) make events of their own, which would never end.
const EVENTS: [&str; 9] = [
    "create", "destroy", "die", "kill", "oom", "pause", "rename", "start", "unpause",
];

/// A container engine with Docker's API.
pub(crate) struct Engine {
    pub(super) docker: Docker,
    /// Where the engine is, for what its client cannot do.
    pub(super) host: String,
    pub(super) node: String,
    pub(super) files: Files,
    host_paths: Vec<PathBuf>,
    ports: Ports,
}

/// The machine that the engine runs on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) os: String,
    pub(crate) engine: String,
    /// Where the engine keeps its data, on its own machine.
    pub(crate) root: PathBuf,
}

impl Engine {
    /// Connects, and settles on an API version that both sides know.
    pub(crate) async fn connect(config: &Config) -> Result<Self, Error> {
        let host = config.docker_host.as_str();
        let failed = |error| Error::new("connect", "EngineUnavailable", error);
        let docker = match host.strip_prefix("unix://") {
            Some(path) => {
                Docker::connect_with_unix(path, CALL_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
            }
            None => Docker::connect_with_http(host, CALL_TIMEOUT_S, bollard::API_DEFAULT_VERSION),
        };
        let docker = docker
            .map_err(failed)?
            .negotiate_version()
            .await
            .map_err(failed)?;
        Ok(Self {
            docker,
            host: host.to_owned(),
            node: config.node.as_str().to_owned(),
            files: Files::new(config.files_dir.clone()),
            host_paths: config.host_paths.clone(),
            ports: Ports::default(),
        })
    }

    /// Whether the engine answers, within 5 s.
    pub(crate) async fn answers(&self) -> bool {
        let ping = tokio::time::timeout(PING_LIMIT, self.docker.ping()).await;
        ping.is_ok_and(|answer| answer.is_ok())
    }

    /// What the engine says of its machine.
    pub(crate) async fn machine(&self) -> Result<Machine, Error> {
        let info = self
            .docker
            .info()
            .await
            .map_err(|e| Error::new("read info", "EngineUnavailable", e))?;
        let number = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok()).unwrap_or(0);
        Ok(Machine {
            cpus: number(info.ncpu),
            memory_bytes: number(info.mem_total),
            kernel: info.kernel_version.unwrap_or_default(),
            os: info.operating_system.unwrap_or_default(),
            engine: info.server_version.unwrap_or_default(),
            root: info.docker_root_dir.unwrap_or_default().into(),
        })
    }

    fn labels(&self, wanted: &Wanted) -> HashMap<String, String> {
        let pairs = [
            (names::PROJECT, wanted.project.as_str()),
            (names::UID, &wanted.uid),
            (names::NODE, &self.node),
        ];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// Makes the network of a project.
    pub(crate) async fn create_network(&self, wanted: &Wanted) -> Result<(), Error> {
        let request = NetworkCreateRequest {
            name: names::network(wanted.project.as_str()),
            driver: Some("bridge".into()),
            labels: Some(self.labels(wanted)),
            ..NetworkCreateRequest::default()
        };
        match self.docker.create_network(request).await {
            Ok(_) => Ok(()),
            // Made meanwhile, by a try that was cut off: the next look tells whose it is.
            Err(error) if is_status(&error, 409) => Ok(()),
            Err(error) => Err(Error::new("create network", "NetworkFailed", error)),
        }
    }

    /// Makes a volume.
    pub(crate) async fn create_volume(
        &self,
        wanted: &Wanted,
        name: &str,
        life: VolumeLife,
    ) -> Result<(), Error> {
        let mut labels = self.labels(wanted);
        match life {
            VolumeLife::Ephemeral => {}
            VolumeLife::Persistent => {
                labels.insert(names::VOLUME.to_owned(), names::PERSISTENT.to_owned());
            }
        }
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map(drop)
            .map_err(|e| Error::new(format!("create volume {name}"), "VolumeFailed", e))
    }

    /// Makes a container under an engine name; its network need not exist yet. Returns the
    /// container's id.
    pub(crate) async fn make(
        &self,
        wanted: &Wanted,
        service: &WantedService,
        name: &str,
    ) -> Result<String, Error> {
        let project = wanted.project.as_str();
        let attempt = || format!("create container {}", service.name);
        self.write_files(project, service).await?;
        let directories = self.host_directories(service).await?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let context = definition::Context {
            project: project.to_owned(),
            labels: self.labels(wanted),
            files: self.files.places(project, service),
            ports: self.host_ports(service).await?,
            directories,
        };
        let body = definition::body(service, context);
        match self.docker.create_container(Some(options), body).await {
            Ok(made) => Ok(made.id),
            // Made meanwhile, by a try that was cut off.
            Err(error) if is_status(&error, 409) => match self.made(service, name).await {
                Some(id) => Ok(id),
                None => Err(Error::new(attempt(), "CreateFailed", error)),
            },
            Err(error) => Err(Error::new(attempt(), "CreateFailed", error)),
        }
    }

    /// The container of this definition that has a name, if that is what has it.
    async fn made(&self, service: &WantedService, name: &str) -> Option<String> {
        let found = self.docker.inspect_container(name, None).await.ok()?;
        let labels = found.config?.labels?;
        let is_same = labels.get(names::FINGERPRINT) == Some(&service.fingerprint)
            && labels.get(names::SERVICE) == Some(&service.name);
        found.id.filter(|_| is_same)
    }

    /// Host ports for what a service publishes, by container port.
    async fn host_ports(&self, service: &WantedService) -> Result<BTreeMap<u16, u16>, Error> {
        let definition = &service.definition;
        let Some(ip) = definition.publish_on else {
            return Ok(BTreeMap::new());
        };
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let listed = self.docker.list_containers(Some(all)).await;
        let listed = listed.map_err(|e| Error::new("list containers", "EngineUnavailable", e))?;
        let published = listed.into_iter().filter_map(|c| c.ports).flatten();
        let taken: BTreeSet<u16> = published.filter_map(|port| port.public_port).collect();
        let ports = definition.published.iter().map(|port| {
            let chosen = self.ports.choose(ip, &taken);
            let chosen = chosen.ok_or_else(|| {
                let attempt = format!("publish port {port} of {}", service.name);
                Error::said(attempt, "PortConflict", format!("no port of {ip} is free"))
            });
            chosen.map(|host| (*port, host))
        });
        ports.collect()
    }

    async fn write_files(&self, project: &str, service: &WantedService) -> Result<(), Error> {
        if service.files.is_empty() {
            return Ok(());
        }
        let (files, project, wanted) = (self.files.clone(), project.to_owned(), service.clone());
        let written = tokio::task::spawn_blocking(move || files.write(&project, &wanted)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|e| {
            let attempt = format!("write the files of {}", service.name);
            Error::said(attempt, "FilesFailed", e.to_string())
        })
    }

    /// The directories of the host that a service mounts, links followed, by what was asked for.
    /// Between this and the mount a link could still be changed by whoever writes there.
    async fn host_directories(
        &self,
        service: &WantedService,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut all = BTreeMap::new();
        for path in service.definition.host_paths() {
            let (asked, roots) = (path.to_owned(), self.host_paths.clone());
            let verdict =
                tokio::task::spawn_blocking(move || allowed_directory(&asked, &roots)).await;
            let verdict = verdict.unwrap_or_else(|error| Err(error.to_string()));
            let real = verdict.map_err(|said| {
                Error::said(
                    format!("mount into {}", service.name),
                    "HostPathDenied",
                    said,
                )
            })?;
            all.insert(path.to_owned(), real);
        }
        Ok(all)
    }

    /// Removes files of services that are not named in `keep` (`service.fingerprint`).
    pub(crate) async fn prune_files(&self, project: &str, keep: BTreeSet<String>) {
        let (files, owned) = (self.files.clone(), project.to_owned());
        let pruned = tokio::task::spawn_blocking(move || files.prune(&owned, &keep)).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(project, error = %error, "cannot remove files that nobody needs");
        }
    }

    /// Starts a container; one that runs already is fine. Its files are written again first:
    /// they do not outlive the machine.
    pub(crate) async fn start(
        &self,
        project: &str,
        service: &WantedService,
        id: &str,
    ) -> Result<(), Error> {
        self.write_files(project, service).await?;
        // The engine follows links anew at each start.
        self.host_directories(service).await?;
        let started = self.docker.start_container(id, None).await;
        let attempt = || format!("start container {}", service.name);
        let started = started.map_err(|e| Error::new(attempt(), "StartFailed", e));
        if started.as_ref().is_err_and(|error| !error.is_engine_away()) {
            self.discard(id).await;
        }
        started
    }

    /// Removes a container that could not be started, so that it is made anew: the engine may
    /// have lost track of it, or its port may be taken by now.
    pub(crate) async fn discard(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        if let Err(error) = found(self.docker.remove_container(id, Some(options)).await) {
            tracing::debug!(id, error = %error, "cannot remove a container that did not start");
        }
    }

    /// Gives a container another name.
    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), Error> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        let renamed = found(self.docker.rename_container(id, options).await);
        renamed
            .map(drop)
            .map_err(|e| Error::new(format!("rename container {name}"), "RenameFailed", e))
    }

    /// Stops a container: asks it to end, and kills it after `grace`. One that is gone is fine.
    pub(crate) async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let patient = self.docker.clone().with_timeout(grace + STOP_MARGIN);
        let stopped = found(patient.stop_container(id, Some(options)).await);
        stopped
            .map(drop)
            .map_err(|e| Error::new(format!("stop container {id}"), "StopFailed", e))
    }

    /// Stops and removes a container; one that is gone is fine.
    pub(crate) async fn remove(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let failed = |e| Error::new(format!("remove container {id}"), "RemoveFailed", e);
        self.stop(id, grace).await?;
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match found(self.docker.remove_container(id, Some(options)).await) {
            Ok(_) => Ok(()),
            // Its removal is under way already.
            Err(error) if is_status(&error, 409) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes a project's network; one that is gone is fine.
    pub(crate) async fn remove_network(&self, project: &str) -> Result<(), Error> {
        self.remove_network_by_id(&names::network(project)).await
    }

    /// Removes a network by id or unambiguous name; one that is gone is fine.
    pub(crate) async fn remove_network_by_id(&self, id: &str) -> Result<(), Error> {
        let removed = found(self.docker.remove_network(id).await);
        removed
            .map(drop)
            .map_err(|e| Error::new("remove network", "RemoveFailed", e))
    }

    /// Removes a volume; one that is gone is fine.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let options = RemoveVolumeOptionsBuilder::default().force(true).build();
        let removed = found(self.docker.remove_volume(name, Some(options)).await);
        removed
            .map(drop)
            .map_err(|e| Error::new(format!("remove volume {name}"), "RemoveFailed", e))
    }

    /// Names of all projects of which this node's agent made anything that is still here, but
    /// for Persistent volumes.
    pub(crate) async fn projects(&self) -> Result<BTreeSet<String>, Error> {
        let failed = |e| Error::new("list what is there", "EngineUnavailable", e);
        let filters = HashMap::from([("label", vec![names::PROJECT])]);
        let containers = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let networks = ListNetworksOptionsBuilder::default()
            .filters(&filters)
            .build();
        let volumes = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let (containers, networks, volumes) = tokio::try_join!(
            self.docker.list_containers(Some(containers)),
            self.docker.list_networks(Some(networks)),
            self.docker.list_volumes(Some(volumes)),
        )
        .map_err(failed)?;
        let labels = containers.into_iter().filter_map(|c| c.labels);
        let labels = labels.chain(networks.into_iter().filter_map(|n| n.labels));
        let labels = labels.chain(
            volumes
                .volumes
                .unwrap_or_default()
                .into_iter()
                .map(|v| v.labels)
                .filter(|labels| !labels.contains_key(names::VOLUME)),
        );
        // What carries no node's label was made by the older system: it is taken over when its
        // project is assigned here, and left alone otherwise.
        let mine = labels.filter(|l| l.get(names::NODE).is_some_and(|node| *node == self.node));
        let mut names: BTreeSet<String> = mine
            .filter_map(|l| l.get(names::PROJECT).cloned())
            .collect();
        // Files may be left of a project whose containers are gone.
        let files = self.files.clone();
        let with_files = tokio::task::spawn_blocking(move || files.projects()).await;
        names.extend(with_files.unwrap_or_default());
        Ok(names)
    }

    /// Names of projects whose containers changed, as it happens; ends when the engine goes away.
    pub(crate) fn events(&self) -> impl Stream<Item = String> + use<> {
        let filters = HashMap::from([
            ("label", vec![names::PROJECT]),
            ("type", vec!["container"]),
            ("event", EVENTS.to_vec()),
        ]);
        // A little of the past, so that nothing falls between looking and listening.
        let since = jiff::Timestamp::now().as_second() - 1;
        let options = EventsOptionsBuilder::default()
            .since(&since.to_string())
            .filters(&filters)
            .build();
        let events = self.docker.events(Some(options));
        events
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(
                |event| async move { event.ok()?.actor?.attributes?.remove(names::PROJECT) },
            )
    }
}
