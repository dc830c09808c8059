//! TLS as the gateway speaks it: one long-lived configuration for each demand on clients, with the
//! certificate looked up at every handshake.
//!
//! Certificates change without touching a configuration, so sessions resume across such changes:
//! tickets are encrypted under keys that rotate and hold the whole session, on any thread and
//! however many connections there were in between.

use std::fmt;
use std::sync::Arc;

use cara_api::gateway::ClientAuthorities;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{
    ClientHello, NoClientAuth, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier, danger::ClientCertVerifier,
};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::TlsVersion;

/// Sessions kept for clients of TLS 1.2 that take no tickets.
const SESSIONS: usize = 4_096;
/// What is offered inside, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

static FROM_1_2: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];
static FROM_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Why authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The PEM holds no certificate, or one that cannot be read.
    #[error("the authorities of clients cannot be read: {0}")]
    Unreadable(String),
    /// rustls refuses them.
    #[error("the authorities of clients cannot be used: {0}")]
    Unusable(String),
}

/// Makes configurations.
pub(crate) struct Configs {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    resolver: Arc<dyn ResolvesServerCert>,
    open: Arc<ServerConfig>,
}

impl Configs {
    /// Configurations that answer with what `resolver` finds at each handshake.
    pub(crate) fn new(lowest: TlsVersion, resolver: Arc<dyn ResolvesServerCert>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match lowest {
            TlsVersion::V1_2 => &FROM_1_2,
            TlsVersion::V1_3 => &FROM_1_3,
        };
        let open = build(&provider, versions, &resolver, Arc::new(NoClientAuth));
        Self {
            provider,
            versions,
            resolver,
            open,
        }
    }

    /// For hosts that ask nothing of clients.
    pub(crate) fn open(&self) -> &Arc<ServerConfig> {
        &self.open
    }

    /// For hosts whose clients are asked for a certificate of one of these authorities. Its tickets are
    /// its own: a session that was begun elsewhere is not resumed here.
    ///
    /// # Errors
    /// The authorities cannot be read or used.
    pub(crate) fn with_client_authorities(
        &self,
        authorities: &ClientAuthorities,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities.ca_pem.as_bytes()) {
            let unreadable =
                |error: &dyn fmt::Display| AuthorityError::Unreadable(error.to_string());
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            roots.add(certificate).map_err(|error| unreadable(&error))?;
        }
        let provider = Arc::clone(&self.provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = if authorities.is_optional {
            verifier.allow_unauthenticated()
        } else {
            verifier
        };
        let verifier = verifier
            .build()
            .map_err(|error| AuthorityError::Unusable(error.to_string()))?;
        Ok(build(
            &self.provider,
            self.versions,
            &self.resolver,
            verifier,
        ))
    }
}

fn build(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    resolver: &Arc<dyn ResolvesServerCert>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites for both versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(resolver));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    match tickets() {
        Ok(ticketer) => config.ticketer = ticketer,
        // Clients do full handshakes then.
        Err(error) => tracing::warn!(error = %error, "no TLS tickets: no randomness to be had"),
    }
    Arc::new(config)
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::ring::Ticketer::new()
}

/// The server name that a client asks for, in the form in which hosts are kept.
pub(crate) fn server_name(hello: &ClientHello<'_>) -> Option<Box<str>> {
    let name = cara_routes::host::normalize(hello.server_name()?)?;
    Some(name.into())
}
