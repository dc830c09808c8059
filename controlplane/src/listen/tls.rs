//! TLS of the API: the certificates that the server shows, renewed while it runs, and the
//! certificates of nodes that it asks for.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cara_api::join::SERVER_NAME;
use cara_api::{NodeName, Timestamp};
use cara_certs::ca::{CaError, CertificateAuthority};
use cara_certs::{Bundle, BundleError, node};
use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::config::ApiTls;
use crate::plan::admission::Presented;

/// Longest time between two looks at the clock and at the files.
const CHECK: Duration = Duration::from_secs(20);
/// Shortest time between two looks.
const CHECK_LEAST: Duration = Duration::from_millis(200);

/// Why the API cannot be served by TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate and key cannot be used.
    #[error("the certificate of the API cannot be used")]
    Bundle(#[from] BundleError),
    /// Its own certificate cannot be made.
    #[error("cannot make a certificate for the API")]
    Ca(#[from] CaError),
    /// The TLS library refuses.
    #[error("cannot set up TLS for the API")]
    Tls(#[from] rustls::Error),
    /// The authority cannot be used to check nodes.
    #[error("cannot check certificates of nodes")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What the server shows.
#[derive(Debug)]
struct Shown {
    /// Its own certificate, by which nodes know it.
    own: Arc<CertifiedKey>,
    /// That of the operator, for everybody else.
    given: Option<Arc<CertifiedKey>>,
}

/// Chooses the certificate for each handshake.
#[derive(Debug)]
struct Resolver {
    // Held for a copy.
    shown: RwLock<Shown>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let given = shown
            .given
            .as_ref()
            .filter(|_| hello.server_name() != Some(SERVER_NAME));
        Some(Arc::clone(given.unwrap_or(&shown.own)))
    }
}

/// TLS of the API.
pub(crate) struct ServerTls {
    source: Source,
    resolver: Arc<Resolver>,
    config: Arc<ServerConfig>,
}

/// Where certificates come from.
struct Source {
    authority: Arc<CertificateAuthority>,
    names: Vec<String>,
    life: SignedDuration,
    files: Option<(PathBuf, PathBuf)>,
}

/// A certificate of the server's own, and when it is renewed.
struct Own {
    key: Arc<CertifiedKey>,
    renew_at: Timestamp,
}

impl Source {
    fn own(&self, now: Timestamp) -> Result<Own, CaError> {
        let bundle = self
            .authority
            .issue_server_for(&self.names, self.life, now)?;
        let life = bundle.not_after().duration_since(now);
        Ok(Own {
            key: Arc::clone(bundle.certified_key()),
            renew_at: now + life * 2 / 3,
        })
    }

    /// Reads certificate and key of the operator. Blocks.
    fn given(&self) -> Result<Option<Bundle>, TlsError> {
        let Some((certificate, key)) = &self.files else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| TlsError::File {
                path: path.clone(),
                source,
            })
        };
        Ok(Some(Bundle::from_pem(&read(certificate)?, &read(key)?)?))
    }
}

impl ServerTls {
    /// Sets TLS up; none where the API is served plainly. Blocks for files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub(crate) fn new(
        tls: &ApiTls,
        names: Vec<String>,
        life: SignedDuration,
        authority: &Arc<CertificateAuthority>,
    ) -> Result<Option<Self>, TlsError> {
        let files = match tls {
            ApiTls::Off => return Ok(None),
            ApiTls::Internal => None,
            ApiTls::Files { certificate, key } => Some((certificate.clone(), key.clone())),
        };
        let source = Source {
            authority: Arc::clone(authority),
            names,
            life,
            files,
        };
        let own = source.own(Timestamp::now())?.key;
        let given = source.given()?.map(|b| Arc::clone(b.certified_key()));
        let resolver = Arc::new(Resolver {
            shown: RwLock::new(Shown { own, given }),
        });
        let config = config(authority, Arc::clone(&resolver))?;
        Ok(Some(Self {
            source,
            resolver,
            config: Arc::new(config),
        }))
    }

    /// How to speak to clients.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Renews the server's own certificate in time, and takes up that of the operator when its
    /// files change, until cancelled.
    pub(crate) async fn keep(self: Arc<Self>, token: CancellationToken) {
        let mut renew_at = None;
        loop {
            let now = Timestamp::now();
            if renew_at.is_none_or(|at| at <= now) {
                match self.source.own(now) {
                    Ok(own) => {
                        tracing::debug!(next = %own.renew_at, "made a certificate for the API");
                        renew_at = Some(own.renew_at);
                        self.replace(|shown| shown.own = own.key);
                    }
                    Err(error) => {
                        tracing::error!(error = %error, "cannot renew the certificate of the API")
                    }
                }
            }
            self.read_again().await;
            let left = renew_at.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
            let pause = left.unwrap_or(CHECK).clamp(CHECK_LEAST, CHECK);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = token.cancelled() => return,
            }
        }
    }

    /// What cannot be read leaves the old one in place.
    async fn read_again(self: &Arc<Self>) {
        if self.source.files.is_none() {
            return;
        }
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || this.source.given()).await;
        match read {
            Ok(Ok(Some(bundle))) => {
                let key = Arc::clone(bundle.certified_key());
                let is_new = {
                    let shown = self.resolver.shown.read();
                    let shown = shown.unwrap_or_else(PoisonError::into_inner);
                    shown.given.as_ref().is_none_or(|old| old.cert != key.cert)
                };
                if is_new {
                    tracing::info!(until = %bundle.not_after(), "the API shows a new certificate");
                    self.replace(|shown| shown.given = Some(key));
                }
            }
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "cannot read the certificate of the API again: the old one stays");
            }
        }
    }

    fn replace(&self, change: impl FnOnce(&mut Shown)) {
        let shown = self.resolver.shown.write();
        change(&mut shown.unwrap_or_else(PoisonError::into_inner));
    }
}

fn config(
    authority: &CertificateAuthority,
    resolver: Arc<Resolver>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes())
        .map_err(|error| CaError::UnreadableRoot(error.to_string()))?;
    roots.add(root)?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a certificate says that was checked in a handshake; none when it is no node's.
pub(super) fn presented(certificate: &CertificateDer<'_>) -> Option<Presented> {
    let (subject, not_after) = node::read_node(certificate)?;
    Some(Presented {
        node: NodeName::parse(&subject.node).ok()?,
        admission: subject.admission.parse().ok()?,
        not_after,
    })
}
