//! A service that changes the DNS: `POST {"action", "fqdn", "value"}` as JSON.
//!
//! `action` is `present` or `cleanup`, `fqdn` the record's name with a dot at the end. Any status
//! from 200 to 299 means that the zone's servers answer with the record (or that it is gone); the
//! body of another answer appears in the error.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde_json::json;

use super::{DnsProvider, TxtRecord};
use crate::client::{client, exchange, shown};
use crate::{ChallengeError, Secret};

/// How much of an answer appears in the error, in characters.
const ANSWER_SHOWN: usize = 500;

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://...`; `http` for a service on the same machine.
    pub url: String,
    /// Sent as `Authorization: Bearer ...`; over `https`, or to this machine alone.
    pub bearer_token: Option<Secret<String>>,
    /// Roots to trust besides the system's, PEM.
    pub extra_roots_pem: Option<String>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// The provider.
#[derive(Debug)]
pub struct Webhook {
    client: reqwest::Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Webhook {
    /// Checks the settings; asks nobody.
    ///
    /// # Errors
    ///
    /// [`ChallengeError::Misconfigured`] names the setting that cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, ChallengeError> {
        let bad = |what: String| ChallengeError::Misconfigured(format!("DNS webhook: {what}"));
        let url = Url::parse(&settings.url)
            .map_err(|error| bad(format!("the URL cannot be read: {error}")))?;
        let is_private = url.scheme() == "https" || is_loopback(&url);
        if settings.bearer_token.is_some() && !is_private {
            let shown = shown(&url);
            return Err(bad(format!(
                "{shown} would get the token over the network without TLS: use https"
            )));
        }
        let client = client(settings.extra_roots_pem.as_deref(), settings.timeout)
            .map_err(|error| bad(error.to_string()))?;
        let authorization = settings.bearer_token.as_ref().map(bearer).transpose();
        let authorization = authorization
            .map_err(|_| bad("the token has characters that headers refuse".into()))?;
        Ok(Self {
            client,
            url,
            authorization,
        })
    }

    async fn call(&self, action: &str, record: &TxtRecord) -> Result<(), ChallengeError> {
        let body = json!({
            "action": action,
            "fqdn": format!("{}.", record.name),
            "value": record.value,
        });
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.body_mut() = Some(body.to_string().into());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let context = format!("DNS webhook: {action} {}", record.name);
        let answer = exchange(&self.client, request)
            .await
            .map_err(|error| ChallengeError::caused(context.clone(), error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(answer.body());
        let shown: String = text.trim().chars().take(ANSWER_SHOWN).collect();
        Err(ChallengeError::failed(format!(
            "{context}: status {}: {shown}",
            status.as_u16()
        )))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn bearer(token: &Secret<String>) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[async_trait]
impl DnsProvider for Webhook {
    async fn present(&self, record: &TxtRecord) -> Result<(), ChallengeError> {
        self.call("present", record).await
    }

    async fn cleanup(&self, record: &TxtRecord) -> Result<(), ChallengeError> {
        self.call("cleanup", record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_travels_over_a_network_without_tls() {
        for (url, with_token, without) in [
            ("https://dns.example/change", true, true),
            ("http://127.0.0.1:8080/change", true, true),
            ("http://[::1]:8080/change", true, true),
            ("http://localhost:8080/change", true, true),
            ("http://dns.example/change", false, true),
            ("http://10.0.0.1/change", false, true),
            ("http://localhost.example/change", false, true),
        ] {
            let usable = |token: Option<&str>| {
                let made = Webhook::new(&Settings {
                    url: url.to_owned(),
                    bearer_token: token.map(|token| Secret::new(token.to_owned())),
                    extra_roots_pem: None,
                    timeout: Duration::from_secs(5),
                });
                match made {
                    Ok(_) => true,
                    Err(error) => {
                        assert!(!error.is_retryable(), "{error}");
                        assert!(!error.to_string().contains("hush"), "{error}");
                        false
                    }
                }
            };
            let found = (usable(Some("hush")), usable(None));
            assert_eq!(found, (with_token, without), "{url}");
        }
    }
}
