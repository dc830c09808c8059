//! From a wanted service to what the engine is asked to create.
//!
//! Containers are hardened unless the service says otherwise: no new privileges, a small set of
//! capabilities, limits of processes and memory, no namespace of the host, no engine socket.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, Mount, MountType, NetworkingConfig,
    PortBinding,
};

use super::names;
use crate::plan::{MountFrom, MountSource, WantedService};

/// Capabilities of a container that asks for none: what the common images need to give up root
/// themselves. Docker's own default has seven more, among them raw sockets and device nodes.
const CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];

/// What a container is created from, besides its service.
pub(super) struct Context {
    pub(super) project: String,
    pub(super) labels: HashMap<String, String>,
    /// Files to mount: path on the host, path in the container.
    pub(super) files: Vec<(PathBuf, String)>,
    /// Container port to host port.
    pub(super) ports: BTreeMap<u16, u16>,
    /// Directories of the host, links followed, by what was asked for.
    pub(super) directories: BTreeMap<String, String>,
}

/// The body of the request that creates a container.
pub(super) fn body(service: &WantedService, context: Context) -> ContainerCreateBody {
    let definition = &service.definition;
    let mut labels: HashMap<String, String> = definition.labels.clone().into_iter().collect();
    labels.extend(context.labels.clone());
    labels.insert(names::SERVICE.into(), service.name.clone());
    labels.insert(names::FINGERPRINT.into(), service.fingerprint.clone());
    let ports: Vec<String> = service.exposed.iter().map(u16::to_string).collect();
    labels.insert(names::PORTS.into(), ports.join(","));
    let mut env = definition.env.clone();
    let secret = service.secret_env.iter();
    env.extend(secret.map(|(name, value)| format!("{name}={}", value.reveal())));
    let port_key = |port: &u16| format!("{port}/tcp");
    let endpoint = EndpointSettings {
        aliases: Some(vec![service.name.clone()]),
        ..EndpointSettings::default()
    };
    let network = names::network(&context.project);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    ContainerCreateBody {
        image: Some(definition.image.clone()),
        entrypoint: list(&definition.command),
        cmd: list(&definition.args),
        working_dir: text(&definition.working_dir),
        user: text(&definition.user),
        env: Some(env),
        labels: Some(labels),
        exposed_ports: Some(service.exposed.iter().map(port_key).collect()),
        stop_timeout: i64::try_from(definition.stop_grace_s).ok(),
        host_config: Some(host_config(service, &network, &context)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        }),
        ..ContainerCreateBody::default()
    }
}

fn host_config(service: &WantedService, network: &str, context: &Context) -> HostConfig {
    let definition = &service.definition;
    let limits = definition.limits;
    let given = |amount: i64| (amount > 0).then_some(amount);
    let ports = definition.publish_on.map(|ip| {
        let bindings = context.ports.iter().map(|(port, host)| {
            let binding = PortBinding {
                host_ip: Some(ip.to_string()),
                host_port: Some(host.to_string()),
            };
            (format!("{port}/tcp"), Some(vec![binding]))
        });
        bindings.collect()
    });
    let capabilities = CAPABILITIES.iter().map(ToString::to_string);
    let mut security = Vec::new();
    if !definition.allow_privilege_escalation {
        security.push("no-new-privileges".to_owned());
    }
    let mounts = definition.mounts.iter();
    let mounts = mounts.map(|(path, source)| mount(path, source, context));
    HostConfig {
        network_mode: Some(network.to_owned()),
        mounts: Some(mounts.chain(context.files.iter().map(file_mount)).collect()),
        port_bindings: ports,
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(
            capabilities
                .chain(definition.cap_add.iter().cloned())
                .collect(),
        ),
        security_opt: Some(security),
        nano_cpus: given(limits.nano_cpus),
        cpu_shares: given(limits.cpu_shares),
        memory: given(limits.memory_bytes),
        // No swap beyond the limit: a container that needs more ends with a clear reason.
        memory_swap: given(limits.memory_bytes),
        pids_limit: given(limits.pids),
        ..HostConfig::default()
    }
}

fn mount(path: &str, source: &MountSource, context: &Context) -> Mount {
    let (from, kind) = match &source.from {
        MountFrom::Volume(name) => (name, MountType::VOLUME),
        MountFrom::HostPath(asked) => (
            context.directories.get(asked).unwrap_or(asked),
            MountType::BIND,
        ),
    };
    Mount {
        target: Some(path.to_owned()),
        source: Some(from.clone()),
        typ: Some(kind),
        read_only: Some(source.is_read_only),
        ..Mount::default()
    }
}

fn file_mount((host, path): &(PathBuf, String)) -> Mount {
    Mount {
        target: Some(path.clone()),
        source: Some(host.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Mount::default()
    }
}
