//! Secrets in the store: sealed, with the version of their values.

use cara_api::{ObjectMeta, Resource, ResourceVersion, Secret, SecretName};
use cara_store::{Batch, Key, Precondition};
use serde::{Deserialize, Serialize};

use super::{encode, revision, update};
use crate::vault::{Owner, Sealed};

/// Prefix of the keys of secrets.
pub(crate) const SECRETS: &str = "secrets/";

/// A secret as it is stored and cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedSecret {
    pub(crate) metadata: ObjectMeta,
    /// Sorted.
    pub(crate) keys: Vec<String>,
    /// The version at which a value last changed; zero stands for that of the entry itself.
    #[serde(default, skip_serializing_if = "ResourceVersion::is_zero")]
    pub(crate) values_version: ResourceVersion,
    pub(crate) sealed: Sealed,
}

impl Resource for SealedSecret {
    const KIND: &'static str = Secret::KIND;
    const NOUN: &'static str = Secret::NOUN;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl SealedSecret {
    pub(crate) fn name(&self) -> SecretName {
        SecretName::trusted(&self.metadata.name)
    }

    /// The version at which a value last changed; edits of labels leave it as it is.
    pub(crate) fn values_version(&self) -> ResourceVersion {
        if self.values_version.is_zero() {
            self.metadata.resource_version
        } else {
            self.values_version
        }
    }

    /// What the values are sealed for.
    pub(crate) fn owner(&self) -> Owner<'_> {
        owner(&self.metadata)
    }
}

/// What the values of a secret are sealed for.
pub(crate) fn owner(meta: &ObjectMeta) -> Owner<'_> {
    Owner {
        kind: Secret::KIND,
        name: &meta.name,
        uid: meta.uid.unwrap_or_default(),
    }
}

pub(crate) fn secret_key(name: &SecretName) -> Key {
    Key::new(format!("{SECRETS}{name}"))
}

/// Creates a secret.
pub(crate) fn create_secret(secret: &SealedSecret) -> Batch {
    Batch::new().put(
        secret_key(&secret.name()),
        encode(secret),
        Precondition::Absent,
    )
}

/// Replaces a secret as it was read.
pub(crate) fn replace_secret(secret: &SealedSecret) -> Batch {
    update(secret, secret_key(&secret.name()))
}

/// Removes a secret as it was read.
pub(crate) fn delete_secret(secret: &SealedSecret) -> Batch {
    Batch::new().delete(
        secret_key(&secret.name()),
        Precondition::At(revision(secret)),
    )
}
