//! Whom a client trusts, and how it shows who it is: everything about its connections that is not
//! the same for all.
//!
//! A client that trusts the authority of one server looks for [`SERVER_NAME`] in the server's
//! certificate, whatever the address: what the server is reached by may change, who it is may not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Url};

use super::{CALL_TIMEOUT, CONNECT_TIMEOUT, Error, SILENCE_TIMEOUT, install_tls};
use crate::join::{INSIDE_HEADER, SERVER_NAME, ServerAuthority};
use crate::paths;
use crate::secret::Hidden;

/// Longest certificate of an authority that is taken, in bytes.
const AUTHORITY_MAX: usize = 64 * 1024;

/// Whom to trust, and how to show who one is. The default trusts the system's authorities and
/// shows nothing.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The only authority (PEM) that the server's certificate may come from.
    pub authority: Option<String>,
    /// What to show to the server.
    pub credential: Credential,
}

/// How a client shows who it is.
#[derive(Debug, Clone, Default)]
pub enum Credential {
    /// Not at all.
    #[default]
    None,
    /// By a certificate and its key, PEM.
    Certificate {
        /// The certificate.
        certificate: String,
        /// PKCS #8.
        key: Hidden,
    },
    /// By a token, as people do.
    Bearer(Hidden),
    /// By what only the process of the server itself knows.
    Inside(Hidden),
}

/// The connections of a client, as long as its trust stays the same.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    /// For calls, and streams that the server keeps alive.
    pub(super) calls: reqwest::Client,
    /// For streams that may be silent.
    pub(super) streams: reqwest::Client,
}

impl Pools {
    pub(super) fn new(base: &str, trust: &Trust) -> Result<Self, Error> {
        install_tls();
        Ok(Self {
            calls: client(base, trust, |builder| builder.read_timeout(SILENCE_TIMEOUT))?,
            streams: client(base, trust, |builder| builder)?,
        })
    }
}

fn client(
    base: &str,
    trust: &Trust,
    adjust: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<reqwest::Client, Error> {
    let built = adjust(builder(base, trust)?).build();
    if built.is_err() && trust.authority.is_none() {
        // A system without any authorities, such as a small container: without TLS it needs none.
        let nobody = builder(base, trust)?.tls_certs_only(Vec::new());
        return adjust(nobody).build().map_err(|e| unreachable(base, e));
    }
    built.map_err(|e| unreachable(base, e))
}

/// What requests are made to: `base`, or the server's own name where its authority is trusted.
pub(super) fn wire_base(base: &str, trust: &Trust) -> String {
    let base = base.trim_end_matches('/');
    match (trust.authority.is_some(), Url::parse(base)) {
        (true, Ok(url)) if url.scheme() == "https" => named(&url),
        (true | false, Ok(_) | Err(_)) => base.to_owned(),
    }
}

fn named(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(443);
    let path = url.path().trim_end_matches('/');
    format!("https://{SERVER_NAME}:{port}{path}")
}

fn builder(base: &str, trust: &Trust) -> Result<ClientBuilder, Error> {
    let unreachable = |source: reqwest::Error| unreachable(base, source);
    let mut builder = common();
    if base.starts_with("http://") {
        // A proxy would read what is shown to the server.
        builder = builder.no_proxy();
    }
    if let Some(authority) = &trust.authority {
        let roots = Certificate::from_pem_bundle(authority.as_bytes()).map_err(unreachable)?;
        builder = builder
            .tls_certs_only(roots)
            .no_proxy()
            .dns_resolver(Fixed::of(base));
    }
    match &trust.credential {
        Credential::None => {}
        Credential::Certificate { certificate, key } => {
            let pem = format!("{certificate}\n{}", key.reveal());
            let identity = Identity::from_pem(pem.as_bytes()).map_err(unreachable)?;
            builder = builder.identity(identity);
        }
        Credential::Bearer(token) => {
            if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.reveal())) {
                value.set_sensitive(true);
                let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
                builder = builder.default_headers(headers);
            }
        }
        Credential::Inside(secret) => {
            if let Ok(mut value) = HeaderValue::from_str(secret.reveal()) {
                value.set_sensitive(true);
                let name = HeaderName::from_static(INSIDE_HEADER);
                builder = builder
                    .no_proxy()
                    .default_headers(HeaderMap::from_iter([(name, value)]));
            }
        }
    }
    Ok(builder)
}

fn common() -> ClientBuilder {
    reqwest::Client::builder()
        // Streams are upgraded, which HTTP/2 does otherwise.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_nodelay(true)
        .user_agent(concat!("caravanserai/", env!("CARGO_PKG_VERSION")))
}

fn unreachable(base: &str, source: reqwest::Error) -> Error {
    Error::Unreachable {
        url: base.to_owned(),
        source: Arc::new(source.without_url()),
    }
}

/// The server's authority, as anybody at that address tells it: nothing is sent that must not be
/// seen, and the caller compares its SHA-256 with what it knows before it trusts it.
///
/// # Errors
/// See [`Error`]; [`Error::Unreadable`] when the answer is something else.
pub async fn fetch_authority(base: &str) -> Result<ServerAuthority, Error> {
    install_tls();
    let trust = Trust {
        authority: Some(String::new()),
        credential: Credential::None,
    };
    let failed = |source: reqwest::Error| unreachable(base, source);
    let client = common()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Fixed::of(base))
        .timeout(CALL_TIMEOUT)
        .build()
        .map_err(failed)?;
    let url = format!("{}{}", wire_base(base, &trust), paths::JOIN_AUTHORITY);
    let mut response = client.get(url).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&bytes);
        if body.len() > AUTHORITY_MAX {
            break;
        }
    }
    if status != 200 {
        let text = String::from_utf8_lossy(&body);
        let body = text.trim().chars().take(200).collect();
        return Err(Error::Unexpected { status, body });
    }
    serde_json::from_slice(&body).map_err(|error| Error::Unreadable {
        url: format!("{base}{}", paths::JOIN_AUTHORITY),
        reason: error.to_string(),
    })
}

/// Leads every name to the host of one URL.
struct Fixed {
    host: String,
}

impl Fixed {
    fn of(base: &str) -> Self {
        let url = Url::parse(base).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self {
            host: host.to_owned(),
        }
    }
}

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // The port of the URL takes the place of 0.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_authority_is_trusted_is_called_by_its_own_name() {
        let pinned = Trust {
            authority: Some("PEM".to_owned()),
            credential: Credential::None,
        };
        for (base, expected) in [
            (
                "https://10.0.0.1:8080",
                "https://server.caravanserai.internal:8080",
            ),
            (
                "https://[fd00::1]:8080/",
                "https://server.caravanserai.internal:8080",
            ),
            (
                "https://cara.example.com",
                "https://server.caravanserai.internal:443",
            ),
            ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        ] {
            assert_eq!(wire_base(base, &pinned), expected);
        }
        let open = Trust::default();
        assert_eq!(wire_base("https://a.example/", &open), "https://a.example");
    }
}
