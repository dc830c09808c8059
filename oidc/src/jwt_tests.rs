//! Tokens signed with real keys, and what becomes of them when anything is off.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use serde_json::json;

use super::*;

const NOW_S: i64 = 1_000_000;

enum Pair {
    Ec(EcdsaKeyPair, &'static str, &'static str),
    Ed(Ed25519KeyPair),
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, name: &'static str, curve: &'static str) -> Pair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
    Pair::Ec(pair, name, curve)
}

fn es256() -> Pair {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", "P-256")
}

fn es384() -> Pair {
    ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", "P-384")
}

fn ed25519() -> Pair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    Pair::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key"))
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Pair {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_, name, _) => name,
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Ec(pair, _, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "kid": id, "x": base64(x), "y": base64(y)})
            }
            Self::Ed(pair) => {
                let x = base64(pair.public_key());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims.to_string())
        );
        let tag = match self {
            Self::Ec(pair, ..) => {
                let tag = pair.sign(&SystemRandom::new(), message.as_bytes());
                tag.expect("a signature").as_ref().to_vec()
            }
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64(tag))
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        self.sign(&json!({"alg": self.algorithm(), "kid": id}), claims)
    }
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).expect("a set of keys")
}

fn claims() -> Value {
    json!({"iss": "i", "aud": "a", "exp": NOW_S + 100, "sub": "u"})
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn check(token: &str, keys: &KeySet) -> Result<Claims, Fault> {
    crate::crypto::install();
    let audiences = ["a".to_owned(), "b".to_owned()];
    let expected = Expected {
        issuer: "i",
        audiences: &audiences,
    };
    let now = Timestamp::from_second(NOW_S).expect("a time");
    verify(token, keys, expected, now)
}

#[test]
fn each_kind_of_key_signs_for_itself() {
    for pair in [es256(), es384(), ed25519()] {
        let keys = set(&[pair.jwk("k")]);
        let token = pair.token("k", &claims());
        let checked = check(&token, &keys).expect("a token that counts");
        assert_eq!(text(&checked, "sub"), Some("u"));
        let (kept, end) = token.split_at(token.len() - 5);
        let other = if end.starts_with('A') { 'B' } else { 'A' };
        let tampered = format!("{kept}{other}{}", &end[1..]);
        assert!(check(&tampered, &keys).is_err());
        // No key id: any of the issuer's keys may be it.
        let keys = set(&[
            es256().jwk("x"),
            es384().jwk("y"),
            pair.jwk("z"),
            ed25519().jwk("w"),
        ]);
        let unnamed = pair.sign(&json!({"alg": pair.algorithm()}), &claims());
        assert!(check(&unnamed, &keys).is_ok(), "{}", pair.algorithm());
    }
}

#[test]
fn claims_are_checked_with_a_minute_of_leeway() {
    let pair = es256();
    let keys = set(&[pair.jwk("k")]);
    for (name, value, expected) in [
        ("exp", json!(NOW_S - 59), None),
        ("exp", json!(NOW_S - 60), Some(Fault::Expired)),
        ("exp", json!(NOW_S as f64 + 0.5), None),
        ("exp", json!("soon"), Some(Fault::Claim)),
        ("exp", Value::Null, Some(Fault::Claim)),
        ("nbf", json!(NOW_S + 60), None),
        ("nbf", json!(NOW_S + 61), Some(Fault::NotYet)),
        ("iss", json!("j"), Some(Fault::Issuer)),
        ("aud", json!("b"), None),
        ("aud", json!(["x", "a"]), None),
        ("aud", json!(["x"]), Some(Fault::Audience)),
        ("aud", json!("x"), Some(Fault::Audience)),
    ] {
        let token = pair.token("k", &changed(name, value.clone()));
        let fault = check(&token, &keys).err();
        assert_eq!(fault, expected, "{name} {value}");
    }
    for missing in ["exp", "iss", "aud"] {
        let mut claims = claims();
        claims.as_object_mut().expect("claims").remove(missing);
        assert_eq!(
            check(&pair.token("k", &claims), &keys),
            Err(Fault::Claim),
            "{missing}"
        );
    }
}

#[test]
fn no_other_algorithm_and_no_other_key_counts() {
    let pair = es256();
    let jwk = pair.jwk("k");
    let keys = set(std::slice::from_ref(&jwk));
    let none = format!(
        "{}.{}.",
        base64(r#"{"alg":"none"}"#),
        base64(claims().to_string())
    );
    assert_eq!(check(&none, &keys), Err(Fault::Malformed));
    // The public key as a shared secret, the oldest trick there is.
    let head = json!({"alg": "HS256", "kid": "k"});
    let message = format!(
        "{}.{}",
        base64(head.to_string()),
        base64(claims().to_string())
    );
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, jwk.to_string().as_bytes());
    let tag = ring::hmac::sign(&secret, message.as_bytes());
    let forged = format!("{message}.{}", base64(tag));
    assert_eq!(check(&forged, &keys), Err(Fault::Algorithm));
    let other = es256().token("k", &claims());
    assert_eq!(check(&other, &keys), Err(Fault::Signature));
    let unknown = pair.token("new", &claims());
    assert_eq!(check(&unknown, &keys), Err(Fault::UnknownKey));
    let extended = pair.sign(
        &json!({"alg": "ES256", "kid": "k", "crit": ["exp"]}),
        &claims(),
    );
    assert_eq!(check(&extended, &keys), Err(Fault::Malformed));
    let ed = ed25519();
    let confused = ed.sign(&json!({"alg": "EdDSA", "kid": "k"}), &claims());
    assert_eq!(check(&confused, &keys), Err(Fault::UnknownKey));
    for broken in ["", ".", "..", "a.b.c", &"x".repeat(20_000)] {
        assert_eq!(check(broken, &keys), Err(Fault::Malformed));
    }
}

#[test]
fn keys_for_other_uses_and_broken_ones_are_left_out() {
    let pair = es256();
    let usable = |change: &dyn Fn(&mut Value)| {
        let mut jwk = pair.jwk("k");
        change(&mut jwk);
        let keys = set(&[json!({"kty": "new"}), json!(5), jwk]);
        check(&pair.token("k", &claims()), &keys).is_ok()
    };
    assert!(usable(&|_| {}));
    assert!(usable(&|jwk| jwk["use"] = json!("sig")));
    assert!(usable(&|jwk| jwk["alg"] = json!("ES256")));
    assert!(!usable(&|jwk| jwk["use"] = json!("enc")));
    assert!(!usable(&|jwk| jwk["alg"] = json!("ES384")));
    assert!(!usable(&|jwk| jwk["x"] = json!("!")));
    for not_a_set in ["", "{}", r#"{"keys":1}"#, "[]"] {
        assert!(KeySet::parse(not_a_set.as_bytes()).is_none(), "{not_a_set}");
    }
}

/// Made with `openssl`: a key of 2,048 bits and what it signed.
#[test]
fn rsa_tokens_count_in_both_paddings() {
    let vectors = include_str!("rsa_vectors.json");
    let vectors: Value = serde_json::from_str(vectors).expect("JSON");
    let keys = set(std::slice::from_ref(&vectors["jwk"]));
    let tokens = vectors["tokens"].as_array().expect("tokens");
    assert_eq!(tokens.len(), 6);
    for token in tokens {
        let token = token.as_str().expect("a token");
        assert!(check(token, &keys).is_ok(), "{token}");
    }
}

#[test]
fn wanted_claims_are_texts_or_in_lists() {
    let claims = json!({"role": "admin", "teams": ["a", "b"], "scope": "read write", "ok": true});
    let claims = claims.as_object().expect("claims");
    for (name, value, expected) in [
        ("role", "admin", true),
        ("role", "adm", false),
        ("teams", "b", true),
        ("teams", "c", false),
        ("scope", "write", true),
        ("scope", "writ", false),
        ("ok", "true", true),
        ("none", "", false),
    ] {
        let wanted = [(name.to_owned(), value.to_owned())];
        assert_eq!(has_claims(claims, &wanted), expected, "{name}={value}");
    }
}
