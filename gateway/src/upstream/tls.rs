//! How the gateway and services that speak TLS know each other, read once for each rule.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cara_api::gateway::{Route, UpstreamTls};
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;

/// An authority that signs nothing: its key was never kept. Verifiers cannot be made without
/// any, not even one that accepts everything.
const NOBODY: &str = include_str!("nobody.pem");
/// A file without certificates.
const NOTHING: &str = "/dev/null";

/// What connections to a service are made with.
pub(super) struct Material {
    /// The name that the service's certificate must have; none: the request's host.
    pub(super) server_name: Option<String>,
    /// Authorities; none: those of the host.
    pub(super) authorities: Option<Arc<CaType>>,
    /// What the gateway shows.
    pub(super) identity: Option<Arc<CertKey>>,
    /// Any certificate is accepted.
    pub(super) is_insecure: bool,
    /// Something cannot be read. No connection is made then: one that is known less well than
    /// asked for is worse than none.
    pub(super) is_broken: bool,
}

impl Material {
    /// Reads what a rule says. What cannot be read is logged, here and once.
    pub(super) fn new(route: &Route, tls: &UpstreamTls) -> Self {
        let nobody = tls.is_insecure.then_some(NOBODY);
        let trusted = tls.ca_pem.as_deref().or(nobody);
        let authorities = trusted.map(authorities).transpose();
        let identity = tls.identity.as_ref();
        let identity = identity
            .map(|(chain, key)| self::certificate(chain, key.reveal()))
            .transpose();
        let fault = authorities.as_ref().err().or(identity.as_ref().err());
        if let Some(fault) = fault {
            tracing::warn!(
                project = route.project,
                ingress = route.ingress,
                fault,
                "cannot connect to a service by TLS"
            );
        }
        let is_broken = fault.is_some();
        Self {
            server_name: tls.server_name.clone(),
            authorities: authorities.unwrap_or_default(),
            identity: identity.unwrap_or_default(),
            is_insecure: tls.is_insecure,
            is_broken,
        }
    }
}

/// What makes connections differ, for hashing.
pub(super) fn identity(tls: &UpstreamTls) -> impl std::hash::Hash + '_ {
    let shown = tls.identity.as_ref();
    (
        tls.ca_pem.as_deref(),
        shown.map(|(chain, key)| (chain.as_str(), key.reveal())),
        tls.is_insecure,
    )
}

fn authorities(pem: &str) -> Result<Arc<CaType>, &'static str> {
    let found = certificates(pem)?;
    let mut store = RootCertStore::empty();
    for der in &found {
        store
            .add(der.clone())
            .map_err(|_| "an authority is no certificate that can sign others")?;
    }
    let wrapped: Option<Vec<WrappedX509>> = found.iter().map(wrap).collect();
    wrapped
        .map(Into::into)
        .ok_or("an authority's certificate cannot be read")
}

fn certificate(chain: &str, key: &str) -> Result<Arc<CertKey>, &'static str> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| "the certificate's key cannot be read")?;
    for der in &chain {
        ParsedCertificate::try_from(der).map_err(|_| "the certificate cannot be read")?;
        wrap(der).ok_or("the certificate cannot be read")?;
    }
    rustls::crypto::ring::default_provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| "the certificate's key is of a kind that is not known")?;
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    let made = catch_unwind(AssertUnwindSafe(|| {
        CertKey::new(chain, key.secret_der().to_vec())
    }));
    made.map(Arc::new)
        .map_err(|_| "the certificate cannot be read")
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err("there is no certificate in the PEM text"),
    }
}

/// Pingora panics on what it cannot read; that must not end the task that follows the rules.
fn wrap(der: &CertificateDer<'_>) -> Option<WrappedX509> {
    let raw = der.to_vec();
    catch_unwind(AssertUnwindSafe(|| WrappedX509::new(raw, parse_x509))).ok()
}

/// The file that pingora is to read the host's authorities from; none: where they are by default.
/// Pingora panics when they are there but cannot be read.
pub(crate) fn roots_file() -> Option<String> {
    let mut store = pingora_core::tls::RootCertStore::empty();
    let loaded = pingora_core::tls::load_platform_certs_incl_env_into_store(&mut store);
    match loaded {
        Ok(()) => None,
        Err(error) => {
            tracing::warn!(
                error = %error,
                "the host's certificate authorities cannot be read: services that speak TLS need a ca"
            );
            Some(NOTHING.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_and_never_panics() {
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, expected) in [
            ("", "there is no certificate in the PEM text"),
            ("nothing", "there is no certificate in the PEM text"),
            (
                nonsense,
                "an authority is no certificate that can sign others",
            ),
        ] {
            assert_eq!(authorities(pem).err(), Some(expected), "{pem}");
        }
        assert!(certificate(nonsense, "").is_err());
        assert!(authorities(NOBODY).is_ok());
    }
}
