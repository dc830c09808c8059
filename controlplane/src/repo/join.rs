//! What lets nodes in, in the store: the authority of the server, sealed, and join tokens, hashed.

use cara_store::{Batch, Entry, Key, Precondition};

use super::{DecodeError, ISSUING, open, seal};
use crate::plan::admission::StoredToken;
use crate::vault::Owner;

const AUTHORITY: &str = "ServerAuthority";
const TOKEN: &str = "JoinToken";

/// Prefix of the keys of join tokens.
pub(crate) fn join_tokens() -> String {
    format!("{ISSUING}join/")
}

/// Where the authority is that the server itself and its nodes have their certificates from.
pub(crate) fn server_authority_key() -> Key {
    Key::new(format!("{ISSUING}server-authority"))
}

/// What its key is sealed for.
pub(crate) fn server_authority_owner(uid: uuid::Uuid) -> Owner<'static> {
    Owner {
        kind: AUTHORITY,
        name: "server",
        uid,
    }
}

/// Keeps it.
pub(crate) fn write_server_authority(
    authority: &super::SealedAuthority,
    when: Precondition,
) -> Batch {
    Batch::new().put(server_authority_key(), seal(AUTHORITY, authority), when)
}

/// None for what cannot be an id.
pub(crate) fn join_token_key(id: &str) -> Option<Key> {
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| Key::new(format!("{}{id}", join_tokens())))
}

pub(crate) fn decode_join_token(entry: &Entry) -> Result<StoredToken, DecodeError> {
    open(entry)
}

/// Keeps a token.
pub(crate) fn create_join_token(key: Key, token: &StoredToken) -> Batch {
    Batch::new().put(key, seal(TOKEN, token), Precondition::Absent)
}

/// Notes in a batch that a token was used, on condition that it is as it was read.
pub(crate) fn use_join_token(batch: Batch, read: &Entry, token: &StoredToken) -> Batch {
    let when = Precondition::At(read.modified);
    batch.put(read.key.clone(), seal(TOKEN, token), when)
}

/// Removes a token as it was read.
pub(crate) fn delete_join_token(read: &Entry) -> Batch {
    Batch::new().delete(read.key.clone(), Precondition::At(read.modified))
}
