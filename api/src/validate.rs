//! The rules that a Project or Node must meet beyond its form.
//!
//! Pure: every fault of a document is found in one pass, in the document's order. Where the
//! older system had a message for a rule, the message is the same.

use std::collections::BTreeSet;

use crate::hostname::{Domain, Hostname};
use crate::image::ImageRef;
use crate::names::{check_docker_name, check_label, check_subdomain};
use crate::problem::FieldError;
use crate::project::{Ingress, ProjectSpec, Service, Volume};
use crate::{API_VERSION, Node, Project, Resource};

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
    match node.spec.hostname.len() {
        0..=253 => Vec::new(),
        _ => vec![FieldError::new(
            "spec.hostname",
            "spec.hostname must be no more than 253 characters",
        )],
    }
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
        check_service(service, &path, &mut faults);
        check_mounts(service, &path, &volumes, &mut faults);
        if !service.name.is_empty() && !seen.insert(service.name.as_str()) {
            let message = format!("duplicate service name: {}", service.name);
            faults.push(FieldError::new(format!("{path}.name"), message));
        }
    }
    check_volumes(&spec.volumes, &mut faults);
    check_ingress(spec, name, domain, &mut faults);
    faults
}

fn check_service(service: &Service, path: &str, faults: &mut Vec<FieldError>) {
    let mut fault = |field: &str, message: String| {
        faults.push(FieldError::new(format!("{path}.{field}"), message));
    };
    if service.name.is_empty() {
        fault("name", "each service must have a non-empty name".into());
    } else if let Err(error) = check_docker_name(&service.name) {
        fault("name", format!("service {error}"));
    }
    if service.image.is_empty() {
        fault(
            "image",
            format!("service {}: image is required", service.name),
        );
    } else if let Err(error) = ImageRef::parse(&service.image) {
        fault(
            "image",
            format!(
                "service {}: image {:?} is invalid: {error}",
                service.name, service.image
            ),
        );
    }
    for (index, variable) in service.env.iter().enumerate() {
        if !is_env_name(&variable.name) {
            fault(
                &format!("env[{index}].name"),
                format!(
                    "service {}: environment variable name {:?} is invalid: must consist of letters, \
                     digits, '_', '.' or '-', and must not start with a digit",
                    service.name, variable.name
                ),
            );
        }
    }
}

fn is_env_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.bytes().all(inner) && name.as_bytes().first().is_some_and(|b| !b.is_ascii_digit())
}

fn check_mounts(
    service: &Service,
    path: &str,
    volumes: &BTreeSet<&str>,
    faults: &mut Vec<FieldError>,
) {
    let mut paths = BTreeSet::new();
    for (index, mount) in service.volume_mounts.iter().enumerate() {
        let mut fault = |field: &str, message: String| {
            faults.push(FieldError::new(
                format!("{path}.volumeMounts[{index}].{field}"),
                message,
            ));
        };
        if !volumes.contains(mount.name.as_str()) {
            let message = format!(
                "service {}: volume {:?} is not defined in spec.volumes",
                service.name, mount.name
            );
            fault("name", message);
        }
        if !mount.mount_path.starts_with('/') {
            let message = format!(
                "service {}: mount path {:?} must be absolute",
                service.name, mount.mount_path
            );
            fault("mountPath", message);
        } else if mount.mount_path.split('/').any(|part| part == "..") {
            let message = format!(
                "service {}: mount path {:?} must not contain '..'",
                service.name, mount.mount_path
            );
            fault("mountPath", message);
        } else if mount.mount_path.trim_matches('/').is_empty() {
            fault(
                "mountPath",
                format!(
                    "service {}: a volume cannot be mounted at '/'",
                    service.name
                ),
            );
        } else if !paths.insert(mount.mount_path.trim_end_matches('/')) {
            fault(
                "mountPath",
                format!(
                    "service {}: two volumes at {:?}",
                    service.name, mount.mount_path
                ),
            );
        }
    }
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
        if volume.kind != "Ephemeral" {
            fault(
                "type",
                format!(
                    "volume {}: type {:?} is not supported: must be \"Ephemeral\"",
                    volume.name, volume.kind
                ),
            );
        }
    }
}

fn check_ingress(spec: &ProjectSpec, name: &str, domain: &Domain, faults: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    let mut hosts: BTreeSet<Hostname> = BTreeSet::new();
    for (index, ingress) in spec.ingress.iter().enumerate() {
        let mut fault = |field: &str, message: String| {
            faults.push(FieldError::new(
                format!("spec.ingress[{index}].{field}"),
                message,
            ));
        };
        if ingress.name.is_empty() {
            fault(
                "name",
                "each ingress entry must have a non-empty name".into(),
            );
        } else if !names.insert(ingress.name.as_str()) {
            fault("name", format!("duplicate ingress name: {}", ingress.name));
        }
        check_target(spec, ingress, &mut fault);
        if !matches!(ingress.access.scope.as_str(), "" | "Internal") {
            fault(
                "access.scope",
                format!(
                    "ingress {}: only \"Internal\" scope is supported",
                    ingress.name
                ),
            );
        }
        match domain.resolve(&ingress.host, name) {
            Err(error) => fault("host", format!("ingress {}: {error}", ingress.name)),
            Ok(hostname) => {
                if !hosts.insert(hostname.clone()) {
                    let message = format!(
                        "ingress {}: host {hostname} is used twice in this project",
                        ingress.name
                    );
                    fault("host", message);
                }
            }
        }
    }
}

