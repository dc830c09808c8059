//! Keys of the installation in the store, sealed.

use cara_store::{Batch, Entry, Key, Precondition};

use super::{DecodeError, open, seal};
use crate::vault::{Owner, Sealed};

const KIND: &str = "Key";
const SIGNING: &str = "signing";

/// Where the key is that sessions, logins and share links are signed with.
pub(crate) fn signing_key() -> Key {
    Key::new(format!("keys/{SIGNING}"))
}

/// What it is sealed for.
pub(crate) fn signing_owner() -> Owner<'static> {
    Owner {
        kind: KIND,
        name: SIGNING,
        uid: uuid::Uuid::nil(),
    }
}

/// Writes it.
pub(crate) fn write_signing_key(sealed: &Sealed, when: Precondition) -> Batch {
    Batch::new().put(signing_key(), seal(KIND, sealed), when)
}

/// A key as it is stored.
pub(crate) fn decode_key(entry: &Entry) -> Result<Sealed, DecodeError> {
    open(entry)
}
