//! Doing: every change on the engine, each one idempotent.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, Mount, MountType, NetworkCreateRequest,
    NetworkingConfig, PortBinding, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder, StopContainerOptionsBuilder,
};
use bytes::Bytes;
use cara_api::NodeName;
use futures_util::{Stream, StreamExt};

use super::error::{Error, found, is_status};
use super::names;
use crate::plan::WantedService;

/// Deadline of every call to the engine but for streams; must exceed [`STOP_GRACE`].
const CALL_TIMEOUT_S: u64 = 120;
/// How long a container may take to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A container engine with Docker's API.
pub(crate) struct Engine {
    pub(super) docker: Docker,
    node: String,
}

/// The machine that the engine runs on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) os: String,
    pub(crate) engine: String,
}

/// Which part of a log to show.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) tail: String,
}

impl Engine {
    /// Connects, and settles on an API version that both sides know.
    pub(crate) async fn connect(host: &str, node: &NodeName) -> Result<Self, Error> {
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
            node: node.as_str().to_owned(),
        })
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
        })
    }

    fn labels(&self, project: &str) -> HashMap<String, String> {
        let pairs = [(names::PROJECT, project), (names::NODE, &self.node)];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// Makes the network of a project.
    pub(crate) async fn create_network(&self, project: &str) -> Result<(), Error> {
        let request = NetworkCreateRequest {
            name: names::network(project),
            driver: Some("bridge".into()),
            labels: Some(self.labels(project)),
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
    pub(crate) async fn create_volume(&self, project: &str, name: &str) -> Result<(), Error> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(self.labels(project)),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map(drop)
            .map_err(|e| Error::new(format!("create volume {name}"), "VolumeFailed", e))
    }

    /// Makes a container; its network need not exist yet. Returns the container's id.
    pub(crate) async fn make(
        &self,
        project: &str,
        service: &WantedService,
    ) -> Result<String, Error> {
        let options = CreateContainerOptionsBuilder::default()
            .name(&service.container)
            .build();
        let body = self.definition(project, service);
        let made = self.docker.create_container(Some(options), body).await;
        let made = made.map_err(|e| {
            Error::new(
                format!("create container {}", service.name),
                "CreateFailed",
                e,
            )
        })?;
        Ok(made.id)
    }

    /// Makes and starts a container.
    pub(crate) async fn run(&self, project: &str, service: &WantedService) -> Result<(), Error> {
        let id = self.make(project, service).await?;
        self.start(&service.name, &id).await
    }

    fn definition(&self, project: &str, service: &WantedService) -> ContainerCreateBody {
        let mut labels = self.labels(project);
        labels.insert(names::SERVICE.into(), service.name.clone());
        labels.insert(names::FINGERPRINT.into(), service.fingerprint.clone());
        let mount = |(path, volume): (&String, &String)| Mount {
            target: Some(path.clone()),
            source: Some(volume.clone()),
            typ: Some(MountType::VOLUME),
            ..Mount::default()
        };
        let port_key = |port: &u16| format!("{port}/tcp");
        let ports = service.publish_on.map(|ip| {
            let binding = PortBinding {
                host_ip: Some(ip.to_string()),
                host_port: None,
            };
            service
                .exposed
                .iter()
                .map(|port| (port_key(port), Some(vec![binding.clone()])))
                .collect()
        });
        let endpoint = EndpointSettings {
            aliases: Some(vec![service.name.clone()]),
            ..EndpointSettings::default()
        };
        let network = names::network(project);
        ContainerCreateBody {
            image: Some(service.image.clone()),
            env: Some(service.env.clone()),
            labels: Some(labels),
            exposed_ports: Some(service.exposed.iter().map(port_key).collect()),
            host_config: Some(HostConfig {
                network_mode: Some(network.clone()),
                mounts: Some(service.mounts.iter().map(mount).collect()),
                port_bindings: ports,
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network, endpoint)])),
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Starts a container; one that runs already is fine.
    pub(crate) async fn start(&self, service: &str, id: &str) -> Result<(), Error> {
        let started = self.docker.start_container(id, None).await;
        started.map_err(|e| Error::new(format!("start container {service}"), "StartFailed", e))
    }

    /// Stops and removes a container; one that is gone is fine.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        let failed = |e| Error::new(format!("remove container {id}"), "RemoveFailed", e);
        let grace = i32::try_from(STOP_GRACE.as_secs()).unwrap_or(i32::MAX);
        let stop = StopContainerOptionsBuilder::default().t(grace).build();
        found(self.docker.stop_container(id, Some(stop)).await).map_err(failed)?;
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
        let removed = found(self.docker.remove_network(&names::network(project)).await);
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

    /// Names of all projects that have anything on this engine, but for what the agent of
    /// another node made.
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
                .map(|v| v.labels),
        );
        let mine = labels.filter(|l| l.get(names::NODE).is_none_or(|node| *node == self.node));
        Ok(mine
            .filter_map(|l| l.get(names::PROJECT).cloned())
            .collect())
    }

    /// Names of projects whose containers changed, as it happens; ends when the engine goes away.
    pub(crate) fn events(&self) -> impl Stream<Item = String> + use<> {
        let filters = HashMap::from([("label", vec![names::PROJECT]), ("type", vec!["container"])]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let events = self.docker.events(Some(options));
        events
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(
                |event| async move { event.ok()?.actor?.attributes?.remove(names::PROJECT) },
            )
    }

    /// The log of a service, stdout and stderr in one.
    pub(crate) async fn logs(
        &self,
        project: &str,
        service: &str,
        options: LogOptions,
    ) -> Result<Option<(bool, impl Stream<Item = std::io::Result<Bytes>> + use<>)>, Error> {
        let failed = |e| {
            Error::new(
                format!("read the log of {project}/{service}"),
                "EngineUnavailable",
                e,
            )
        };
        let name = names::container(project, service);
        let Some(info) = found(self.docker.inspect_container(&name, None).await).map_err(failed)?
        else {
            return Ok(None);
        };
        let labels = info.config.and_then(|c| c.labels).unwrap_or_default();
        if labels.get(names::PROJECT).map(String::as_str) != Some(project)
            || labels.get(names::SERVICE).map(String::as_str) != Some(service)
        {
            return Ok(None);
        }
        let is_running = info.state.and_then(|s| s.running).unwrap_or(false);
        let tail = if options.tail.is_empty() {
            "all"
        } else {
            &options.tail
        };
        let query = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(options.timestamps)
            .tail(tail)
            .build();
        let lines = self.docker.logs(&name, Some(query));
        let bytes = lines.map(|item| {
            item.map(LogOutput::into_bytes)
                .map_err(std::io::Error::other)
        });
        Ok(Some((is_running, bytes)))
    }
}
