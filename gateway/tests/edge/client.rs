//! Clients: raw sockets, TLS, HTTP/1 by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Leaf};
use crate::support::PATIENCE;

/// A client of TLS that trusts an authority.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    pub fn new(authority: &Authority, alpn: &[&str]) -> Self {
        Self::with(authority, alpn, rustls::DEFAULT_VERSIONS, None)
    }

    pub fn with(
        authority: &Authority,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Leaf>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(leaf) => {
                let (chain, key) = leaf.der();
                config
                    .with_client_auth_cert(chain, key)
                    .expect("an identity")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        self.over(stream, name).await
    }

    pub async fn over(
        &self,
        stream: TcpStream,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connected = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        in_time(connected).await
    }
}

/// Ends with a failure rather than never.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.expect("in time")
}

/// Sends a GET and reads the answer: status and body.
pub async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &str,
) -> std::io::Result<(u16, String)> {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    in_time(answer(stream)).await
}

/// Reads an answer with a length.
pub async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<(u16, String)> {
    let (status, _, body) = whole(stream).await?;
    Ok((status, body))
}

/// The same with its head, in lower case.
pub async fn whole<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<(u16, String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((status.expect("a status"), head, body))
}

/// Waits until the other side has closed: how long that took, and whether it was in order.
pub async fn closed<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Duration> {
    let start = std::time::Instant::now();
    let mut rest = Vec::new();
    in_time(stream.read_to_end(&mut rest)).await?;
    Ok(start.elapsed())
}
