//! Connections to the server, with and without TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Failure;

/// Bytes in both directions.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// A connection.
pub(crate) type Stream = Box<dyn Bytes>;

/// What HTTP/1.1 is spoken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Tls,
}

/// Where the server is, and what it proves itself with.
pub(crate) struct Target {
    plain: SocketAddr,
    tls: SocketAddr,
    pub(crate) host: String,
    name: ServerName<'static>,
    h1: TlsConnector,
    h2: TlsConnector,
}

impl Target {
    pub(crate) fn new(
        plain: SocketAddr,
        tls: SocketAddr,
        host: &str,
        certificate: &str,
    ) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let speaking = |protocol: &str| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.into()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            plain,
            tls,
            host: host.to_owned(),
            name: ServerName::try_from(host.to_owned())?,
            h1: speaking("http/1.1"),
            h2: speaking("h2"),
        })
    }

    /// For HTTP/1.1.
    pub(crate) async fn connect(&self, over: Over) -> Result<Stream, Failure> {
        match over {
            Over::Tcp => self.connect_tcp().await,
            Over::Tls => self.connect_tls(&self.h1).await,
        }
    }

    async fn connect_tcp(&self) -> Result<Stream, Failure> {
        let stream = TcpStream::connect(self.plain).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// For HTTP/2, over TLS.
    pub(crate) async fn connect_h2(&self) -> Result<Stream, Failure> {
        self.connect_tls(&self.h2).await
    }

    async fn connect_tls(&self, connector: &TlsConnector) -> Result<Stream, Failure> {
        let stream = TcpStream::connect(self.tls).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(
            connector.connect(self.name.clone(), stream).await?,
        ))
    }
}
