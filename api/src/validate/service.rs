//! The rules that a service must meet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::image::ImageRef;
use crate::names::check_docker_name;
use crate::problem::FieldError;
use crate::project::{DependencyCondition, HealthCheck, Probe, Resources, RestartPolicy, Service};
use crate::quantity::{duration, milli};

/// The largest configuration file, in bytes.
const CONFIG_MAX: usize = 256 * 1024;

/// Capabilities that a service may ask for. The others would give it control of the node.
const CAPABILITIES: [&str; 20] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "KILL",
    "LEASE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
];

/// Reports faults of one service under its path.
struct Faults<'a> {
    path: &'a str,
    service: &'a str,
    found: &'a mut Vec<FieldError>,
}

impl Faults<'_> {
    /// A fault whose message begins with the service's name.
    fn of_service(&mut self, field: &str, message: impl std::fmt::Display) {
        let message = format!("service {}: {message}", self.service);
        self.plain(field, message);
    }

    fn plain(&mut self, field: &str, message: String) {
        let path = format!("{}.{field}", self.path);
        self.found.push(FieldError::new(path, message));
    }
}

/// Checks a service by itself.
pub(super) fn check(service: &Service, path: &str, found: &mut Vec<FieldError>) {
    let name = service.name.as_str();
    let mut faults = Faults {
        path,
        service: name,
        found,
    };
    if name.is_empty() {
        faults.plain("name", "each service must have a non-empty name".into());
    } else if let Err(error) = check_docker_name(name) {
        faults.plain("name", format!("service {error}"));
    }
    if service.image.is_empty() {
        faults.of_service("image", "image is required");
    } else if let Err(error) = ImageRef::parse(&service.image) {
        faults.of_service(
            "image",
            format_args!("image {:?} is invalid: {error}", service.image),
        );
    }
    environment(service, &mut faults);
    process(service, &mut faults);
    resources(&service.resources, &mut faults);
    if let Some(check) = &service.health_check {
        health(check, &mut faults);
    }
}

fn environment(service: &Service, faults: &mut Faults<'_>) {
    for (index, variable) in service.env.iter().enumerate() {
        if !is_env_name(&variable.name) {
            let message = format!(
                "environment variable name {:?} is invalid: must consist of letters, digits, '_', '.' or '-', \
                 and must not start with a digit",
                variable.name
            );
            faults.of_service(&format!("env[{index}].name"), message);
        }
        let Some(from) = &variable.value_from else {
            continue;
        };
        let field = format!("env[{index}].valueFrom");
        match &from.secret_key_ref {
            None => faults.of_service(&field, "valueFrom must name a secretKeyRef"),
            Some(key) if key.name.is_empty() || key.key.is_empty() => {
                faults.of_service(&field, "secretKeyRef must have a name and a key");
            }
            Some(_) if !variable.value.is_empty() => {
                faults.of_service(&field, "a variable has a value or a valueFrom, not both");
            }
            Some(_) => {}
        }
    }
}

fn is_env_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.bytes().all(inner) && name.as_bytes().first().is_some_and(|b| !b.is_ascii_digit())
}

fn process(service: &Service, faults: &mut Faults<'_>) {
    let policy = service.restart_policy.as_str();
    if !policy.is_empty() && RestartPolicy::parse(policy).is_none() {
        let message = format!(
            "restart policy {policy:?} is not supported: must be \"Always\", \"OnFailure\" or \"Never\""
        );
        faults.of_service("restartPolicy", message);
    }
    let grace = Duration::ZERO..=HOUR;
    span(&service.stop_grace_period, "stopGracePeriod", grace, faults);
    if !service.working_dir.is_empty() && !is_absolute(&service.working_dir) {
        let message = format!(
            "working directory {:?} must be absolute",
            service.working_dir
        );
        faults.of_service("workingDir", message);
    }
    for (index, capability) in service.cap_add.iter().enumerate() {
        if !CAPABILITIES.contains(&capability.as_str()) {
            let message = format!(
                "capability {capability:?} is not allowed: must be one of {}",
                CAPABILITIES.join(", ")
            );
            faults.of_service(&format!("capAdd[{index}]"), message);
        }
    }
    for key in service.labels.keys() {
        if key.is_empty() || key.starts_with("cara.") {
            let message = format!(
                "label {key:?} is not allowed: labels must not be empty or begin with \"cara.\""
            );
            faults.of_service(&format!("labels[{key:?}]"), message);
        }
    }
}

