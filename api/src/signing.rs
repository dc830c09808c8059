//! Signatures that control plane and gateways of an installation check for each other.
//!
//! One secret of 32 bytes, and a key of its own for each purpose (HKDF-SHA256, RFC 5869), so that
//! what is signed for one purpose is void for any other. Signatures are HMAC-SHA256, compared in
//! constant time. Owns the form of signed texts; refuses to know what they say.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::{hkdf, hmac};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::secret::Hidden;

/// Length of the secret, in bytes.
pub const SECRET_LEN: usize = 32;
/// Length of a signature, in bytes.
pub const TAG_LEN: usize = 32;
/// Separates the keys of this product from those that others derive.
const SALT: &[u8] = b"caravanserai signing v1";

/// Why a text is not a secret to sign with. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is 32 bytes in base64")]
pub struct NotASecret;

/// The secret that the keys are derived from.
pub struct Secret(hkdf::Prk);

impl Secret {
    /// Reads the secret.
    ///
    /// # Errors
    /// See [`NotASecret`].
    pub fn parse(text: &Hidden) -> Result<Self, NotASecret> {
        let bytes = BASE64_STANDARD
            .decode(text.reveal())
            .map_err(|_| NotASecret)?;
        if bytes.len() != SECRET_LEN {
            return Err(NotASecret);
        }
        Ok(Self(
            hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&bytes),
        ))
    }

    /// The key for a purpose. Two purposes never share a key.
    pub fn signer(&self, purpose: &'static str) -> Signer {
        let info = [purpose.as_bytes()];
        let okm = self
            .0
            .expand(&info, hmac::HMAC_SHA256)
            .expect("HKDF gives far more than 32 bytes");
        Signer(hmac::Key::from(okm))
    }
}

/// Signs and checks for one purpose.
#[derive(Clone)]
pub struct Signer(hmac::Key);

impl Signer {
    /// The signature of a message.
    pub fn tag(&self, message: &[u8]) -> [u8; TAG_LEN] {
        let tag = hmac::sign(&self.0, message);
        <[u8; TAG_LEN]>::try_from(tag.as_ref()).expect("HMAC-SHA256 gives 32 bytes")
    }

    /// Whether a signature belongs to a message; takes the same time whatever differs.
    pub fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, message, tag).is_ok()
    }

    /// The signature as text, for URLs and cookies: 43 characters.
    pub fn tag_text(&self, message: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.tag(message))
    }

    /// The same as [`Self::verify`] for a signature as text.
    pub fn verify_text(&self, message: &[u8], tag: &str) -> bool {
        BASE64_URL_SAFE_NO_PAD
            .decode(tag)
            .is_ok_and(|tag| self.verify(message, &tag))
    }

    /// A value with its signature as text that fits in URLs and cookies. It can be read by
    /// everybody.
    pub fn seal<T: Serialize>(&self, value: &T) -> String {
        let json = serde_json::to_vec(value).unwrap_or_default();
        let payload = BASE64_URL_SAFE_NO_PAD.encode(json);
        let tag = self.tag_text(payload.as_bytes());
        format!("{payload}.{tag}")
    }

    /// What [`Self::seal`] was given; none when it was not this key, or anything was changed.
    pub fn open<T: DeserializeOwned>(&self, text: &str) -> Option<T> {
        let (payload, tag) = text.split_once('.')?;
        if !self.verify_text(payload.as_bytes(), tag) {
            return None;
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::parse(&Hidden::new(BASE64_STANDARD.encode([byte; 32]))).expect("32 bytes")
    }

    #[test]
    fn what_is_signed_for_one_purpose_is_void_for_any_other() {
        let sealed = secret(1).signer("a").seal(&"hello");
        let open = |byte, purpose| secret(byte).signer(purpose).open::<String>(&sealed);
        assert_eq!(open(1, "a").as_deref(), Some("hello"));
        assert_eq!(open(1, "b"), None);
        assert_eq!(open(2, "a"), None);
    }

    #[test]
    fn any_change_voids_a_signature() {
        let signer = secret(1).signer("a");
        let sealed = signer.seal(&("a", 5));
        for place in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            assert_eq!(signer.open::<(String, i32)>(&changed), None, "{changed}");
        }
        for broken in ["", ".", "a.b", "a", "a.b.c"] {
            assert_eq!(signer.open::<(String, i32)>(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_secret_is_32_bytes_in_base64() {
        for text in ["", "short", &BASE64_STANDARD.encode([0; 31]), "!"] {
            assert!(Secret::parse(&Hidden::new(text)).is_err(), "{text}");
        }
    }
}
