//! The signatures of JSON web tokens, checked by ring: what `jsonwebtoken` asks of a provider.
//!
//! Only public keys. HMAC is refused here once more, so that no public key can ever be taken for
//! a shared secret.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature as keys;

/// Has to be called before the first token is checked; later calls do nothing.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Somebody else's provider in this process is as good.
        let _ = PROVIDER.install_default();
    });
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let algorithm = *algorithm;
    let family = algorithm.family();
    if family == AlgorithmFamily::Hmac || key.family() != family {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => PublicKey::Rsa {
            n: without_zeros(n).to_vec(),
            e: without_zeros(e).to_vec(),
        },
        DecodingKeyKind::SecretOrDer(bytes) => PublicKey::Plain(bytes.clone()),
    };
    Ok(Box::new(Verifier { algorithm, key }))
}

/// Big-endian numbers as ring wants them.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

enum PublicKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Plain(Vec<u8>),
}

struct Verifier {
    algorithm: Algorithm,
    key: PublicKey,
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match &self.key {
            PublicKey::Rsa { n, e } => {
                let parameters = rsa(self.algorithm).ok_or_else(signature::Error::new)?;
                keys::RsaPublicKeyComponents { n, e }.verify(parameters, message, tag)
            }
            PublicKey::Plain(bytes) => {
                let algorithm = curve(self.algorithm).ok_or_else(signature::Error::new)?;
                keys::UnparsedPublicKey::new(algorithm, bytes).verify(message, tag)
            }
        };
        checked.map_err(|_| signature::Error::new())
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static keys::RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&keys::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&keys::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&keys::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&keys::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&keys::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&keys::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn curve(algorithm: Algorithm) -> Option<&'static dyn keys::VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&keys::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&keys::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&keys::ED25519),
        _ => None,
    }
}