/// The shortest pause between checks, the longest time for an answer, and the longest that a
/// container or a check may be waited for.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn span(text: &str, field: &str, allowed: RangeInclusive<Duration>, faults: &mut Faults<'_>) {
    if text.is_empty() {
        return;
    }
    match duration(text) {
        None => {
            let message = format!("{text:?} is not a duration such as \"30s\" or \"1m30s\"");
            faults.of_service(field, message);
        }
        Some(length) if !allowed.contains(&length) => {
            let (from, to) = (allowed.start(), allowed.end());
            faults.of_service(field, format!("{text:?} must be from {from:?} to {to:?}"));
        }
        Some(_) => {}
    }
}

fn resources(resources: &Resources, faults: &mut Faults<'_>) {
    let lists: [(&str, &BTreeMap<String, String>, &[&str]); 2] = [
        ("requests", &resources.requests, &["cpu", "memory"]),
        ("limits", &resources.limits, &["cpu", "memory", "pids"]),
    ];
    for (list, amounts, known) in lists {
        for (name, amount) in amounts {
            let field = format!("resources.{list}.{name}");
            if !known.contains(&name.as_str()) {
                let message = format!(
                    "{list} of {name:?} are not supported: must be {}",
                    known.join(", ")
                );
                faults.of_service(&field, message);
            } else if milli(amount).is_none_or(|amount| amount < smallest(list, name)) {
                let message = format!(
                    "{name} {amount:?} is not an amount, or too small: such as \"500m\" of cpu, \"256Mi\" of memory (at least 6Mi as a limit), \"100\" pids"
                );
                faults.of_service(&field, message);
            }
        }
    }
    for (name, limit) in &resources.limits {
        let request = resources.requests.get(name).and_then(|text| milli(text));
        if request
            .zip(milli(limit))
            .is_some_and(|(request, limit)| request > limit)
        {
            let message = format!("the request of {name} is greater than its limit {limit}");
            faults.of_service(&format!("resources.requests.{name}"), message);
        }
    }
}

/// The smallest amount of a resource, in thousandths of its unit; less memory than that as a limit
/// is refused by engines.
fn smallest(list: &str, name: &str) -> u128 {
    match (list, name) {
        ("limits", "memory") => (6 << 20) * 1_000,
        ("limits", "pids") | (_, "memory") => 1_000,
        _ => 1,
    }
}

fn health(check: &HealthCheck, faults: &mut Faults<'_>) {
    let probes = [
        ("startup", &check.startup),
        ("readiness", &check.readiness),
        ("liveness", &check.liveness),
    ];
    for (name, probe) in probes {
        if let Some(probe) = probe {
            check_probe(probe, &format!("healthCheck.{name}"), faults);
        }
    }
}

fn check_probe(probe: &Probe, field: &str, faults: &mut Faults<'_>) {
    let kinds = [
        probe.http.is_some(),
        probe.tcp.is_some(),
        probe.exec.is_some(),
    ];
    if kinds.iter().filter(|given| **given).count() != 1 {
        faults.of_service(field, "a check must have exactly one of http, tcp and exec");
    }
    let ports = [
        ("http", probe.http.as_ref().map(|c| c.port)),
        ("tcp", probe.tcp.as_ref().map(|c| c.port)),
    ];
    for (kind, port) in ports {
        if port.is_some_and(|p| !matches!(u16::try_from(p), Ok(1..))) {
            faults.of_service(
                &format!("{field}.{kind}.port"),
                "port must be from 1 to 65535",
            );
        }
    }
    if let Some(http) = &probe.http
        && !http.path.is_empty()
        && !is_request_path(&http.path)
    {
        let message = format!(
            "path {:?} must begin with '/' and hold no spaces",
            http.path
        );
        faults.of_service(&format!("{field}.http.path"), message);
    }
    if probe
        .exec
        .as_ref()
        .is_some_and(|exec| exec.command.is_empty())
    {
        faults.of_service(&format!("{field}.exec.command"), "command is required");
    }
    let interval = INTERVAL_MIN..=HOUR;
    span(
        &probe.interval,
        &format!("{field}.interval"),
        interval,
        faults,
    );
    let timeout = Duration::from_millis(1)..=TIMEOUT_MAX;
    span(&probe.timeout, &format!("{field}.timeout"), timeout, faults);
    if probe
        .failure_threshold
        .is_some_and(|n| !(1..=1000).contains(&n))
    {
        faults.of_service(
            &format!("{field}.failureThreshold"),
            "must be from 1 to 1000",
        );
    }
}

