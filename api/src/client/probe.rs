//! Fetching a URL once, to see whether it answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Error;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Upper bound of a health check, whatever the caller asks for.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// The status that a URL answers with. Certificates are not checked: nothing is sent, and nothing but
/// the status is looked at, which an authority that only the server knows must not prevent. Names under `localhost` lead to this machine, as
/// RFC 6761 section 6.3 asks for and as browsers do, whatever the system's resolver says.
///
/// # Errors
/// No answer came within 5 s.
pub async fn probe(url: &str) -> Result<u16, Error> {
    super::install_tls();
    let failed = |source| Error::Unreachable {
        url: url.to_owned(),
        source: Arc::new(source),
    };
    let mut builder = reqwest::Client::builder()
        .timeout(PROBE_TIMEOUT)
        .tls_danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none());
    if let Ok(parsed) = reqwest::Url::parse(url)
        && let Some(host) = parsed
            .host_str()
            .filter(|host| host.ends_with(".localhost"))
    {
        let port = parsed.port_or_known_default().unwrap_or(80);
        builder = builder.resolve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let client = builder.build().map_err(failed)?;
    let response = client
        .get(url)
        .send()
        .await
        .map_err(|e| failed(e.without_url()))?;
    Ok(response.status().as_u16())
}

/// Asks addresses over HTTP, again and again, for health checks.
#[derive(Debug, Clone)]
pub struct Prober {
    http: reqwest::Client,
}

impl Prober {
    /// Sets up the client.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new() -> Result<Self, Error> {
        super::install_tls();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(CHECK_TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let http = client.map_err(|source| Error::Unreachable {
            url: "http client".to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Self { http })
    }

    /// The status that `GET path` is answered with.
    ///
    /// # Errors
    /// In words: nothing answers, or not within 60 s; callers have their own, shorter limit.
    pub async fn status(&self, address: SocketAddr, path: &str) -> Result<u16, String> {
        let url = format!("http://{address}{path}");
        let answer = self.http.get(url).send().await;
        answer
            .map(|response| response.status().as_u16())
            .map_err(|error| {
                let mut cause: &dyn std::error::Error = &error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                format!("GET {path}: {cause}")
            })
    }
}
