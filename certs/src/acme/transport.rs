//! HTTP below the ACME client: our roots, our limits, and the memory of `Retry-After`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::{AcmeError, Server};
use crate::client::{HttpError, client, exchange};

/// When the last refusal of a server allows the next attempt: the ACME library drops the header of
/// errors. Shared by all that an account does; rate limits are the account's anyway.
#[derive(Debug, Default)]
pub(super) struct RetryAfter(Mutex<Option<Timestamp>>);

impl RetryAfter {
    /// How long to wait from now, if the server said so; it is said once.
    pub(super) fn take(&self) -> Option<Duration> {
        let at = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Duration::try_from(at.duration_since(Timestamp::now())).ok()
    }

    fn note<B>(&self, response: &http::Response<B>) {
        let header = response.headers().get(RETRY_AFTER);
        let text = header.and_then(|value| value.to_str().ok());
        let at = text.and_then(|text| parse(text, Timestamp::now()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return now.checked_add(Duration::from_secs(seconds.into())).ok();
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text.trim());
    date.ok()
}

/// Sends what the ACME library wants sent.
pub(super) struct Transport {
    client: reqwest::Client,
    retry_after: Arc<RetryAfter>,
}

impl Transport {
    pub(super) fn new(server: &Server, retry_after: Arc<RetryAfter>) -> Result<Self, AcmeError> {
        let client = client(server.extra_roots_pem.as_deref(), server.request_timeout)
            .map_err(|error| AcmeError::Account(crate::acme::error::chain(&error)))?;
        Ok(Self {
            client,
            retry_after,
        })
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.client.clone();
        let retry_after = Arc::clone(&self.retry_after);
        Box::pin(async move {
            let other = |error: HttpError| Error::Other(Box::new(error));
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let request = http::Request::from_parts(parts, body.to_bytes());
            let request = reqwest::Request::try_from(request)
                .map_err(|error| Error::Other(Box::new(error)))?;
            let url = crate::client::shown(request.url());
            let response = exchange(&client, request).await.map_err(other)?;
            if response.status().is_success() {
                return Ok(bytes_response(response));
            }
            retry_after.note(&response);
            if is_json(&response) {
                return Ok(bytes_response(response));
            }
            let status = response.status().as_u16();
            Err(other(HttpError::Status { url, status }))
        })
    }
}

fn is_json(response: &http::Response<Bytes>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.contains("json"))
}

fn bytes_response(response: http::Response<Bytes>) -> BytesResponse {
    let (parts, body) = response.into_parts();
    BytesResponse {
        parts,
        body: Box::new(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|time| time.parse::<Timestamp>().expect("a time"));
            assert_eq!(parse(text, now), expected, "{text:?}");
        };
        check("120", Some("2026-01-01T00:02:00Z"));
        check(" 0 ", Some("2026-01-01T00:00:00Z"));
        check(
            "Thu, 01 Jan 2026 01:00:00 GMT",
            Some("2026-01-01T01:00:00Z"),
        );
        check("soon", None);
        check("-5", None);
        check("", None);
        check("99999999999999999999", None);
    }
}
