//! What an assignment asks for, in the engine's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cara_api::agent::{Assignment, Goal};
use cara_api::{Generation, ProjectName, project::BindingEpoch};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::runtime::names;

/// A project as it should be on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The project.
    pub project: ProjectName,
    /// Run or remove.
    pub goal: Goal,
    /// The binding and edit to report about; none for leftovers of a project that is no longer
    /// assigned, about which nobody wants to hear.
    pub reported: Option<(BindingEpoch, Generation)>,
    /// Services in the order of the spec.
    pub services: Vec<WantedService>,
    /// Engine names of the volumes.
    pub volumes: BTreeSet<String>,
}

/// A service as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedService {
    /// The service's name, and its host name on the project's network.
    pub name: String,
    /// Engine name of the container.
    pub container: String,
    /// Image reference as the user wrote it.
    pub image: String,
    /// `NAME=value`, in the order of the spec.
    pub env: Vec<String>,
    /// Path in the container to engine name of the volume.
    pub mounts: BTreeMap<String, String>,
    /// Ports that the gateway must reach.
    pub exposed: BTreeSet<u16>,
    /// The host address to publish the exposed ports on, unless the gateway needs no publishing.
    pub publish_on: Option<IpAddr>,
    /// Changes when anything that a container is made from changes.
    pub fingerprint: String,
}

/// What a container is made from. The order of the fields is part of the fingerprint.
#[derive(Serialize)]
struct Definition<'a> {
    format: u32,
    image: &'a str,
    env: &'a [String],
    mounts: &'a BTreeMap<String, String>,
    published: Vec<u16>,
    publish_on: Option<IpAddr>,
}

impl Wanted {
    /// What an assignment asks for, on a node that publishes ports on `publish_on`.
    pub fn new(assignment: &Assignment, publish_on: Option<IpAddr>) -> Self {
        let project = &assignment.name;
        let services = assignment.spec.services.iter().map(|service| {
            let mounts = service.volume_mounts.iter();
            let mounts = mounts
                .map(|m| {
                    (
                        m.mount_path.clone(),
                        names::volume(project.as_str(), &m.name),
                    )
                })
                .collect();
            let exposed: BTreeSet<u16> = assignment
                .exposed
                .iter()
                .filter(|e| e.service == service.name)
                .map(|e| e.port)
                .collect();
            let env: Vec<String> = service
                .env
                .iter()
                .map(|v| format!("{}={}", v.name, v.value))
                .collect();
            let publish_on = publish_on.filter(|_| !exposed.is_empty());
            let published = if publish_on.is_some() {
                exposed.iter().copied().collect()
            } else {
                Vec::new()
            };
            let definition = Definition {
                format: 1,
                image: &service.image,
                env: &env,
                mounts: &mounts,
                published,
                publish_on,
            };
            let fingerprint = fingerprint(&definition);
            WantedService {
                name: service.name.clone(),
                container: names::container(project.as_str(), &service.name),
                image: service.image.clone(),
                env,
                mounts,
                exposed,
                publish_on,
                fingerprint,
            }
        });
        Self {
            project: project.clone(),
            goal: assignment.goal,
            reported: Some((assignment.epoch, assignment.generation)),
            services: services.collect(),
            volumes: assignment
                .spec
                .volumes
                .iter()
                .map(|v| names::volume(project.as_str(), &v.name))
                .collect(),
        }
    }

    /// Nothing of this project should be here, and nobody asks for a report.
    pub fn nothing(project: ProjectName) -> Self {
        Self {
            project,
            goal: Goal::Remove,
            reported: None,
            services: Vec::new(),
            volumes: BTreeSet::new(),
        }
    }
}

/// First 16 hexadecimal digits of the SHA-256 of the definition's JSON.
fn fingerprint(definition: &Definition<'_>) -> String {
    let json = serde_json::to_vec(definition).expect("a definition is a JSON document");
    Sha256::digest(&json)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use cara_api::agent::ExposedPort;
    use cara_api::project::ProjectSpec;

    use super::*;

    pub(crate) fn assignment(spec: serde_json::Value, exposed: &[(&str, u16)]) -> Assignment {
        let spec: ProjectSpec = serde_json::from_value(spec).expect("a spec");
        let exposed = exposed.iter().map(|(service, port)| ExposedPort {
            service: (*service).into(),
            port: *port,
        });
        Assignment {
            name: ProjectName::trusted("shop"),
            generation: Generation(1),
            epoch: BindingEpoch(1),
            goal: Goal::Run,
            spec: Arc::new(spec),
            exposed: exposed.collect(),
            is_rollout: false,
            secrets: BTreeMap::new(),
        }
    }

    #[test]
    fn engine_names_follow_the_documented_pattern() {
        let spec = serde_json::json!({
            "services": [{"name": "web", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
            "volumes": [{"name": "data", "type": "Ephemeral"}]});
        let wanted = Wanted::new(&assignment(spec, &[]), None);
        assert_eq!(wanted.services[0].container, "shop-web");
        assert_eq!(
            wanted.services[0].mounts.get("/d").map(String::as_str),
            Some("cara-shop-data")
        );
        assert_eq!(
            wanted.volumes.into_iter().collect::<Vec<_>>(),
            ["cara-shop-data"]
        );
    }

    #[test]
    fn a_fingerprint_changes_with_the_definition_only() {
        let fingerprint =
            |spec: serde_json::Value, exposed: &[(&str, u16)], publish: Option<&str>| {
                let publish = publish.map(|ip| ip.parse().expect("an address"));
                Wanted::new(&assignment(spec, exposed), publish).services[0]
                    .fingerprint
                    .clone()
            };
        let base = || serde_json::json!({"services": [{"name": "web", "image": "x:1"}]});
        let first = fingerprint(base(), &[], None);
        assert_eq!(
            first,
            fingerprint(base(), &[("other", 80)], Some("10.0.0.1")),
            "other services do not matter"
        );
        assert_eq!(
            first,
            fingerprint(base(), &[("web", 80)], None),
            "a new ingress needs no new container here"
        );
        let published = fingerprint(base(), &[("web", 80)], Some("10.0.0.1"));
        assert_ne!(first, published, "a port to publish does");
        let other_image = serde_json::json!({"services": [{"name": "web", "image": "x:2"}]});
        assert_ne!(first, fingerprint(other_image, &[], None));
        let env = serde_json::json!({"services": [{"name": "web", "image": "x:1", "env": [{"name": "A"}]}]});
        assert_ne!(first, fingerprint(env, &[], None));
    }
}
