//! Backups: what of the store goes into an archive, and what a restore makes of a store.
//!
//! Pure: entries in, bytes or a batch out. What is carried is told by keys, so that a new kind of
//! object comes along by itself; only what belongs to a moment is left behind.

mod archive;
mod compare;

use cara_api::backup::RestorePlan;
use cara_store::{Batch, Entry, Key, Precondition, Revision};

pub(crate) use archive::{Archive, Header, decode, encode};

use crate::repo;

/// Keys that belong to a moment: leases, answers to challenges and to requests, and tokens for
/// joining, which could be used a second time.
const MOMENTARY: [&str; 5] = [
    "challenges/",
    "idempotency/",
    "issuing/join",
    "issuing/lease",
    "leases/",
];

/// True for what a backup carries.
pub(crate) fn is_carried(key: &str) -> bool {
    !MOMENTARY.iter().any(|prefix| key.starts_with(prefix))
}

/// Why an archive cannot be restored here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefusedError {
    /// Its sealed values need another master key.
    #[error(
        "the backup holds {count} encrypted value(s) that key {wanted} opens, and this server works with key {found}: \
         nothing was changed. Start a new server with the old server's key file secret.key in its empty data \
         directory (or its text in CARA_SECRET_KEY), and restore again"
    )]
    OtherKey {
        count: usize,
        wanted: String,
        found: String,
    },
    /// The store holds something that would be lost.
    #[error(
        "this server is in use ({0}), and restoring replaces everything that it holds: nothing was changed. \
         Restore into a new server, or look at the plan and ask for it with force"
    )]
    InUse(String),
    /// An entry is from a newer version.
    #[error(
        "{key}: {why}: nothing was changed. Use a server of the version that made the backup, or a newer one"
    )]
    Unreadable { key: String, why: String },
}

/// Compares an archive with what is stored.
///
/// # Errors
/// [`RefusedError::OtherKey`] and [`RefusedError::Unreadable`].
pub(crate) fn plan(
    archive: &Archive,
    stored: &[Entry],
    key_id: &str,
) -> Result<RestorePlan, RefusedError> {
    for record in &archive.records {
        repo::check_format(&record.value).map_err(|why| RefusedError::Unreadable {
            key: record.key.clone(),
            why: why.to_string(),
        })?;
    }
    let sealed = archive.sealed_with(&archive.header.key_id);
    if sealed > 0 && archive.header.key_id != key_id {
        return Err(RefusedError::OtherKey {
            count: sealed,
            wanted: archive.header.key_id.clone(),
            found: key_id.to_owned(),
        });
    }
    Ok(compare::compare(archive, stored))
}

/// The one batch that makes the store what the archive shows. Every step is conditional on what
/// was read: if anything changed meanwhile, nothing is written. `at` is the revision at which it
/// will be written, as far as that can be known.
///
/// # Errors
/// [`RefusedError::Unreadable`].
pub(crate) fn batch(
    archive: &Archive,
    stored: &[Entry],
    at: Revision,
) -> Result<Batch, RefusedError> {
    let stored: std::collections::BTreeMap<&str, &Entry> = stored
        .iter()
        .map(|entry| (entry.key.as_str(), entry))
        .collect();
    let mut batch = Batch::new();
    let mut carried = std::collections::BTreeSet::new();
    for record in &archive.records {
        let key = Key::new(record.key.as_str());
        let entry = record.entry();
        let value = repo::carried(&entry, at).map_err(|why| RefusedError::Unreadable {
            key: record.key.clone(),
            why: why.to_string(),
        })?;
        let when = match stored.get(record.key.as_str()) {
            Some(entry) => Precondition::At(entry.modified),
            None => Precondition::Absent,
        };
        carried.insert(record.key.as_str());
        batch = batch.put(key, value, when);
    }
    for (key, entry) in stored {
        if !carried.contains(key) && is_carried(key) {
            batch = batch.delete(entry.key.clone(), Precondition::At(entry.modified));
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests;
