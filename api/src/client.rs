//! Typed client of the HTTP API.
//!
//! Unary calls end within [`CALL_TIMEOUT`]; change streams count as dead when nothing, not even
//! a keepalive, arrives for [`SILENCE_TIMEOUT`]. Nothing but a creation with a key is retried here
//! ([`Client::with_keys`]): the caller knows whether trying again makes sense
//! ([`Error::is_retryable`]).

mod archive;
mod backoff;
mod files;
mod lines;
mod probe;
mod transfer;
mod trust;
mod upgrade;
mod write;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
pub use reqwest::Method;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use backoff::Backoff;
pub use files::Look;
pub use lines::Lines;
pub use probe::{Prober, probe};
pub use transfer::{STANDSTILL, WRITE_LIMIT};
pub use trust::{Credential, Trust, fetch_authority};
use trust::{Pools, wire_base};
pub use upgrade::{Connection, Duplex};
pub use write::Terms;

use crate::{Problem, paths};

/// Deadline of a unary call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A change stream that is silent for longer is dead; the server sends a keepalive or bookmark
/// every 5 s.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest text of an error body that is kept, in characters.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No answer came: refused, timed out, cut.
    #[error("no answer from {url}")]
    Unreachable {
        /// The URL that was called.
        url: String,
        /// What went wrong underneath.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// The answer did not begin in time.
    #[error("no answer from {url} within 30 s")]
    TimedOut {
        /// The URL that was called.
        url: String,
    },
    /// Something large stood still on its way.
    #[error("nothing moved between here and {url} for {} s", .limit.as_secs())]
    Stalled {
        /// The URL that was called.
        url: String,
        /// How long.
        limit: Duration,
    },
    /// The server answered with a problem document.
    #[error("{}", .0.summary())]
    Problem(Box<Problem>),
    /// The server answered with an error that is not a problem document.
    #[error("server returned {status}: {body}")]
    Unexpected {
        /// HTTP status.
        status: u16,
        /// The body, at most 65,536 characters of it.
        body: String,
    },
    /// The answer could not be read.
    #[error("cannot read the answer of {url}: {reason}")]
    Unreadable {
        /// The URL that was called.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl Error {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Unexpected { status, .. } => Some(*status),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Stalled { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// True when the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.status()
            .is_none_or(|status| status >= 500 || status == 429)
    }
}

/// The answer of a write, with the warnings that came with it.
#[derive(Debug, Clone)]
pub struct Written<T> {
    /// The object as it was stored.
    pub object: T,
    /// Texts of the `Warning` headers.
    pub warnings: Vec<String>,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The object is gone.
    Done,
    /// The object is on its way out.
    Accepted,
}

/// Bytes as they arrive; ends after an error.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// A client of one server. Cheap to clone; clones share their connections, and whom they trust.
#[derive(Debug, Clone)]
pub struct Client {
    /// As people know it.
    base: Arc<str>,
    /// As requests name it.
    wire: Arc<str>,
    // Held for a copy.
    pools: Arc<RwLock<Pools>>,
    /// Counts how often credentials were replaced.
    replaced: watch::Sender<u64>,
    /// Whether creations carry keys.
    has_keys: bool,
}

