//! JSON web tokens (RFC 7519) against an issuer's keys. Pure: keys and time come in.

use std::collections::HashSet;

use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};

/// How far clocks may differ, in seconds.
const LEEWAY_S: f64 = 60.0;
/// Longest token, in bytes.
const TOKEN_MAX: usize = 16 * 1024;
/// Most keys of an issuer that are looked at.
const KEYS_MAX: usize = 64;

/// What a token says.
pub type Claims = Map<String, Value>;

/// Why a token is refused. The texts go to the client and say nothing of the inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no token.
    #[error("the token is malformed")]
    Malformed,
    /// It is signed in a way that is not accepted.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// Its key is not among those that are known.
    #[error("the token's key is not known")]
    UnknownKey,
    /// It is not signed by the issuer.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// A claim is missing.
    #[error("the token lacks a claim that is required")]
    Claim,
}

/// The keys of an issuer.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    /// Only for this algorithm, in the words of RFC 7518.
    algorithm: Option<String>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517). Keys that cannot be used are left out.
    pub fn parse(document: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(document).ok()?;
        let keys = document.get("keys")?.as_array()?;
        let usable = keys.iter().filter_map(|value| {
            let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
            let is_for_other = matches!(
                jwk.common.public_key_use,
                Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))
            );
            let key = DecodingKey::from_jwk(&jwk).ok()?;
            let is_public = key.family() != AlgorithmFamily::Hmac;
            (is_public && !is_for_other).then(|| Key {
                id: jwk.common.key_id,
                algorithm: value.get("alg").and_then(Value::as_str).map(str::to_owned),
                key,
            })
        });
        Some(Self(usable.take(KEYS_MAX).collect()))
    }

    /// The keys that may have signed.
    fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let name = format!("{algorithm:?}");
        self.0.iter().filter(move |key| {
            let is_named = id.is_none_or(|id| key.id.as_deref() == Some(id));
            let is_usable = key.algorithm.as_ref().is_none_or(|a| *a == name);
            is_named && is_usable && key.key.family() == algorithm.family()
        })
    }
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who must have signed it.
    pub issuer: &'a str,
    /// One of these must be in `aud`.
    pub audiences: &'a [String],
}

/// Checks a token and returns its claims.
///
/// # Errors
/// See [`Fault`]; [`Fault::UnknownKey`] may be mended by newer keys.
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<Claims, Fault> {
    if token.len() > TOKEN_MAX {
        return Err(Fault::Malformed);
    }
    // Algorithms that are not known, `none` among them, do not even parse.
    let header = jsonwebtoken::decode_header(token).map_err(|_| Fault::Malformed)?;
    let algorithm = header.alg;
    // Extensions that must be understood (RFC 7515 section 4.1.11), and none is known here.
    if header.crit.is_some() {
        return Err(Fault::Malformed);
    }
    if algorithm.family() == AlgorithmFamily::Hmac {
        return Err(Fault::Algorithm);
    }
    let validation = validation(algorithm, expected);
    let mut fault = Fault::UnknownKey;
    for key in keys.candidates(header.kid.as_deref(), algorithm) {
        match jsonwebtoken::decode::<Claims>(token, &key.key, &validation) {
            Ok(data) => {
                check_times(&data.claims, now)?;
                return Ok(data.claims);
            }
            Err(error) => fault = fault_of(&error),
        }
        // Only a wrong signature says that it may be another key.
        if fault != Fault::Signature {
            break;
        }
    }
    Err(fault)
}

/// Times are checked here, by the time that came in.
fn validation(algorithm: Algorithm, expected: Expected<'_>) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.required_spec_claims = ["exp", "iss", "aud"].map(str::to_owned).into();
    validation.iss = Some(HashSet::from([expected.issuer.to_owned()]));
    validation.aud = Some(expected.audiences.iter().cloned().collect());
    validation
}

fn fault_of(error: &jsonwebtoken::errors::Error) -> Fault {
    use jsonwebtoken::errors::ErrorKind as K;
    match error.kind() {
        K::InvalidSignature => Fault::Signature,
        K::InvalidIssuer => Fault::Issuer,
        K::InvalidAudience => Fault::Audience,
        K::InvalidAlgorithm | K::InvalidAlgorithmName | K::UnsupportedAlgorithm => Fault::Algorithm,
        K::MissingRequiredClaim(_) => Fault::Claim,
        _ => Fault::Malformed,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds of Unix time are exact in an f64 for longer than anybody waits"
)]
fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Fault> {
    let now = now.as_second() as f64;
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Fault::Malformed),
    };
    let end = time("exp")?.ok_or(Fault::Claim)?;
    if now >= end + LEEWAY_S {
        return Err(Fault::Expired);
    }
    if time("nbf")?.is_some_and(|begin| now + LEEWAY_S < begin) {
        return Err(Fault::NotYet);
    }
    Ok(())
}

/// Whether the claims hold all of `wanted`: a claim is that text, or a list that has it; `scope`
/// is a list in one text (RFC 8693 section 4.2).
pub fn has_claims(claims: &Claims, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(name, value)| {
        claims.get(name).is_some_and(|found| match found {
            Value::String(text) if name == "scope" => text.split(' ').any(|word| word == value),
            Value::Array(list) => list.iter().any(|item| is_text(item, value)),
            other => is_text(other, value),
        })
    })
}

fn is_text(found: &Value, wanted: &str) -> bool {
    match found {
        Value::String(text) => text == wanted,
        Value::Bool(yes) => yes.to_string() == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A claim that is a text.
pub fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// A claim that is a list of texts, or one text.
pub fn texts(claims: &Claims, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
