//! Entries that move from one store to another: what of them depends on the revisions of the store
//! that they were read from.

use bytes::Bytes;
use cara_store::{Entry, Revision};

use super::events::{EVENTS, EventRecord};
use super::secrets::{SECRETS, SealedSecret};
use super::{DecodeError, FORMAT, Head, decode, encode, open, seal};

/// The value of an entry as another store should hold it, which writes it at `at` or later.
///
/// Secrets keep the version of their values, which containers are made from: without it all that
/// use them were replaced. Histories count as told up to there: nothing happened to the objects.
///
/// # Errors
/// The entry cannot be read.
pub(crate) fn carried(entry: &Entry, at: Revision) -> Result<Bytes, DecodeError> {
    let key = entry.key.as_str();
    if key.starts_with(SECRETS) {
        let mut secret: SealedSecret = decode(entry)?;
        secret.values_version = secret.values_version();
        return Ok(encode(&secret));
    }
    if key.starts_with(EVENTS) {
        let mut record: EventRecord = open(entry)?;
        record.told = record.told.max(at.0);
        return Ok(seal("Events", record));
    }
    Ok(entry.value.clone())
}

/// Refuses an entry that a newer version wrote. What is no envelope has no format.
///
/// # Errors
/// [`DecodeError::Format`].
pub(crate) fn check_format(value: &[u8]) -> Result<(), DecodeError> {
    match serde_json::from_slice::<Head>(value) {
        Ok(head) if head.format > FORMAT => Err(DecodeError::Format(head.format)),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::{ObjectMeta, Resource};
    use cara_store::Key;

    #[test]
    fn a_secret_keeps_the_version_of_its_values() {
        let key = crate::vault::MasterKey::generate().expect("random");
        let metadata = ObjectMeta {
            name: "db".into(),
            ..ObjectMeta::default()
        };
        let values = crate::vault::Values::new();
        let sealed = crate::vault::seal(&key, super::super::secret_owner(&metadata), &values);
        let secret = SealedSecret {
            metadata,
            keys: Vec::new(),
            values_version: Default::default(),
            sealed: sealed.expect("sealed"),
        };
        let entry = |value, revision| Entry {
            key: Key::new("secrets/db"),
            value,
            created: Revision(revision),
            modified: Revision(revision),
        };
        let moved = carried(&entry(encode(&secret), 41), Revision(900)).expect("readable");
        let read: SealedSecret = decode(&entry(moved, 900)).expect("readable");
        assert_eq!(read.values_version().0, 41);
        assert_eq!(read.meta().resource_version.0, 900);
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused() {
        assert!(check_format(b"{\"format\":1,\"kind\":\"X\",\"body\":{}}").is_ok());
        assert!(check_format(b"shop").is_ok());
        assert!(check_format(b"{\"format\":99,\"kind\":\"X\",\"body\":{}}").is_err());
    }
}
