//! Names and labels of what the agent makes on the engine.
//!
//! Names join their parts with `-`, as documented, so different pairs can meet; labels tell
//! whose a thing is.

/// Label: the project that a thing belongs to.
pub(crate) const PROJECT: &str = "cara.project";
/// Label: the service that a container belongs to.
pub(crate) const SERVICE: &str = "cara.service";
/// Label: the uid of the project, which tells it from others that had its name before.
pub(crate) const UID: &str = "cara.uid";
/// Label: the node whose agent made the thing.
pub(crate) const NODE: &str = "cara.node";
/// Label: fingerprint of the definition that a container was made from.
pub(crate) const FINGERPRINT: &str = "cara.fingerprint";

/// Label: ports that gateways were to reach when a container was made, separated by commas.
pub(crate) const PORTS: &str = "cara.ports";
/// Label of a volume: how long it lives, when that is not as long as the project is here.
pub(crate) const VOLUME: &str = "cara.volume";
/// Value of [`VOLUME`] for volumes that only the deletion of their project removes.
pub(crate) const PERSISTENT: &str = "Persistent";

/// Name of a project's network.
pub(crate) fn network(project: &str) -> String {
    format!("cara-{project}")
}

/// Name of a service's container.
pub(crate) fn container(project: &str, service: &str) -> String {
    format!("{project}-{service}")
}

/// Name of a container that is made while an older one of its service still has the name.
pub(crate) fn successor(project: &str, service: &str, fingerprint: &str) -> String {
    format!("{project}-{service}.{fingerprint}")
}

/// Name of a volume.
pub(crate) fn volume(project: &str, volume: &str) -> String {
    format!("cara-{project}-{volume}")
}
