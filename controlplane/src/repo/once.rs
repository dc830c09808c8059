//! Answers under idempotency keys in the store, sealed: a document may hold a secret, and so may an
//! answer.

use cara_api::Timestamp;
use cara_store::{Batch, Entry, Key, Precondition, Revision};
use serde::{Deserialize, Serialize};

use super::{DecodeError, open, seal};
use crate::vault::{Owner, Sealed};

/// Prefix of the keys of answers.
pub(crate) const ANSWERS: &str = "idempotency/";
const KIND: &str = "Answer";

/// What is kept of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedAnswer {
    /// When the request came.
    pub(crate) at: Timestamp,
    /// Digest of who sent it; empty where nobody is asked who they are.
    #[serde(default)]
    pub(crate) by: String,
    /// Its digest, and the answer once there is one.
    pub(crate) sealed: Sealed,
}

/// The key of an answer; `digest` is hexadecimal.
pub(crate) fn answer_key(digest: &str) -> Key {
    Key::new(format!("{ANSWERS}{digest}"))
}

/// What an answer is sealed for.
pub(crate) fn answer_owner(digest: &str) -> Owner<'_> {
    Owner {
        kind: KIND,
        name: digest,
        uid: uuid::Uuid::nil(),
    }
}

/// Writes an answer, or that there will be one.
pub(crate) fn write_answer(digest: &str, answer: &SealedAnswer, when: Precondition) -> Batch {
    Batch::new().put(answer_key(digest), seal(KIND, answer), when)
}

/// Removes one as it was read.
pub(crate) fn delete_answer(key: Key, read_at: Revision) -> Batch {
    Batch::new().delete(key, Precondition::At(read_at))
}

/// One as it is stored.
pub(crate) fn decode_answer(entry: &Entry) -> Result<SealedAnswer, DecodeError> {
    open(entry)
}