fn is_request_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())
}

/// True for a path that begins at the root and does not climb.
pub(super) fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// Checks what is mounted into a service, and that no two things share a path.
pub(super) fn mounts(
    service: &Service,
    path: &str,
    volumes: &BTreeSet<&str>,
    found: &mut Vec<FieldError>,
) {
    let mut faults = Faults {
        path,
        service: &service.name,
        found,
    };
    for (index, mount) in service.volume_mounts.iter().enumerate() {
        if !volumes.contains(mount.name.as_str()) {
            let message = format!("volume {:?} is not defined in spec.volumes", mount.name);
            faults.of_service(&format!("volumeMounts[{index}].name"), message);
        }
    }
    for (index, file) in service.configs.iter().enumerate() {
        if file.content.len() > CONFIG_MAX {
            let message = format!("content must be no more than {CONFIG_MAX} bytes");
            faults.of_service(&format!("configs[{index}].content"), message);
        }
    }
    for (index, file) in service.secrets.iter().enumerate() {
        if file.secret.is_empty() {
            faults.of_service(
                &format!("secrets[{index}].secret"),
                "a secret's name is required",
            );
        }
    }
    let mounted = service.volume_mounts.iter().enumerate();
    let mounted = mounted.map(|(i, m)| {
        (
            format!("volumeMounts[{i}].mountPath"),
            m.mount_path.as_str(),
        )
    });
    let configs = service.configs.iter().enumerate();
    let configs = configs.map(|(i, f)| (format!("configs[{i}].path"), f.path.as_str()));
    let secrets = service.secrets.iter().enumerate();
    let secrets = secrets.map(|(i, f)| (format!("secrets[{i}].path"), f.path.as_str()));
    let mut seen = BTreeSet::new();
    for (field, at) in mounted.chain(configs).chain(secrets) {
        if !at.starts_with('/') {
            faults.of_service(&field, format_args!("mount path {at:?} must be absolute"));
        } else if !is_absolute(at) {
            faults.of_service(
                &field,
                format_args!("mount path {at:?} must not contain '..'"),
            );
        } else if at.trim_matches('/').is_empty() {
            faults.of_service(&field, "a volume cannot be mounted at '/'");
        } else if !seen.insert(at.trim_end_matches('/')) {
            faults.of_service(&field, format_args!("two volumes at {at:?}"));
        }
    }
}

/// Checks that services depend on services, and not in a circle.
pub(super) fn dependencies(services: &[Service], found: &mut Vec<FieldError>) {
    let names: BTreeSet<&str> = services.iter().map(|s| s.name.as_str()).collect();
    for (index, service) in services.iter().enumerate() {
        let path = format!("spec.services[{index}]");
        let mut faults = Faults {
            path: &path,
            service: &service.name,
            found,
        };
        for (at, dependency) in service.depends_on.iter().enumerate() {
            if !names.contains(dependency.service.as_str()) {
                let message = format!(
                    "depends on {:?}, which is not in spec.services",
                    dependency.service
                );
                faults.of_service(&format!("dependsOn[{at}].service"), message);
            }
            let condition = dependency.condition.as_str();
            if !condition.is_empty() && DependencyCondition::parse(condition).is_none() {
                let message = format!(
                    "condition {condition:?} is not supported: must be \"Started\", \"Ready\" or \"Completed\""
                );
                faults.of_service(&format!("dependsOn[{at}].condition"), message);
            }
        }
    }
    if let Some((index, service)) = waits_for_itself(services) {
        found.push(FieldError::new(
            format!("spec.services[{index}].dependsOn"),
            format!("service {service}: depends on itself, directly or through others"),
        ));
    }
}

/// The first service that can never start, since it waits for itself.
fn waits_for_itself(services: &[Service]) -> Option<(usize, &str)> {
    let mut startable: BTreeSet<&str> = BTreeSet::new();
    let known: BTreeSet<&str> = services.iter().map(|s| s.name.as_str()).collect();
    loop {
        let before = startable.len();
        for service in services {
            let mut needed = service.depends_on.iter().map(|d| d.service.as_str());
            if needed.all(|name| startable.contains(name) || !known.contains(name)) {
                startable.insert(&service.name);
            }
        }
        if startable.len() == before {
            break;
        }
    }
    let stuck = services.iter().enumerate();
    stuck
        .map(|(index, service)| (index, service.name.as_str()))
        .find(|(_, name)| !startable.contains(name))
}
