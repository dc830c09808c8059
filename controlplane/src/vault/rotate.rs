//! A new master key: every data key is opened with the old one and sealed with the new one. Values
//! are not touched, since they are sealed with their data keys.

use std::path::Path;

use cara_store::{Batch, Entry, Precondition, Store};
use serde_json::Value;

use super::unlock::{self, StoredKey};
use super::{
    Blob, FORMAT, KEY_LEN, KeySource, MasterKey, NoRandomness, Owner, Sealed, UnlockError, decrypt,
    encrypt, keys_in,
};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Id of the key that was current.
    pub old: String,
    /// Id of the key that is current now.
    pub new: String,
    /// Entries that were sealed anew.
    pub entries: usize,
}

/// Why the key stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store cannot be read.
    #[error("cannot read the store")]
    Read(#[from] cara_store::ReadError),
    /// The store cannot be written.
    #[error("cannot write the store")]
    Write(#[from] cara_store::WriteError),
    /// The current key is not the one that opens what is stored.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// Something is sealed that nobody here can open.
    #[error("{0} holds an encrypted value that does not open: nothing was changed")]
    Sealed(String),
    /// The new key must come from where the old one comes from.
    #[error(
        "the key is given by CARA_SECRET_KEY: give the new one in CARA_NEW_SECRET_KEY (32 bytes in base64), \
         and start the server with it afterwards"
    )]
    NoNewKey,
}

/// Seals everything that `source` opens with a new key: `given`, or one that is made and kept in
/// the place of the old file. The store must not be in use. Blocks for disk access.
///
/// Interrupted at any point and called again, it goes on: everything is sealed anew in one write,
/// and the new key is on disk before that.
///
/// # Errors
/// See [`RotateError`]; nothing was changed then.
pub async fn rotate(
    store: &dyn Store,
    source: &KeySource,
    given: Option<MasterKey>,
) -> Result<Rotated, RotateError> {
    let entries = store.list(String::new(), None).await?.entries;
    let (old, new, path) = match (source, given) {
        (KeySource::File(path), _) => {
            let new = unlock::next(path)?;
            if let Some(old) = already_done(path, &entries, &new)? {
                unlock::promote(path, &old)?;
                let new = new.id().to_string();
                return Ok(Rotated {
                    old,
                    new,
                    entries: 0,
                });
            }
            (unlock::unlock(source, &stored(&entries))?, new, Some(path))
        }
        (KeySource::Given(old), Some(new)) => (old.clone(), new, None),
        (KeySource::Given(_), None) => return Err(RotateError::NoNewKey),
    };
    let mut batch = Batch::new();
    let mut count = 0;
    for entry in &entries {
        if let Some(value) = anew(entry, &old, &new)? {
            count += 1;
            batch = batch.put(entry.key.clone(), value, Precondition::At(entry.modified));
        }
    }
    store.apply(batch).await?;
    let (old, new) = (old.id().to_string(), new.id().to_string());
    if let Some(path) = path {
        unlock::promote(path, &old)?;
    }
    Ok(Rotated {
        old,
        new,
        entries: count,
    })
}

/// The id of the old key, when everything is sealed with the new one and only its file is not in
/// place yet.
fn already_done(
    path: &Path,
    entries: &[Entry],
    new: &MasterKey,
) -> Result<Option<String>, UnlockError> {
    let new = new.id().to_string();
    let is_done = entries.iter().any(|entry| keys_of(entry).contains(&new));
    if !is_done {
        return Ok(None);
    }
    Ok(unlock::read(path)?.map(|old| old.id().to_string()))
}

fn keys_of(entry: &Entry) -> Vec<String> {
    keys_in(&serde_json::from_slice(&entry.value).unwrap_or_default())
}

/// What must open with the current key, or it is not the current one.
fn stored(entries: &[Entry]) -> Vec<StoredKey> {
    let secrets = entries
        .iter()
        .filter(|entry| entry.key.as_str().starts_with("secrets/"));
    let keys = secrets.flat_map(|entry| {
        let keys = keys_of(entry).into_iter();
        keys.map(|key| StoredKey {
            secret: entry.key.to_string(),
            key: super::KeyId(key),
        })
    });
    keys.collect()
}

