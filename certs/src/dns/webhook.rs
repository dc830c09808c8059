//! A service that changes the DNS: `POST {"action", "fqdn", "value"}` as JSON.
//!
//! `action` is `present` or `cleanup`, `fqdn` the record's name with a dot at the end. Any status
//! from 200 to 299 means that the zone's servers answer with the record (or that it is gone); the
//! body of another answer appears in the error.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde_json::json;

use super::{DnsProvider, TxtRecord};
use crate::client::{client, exchange};
use crate::{ChallengeError, Secret};

/// How much of an answer appears in the error, in characters.
const ANSWER_SHOWN: usize = 500;

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://...`; `http` for a service on the same machine.
    pub url: String,
    /// Sent as `Authorization: Bearer ...`.
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
