//! Objects in the store: keys, encoding, and the batches that writes consist of.
//!
//! Every batch that touches a project also carries the claims on its hostnames and ports, so that
//! project and claims never disagree.

mod access;
mod carried;
mod certs;
mod events;
mod join;
mod keys;
mod once;
mod secrets;

use std::collections::BTreeSet;

use bytes::Bytes;
use cara_api::hostname::Hostname;
use cara_api::project::ProjectRevision;
use cara_api::{Generation, Node, NodeName, Project, ProjectName, Resource, ResourceVersion};
use cara_store::{Batch, Entry, Key, Precondition, Revision};
use serde::{Deserialize, Serialize};

use crate::plan::claims::Claim;

pub(crate) use access::{
    ACCESS, FEDERATIONS, PEOPLE, Person, StoredToken, TOKENS, USERS, create_federation,
    create_token, create_user, delete_federation, delete_person, delete_token, delete_user,
    federation_key, person_id, person_key, replace_federation, replace_token, replace_user,
    token_key, user_key, with_person,
};
pub(crate) use carried::{carried, check_format};
pub(crate) use certs::{
    CERTIFICATES, CHALLENGES, Challenge, ISSUING, KEY_FIELD, Lease, SealedAccount, SealedAuthority,
    SealedCertificate, account_key, account_owner, authority_key, authority_owner, certificate_key,
    challenge_key, create_authority, create_certificate, decode_account, decode_authority,
    decode_challenge, decode_lease, delete_certificate, lease_key, owner as certificate_owner,
    publish_challenge, release_lease, replace_authority, replace_certificate, retract_challenge,
    write_account, write_lease,
};
pub(crate) use events::{
    EVENTS, EventRecord, decode_record, delete_record, event_key, events_of_kind, object_of,
    write_record,
};
pub(crate) use join::{
    create_join_token, decode_join_token, delete_join_token, join_token_key, join_tokens,
    server_authority_key, server_authority_owner, use_join_token, write_server_authority,
};
pub(crate) use keys::{decode_key, signing_key, signing_owner, write_signing_key};
pub(crate) use once::{
    ANSWERS, SealedAnswer, answer_key, answer_owner, decode_answer, delete_answer, write_answer,
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
const HOSTS: &str = "hosts/";
/// Prefix of the claims on ports of the gateway.
const PORTS: &str = "ports/";
/// Prefix of earlier generations of projects.
pub(crate) const REVISIONS: &str = "revisions/";

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

pub(crate) fn claim_key(claim: &Claim) -> Key {
    Key::new(match claim {
        Claim::Host(host) => format!("{HOSTS}{host}"),
        Claim::Port(port) => format!("{PORTS}{port}"),
    })
}

/// Reads such a key; none when it is another one.
pub(crate) fn claim_of(key: &str) -> Option<Claim> {
    if let Some(host) = key.strip_prefix(HOSTS) {
        return Hostname::parse(host).ok().map(Claim::Host);
    }
    key.strip_prefix(PORTS)?.parse().ok().map(Claim::Port)
}

/// The key of an earlier generation; sorts by generation.
pub(crate) fn revision_key(project: &ProjectName, generation: Generation) -> Key {
    Key::new(format!("{REVISIONS}{project}/{:020}", generation.0))
}

/// Reads what follows the prefix of such a key.
pub(crate) fn split_revision_key(rest: &str) -> Option<(ProjectName, Generation)> {
    let (project, generation) = rest.split_once('/')?;
    Some((
        ProjectName::trusted(project),
        Generation(generation.parse().ok()?),
    ))
}

/// The revision of an object as it was read.
pub(crate) fn revision<T: Resource>(object: &T) -> Revision {
    Revision(object.meta().resource_version.0)
}

pub(crate) fn encode<T: Resource>(object: &T) -> Bytes {
    let mut body = object.clone();
    // The revision is the store's to say.
    body.meta_mut().resource_version = ResourceVersion::default();
    seal(T::KIND, body)
}

fn seal<T: Serialize>(kind: &str, body: T) -> Bytes {
    let envelope = Envelope {
        format: FORMAT,
        kind: kind.to_owned(),
        body,
    };
    serde_json::to_vec(&envelope)
        .expect("an object is a JSON document")
        .into()
}

pub(crate) fn decode<T: Resource>(entry: &Entry) -> Result<T, DecodeError> {
    let mut object: T = open(entry)?;
    object.meta_mut().resource_version = ResourceVersion(entry.modified.0);
    Ok(object)
}

/// An earlier generation as it is stored.
pub(crate) fn decode_revision(entry: &Entry) -> Result<ProjectRevision, DecodeError> {
    open(entry)
}

fn open<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<T, DecodeError> {
    // First the format alone: the body of a newer one may look like anything.
    let head: Head = serde_json::from_slice(&entry.value)?;
    if head.format > FORMAT {
        return Err(DecodeError::Format(head.format));
    }
    let envelope: Envelope<T> = serde_json::from_slice(&entry.value)?;
    Ok(envelope.body)
}

/// Creates a project with its claims.
pub(crate) fn create_project(project: &Project, claims: &BTreeSet<Claim>) -> Batch {
    let batch = Batch::new().put(
        project_key(&project.name()),
        encode(project),
        Precondition::Absent,
    );
    claim(batch, project, claims.iter())
}

/// Replaces a project as it was read, and moves its claims.
pub(crate) fn replace_project(
    project: &Project,
    old_claims: &BTreeSet<Claim>,
    claims: &BTreeSet<Claim>,
) -> Batch {
    let batch = claim(
        update(project, project_key(&project.name())),
        project,
        claims.difference(old_claims),
    );
    release(batch, old_claims.difference(claims))
}

/// Stores the generation that a batch replaces, and drops outdated ones.
pub(crate) fn keep_revision(
    batch: Batch,
    replaced: &ProjectRevision,
    outdated: impl IntoIterator<Item = Generation>,
) -> Batch {
    let name = ProjectName::trusted(&replaced.project);
    let key = revision_key(&name, replaced.generation);
    let batch = batch.put(key, seal("ProjectRevision", replaced), Precondition::Any);
    drop_revisions(batch, &name, outdated)
}

/// Drops earlier generations of a project.
pub(crate) fn drop_revisions(
    batch: Batch,
    project: &ProjectName,
    generations: impl IntoIterator<Item = Generation>,
) -> Batch {
    generations.into_iter().fold(batch, |batch, generation| {
        batch.delete(revision_key(project, generation), Precondition::Any)
    })
}

/// Writes the new status of a project as it was read. The nodes that it is bound to and moves to
/// must exist.
pub(crate) fn write_project_status(project: &Project) -> Batch {
    let status = &project.status;
    let target = status.moving.as_ref().map(|m| m.node_ref.as_str());
    let nodes = [Some(status.node_ref.as_str()), target];
    let named = nodes.into_iter().flatten().filter(|node| !node.is_empty());
    named.fold(
        update(project, project_key(&project.name())),
        |batch, node| batch.require(node_key(&NodeName::trusted(node)), Precondition::Present),
    )
}

/// Removes a project as it was read, with its claims and earlier generations.
pub(crate) fn delete_project(
    project: &Project,
    claims: &BTreeSet<Claim>,
    generations: impl IntoIterator<Item = Generation>,
) -> Batch {
    let batch = Batch::new().delete(
        project_key(&project.name()),
        Precondition::At(revision(project)),
    );
    drop_revisions(release(batch, claims.iter()), &project.name(), generations)
}

/// Creates a node.
pub(crate) fn create_node(node: &Node) -> Batch {
    Batch::new().put(node_key(&node.name()), encode(node), Precondition::Absent)
}

/// Replaces a node as it was read.
pub(crate) fn replace_node(node: &Node) -> Batch {
    update(node, node_key(&node.name()))
}

/// Deletes a node on condition that it is as it was read.
pub(crate) fn delete_node(node: &Node) -> Batch {
    Batch::new().delete(node_key(&node.name()), Precondition::At(revision(node)))
}

fn update<T: Resource>(object: &T, key: Key) -> Batch {
    Batch::new().put(key, encode(object), Precondition::At(revision(object)))
}

fn claim<'a>(batch: Batch, project: &Project, claims: impl Iterator<Item = &'a Claim>) -> Batch {
    let owner = Bytes::copy_from_slice(project.metadata.name.as_bytes());
    claims.fold(batch, |batch, claim| {
        batch.put(claim_key(claim), owner.clone(), Precondition::Absent)
    })
}

fn release<'a>(batch: Batch, claims: impl Iterator<Item = &'a Claim>) -> Batch {
    claims.fold(batch, |batch, claim| {
        batch.delete(claim_key(claim), Precondition::Any)
    })
}
