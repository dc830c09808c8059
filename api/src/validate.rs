//! The rules that a Project or Node must meet beyond its form.
//!
//! Pure: every fault of a document is found in one pass, in the document's order. Where the
//! older system had a message for a rule, the message is the same.

use std::collections::BTreeSet;

use crate::hostname::{Domain, Hostname};
use crate::names::{check_docker_name, check_label, check_subdomain};
use crate::node::TaintEffect;
use crate::problem::FieldError;
use crate::project::{ProjectSpec, Volume, VolumeType};
use crate::{API_VERSION, Node, Project, Resource, Secret};

mod certificate;
mod ingress;
mod service;

pub use certificate::{Key, certificate, certificate_name};

/// Checks type and name; used when an object is created.
pub fn identity<T: Resource>(api_version: &str, kind: &str, name: &str) -> Vec<FieldError> {
    let mut faults = kind_faults::<T>(api_version, kind);
    let verdict = if T::KIND == Project::KIND {
        check_label(name)
    } else {
        check_subdomain(name)
    };
    if let Err(error) = verdict {
        faults.push(FieldError::new("metadata.name", error.to_string()));
    }
    faults
}

/// Checks type, and that the name agrees with the path; used when an object is replaced.
pub fn same_identity<T: Resource>(
    api_version: &str,
    kind: &str,
    name: &str,
    path_name: &str,
) -> Vec<FieldError> {
    let mut faults = kind_faults::<T>(api_version, kind);
    if !name.is_empty() && name != path_name {
        let message = format!("metadata.name {name:?} does not match URL path {path_name:?}");
        faults.push(FieldError::new("metadata.name", message));
    }
    faults
}

fn kind_faults<T: Resource>(api_version: &str, kind: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if !api_version.is_empty() && api_version != API_VERSION {
        let message =
            format!("apiVersion {api_version:?} is not supported: must be {API_VERSION:?}");
        faults.push(FieldError::new("apiVersion", message));
    }
    if !kind.is_empty() && kind != T::KIND {
        faults.push(FieldError::new(
            "kind",
            format!("kind {kind:?} does not belong here: must be {:?}", T::KIND),
        ));
    }
    faults
}

/// Checks a node beyond its name.
pub fn node(node: &Node) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if node.spec.hostname.len() > 253 {
        faults.push(FieldError::new(
            "spec.hostname",
            "spec.hostname must be no more than 253 characters",
        ));
    }
    for (index, taint) in node.spec.taints.iter().enumerate() {
        let path = format!("spec.taints[{index}]");
        if taint.key.is_empty() {
            let message = "each taint must have a non-empty key";
            faults.push(FieldError::new(format!("{path}.key"), message));
        }
        if TaintEffect::parse(&taint.effect).is_none() {
            faults.push(FieldError::new(
                format!("{path}.effect"),
                bad_effect(&taint.effect),
            ));
        }
    }
    faults
}

/// Checks a project's spec. `name` stands in for hosts that are left out.
pub fn project(spec: &ProjectSpec, name: &str, domain: &Domain) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if spec.services.is_empty() {
        faults.push(FieldError::new(
            "spec.services",
            "spec.services must contain at least one service",
        ));
    }
    let volumes: BTreeSet<&str> = spec.volumes.iter().map(|v| v.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    for (index, service) in spec.services.iter().enumerate() {
        let path = format!("spec.services[{index}]");
        service::check(service, &path, &mut faults);
        service::mounts(service, &path, &volumes, &mut faults);
        if !service.name.is_empty() && !seen.insert(service.name.as_str()) {
            let message = format!("duplicate service name: {}", service.name);
            faults.push(FieldError::new(format!("{path}.name"), message));
        }
    }
    service::dependencies(&spec.services, &mut faults);
    check_volumes(&spec.volumes, &mut faults);
    check_placement(spec, &mut faults);
    ingress::check(spec, name, domain, &mut faults);
    faults
}

/// A host that no project gets, since the server or the gateway is there itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedHost {
    /// The host.
    pub host: Hostname,
    /// What it is for.
    pub by: ReservedBy,
}

