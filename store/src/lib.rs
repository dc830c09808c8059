//! Bytes under keys, with revisions, conditional writes and watches.
//!
//! Owns durability and order. It refuses to know what the bytes mean: no type of the product
//! appears here. The semantics are those of etcd, so that an engine on etcd maps one to one:
//!
//! - One global [`Revision`] grows by one with every [`Batch`] that writes (by more only in
//!   [`Store::apply_beyond`]); all keys of a batch carry the same revision.
//! - A batch is applied whole or not at all, and only when every [`Precondition`] holds.
//! - [`Store::list`] shows all keys under a prefix as they were at one revision.
//! - [`Store::watch`] yields every change after a revision, in order, without gap or duplicate.
//! - History is kept for a while; asking for older yields [`ReadError::Compacted`], and the
//!   reader lists again.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod sqlite;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use sqlite::SqliteStore;

/// A point in the history of the store; 0 is before the first write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key: printable ASCII, parts separated by `/` by convention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key of the given text.
    ///
    /// # Panics
    /// When the text is empty or not printable ASCII: keys are made from checked names.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let printable = !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        assert!(printable, "a key is printable ASCII, not {text:?}");
        Self(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// When the key came into being (last time, if it was deleted before).
    pub created: Revision,
    /// When the value was written.
    pub modified: Revision,
}

/// What must hold for a batch to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    Any,
    /// The key does not exist.
    Absent,
    /// The key exists.
    Present,
    /// The key exists and was last written at this revision.
    At(Revision),
}

/// One step of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Only checks.
    Require,
    /// Writes the value.
    Put(Bytes),
    /// Removes the key; removing an absent key is no change.
    Delete,
}

/// Steps that are applied together or not at all. A key may appear once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    steps: Vec<(Key, Precondition, Step)>,
}

impl Batch {
    /// A batch without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write.
    #[must_use]
    pub fn put(self, key: Key, value: impl Into<Bytes>, when: Precondition) -> Self {
        self.step(key, when, Step::Put(value.into()))
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(self, key: Key, when: Precondition) -> Self {
        self.step(key, when, Step::Delete)
    }

    /// Adds a check.
    #[must_use]
    pub fn require(self, key: Key, when: Precondition) -> Self {
        self.step(key, when, Step::Require)
    }

    fn step(mut self, key: Key, when: Precondition, step: Step) -> Self {
        self.steps.push((key, when, step));
        self
    }

    /// The steps in the order in which they were added.
    pub fn steps(&self) -> &[(Key, Precondition, Step)] {
        &self.steps
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was written.
    Put(Entry),
    /// The key was removed.
    Delete(Key),
}

/// All changes of one revision that a watch selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The revision; strictly larger than that of the changes before.
    pub revision: Revision,
    /// Never empty.
    pub events: Vec<Event>,
}

/// All keys under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision that the listing shows.
    pub revision: Revision,
    /// Sorted by key.
    pub entries: Vec<Entry>,
}

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The history before `oldest` is gone: list again.
    #[error("revision is compacted; the oldest one kept is {oldest}")]
    Compacted {
        /// The oldest revision that can still be read.
        oldest: Revision,
    },
    /// The engine cannot answer now.
    #[error("store is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// Why a write failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// A precondition did not hold: read again and decide again. Nothing was written.
    #[error("precondition on {key} does not hold")]
    Conflict {
        /// The key whose precondition failed.
        key: Key,
    },
    /// The batch names a key twice.
    #[error("batch names {key} twice")]
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// The engine could not confirm the write: it may or may not have happened.
    #[error("store is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl WriteError {
    /// True when reading again and writing again may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Unavailable(_) => true,
            Self::DuplicateKey { .. } => false,
        }
    }
}

/// Changes as they come. The stream ends after an error.
pub type Watch = BoxStream<'static, Result<Changes, ReadError>>;

/// A store engine.
pub trait Store: Send + Sync + 'static {
    /// The newest revision. Asks the engine, so an answer also shows that it is alive.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    fn head(&self) -> BoxFuture<'_, Result<Revision, ReadError>>;

    /// The entry of a key, at the newest revision.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, ReadError>>;

    /// All keys under `prefix`, at `revision` or, without one, at the newest.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] when the revision is too old.
    fn list(
        &self,
        prefix: String,
        revision: Option<Revision>,
    ) -> BoxFuture<'_, Result<Listing, ReadError>>;

    /// Applies a batch and returns its revision (the newest one, when nothing changed).
    ///
    /// Not cancel-safe: a write that was handed over happens even if the future is dropped.
    ///
    /// # Errors
    /// See [`WriteError`].
    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, WriteError>>;

    /// Applies a batch like [`Self::apply`], at a revision that is also greater than `beyond`: a
    /// store that takes over from another one gives no revision a second time. The revisions
    /// between are never used.
    ///
    /// Not cancel-safe, as [`Self::apply`].
    ///
    /// # Errors
    /// See [`WriteError`].
    fn apply_beyond(
        &self,
        batch: Batch,
        beyond: Revision,
    ) -> BoxFuture<'_, Result<Revision, WriteError>>;

    /// Every change under `prefix` after the revision `after`.
    ///
    /// # Guarantees
    /// In order, each exactly once, also across a burst that the reader cannot keep up with.
    ///
    /// # Errors
    /// The stream yields [`ReadError::Compacted`] when `after` is older than the history.
    fn watch(&self, prefix: String, after: Revision) -> Watch;

    /// Forgets the history up to `revision`; current values stay.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`].
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), WriteError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a key is printable ASCII")]
    fn a_key_is_printable() {
        let _ = Key::new("a\nb");
    }
}
