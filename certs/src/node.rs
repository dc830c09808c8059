//! Identities of nodes: the request that a node makes, the certificate that it gets for it, and
//! what such a certificate says.
//!
//! The private key is made on the node and never leaves it; only its signed request does. A
//! certificate names the node and the admission that it belongs to, in one URI:
//! `spiffe://caravanserai/node/NAME/ADMISSION`. Refuses to know which admissions count.

use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::bundle::Fingerprint;
use crate::ca::{CaError, CertificateAuthority, LONGEST_COMMON_NAME, params};
use crate::{BundleError, Secret};

/// What the names of nodes in certificates begin with.
const PREFIX: &str = "spiffe://caravanserai/node/";

/// Longest request for a certificate, in bytes of PEM.
const REQUEST_MAX: usize = 8 * 1024;

/// A key that was made on this machine, and the request for a certificate for it.
pub struct KeyRequest {
    /// PKCS #8 in PEM. Stays here.
    pub key_pem: Secret<String>,
    /// PKCS #10 in PEM: proves possession of the key, and tells nothing else.
    pub request_pem: String,
}

impl KeyRequest {
    /// Makes a key (ECDSA P-256) and the request for it.
    ///
    /// # Errors
    /// [`CaError::Sign`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(CaError::Sign)?;
        Self::with(&key)
    }

    /// The request for a key that was made before.
    ///
    /// # Errors
    /// [`CaError::UnreadableKey`].
    pub fn for_key(key_pem: &str) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key_pem).map_err(CaError::UnreadableKey)?;
        Self::with(&key)
    }

    fn with(key: &KeyPair) -> Result<Self, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(key).map_err(CaError::Sign)?;
        Ok(Self {
            key_pem: Secret::new(key.serialize_pem()),
            request_pem: request.pem().map_err(CaError::Sign)?,
        })
    }
}

/// A request for a certificate whose signature holds. What it asks for but the key is ignored.
pub struct CheckedRequest {
    request: CertificateSigningRequestParams,
}

impl CheckedRequest {
    /// Reads a request (PKCS #10 in PEM) and checks that the sender has the key.
    ///
    /// # Errors
    /// [`CaError::BadRequest`].
    pub fn from_pem(pem: &str) -> Result<Self, CaError> {
        if pem.len() > REQUEST_MAX {
            return Err(CaError::BadRequest(format!(
                "it is longer than {REQUEST_MAX} bytes"
            )));
        }
        let request = CertificateSigningRequestParams::from_pem(pem)
            .map_err(|error| CaError::BadRequest(error.to_string()))?;
        Ok(Self { request })
    }

    /// SHA-256 of the public key.
    pub fn key_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.request.public_key.der_bytes())
    }
}

/// What a node's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSubject {
    /// The node.
    pub node: String,
    /// The admission that the certificate belongs to.
    pub admission: String,
}

impl NodeSubject {
    fn uri(&self) -> String {
        format!("{PREFIX}{}/{}", self.node, self.admission)
    }

    fn parse(uri: &str) -> Option<Self> {
        let (node, admission) = uri.strip_prefix(PREFIX)?.split_once('/')?;
        if node.is_empty() || admission.is_empty() || admission.contains('/') {
            return None;
        }
        Some(Self {
            node: node.to_owned(),
            admission: admission.to_owned(),
        })
    }
}

/// A certificate that was issued to a node.
#[derive(Debug, Clone)]
pub struct NodeCertificate {
    /// PEM, the leaf alone.
    pub certificate_pem: String,
    /// Its end.
    pub not_after: Timestamp,
}

