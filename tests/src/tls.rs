//! TLS clients that trust a server's internal authority, and tell what they saw of a handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use cara_api::certificate::AuthorityInfo;
use cara_api::paths;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Server, eventually};

/// A client that keeps its sessions, as browsers do. Clones share them.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

impl TlsClient {
    /// One for the HTTPS listener of a server; waits until there is an authority to trust.
    ///
    /// # Panics
    /// When the server has no such listener.
    pub async fn of(server: &Server) -> Self {
        let ca: AuthorityInfo = eventually("there is an authority", async || {
            server.client().get(paths::CA).await.ok()
        })
        .await;
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.certificate.as_bytes());
        roots.add(ca.expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            config: Arc::new(config),
            address: server.https(),
        }
    }

    /// A connection to a host, on which a protocol is spoken.
    ///
    /// # Errors
    /// It is refused, or the handshake fails.
    pub async fn connect(
        &self,
        host: &str,
        protocol: &'static str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.into()];
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name(host), stream).await
    }

    /// The first bytes of a client that wants to speak to a host.
    ///
    /// # Panics
    /// Never for the name of a host.
    pub fn hello(&self, host: &str) -> Vec<u8> {
        let config = Arc::clone(&self.config);
        let mut connection = ClientConnection::new(config, name(host)).expect("a configuration");
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).expect("memory");
        bytes
    }

    /// A plain connection to the listener.
    ///
    /// # Errors
    /// It is refused.
    pub async fn connect_plain(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.address).await
    }
}

fn name(host: &str) -> ServerName<'static> {
    let name = ServerName::try_from(host.to_owned());
    name.expect("the name of a host")
}

/// True when a connection goes on with a session of an earlier one.
pub fn is_resumed(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}
