//! Calls to issuers: short, bounded, and never over a network without TLS.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use cara_api::secret::Hidden;
use http::{HeaderMap, header};
use tokio::sync::OnceCell;
use url::Url;

/// Deadline of a call, from connecting to the last byte.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest answer, in bytes.
const BODY_MAX: usize = 512 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none that may be called.
    #[error("{0} is not an https URL")]
    Url(String),
    /// The client cannot be made.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
    /// No answer came.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// Whom was asked.
        url: String,
        /// What went wrong underneath.
        reason: String,
    },
    /// The answer is an error.
    #[error("{url} answered with status {status}")]
    Status {
        /// Who answered.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is too large to be what was asked for.
    #[error("the answer of {0} is longer than 512 KiB")]
    TooLong(String),
    /// The answer is something else.
    #[error("the answer of {url} is not what is expected: {reason}")]
    Content {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// How a client shows the issuer who it is.
pub enum ClientAuth<'a> {
    /// It only names itself.
    None,
    /// By its secret in `Authorization` (RFC 6749 section 2.3.1).
    Basic(&'a str, &'a Hidden),
}

/// The HTTP client, made at the first call: a host without authorities must not keep a gateway
/// from starting that asks nobody.
pub struct Fetcher {
    extra_authorities: Option<String>,
    client: OnceCell<Result<reqwest::Client, String>>,
}

impl Fetcher {
    /// A client that trusts these authorities (PEM) beside those of the system.
    pub fn new(extra_authorities: Option<String>) -> Self {
        Self {
            extra_authorities,
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&reqwest::Client, Error> {
        let made = self.client.get_or_init(|| async {
            let extra = self.extra_authorities.clone();
            // Reads the system's authorities from disk.
            let made = tokio::task::spawn_blocking(move || build(extra.as_deref()));
            made.await.unwrap_or_else(|error| Err(error.to_string()))
        });
        let made = made.await.as_ref();
        made.map_err(|reason| Error::Client(reason.clone()))
    }

    /// Reads a document.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, url: &str, token: Option<&str>) -> Result<Answer, Error> {
        let mut request = self.client().await?.get(safe(url)?);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let request = request.header(header::ACCEPT, "application/json");
        done(url, self.call(url, request).await?)
    }

    /// Sends a form.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
        auth: ClientAuth<'_>,
    ) -> Result<Answer, Error> {
        done(url, self.ask(url, form, auth).await?)
    }

    /// The same, whatever the status of the answer is.
    ///
    /// # Errors
    /// See [`Error`], but for [`Error::Status`].
    pub async fn ask(
        &self,
        url: &str,
        form: &[(&str, &str)],
        auth: ClientAuth<'_>,
    ) -> Result<Answer, Error> {
        let encode = |text: &str| -> String {
            url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
        };
        let pairs: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let mut request = self
            .client()
            .await?
            .post(safe(url)?)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(pairs.join("&"));
        if let ClientAuth::Basic(id, secret) = auth {
            request = request.basic_auth(encode(id), Some(encode(secret.reveal())));
        }
        self.call(url, request).await
    }

    async fn call(&self, url: &str, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
        let unreachable = |error: reqwest::Error| Error::Unreachable {
            url: url.to_owned(),
            reason: chain(&error.without_url()),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(Error::TooLong(url.to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers,
            body: body.into(),
        })
    }
}

/// The answer, if it is not an error.
fn done(url: &str, answer: Answer) -> Result<Answer, Error> {
    if answer.status == http::StatusCode::OK.as_u16() {
        return Ok(answer);
    }
    Err(Error::Status {
        url: url.to_owned(),
        status: answer.status,
    })
}

fn build(extra_authorities: Option<&str>) -> Result<reqwest::Client, String> {
    // Fails only when a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("caravanserai");
    if let Some(pem) = extra_authorities {
        let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        let authorities = authorities.map_err(|e| chain(&e))?;
        if authorities.is_empty() {
            return Err("the file of authorities holds no certificate".into());
        }
        builder = builder.tls_certs_merge(authorities);
    }
    builder.build().map_err(|e| chain(&e))
}

/// Keys and secrets travel over TLS, except within this machine.
fn safe(url: &str) -> Result<Url, Error> {
    let fault = || Error::Url(url.to_owned());
    let parsed = Url::parse(url).map_err(|_| fault())?;
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if is_local(&parsed) => Ok(parsed),
        _ => Err(fault()),
    }
}

/// Whether an issuer may send the gateway and browsers there: only one on this machine names
/// what is on this machine, or goes without TLS. Else any issuer could have the gateway call what
/// listens for its machine alone.
pub fn may_name(issuer: &str, endpoint: &str) -> bool {
    let (Ok(issuer), Ok(endpoint)) = (safe(issuer), safe(endpoint)) else {
        return false;
    };
    is_local(&issuer) || (endpoint.scheme() == "https" && !is_local(&endpoint))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => {
            // The last dot only says that the name is whole.
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_no_file_of_authorities() {
        assert!(build(None).is_ok());
        for pem in ["", "not PEM"] {
            assert!(build(Some(pem)).is_err(), "{pem}");
        }
    }

    #[test]
    fn only_this_machine_is_called_without_tls() {
        for (url, expected) in [
            ("https://issuer.example", true),
            ("http://127.0.0.1:9000/keys", true),
            ("http://[::1]:9000", true),
            ("http://issuer.localhost", true),
            ("http://issuer.example", false),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
            ("file:///etc/passwd", false),
            ("ftp://127.0.0.1", false),
            ("issuer", false),
        ] {
            assert_eq!(safe(url).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn an_issuer_elsewhere_names_nothing_on_this_machine() {
        let (far, near) = ("https://issuer.example", "http://127.0.0.1:9000");
        for (issuer, endpoint, expected) in [
            (far, "https://keys.example/keys", true),
            (far, "http://keys.example/keys", false),
            (far, "http://127.0.0.1:2379/v3", false),
            (far, "https://127.0.0.1/keys", false),
            (far, "https://[::ffff:127.0.0.1]/keys", false),
            (far, "http://localhost./keys", false),
            (near, "http://127.0.0.1:9000/keys", true),
            (near, "https://keys.example/keys", true),
            (near, "http://keys.example/keys", false),
            ("https://sso.localhost", "http://127.0.0.1/keys", true),
            ("http://issuer.example", "https://keys.example", false),
        ] {
            assert_eq!(may_name(issuer, endpoint), expected, "{issuer} {endpoint}");
        }
    }
}
