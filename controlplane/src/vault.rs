//! Values that nobody may read: sealing and opening them.
//!
//! Envelope encryption. Each write makes a random data key that encrypts the values once; the
//! key-encryption key ([`MasterKey`]) encrypts the data key. Both are AES-256-GCM, and both are
//! bound to the object they belong to: kind, name and uid go in as associated data, so that what
//! is sealed for one secret does not open as another. Knows nothing of store and HTTP; where the
//! key comes from is told in [`unlock`].

mod rotate;
mod unlock;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_api::secret::Hidden;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

pub use rotate::{RotateError, Rotated, rotate};
pub use unlock::{FILE_NAME, KeySource, UnlockError};
pub(crate) use unlock::{StoredKey, unlock};

/// Length of the keys, in bytes.
const KEY_LEN: usize = 32;
/// The form of what is sealed; part of the associated data.
const FORMAT: &str = "cara-sealed-1";

/// The values of a secret by key.
pub(crate) type Values = BTreeMap<String, Hidden>;

/// The key-encryption key. It has no `Display` and no `Debug`, and is wiped when dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

/// Why a text is not a key. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 bytes in base64, such as `head -c 32 /dev/urandom | base64` prints")]
pub struct NotAKey;

/// The operating system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

impl MasterKey {
    /// A new key.
    ///
    /// # Errors
    /// See [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        fill(&mut *key)?;
        Ok(Self(key))
    }

    /// Reads a key as base64; white space around it is ignored.
    ///
    /// # Errors
    /// See [`NotAKey`].
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let mut bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| NotAKey)?;
        let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map(Zeroizing::new);
        bytes.zeroize();
        key.map(Self).map_err(|_| NotAKey)
    }

    /// The key as [`Self::parse`] reads it. Whoever calls this answers for where it goes.
    fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(*self.0))
    }

    /// Names the key without telling it.
    pub(crate) fn id(&self) -> KeyId {
        let mut text = Zeroizing::new(Vec::with_capacity(64));
        text.extend_from_slice(b"cara key id\0");
        text.extend_from_slice(&*self.0);
        let hash = digest(&SHA256, &text);
        KeyId(hash.as_ref().iter().take(8).map(hex).collect())
    }

    fn cipher(&self) -> LessSafeKey {
        cipher(&self.0)
    }
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

/// Names a key: the beginning of a hash of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What sealed values are bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: uuid::Uuid,
}

impl Owner<'_> {
    /// No part can hold the separator, so that two owners never give the same bytes.
    fn associated(self, purpose: &str) -> Aad<Vec<u8>> {
        let parts = [FORMAT, purpose, self.kind, self.name, &self.uid.to_string()];
        Aad::from(parts.join("\0").into_bytes())
    }
}

/// Sealed values, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sealed {
    /// The form of the rest.
    format: String,
    /// The key that opens it.
    pub(crate) key_id: KeyId,
    /// The data key, sealed by the master key.
    data_key: Blob,
    /// The values, sealed by the data key.
    values: Blob,
}

/// Nonce, ciphertext and tag, in base64 on the wire.
#[derive(Clone, PartialEq, Eq)]
struct Blob(Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("sealed bytes are not base64"))
    }
}

/// Ids of the keys that open what is sealed anywhere in a document.
pub(crate) fn keys_in(value: &serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    match value {
        Value::Object(map) if map.get("format").and_then(Value::as_str) == Some(FORMAT) => {
            let id = map.get("keyId").and_then(Value::as_str);
            id.map(ToOwned::to_owned).into_iter().collect()
        }
        Value::Object(map) => map.values().flat_map(keys_in).collect(),
        Value::Array(items) => items.iter().flat_map(keys_in).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Why sealed values cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// They were sealed with another key.
    #[error("sealed with key {found}, the current key is {current}")]
    OtherKey { found: KeyId, current: KeyId },
    /// They were changed, or belong to another object.
    #[error("the sealed bytes are damaged, or belong to another object")]
    Damaged,
}

/// Seals values for their owner.
///
/// # Errors
/// See [`NoRandomness`].
pub(crate) fn seal(
    key: &MasterKey,
    owner: Owner<'_>,
    values: &Values,
) -> Result<Sealed, NoRandomness> {
    let data_key = MasterKey::generate()?;
    // Room for everything at once: a buffer that grows leaves copies behind.
    let room: usize = values
        .iter()
        .map(|(k, v)| 6 * (k.len() + v.reveal().len()) + 8)
        .sum();
    let mut text = Zeroizing::new(Vec::with_capacity(room + 2));
    serde_json::to_writer(&mut *text, values).expect("texts by key are a JSON document");
    Ok(Sealed {
        format: FORMAT.to_owned(),
        key_id: key.id(),
        data_key: encrypt(&key.cipher(), owner.associated("key"), &*data_key.0)?,
        values: encrypt(&data_key.cipher(), owner.associated("values"), &text)?,
    })
}

/// Opens what [`seal`] made for the same owner.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open(
    key: &MasterKey,
    owner: Owner<'_>,
    sealed: &Sealed,
) -> Result<Values, OpenError> {
    let current = key.id();
    if sealed.key_id != current {
        let found = sealed.key_id.clone();
        return Err(OpenError::OtherKey { found, current });
    }
    if sealed.format != FORMAT {
        return Err(OpenError::Damaged);
    }
    let data_key = decrypt(&key.cipher(), owner.associated("key"), &sealed.data_key)?;
    let data_key = <[u8; KEY_LEN]>::try_from(data_key.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| OpenError::Damaged)?;
    let text = decrypt(
        &cipher(&data_key),
        owner.associated("values"),
        &sealed.values,
    )?;
    serde_json::from_slice(&text).map_err(|_| OpenError::Damaged)
}

fn cipher(key: &[u8; KEY_LEN]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 has keys of 32 bytes");
    LessSafeKey::new(key)
}

fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    SystemRandom::new().fill(bytes).map_err(|_| NoRandomness)
}

fn encrypt(key: &LessSafeKey, aad: Aad<Vec<u8>>, text: &[u8]) -> Result<Blob, NoRandomness> {
    // Random nonces: a data key is used once, the master key far less than 2^32 times.
    let mut nonce = [0; NONCE_LEN];
    fill(&mut nonce)?;
    let mut sealed = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(text);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let body = sealed.get_mut(NONCE_LEN..).unwrap_or_default();
    let tag = key
        .seal_in_place_separate_tag(nonce, aad, body)
        .expect("the values are far shorter than the cipher's limit");
    sealed.extend_from_slice(tag.as_ref());
    Ok(Blob(sealed))
}

fn decrypt(
    key: &LessSafeKey,
    aad: Aad<Vec<u8>>,
    sealed: &Blob,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, body) = sealed
        .0
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(OpenError::Damaged)?;
    let mut body = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key
        .open_in_place(nonce, aad, &mut body)
        .map_err(|_| OpenError::Damaged)?
        .len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests;
