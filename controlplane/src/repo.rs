//! Objects in the store: keys, encoding, and the batches that writes consist of.
//!
//! Every batch that touches a project also carries the claims on its hostnames, so that project
//! and claims never disagree.

mod events;
mod secrets;

use std::collections::BTreeSet;

use bytes::Bytes;
use cara_api::hostname::Hostname;
use cara_api::{Node, NodeName, Project, ProjectName, Resource, ResourceVersion};
use cara_store::{Batch, Entry, Key, Precondition, Revision};
use serde::{Deserialize, Serialize};

pub(crate) use events::{
    EVENTS, EventRecord, decode_record, delete_record, event_key, events_of_kind, object_of,
    write_record,
};
pub(crate) use secrets::{
    SECRETS, SealedSecret, create_secret, delete_secret, owner as secret_owner, replace_secret,
    secret_key,
};

/// Prefix of the keys of projects.
pub(crate) const PROJECTS: &str = "projects/";
/// Prefix of the keys of nodes.
pub(crate) const NODES: &str = "nodes/";
/// Prefix of the claims on hostnames.
pub(crate) const HOSTS: &str = "hosts/";

/// Format of the envelope; grows when older versions could not read what is written.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    kind: String,
    body: T,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("entry is not the JSON that is expected")]
    Json(#[from] serde_json::Error),
    #[error("entry has format {0}, which this version does not know")]
    Format(u32),
}

pub(crate) fn project_key(name: &ProjectName) -> Key {
    Key::new(format!("{PROJECTS}{name}"))
}

pub(crate) fn node_key(name: &NodeName) -> Key {
    Key::new(format!("{NODES}{name}"))
}

pub(crate) fn host_key(host: &Hostname) -> Key {
    Key::new(format!("{HOSTS}{host}"))
}

/// The revision of an object as it was read.
pub(crate) fn revision<T: Resource>(object: &T) -> Revision {
    Revision(object.meta().resource_version.0)
}

pub(crate) fn encode<T: Resource>(object: &T) -> Bytes {
    let mut body = object.clone();
    // The revision is the store's to say.
    body.meta_mut().resource_version = ResourceVersion::default();
    let envelope = Envelope {
        format: FORMAT,
        kind: T::KIND.to_owned(),
        body,
    };
    serde_json::to_vec(&envelope)
        .expect("an object is a JSON document")
        .into()
}

fn check_format(entry: &Entry) -> Result<(), DecodeError> {
    let head: Head = serde_json::from_slice(&entry.value)?;
    if head.format > FORMAT {
        return Err(DecodeError::Format(head.format));
    }
    Ok(())
}

pub(crate) fn decode<T: Resource>(entry: &Entry) -> Result<T, DecodeError> {
    // First the format alone: the body of a newer one may look like anything.
    check_format(entry)?;
    let envelope: Envelope<T> = serde_json::from_slice(&entry.value)?;
    let mut object = envelope.body;
    object.meta_mut().resource_version = ResourceVersion(entry.modified.0);
    Ok(object)
}

/// Creates a project with its claims.
pub(crate) fn create_project(project: &Project, hosts: &BTreeSet<Hostname>) -> Batch {
    let batch = Batch::new().put(
        project_key(&project.name()),
        encode(project),
        Precondition::Absent,
    );
    claim(batch, project, hosts.iter())
}

/// Replaces a project as it was read, and moves its claims.
pub(crate) fn replace_project(
    project: &Project,
    old_hosts: &BTreeSet<Hostname>,
    hosts: &BTreeSet<Hostname>,
) -> Batch {
    let batch = claim(
        update(project, project_key(&project.name())),
        project,
        hosts.difference(old_hosts),
    );
    release(batch, old_hosts.difference(hosts))
}

/// Writes the new status of a project as it was read. The node that it is bound to must exist.
pub(crate) fn write_project_status(project: &Project) -> Batch {
    let batch = update(project, project_key(&project.name()));
    match project.status.node_ref.as_str() {
        "" => batch,
        node => batch.require(node_key(&NodeName::trusted(node)), Precondition::Present),
    }
}

/// Removes a project as it was read, with its claims.
pub(crate) fn delete_project(project: &Project, hosts: &BTreeSet<Hostname>) -> Batch {
    let batch = Batch::new().delete(
        project_key(&project.name()),
        Precondition::At(revision(project)),
    );
    release(batch, hosts.iter())
}

/// Creates a node.
pub(crate) fn create_node(node: &Node) -> Batch {
    Batch::new().put(node_key(&node.name()), encode(node), Precondition::Absent)
}

/// Replaces a node as it was read.
pub(crate) fn replace_node(node: &Node) -> Batch {
    update(node, node_key(&node.name()))
}

fn update<T: Resource>(object: &T, key: Key) -> Batch {
    Batch::new().put(key, encode(object), Precondition::At(revision(object)))
}

fn claim<'a>(batch: Batch, project: &Project, hosts: impl Iterator<Item = &'a Hostname>) -> Batch {
    let owner = Bytes::copy_from_slice(project.metadata.name.as_bytes());
    hosts.fold(batch, |batch, host| {
        batch.put(host_key(host), owner.clone(), Precondition::Absent)
    })
}

fn release<'a>(batch: Batch, hosts: impl Iterator<Item = &'a Hostname>) -> Batch {
    hosts.fold(batch, |batch, host| {
        batch.delete(host_key(host), Precondition::Any)
    })
}