/// The value of an entry with what the old key opens sealed with the new one; none where there is
/// nothing of it. What an older key had sealed that is lost stays as it is.
fn anew(entry: &Entry, old: &MasterKey, new: &MasterKey) -> Result<Option<Vec<u8>>, RotateError> {
    let Ok(mut value) = serde_json::from_slice::<Value>(&entry.value) else {
        return Ok(None);
    };
    let owners = Owners::of(entry.key.as_str(), &value);
    let mut count = 0;
    let sealed = |_| RotateError::Sealed(entry.key.to_string());
    visit(&mut value, &mut |sealed| {
        let again = owners
            .all()
            .find_map(|owner| rewrap(sealed, owner, old, new).transpose());
        match again {
            Some(again) => {
                count += 1;
                again.map(Some).map_err(|_| ())
            }
            None if sealed.key_id == old.id() => Err(()),
            None => Ok(None),
        }
    })
    .map_err(sealed)?;
    Ok((count > 0).then(|| value.to_string().into_bytes()))
}

/// Changes every sealed value of a document.
fn visit(
    value: &mut Value,
    change: &mut impl FnMut(&Sealed) -> Result<Option<Sealed>, ()>,
) -> Result<(), ()> {
    let is_sealed = value.get("format").and_then(Value::as_str) == Some(FORMAT);
    if is_sealed {
        let sealed: Sealed = serde_json::from_value(value.clone()).map_err(|_| ())?;
        if let Some(again) = change(&sealed)? {
            *value = serde_json::to_value(again).map_err(|_| ())?;
        }
        return Ok(());
    }
    match value {
        Value::Object(map) => map.values_mut().try_for_each(|value| visit(value, change)),
        Value::Array(items) => items.iter_mut().try_for_each(|value| visit(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Whom the sealed values of an entry may be bound to. The key says which one it is: no other
/// opens it.
struct Owners {
    kind: String,
    names: Vec<String>,
    uid: uuid::Uuid,
}

impl Owners {
    fn of(key: &str, envelope: &Value) -> Self {
        let text = |pointer: &str| envelope.pointer(pointer).and_then(Value::as_str);
        let uid = text("/body/metadata/uid").or_else(|| text("/body/uid"));
        let mut names: Vec<String> = ["internal", "acme", "server"].map(str::to_owned).to_vec();
        names.extend(text("/body/metadata/name").map(ToOwned::to_owned));
        names.extend(key.rsplit('/').next().map(ToOwned::to_owned));
        Self {
            kind: text("/kind").unwrap_or_default().to_owned(),
            names,
            uid: uid.and_then(|uid| uid.parse().ok()).unwrap_or_default(),
        }
    }

    fn all(&self) -> impl Iterator<Item = Owner<'_>> {
        self.names.iter().map(|name| Owner {
            kind: &self.kind,
            name,
            uid: self.uid,
        })
    }
}

/// The same values under the new key; none when the old one does not open them for this owner.
fn rewrap(
    sealed: &Sealed,
    owner: Owner<'_>,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<Option<Sealed>, NoRandomness> {
    if sealed.key_id != old.id() {
        return Ok(None);
    }
    let data_key = decrypt(&old.cipher(), owner.associated("key"), &sealed.data_key);
    let Some(data_key) = data_key.ok().filter(|key| key.len() == KEY_LEN) else {
        return Ok(None);
    };
    let data_key: Blob = encrypt(&new.cipher(), owner.associated("key"), &data_key)?;
    Ok(Some(Sealed {
        key_id: new.id(),
        data_key,
        ..sealed.clone()
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cara_api::ObjectMeta;
    use cara_api::secret::Hidden;
    use cara_store::SqliteStore;
    use cara_store::sqlite::Options;

    use super::*;
    use crate::repo::{self, SealedSecret};
    use crate::vault::{self, Values};

    const VALUE: &str = "swordfish";

    async fn store_with_secret(directory: &Path, key: &MasterKey) -> Arc<dyn Store> {
        let registry = prometheus::Registry::new();
        let store = SqliteStore::open(directory, Options::default(), &registry).expect("a store");
        let metadata = ObjectMeta {
            name: "db".into(),
            uid: Some(uuid::Uuid::now_v7()),
            ..ObjectMeta::default()
        };
        let values = Values::from([("k".to_owned(), Hidden::new(VALUE))]);
        let sealed = vault::seal(key, repo::secret_owner(&metadata), &values).expect("sealed");
        let secret = SealedSecret {
            metadata,
            keys: vec!["k".into()],
            values_version: Default::default(),
            sealed,
        };
        store
            .apply(repo::create_secret(&secret))
            .await
            .expect("stored");
        crate::signing::key(&store, key)
            .await
            .expect("a signing key");
        Arc::new(store)
    }

    async fn opens(store: &dyn Store, key: &MasterKey) -> bool {
        let entry = store
            .get(cara_store::Key::new("secrets/db"))
            .await
            .expect("read");
        let secret: SealedSecret = repo::decode(&entry.expect("there")).expect("readable");
        let values = vault::open(key, secret.owner(), &secret.sealed);
        values.is_ok_and(|values| values["k"].reveal() == VALUE)
    }

    #[tokio::test]
    async fn everything_opens_with_the_new_key_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret.key");
        let source = KeySource::File(path.clone());
        let old = unlock::unlock(&source, &[]).expect("made");
        let store = store_with_secret(directory.path(), &old).await;
        let signing = crate::signing::key(&*store, &old).await.expect("a key");
        let done = rotate(&*store, &source, None).await.expect("rotated");
        assert_eq!(done.entries, 2);
        let new = unlock::read(&path).expect("read").expect("there");
        assert_eq!(new.id().to_string(), done.new);
        assert!(opens(&*store, &new).await && !opens(&*store, &old).await);
        let kept = path.with_extension(format!("key.{}", done.old));
        let kept = unlock::read(&kept)
            .expect("read")
            .expect("the old key is kept for old backups");
        assert_eq!(kept.id(), old.id());
        // The signing key is the same, sealed anew: nobody is logged out.
        assert_eq!(
            crate::signing::key(&*store, &new).await.expect("a key"),
            signing
        );
        assert!(!path.with_extension("key.next").exists());
    }

    #[tokio::test]
    async fn it_goes_on_where_it_was_interrupted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret.key");
        let source = KeySource::File(path.clone());
        let old = unlock::unlock(&source, &[]).expect("made");
        let store = store_with_secret(directory.path(), &old).await;
        // As if power was lost after the write, before the files changed places.
        let text = std::fs::read(&path).expect("read");
        let done = rotate(&*store, &source, None).await.expect("rotated");
        std::fs::rename(&path, path.with_extension("key.next")).expect("renamed");
        std::fs::write(&path, text).expect("written");
        let again = rotate(&*store, &source, None).await.expect("rotated");
        assert_eq!(
            (again.old, again.new.clone(), again.entries),
            (done.old, done.new, 0)
        );
        let new = unlock::read(&path).expect("read").expect("there");
        assert!(opens(&*store, &new).await);
    }

    #[tokio::test]
    async fn what_nobody_can_open_stops_it_before_anything_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let (old, new) = (old.expect("random"), new.expect("random"));
        let store = store_with_secret(directory.path(), &old).await;
        let owner = Owner {
            kind: "Odd",
            name: "of-a-name-that-nothing-tells",
            uid: uuid::Uuid::nil(),
        };
        let sealed = vault::seal(&old, owner, &Values::new()).expect("sealed");
        let odd = serde_json::json!({"format": 1, "kind": "Odd", "body": {"sealed": sealed}});
        let batch = Batch::new().put(
            cara_store::Key::new("odd/x"),
            odd.to_string(),
            Precondition::Absent,
        );
        store.apply(batch).await.expect("stored");
        let source = KeySource::Given(old.clone());
        assert!(matches!(
            rotate(&*store, &source, None).await,
            Err(RotateError::NoNewKey)
        ));
        let error = rotate(&*store, &source, Some(new))
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("odd/x"), "{error}");
        assert!(opens(&*store, &old).await);
    }
}