/// The setting that takes a host for the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedBy {
    /// `auth-host` of the gateway.
    AuthHost,
    /// `api-names`.
    ApiNames,
    /// `login-url`.
    LoginUrl,
}

impl std::fmt::Display for ReservedHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.by {
            ReservedBy::AuthHost => "where login services send browsers back to (--auth-host)",
            ReservedBy::ApiNames => "a name of the API (--api-names)",
            ReservedBy::LoginUrl => "where people log in to the API (--login-url)",
        };
        write!(f, "{} is {what}", self.host)
    }
}

/// Checks that no ingress asks for a host that is the server's own: its cookies are those of whoever
/// logs in there.
pub fn reserved(
    spec: &ProjectSpec,
    name: &str,
    domain: &Domain,
    reserved: &[ReservedHost],
) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for host in reserved {
        ingress::reserved(spec, (name, domain), host, &mut faults);
    }
    faults
}

/// The largest secret, all values together, in bytes.
const SECRET_MAX: usize = 512 * 1024;

/// Checks a secret beyond its name.
pub fn secret(secret: &Secret) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if secret.data.is_empty() {
        faults.push(FieldError::new(
            "data",
            "data must contain at least one key",
        ));
    }
    for key in secret.data.keys() {
        if !is_file_name(key) {
            let message = format!(
                "key {key:?} is invalid: must consist of letters, digits, '_', '.' or '-', at most 253 of them"
            );
            faults.push(FieldError::new(format!("data[{key:?}]"), message));
        }
    }
    let size: usize = secret.data.values().map(|v| v.reveal().len()).sum();
    if size > SECRET_MAX {
        faults.push(FieldError::new(
            "data",
            format!("data has {size} bytes: must be no more than {SECRET_MAX}"),
        ));
    }
    faults
}

fn is_file_name(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=253).contains(&key.len()) && key.bytes().all(allowed) && !matches!(key, "." | "..")
}

fn check_placement(spec: &ProjectSpec, faults: &mut Vec<FieldError>) {
    for (index, toleration) in spec.tolerations.iter().enumerate() {
        if !toleration.effect.is_empty() && TaintEffect::parse(&toleration.effect).is_none() {
            let path = format!("spec.tolerations[{index}].effect");
            faults.push(FieldError::new(path, bad_effect(&toleration.effect)));
        }
    }
    if spec.spread.as_ref().is_some_and(|s| s.label.is_empty()) {
        faults.push(FieldError::new(
            "spec.spread.label",
            "spec.spread.label is required: the label whose value projects to be kept apart share",
        ));
    }
}

fn bad_effect(effect: &str) -> String {
    format!(
        "effect {effect:?} is not supported: must be \"NoSchedule\", \"PreferNoSchedule\" or \"NoExecute\""
    )
}

fn check_volumes(volumes: &[Volume], faults: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let mut fault = |field: &str, message: String| {
            faults.push(FieldError::new(
                format!("spec.volumes[{index}].{field}"),
                message,
            ));
        };
        if volume.name.is_empty() {
            fault("name", "each volume must have a non-empty name".into());
        } else if let Err(error) = check_docker_name(&volume.name) {
            fault("name", format!("volume {error}"));
        } else if !seen.insert(volume.name.as_str()) {
            fault("name", format!("duplicate volume name: {}", volume.name));
        }
        match volume.volume_type() {
            None => fault(
                "type",
                format!(
                    "volume {}: type {:?} is not supported: must be \"Ephemeral\", \"Persistent\" or \"HostPath\"",
                    volume.name, volume.kind
                ),
            ),
            Some(VolumeType::HostPath) if !service::is_absolute(&volume.path) => fault(
                "path",
                format!(
                    "volume {}: path {:?} must be absolute and without '..'",
                    volume.name, volume.path
                ),
            ),
            Some(VolumeType::Ephemeral | VolumeType::Persistent) if !volume.path.is_empty() => {
                fault(
                    "path",
                    format!(
                        "volume {}: path belongs to type \"HostPath\" only",
                        volume.name
                    ),
                );
            }
            Some(VolumeType::Ephemeral | VolumeType::Persistent | VolumeType::HostPath) => {}
        }
    }
}

#[cfg(test)]
mod tests;