fn check_target(spec: &ProjectSpec, ingress: &Ingress, fault: &mut impl FnMut(&str, String)) {
    let target = &ingress.target;
    if !spec.services.iter().any(|s| s.name == target.service) {
        let message = format!(
            "ingress {}: target service {} does not exist in spec.services",
            ingress.name, target.service
        );
        fault("target.service", message);
    }
    if target.port <= 0 {
        fault(
            "target.port",
            format!(
                "ingress {}: target port must be greater than 0",
                ingress.name
            ),
        );
    } else if u16::try_from(target.port).is_err() {
        fault(
            "target.port",
            format!(
                "ingress {}: target port must be no more than 65535",
                ingress.name
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(spec: serde_json::Value) -> Vec<String> {
        let spec: ProjectSpec = serde_json::from_value(spec).expect("well-formed spec");
        let domain = Domain {
            environment: "dev".into(),
            base: "localhost".into(),
        };
        project(&spec, "shop", &domain)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_sound_spec_has_no_faults() {
        let spec = serde_json::json!({
            "services": [
                {"name": "db", "image": "mysql:8", "env": [{"name": "A.b-c_D"}],
                 "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}]},
                {"name": "app", "image": "wordpress"}],
            "volumes": [{"name": "data", "type": "Ephemeral"}],
            "ingress": [
                {"name": "web", "host": "blog.example.com", "target": {"service": "app", "port": 80},
                 "access": {"scope": "Internal"}},
                {"name": "short", "host": "admin", "target": {"service": "app", "port": 65535}}]});
        assert_eq!(faults(spec), [""; 0]);
    }

    #[test]
    fn all_faults_of_a_spec_are_found_at_once() {
        let spec = serde_json::json!({
            "services": [
                {"name": "a b", "image": "Bad Image", "env": [{"name": "1A"}, {"name": ""}],
                 "volumeMounts": [{"name": "ghost", "mountPath": "rel/path"}, {"name": "v", "mountPath": "/"}]},
                {"name": "web", "image": ""},
                {"name": "web", "image": "x", "volumeMounts": [
                    {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a/"}, {"name": "v", "mountPath": "/a/../b"}]},
                {"image": "x"}],
            "volumes": [{"name": "v", "type": "HostPath"}, {"name": "v", "type": "Ephemeral"}, {"type": "Ephemeral"}],
            "ingress": [
                {"name": "i", "host": "UP per_!", "target": {"service": "web", "port": 70000}},
                {"name": "i", "host": "w", "target": {"service": "nope", "port": 0}, "access": {"scope": "Public"}},
                {"host": "w.dev.localhost", "target": {"service": "web", "port": 1}}]});
        let expected = [
            "spec.services[0].name: service name \"a b\" is invalid: must consist of alphanumeric characters, hyphens (-), underscores (_) or dots (.), and must start with an alphanumeric character",
            "spec.services[0].image: service a b: image \"Bad Image\" is invalid: each part of the image name must consist of lowercase letters and digits, separated by '.', '_', '__' or '-'",
            "spec.services[0].env[0].name: service a b: environment variable name \"1A\" is invalid: must consist of letters, digits, '_', '.' or '-', and must not start with a digit",
            "spec.services[0].env[1].name: service a b: environment variable name \"\" is invalid: must consist of letters, digits, '_', '.' or '-', and must not start with a digit",
            "spec.services[0].volumeMounts[0].name: service a b: volume \"ghost\" is not defined in spec.volumes",
            "spec.services[0].volumeMounts[0].mountPath: service a b: mount path \"rel/path\" must be absolute",
            "spec.services[0].volumeMounts[1].mountPath: service a b: a volume cannot be mounted at '/'",
            "spec.services[1].image: service web: image is required",
            "spec.services[2].volumeMounts[1].mountPath: service web: two volumes at \"/a/\"",
            "spec.services[2].volumeMounts[2].mountPath: service web: mount path \"/a/../b\" must not contain '..'",
            "spec.services[2].name: duplicate service name: web",
            "spec.services[3].name: each service must have a non-empty name",
            "spec.volumes[0].type: volume v: type \"HostPath\" is not supported: must be \"Ephemeral\"",
            "spec.volumes[1].name: duplicate volume name: v",
            "spec.volumes[2].name: each volume must have a non-empty name",
            "spec.ingress[0].target.port: ingress i: target port must be no more than 65535",
            "spec.ingress[0].host: ingress i: host \"UP per_!\" is invalid: each part between dots must consist of letters, digits and inner hyphens",
            "spec.ingress[1].name: duplicate ingress name: i",
            "spec.ingress[1].target.service: ingress i: target service nope does not exist in spec.services",
            "spec.ingress[1].target.port: ingress i: target port must be greater than 0",
            "spec.ingress[1].access.scope: ingress i: only \"Internal\" scope is supported",
            "spec.ingress[2].name: each ingress entry must have a non-empty name",
            "spec.ingress[2].host: ingress : host w.dev.localhost is used twice in this project",
        ];
        assert_eq!(faults(spec), expected);
        assert_eq!(
            faults(serde_json::json!({})),
            ["spec.services: spec.services must contain at least one service"]
        );
    }

    #[test]
    fn kind_and_api_version_may_be_absent_but_not_wrong() {
        assert_eq!(identity::<Project>("", "", "a"), []);
        assert_eq!(identity::<Node>(API_VERSION, "Node", "a.b"), []);
        let faults = identity::<Project>("bogus/v9", "Banana", "a.b");
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["apiVersion", "kind", "metadata.name"]);
    }
}
