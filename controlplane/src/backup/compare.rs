//! What a restore does to a store, by kind.

use std::collections::BTreeMap;

use cara_api::backup::{Counts, RestorePlan};
use cara_api::certificate::ManagedBy;
use cara_store::Entry;

use super::{Archive, is_carried};
use crate::repo::{self, SealedCertificate};

/// The plan, without warnings.
pub(super) fn compare(archive: &Archive, stored: &[Entry]) -> RestorePlan {
    let there: BTreeMap<&str, &Entry> = stored
        .iter()
        .map(|entry| (entry.key.as_str(), entry))
        .collect();
    let mut kinds: BTreeMap<String, Counts> = BTreeMap::new();
    let mut ours = std::collections::BTreeSet::new();
    for record in &archive.records {
        let counts = kinds.entry(kind(&record.key)).or_default();
        ours.insert(record.key.as_str());
        match there.get(record.key.as_str()) {
            None => counts.create += 1,
            Some(entry) if entry.value == record.value => counts.keep += 1,
            Some(_) => counts.replace += 1,
        }
    }
    for key in there
        .keys()
        .filter(|key| !ours.contains(*key) && is_carried(key))
    {
        kinds.entry(kind(key)).or_default().delete += 1;
    }
    let header = &archive.header;
    RestorePlan {
        created_at: header.created_at,
        revision: header.revision,
        server_version: header.server_version.clone(),
        is_in_use: stored.iter().any(is_of_users),
        kinds,
        warnings: Vec::new(),
        restored_at: None,
    }
}

fn kind(key: &str) -> String {
    key.split('/').next().unwrap_or_default().to_owned()
}

/// True for what nobody but a user makes.
fn is_of_users(entry: &Entry) -> bool {
    let key = entry.key.as_str();
    if key.starts_with(repo::CERTIFICATES) {
        let read = repo::decode::<SealedCertificate>(entry);
        return read.is_ok_and(|certificate| certificate.managed_by == ManagedBy::User);
    }
    key.starts_with(repo::PROJECTS) || key.starts_with(repo::SECRETS)
}
