//! Writes: on terms (only tried, only as long as nobody else wrote, or against objections), and
//! sent again when their connection was cut.
//!
//! A write is sent again only when it carries a key by which the server does it once, at most
//! [`AGAIN_MAX`] times, and never after the deadline of a call. Where the server has no room for
//! the key, and so did nothing, it is sent once without.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::RequestBuilder;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Backoff, CALL_TIMEOUT, Client, Deletion, Error, Method, Written, warnings};
use crate::problem::code;
use crate::{ResourceVersion, once};

/// How often a write is sent again.
const AGAIN_MAX: u32 = 2;
/// Pauses before that.
const PAUSES: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(2));

/// The terms of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Nothing is written: the server says what would be.
    pub is_dry: bool,
    /// Although something speaks against it, such as that the object is in use.
    pub force: bool,
    /// Only while the object is at this version.
    pub if_match: Option<ResourceVersion>,
}

impl Terms {
    /// A write that is only tried.
    pub const DRY: Self = Self {
        is_dry: true,
        force: false,
        if_match: None,
    };

    /// A write that is only tried, or one without terms.
    pub fn tried(is_dry: bool) -> Self {
        Self {
            is_dry,
            ..Self::default()
        }
    }

    fn query(self) -> Vec<(&'static str, &'static str)> {
        let dry = self.is_dry.then_some(("dryRun", "All"));
        let force = self.force.then_some(("force", "true"));
        dry.into_iter().chain(force).collect()
    }

    fn of(self, request: RequestBuilder) -> RequestBuilder {
        let request = request.query(&self.query());
        match self.if_match {
            Some(version) => request.header("If-Match", format!("\"{version}\"")),
            None => request,
        }
    }
}

/// What a write was answered.
struct Answer {
    status: u16,
    warnings: Vec<String>,
    url: String,
    body: Bytes,
}

impl Client {
    /// The same client, whose creations carry keys, so that they are sent again when their
    /// connection is cut, and done once. Programs that create again by themselves need none.
    #[must_use]
    pub fn with_keys(self) -> Self {
        Self {
            has_keys: true,
            ..self
        }
    }

    /// Sends a document and reads the object that comes back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write<T, B>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<Written<T>, Error>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        self.write_on((method, path), Terms::default(), body).await
    }

    /// Sends a document on terms and reads the object that comes back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write_on<T, B>(
        &self,
        target: (Method, &str),
        terms: Terms,
        body: &B,
    ) -> Result<Written<T>, Error>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        let answer = self.submit(target, terms, Some(body)).await?;
        let object = serde_json::from_slice(&answer.body);
        Ok(Written {
            object: object.map_err(|error| Error::Unreadable {
                url: answer.url,
                reason: error.to_string(),
            })?,
            warnings: answer.warnings,
        })
    }

    /// Sends a document whose answer has no body, or one that nobody needs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Result<(), Error> {
        self.post_on(path, Terms::default(), body).await
    }

    /// Sends a document on terms, whose answer has no body, or one that nobody needs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post_on<B: Serialize + ?Sized>(
        &self,
        path: &str,
        terms: Terms,
        body: &B,
    ) -> Result<(), Error> {
        let sent = self.submit((Method::POST, path), terms, Some(body)).await;
        sent.map(drop)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, path: &str, force: bool) -> Result<Deletion, Error> {
        let terms = Terms {
            force,
            ..Terms::default()
        };
        self.delete_on(path, terms).await
    }

    /// Deletes an object on terms.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_on(&self, path: &str, terms: Terms) -> Result<Deletion, Error> {
        let target = (Method::DELETE, path);
        let answer = self.submit(target, terms, None::<&()>).await?;
        Ok(match answer.status {
            202 => Deletion::Accepted,
            _ => Deletion::Done,
        })
    }

    async fn submit<B: Serialize + ?Sized>(
        &self,
        (method, path): (Method, &str),
        terms: Terms,
        body: Option<&B>,
    ) -> Result<Answer, Error> {
        let is_kept = self.has_keys && method == Method::POST && !terms.is_dry;
        let key = (is_kept && once::takes_key(path)).then(key).flatten();
        let mut request = terms.of(self.call(method, path));
        if let Some(body) = body {
            request = request.json(body);
        }
        let Some(key) = key else {
            return self.exchange(request).await;
        };
        let keyless = request.try_clone();
        let answer = self.repeat(request.header(once::HEADER, key)).await;
        match (answer, keyless) {
            (Err(error), Some(request)) if has_no_room(&error) => self.exchange(request).await,
            (answer, _) => answer,
        }
    }

    /// Sends a request until it is answered, as often as it may be sent.
    async fn repeat(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let ends_at = Instant::now() + CALL_TIMEOUT;
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut sent = 0;
        loop {
            let left = ends_at.saturating_duration_since(Instant::now());
            // A body that cannot be sent twice is sent once.
            let Some(again) = request.try_clone() else {
                return self.exchange(request).await;
            };
            let answer = self.exchange(again.timeout(left)).await;
            let pause = backoff.pause();
            let may = |error: &Error| may_repeat(error, sent) && left > pause;
            match answer {
                Err(error) if may(&error) => tokio::time::sleep(pause).await,
                answer => return answer,
            }
            sent += 1;
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let response = self.send(request).await?;
        let status = response.status().as_u16();
        let warnings = warnings(&response);
        let url = self.shown(response.url().as_str());
        let body = response.bytes().await;
        Ok(Answer {
            status,
            warnings,
            body: body.map_err(|source| Error::Unreachable {
                url: url.clone(),
                source: std::sync::Arc::new(source.without_url()),
            })?,
            url,
        })
    }
}

/// Whether a write that was sent `again` times before may be sent once more: nobody knows whether
/// it came through. What never left this machine is told at once.
fn may_repeat(error: &Error, again: u32) -> bool {
    let is_cut = match error {
        Error::Unreachable { source, .. } if source.is_timeout() => false,
        Error::Unreachable { source, .. } => !source.is_connect() || again > 0,
        // The first one is still being done.
        Error::Problem(problem) => again > 0 && problem.detail.starts_with(once::UNDER_WAY),
        Error::TimedOut { .. }
        | Error::Stalled { .. }
        | Error::Unexpected { .. }
        | Error::Unreadable { .. } => false,
    };
    is_cut && again < AGAIN_MAX
}

/// Whether the server did nothing since it has no room for the key.
fn has_no_room(error: &Error) -> bool {
    match error {
        Error::Problem(problem) => problem.code == code::NO_KEYS,
        Error::Unreachable { .. }
        | Error::TimedOut { .. }
        | Error::Stalled { .. }
        | Error::Unexpected { .. }
        | Error::Unreadable { .. } => false,
    }
}

/// 128 random bits; none where the system has none to give, and then the write is sent once.
fn key() -> Option<String> {
    let mut bits = [0; 16];
    SystemRandom::new().fill(&mut bits).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bits)))
}

#[cfg(test)]
mod tests;
