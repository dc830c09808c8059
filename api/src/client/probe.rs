//! Fetching a URL once, to see whether it answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Error;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The status that a URL answers with. Names under `localhost` lead to this machine, as
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