impl CertificateAuthority {
    /// Issues a certificate by which a node shows who it is, for the key of its request.
    ///
    /// # Errors
    /// [`CaError::Expired`], [`CaError::BadName`].
    pub fn issue_node(
        &self,
        request: &CheckedRequest,
        name: &NodeSubject,
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<NodeCertificate, CaError> {
        if now >= self.not_after() {
            return Err(CaError::Expired(self.not_after()));
        }
        let not_after = self.not_after().min(now + life);
        let mut params = params(now, not_after)?;
        let uri = Ia5String::try_from(name.uri())
            .map_err(|_not_ascii| CaError::BadName(name.node.clone()))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        if name.node.len() <= LONGEST_COMMON_NAME {
            params
                .distinguished_name
                .push(DnType::CommonName, name.node.as_str());
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = CertificateSigningRequestParams {
            params,
            public_key: request.request.public_key.clone(),
        };
        let leaf = self.sign(&signed)?;
        Ok(NodeCertificate {
            certificate_pem: leaf,
            not_after,
        })
    }
}

/// What a certificate says that a client showed: which node it is, and until when. None when it
/// is not the certificate of a node. Whoever calls this has checked who issued it.
pub fn read_node(der: &[u8]) -> Option<(NodeSubject, Timestamp)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|n| match n {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let name = NodeSubject::parse(uris.next()?)?;
    // A second one would be a matter of interpretation.
    if uris.next().is_some() {
        return None;
    }
    let end = crate::bundle::timestamp(certificate.validity().not_after.timestamp());
    Some((name, end))
}

/// When a certificate (PEM) began and ends.
///
/// # Errors
/// It cannot be read.
pub fn validity(certificate_pem: &str) -> Result<(Timestamp, Timestamp), CaError> {
    let der = der_of(certificate_pem)?;
    let (_, certificate) = X509Certificate::from_der(&der)
        .map_err(|error| CaError::UnreadableRoot(error.to_string()))?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| crate::bundle::timestamp(time.timestamp());
    Ok((at(validity.not_before), at(validity.not_after)))
}

/// SHA-256 of the first certificate of a PEM text.
///
/// # Errors
/// There is none.
pub fn fingerprint(certificate_pem: &str) -> Result<Fingerprint, CaError> {
    Ok(Fingerprint::of(&der_of(certificate_pem)?))
}

fn der_of(pem: &str) -> Result<CertificateDer<'static>, CaError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| CaError::UnreadableRoot(error.to_string()))
}

/// Whether a certificate and a key (PEM) belong together.
///
/// # Errors
/// One of them cannot be read, or they do not.
pub fn check_pair(certificate_pem: &str, key_pem: &str) -> Result<(), CaError> {
    let der = der_of(certificate_pem)?;
    let (_, certificate) = X509Certificate::from_der(&der)
        .map_err(|error| CaError::UnreadableRoot(error.to_string()))?;
    let key = KeyPair::from_pem(key_pem).map_err(CaError::UnreadableKey)?;
    if certificate.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
        return Err(CaError::Issued(BundleError::KeyMismatch {
            names: certificate.subject().to_string(),
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> NodeSubject {
        NodeSubject {
            node: "worker-1".to_owned(),
            admission: "0199-a".to_owned(),
        }
    }

    #[test]
    fn a_node_gets_a_certificate_for_its_own_key_that_names_it() {
        let now = Timestamp::now();
        let authority = CertificateAuthority::create(now).expect("an authority");
        let made = KeyRequest::generate().expect("a key");
        let request = CheckedRequest::from_pem(&made.request_pem).expect("sound");
        let life = SignedDuration::from_hours(24);
        let issued = authority
            .issue_node(&request, &name(), life, now)
            .expect("issued");
        check_pair(&issued.certificate_pem, made.key_pem.expose()).expect("a pair");
        let other = KeyRequest::generate().expect("a key");
        assert!(check_pair(&issued.certificate_pem, other.key_pem.expose()).is_err());
        let der = der_of(&issued.certificate_pem).expect("readable");
        let (read, end) = read_node(&der).expect("a node");
        assert_eq!(read, name());
        assert_eq!(end.as_second(), (now + life).as_second());
        let again = KeyRequest::for_key(made.key_pem.expose()).expect("readable");
        let again = CheckedRequest::from_pem(&again.request_pem).expect("sound");
        assert_eq!(again.key_fingerprint(), request.key_fingerprint());
    }

    #[test]
    fn a_request_without_the_key_is_refused() {
        let made = KeyRequest::generate().expect("a key");
        let mut lines: Vec<String> = made.request_pem.lines().map(str::to_owned).collect();
        // The signature is what the request ends with.
        let at = lines.len() - 2;
        lines[at] = lines[at]
            .chars()
            .map(|c| if c == 'A' { 'B' } else { 'A' })
            .collect();
        assert!(CheckedRequest::from_pem(&lines.join("\n")).is_err());
        assert!(CheckedRequest::from_pem("").is_err());
    }

    #[test]
    fn other_certificates_name_no_node() {
        let now = Timestamp::now();
        let authority = CertificateAuthority::create(now).expect("an authority");
        let server = authority
            .issue_server(&["worker-1".to_owned()], now)
            .expect("issued");
        let der = der_of(server.chain_pem()).expect("readable");
        assert_eq!(read_node(&der), None);
        for uri in [
            "spiffe://caravanserai/node/a",
            "spiffe://caravanserai/node//b",
            "spiffe://caravanserai/node/a/",
            "spiffe://caravanserai/node/a/b/c",
            "spiffe://elsewhere/node/a/b",
        ] {
            assert_eq!(NodeSubject::parse(uri), None, "{uri}");
        }
    }
}