impl Client {
    /// A client of the server at `base`, such as `http://localhost:8080`.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(base: &str) -> Result<Self, Error> {
        Self::with_trust(base, &Trust::default())
    }

    /// A client that trusts whom it is told to, and shows who it is.
    ///
    /// # Errors
    /// The TLS library cannot be set up, or what is given for it cannot be read.
    pub fn with_trust(base: &str, trust: &Trust) -> Result<Self, Error> {
        let base = base.trim_end_matches('/');
        Ok(Self {
            wire: wire_base(base, trust).into(),
            pools: Arc::new(RwLock::new(Pools::new(base, trust)?)),
            base: base.into(),
            replaced: watch::channel(0).0,
            has_keys: false,
        })
    }

    /// Makes new connections by another credential, also in clones. Those that are open go on by
    /// the old one. The authority stays.
    ///
    /// # Errors
    /// What is given cannot be read; then everything stays as it was.
    pub fn replace_trust(&self, trust: &Trust) -> Result<(), Error> {
        let pools = Pools::new(&self.base, trust)?;
        *self.pools.write().unwrap_or_else(PoisonError::into_inner) = pools;
        self.replaced.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Tells when the credential was replaced: long streams are better opened anew then.
    pub fn replacements(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    fn pools(&self) -> Pools {
        let pools = self.pools.read();
        pools.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.wire)
    }

    /// A URL as people know it.
    fn shown(&self, url: &str) -> String {
        match url.strip_prefix(&*self.wire) {
            Some(path) => format!("{}{path}", self.base),
            None => url.to_owned(),
        }
    }

    /// The server's URL without trailing slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.pools()
            .calls
            .request(method, self.url(path))
            .timeout(CALL_TIMEOUT)
    }

    /// Reads an object, or anything else that is JSON.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.query(path, &[]).await
    }

    /// Reads an object, a list, or anything else that is JSON, by a query such as `phase=Running`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn query<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        self.read(self.send(self.call(Method::GET, path).query(query)).await?)
            .await
    }

    /// Opens a stream of JSON lines that the server keeps alive.
    ///
    /// # Errors
    /// See [`Error`]; the lines themselves fail in the same way.
    pub async fn follow(&self, path: &str, query: &[(&str, &str)]) -> Result<Lines, Error> {
        let request = self.pools().calls.get(self.url(path)).query(query);
        let response = self.send(request).await?;
        let url = self.shown(response.url().as_str());
        Ok(Lines::new(response, url))
    }

    /// Opens a stream of bytes that may be silent for any time once it began, such as a log.
    ///
    /// # Errors
    /// See [`Error`]; the stream ends after an error.
    pub async fn stream(&self, path: &str, query: &[(&str, &str)]) -> Result<ByteStream, Error> {
        let url = format!("{}{path}", self.base);
        let request = self.pools().streams.get(self.url(path)).query(query);
        let answer = tokio::time::timeout(CALL_TIMEOUT, self.send(request)).await;
        let response = answer.map_err(|_| Error::TimedOut { url: url.clone() })??;
        let cut = move |source: reqwest::Error| Error::Unreachable {
            url: url.clone(),
            source: Arc::new(source.without_url()),
        };
        Ok(response.bytes_stream().map_err(cut).boxed())
    }

    /// The same client for another server; connections are pooled in common.
    #[must_use]
    pub fn with_base(&self, base: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').into(),
            wire: base.trim_end_matches('/').into(),
            ..self.clone()
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|source| Error::Unreachable {
            url: self.shown(source.url().map_or("", reqwest::Url::as_str)),
            source: Arc::new(source.without_url()),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(failed(response).await)
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let url = self.shown(response.url().as_str());
        let unreadable = |reason: String| Error::Unreadable {
            url: url.clone(),
            reason,
        };
        let body = response
            .bytes()
            .await
            .map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))
    }

    /// The server's version.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn version(&self) -> Result<serde_json::Value, Error> {
        self.get(paths::VERSION).await
    }
}

/// Chooses the provider of TLS for every HTTP client of this process; may be called again.
pub fn install_tls() {
    // Fails only when a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What an answer that is no success says.
async fn failed(response: Response) -> Error {
    let status = response.status().as_u16();
    let is_problem = response.headers().get("content-type").is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(crate::problem::CONTENT_TYPE.as_bytes())
    });
    let text = response.text().await.unwrap_or_default();
    if is_problem && let Ok(problem) = serde_json::from_str::<Problem>(&text) {
        return Error::Problem(Box::new(problem));
    }
    let body: String = text.trim().chars().take(ERROR_BODY_MAX).collect();
    Error::Unexpected { status, body }
}

fn warnings(response: &Response) -> Vec<String> {
    let headers = response.headers().get_all("warning").iter();
    let texts = headers.filter_map(|value| value.to_str().ok());
    texts
        .map(|text| unquote(text.trim_start_matches("299 - ")))
        .collect()
}

fn unquote(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    inner.replace("\\\"", "\"")
}
