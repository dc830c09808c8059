//! The authority that the server itself and its nodes have their certificates from: made once, at
//! the first start, and kept sealed in the store. It has nothing to do with what gateways serve.
//!
//! When it cannot be opened, as after the key for secrets was lost, a new one takes its place:
//! nodes have to join anew then.

use std::collections::BTreeMap;
use std::sync::Arc;

use cara_api::Timestamp;
use cara_api::secret::Hidden;
use cara_certs::ca::{CaError, CertificateAuthority};
use cara_store::{Entry, Precondition, Store, WriteError};

use crate::repo::{self, DecodeError, KEY_FIELD, SealedAuthority};
use crate::vault::{self, MasterKey, NoRandomness, OpenError, Values};

/// How often another server may be first.
const TRIES: usize = 5;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The store cannot be read.
    #[error("cannot read the store")]
    Read(#[from] cara_store::ReadError),
    /// The store cannot be written.
    #[error("cannot write the store")]
    Write(#[from] WriteError),
    /// It cannot be made, or what is stored is of no use.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The operating system gives no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The authority, made if there is none.
///
/// # Errors
/// See [`AuthorityError`].
pub(crate) async fn take_up(
    store: &dyn Store,
    master: &MasterKey,
    now: Timestamp,
) -> Result<Arc<CertificateAuthority>, AuthorityError> {
    let mut last = None;
    for _ in 0..TRIES {
        let entry = store.get(repo::server_authority_key()).await?;
        let when = match &entry {
            None => Precondition::Absent,
            Some(entry) => match read(entry, master) {
                Ok(authority) if now < authority.not_after() => return Ok(Arc::new(authority)),
                Ok(_) => {
                    tracing::warn!(
                        "the server's authority ended: making a new one; all nodes have to join anew"
                    );
                    Precondition::At(entry.modified)
                }
                Err(why) => {
                    tracing::warn!(
                        why,
                        "the server's authority cannot be opened: making a new one; all nodes have to join anew"
                    );
                    Precondition::At(entry.modified)
                }
            },
        };
        let authority = CertificateAuthority::create(now)?;
        let stored = seal(&authority, master)?;
        match store
            .apply(repo::write_server_authority(&stored, when))
            .await
        {
            Ok(_) => {
                tracing::info!(fingerprint = %stored.fingerprint, "made an authority for the server and its nodes");
                return Ok(Arc::new(authority));
            }
            Err(error @ WriteError::Conflict { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or(
        AuthorityError::NoRandomness(NoRandomness),
        AuthorityError::Write,
    ))
}

fn read(entry: &Entry, master: &MasterKey) -> Result<CertificateAuthority, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let stored = repo::decode_authority(entry).map_err(|e: DecodeError| text(&e))?;
    let owner = repo::server_authority_owner(stored.uid);
    let values = vault::open(master, owner, &stored.sealed);
    let mut values = values.map_err(|e: OpenError| text(&e))?;
    let key = values.remove(KEY_FIELD).unwrap_or_default();
    CertificateAuthority::from_pem(&stored.certificate, key.reveal()).map_err(|e| text(&e))
}

fn seal(
    authority: &CertificateAuthority,
    master: &MasterKey,
) -> Result<SealedAuthority, NoRandomness> {
    let uid = uuid::Uuid::now_v7();
    let key = Hidden::new(authority.key_pem().expose().as_str());
    let values: Values = BTreeMap::from([(KEY_FIELD.to_owned(), key)]);
    Ok(SealedAuthority {
        uid,
        certificate: authority.certificate_pem().to_owned(),
        fingerprint: authority.fingerprint().to_string(),
        not_after: authority.not_after(),
        sealed: vault::seal(master, repo::server_authority_owner(uid), &values)?,
    })
}

#[cfg(test)]
mod tests {
    use cara_store::SqliteStore;
    use cara_store::sqlite::Options;

    use super::*;

    #[tokio::test]
    async fn the_authority_stays_until_it_cannot_be_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = prometheus::Registry::new();
        let store = SqliteStore::open(directory.path(), Options::default(), &registry);
        let store = store.expect("a store");
        let (mine, other) = (MasterKey::generate(), MasterKey::generate());
        let (mine, other) = (mine.expect("random"), other.expect("random"));
        let now = Timestamp::now();
        let first = take_up(&store, &mine, now).await.expect("made");
        let again = take_up(&store, &mine, now).await.expect("read");
        assert_eq!(again.fingerprint(), first.fingerprint());
        let second = take_up(&store, &other, now).await.expect("made");
        assert_ne!(second.fingerprint(), first.fingerprint());
    }
}
