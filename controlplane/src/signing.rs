//! The key that all gateways of an installation sign with: made once, at the first start, and
//! kept sealed in the store.
//!
//! When it cannot be opened, as after the key for secrets was lost, a new one takes its place:
//! people log in anew and links are void, which is no reason not to start.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_api::secret::Hidden;
use cara_store::{Entry, Precondition, Store, WriteError};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::vault::{self, MasterKey, NoRandomness, UnlockError, Values};
use crate::{StartError, repo};

/// Under which the key stands among the sealed values.
const VALUE: &str = "key";
/// How often another server may be first.
const TRIES: usize = 5;

/// The key, made if there is none: 32 bytes in base64.
///
/// # Errors
/// The store cannot be read or written, or the system gives no random bytes.
pub(crate) async fn key(store: &dyn Store, master: &MasterKey) -> Result<Hidden, StartError> {
    let mut last = None;
    for _ in 0..TRIES {
        let entry = store.get(repo::signing_key()).await?;
        let when = match &entry {
            None => Precondition::Absent,
            Some(entry) => match open(entry, master) {
                Ok(key) => return Ok(key),
                Err(why) => {
                    tracing::warn!(
                        why,
                        "the signing key cannot be opened: a new one is made, logins and share links are void"
                    );
                    Precondition::At(entry.modified)
                }
            },
        };
        let key = generate()?;
        let values = Values::from([(VALUE.to_owned(), key.clone())]);
        let sealed =
            vault::seal(master, repo::signing_owner(), &values).map_err(UnlockError::from)?;
        match store.apply(repo::write_signing_key(&sealed, when)).await {
            Ok(_) => return Ok(key),
            Err(error @ WriteError::Conflict { .. }) => last = Some(error),
            Err(error) => return Err(StartError::Signing(error)),
        }
    }
    Err(last.map_or(UnlockError::from(NoRandomness).into(), StartError::Signing))
}

fn open(entry: &Entry, master: &MasterKey) -> Result<Hidden, String> {
    let sealed = repo::decode_key(entry).map_err(|error| error.to_string())?;
    let values = vault::open(master, repo::signing_owner(), &sealed);
    let mut values = values.map_err(|error| error.to_string())?;
    values.remove(VALUE).ok_or_else(|| "it is empty".to_owned())
}

fn generate() -> Result<Hidden, UnlockError> {
    let mut bytes = Zeroizing::new([0; cara_api::signing::SECRET_LEN]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| NoRandomness)?;
    Ok(Hidden::new(BASE64_STANDARD.encode(*bytes)))
}

#[cfg(test)]
mod tests {
    use cara_store::SqliteStore;
    use cara_store::sqlite::Options;

    use super::*;

    #[tokio::test]
    async fn the_key_stays_until_it_cannot_be_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = prometheus::Registry::new();
        let store = SqliteStore::open(directory.path(), Options::default(), &registry);
        let store = store.expect("a store");
        let (mine, other) = (MasterKey::generate(), MasterKey::generate());
        let (mine, other) = (mine.expect("random"), other.expect("random"));
        let first = key(&store, &mine).await.expect("a key");
        assert!(cara_api::signing::Secret::parse(&first).is_ok());
        assert_eq!(key(&store, &mine).await.expect("a key"), first);
        let stored = store.get(repo::signing_key()).await.expect("read");
        let stored = String::from_utf8(stored.expect("there").value.to_vec()).expect("text");
        assert!(!stored.contains(first.reveal()));
        let second = key(&store, &other).await.expect("a key");
        assert_ne!(second, first);
        assert_eq!(key(&store, &other).await.expect("a key"), second);
    }
}
