//! Errors on their way out: problem documents.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::problem::{CONTENT_TYPE, FieldError, code};
use cara_api::{Problem, Resource};
use cara_store::WriteError;

use crate::plan::access::site::Intrusion;

/// How somebody shows who they are (RFC 6750 section 3).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"caravanserai\"");

/// An answer that is an error. The cause goes to the log, never to the client.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    // Boxed, since every handler's result carries room for it.
    problem: Box<Problem>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// When to come again.
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(status, detail)),
            cause: None,
            retry_after: None,
        }
    }

    /// 403, 415 or 421: a page of somebody else sent it, or a name that is not ours led here.
    pub(crate) fn intrusion(why: &Intrusion) -> Self {
        Self::new(why.status(), why.to_string())
    }

    /// Says what happened for programs, where the status does not.
    pub(crate) fn coded(mut self, code: &str) -> Self {
        code.clone_into(&mut self.problem.code);
        self
    }

    /// 429: too many attempts that failed.
    pub(crate) fn too_many(wait: Duration) -> Self {
        let seconds = wait.as_secs().max(1);
        let text = format!("too many attempts failed from this address: try again in {seconds} s");
        Self::crowded(text, wait)
    }

    /// 429: too many logins begin.
    pub(crate) fn too_many_logins(wait: Duration) -> Self {
        let seconds = wait.as_secs().max(1);
        let text = format!("too many logins begin from this address: try again in {seconds} s");
        Self::crowded(text, wait)
    }

    /// 429: more than their share, for now.
    pub(crate) fn crowded(detail: impl Into<String>, wait: Duration) -> Self {
        Self::new(429, detail).after(wait)
    }

    /// Says when to come again.
    pub(crate) fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs().max(1);
        Self {
            retry_after: Some(Duration::from_secs(seconds)),
            ..self
        }
    }

    /// 400 with all faults of a document.
    pub(crate) fn invalid(faults: &[FieldError]) -> Self {
        Self {
            problem: Box::new(Problem::invalid(faults)),
            cause: None,
            retry_after: None,
        }
    }

    /// The same, with what else is odd about the document.
    pub(crate) fn warned(mut self, warnings: Vec<String>) -> Self {
        self.problem.warnings = warnings;
        self
    }

    /// 400 with one sentence.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    /// 401: it is not known who asks.
    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(401, detail)
    }

    /// 403: it is known who asks, and they may not.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, detail)
    }

    /// 404 in the words of the older system.
    pub(crate) fn not_found<T: Resource>(name: &str) -> Self {
        Self::new(
            404,
            format!(
                "{noun} not found: {name}: resource not found",
                noun = T::NOUN
            ),
        )
    }

    /// 404 for something that is not a resource of its own.
    pub(crate) fn missing(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// 409 in the words of the older system.
    pub(crate) fn exists<T: Resource>(name: &str) -> Self {
        Self::new(
            409,
            format!(
                "{noun} already exists: {name}: resource already exists",
                noun = T::NOUN
            ),
        )
        .coded(code::EXISTS)
    }

    /// 409: somebody else changed the object.
    pub(crate) fn changed(detail: impl Into<String>) -> Self {
        Self::conflict(detail).coded(code::CHANGED)
    }

    /// 409 with one sentence.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, detail)
    }

    /// 410: the history does not reach back to where a watch wants to begin.
    pub(crate) fn too_old() -> Self {
        Self::new(
            410,
            "resourceVersion is too old: list again and watch from the version of the list",
        )
    }

    /// 410: what is asked about is not known any more.
    pub(crate) fn gone(detail: impl Into<String>) -> Self {
        Self::new(410, detail)
    }

    /// 413.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            413,
            format!("request body is larger than {limit_bytes} bytes"),
        )
    }

    /// 422: well-formed, and still not possible.
    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(422, detail)
    }

    /// 500: something that should not happen; the cause goes to the log.
    pub(crate) fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Some(Arc::new(cause)),
            ..Self::new(500, "Internal server error")
        }
    }

    /// 502: somebody behind this server did not answer.
    pub(crate) fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::new(502, detail)
    }

    /// 503: not now.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }

    /// An answer of another server, passed on.
    pub(crate) fn passed_on(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            cause: None,
            retry_after: None,
        }
    }

    /// What it says to the client.
    pub(super) fn detail(&self) -> &str {
        &self.problem.detail
    }

    pub(super) fn with_instance(mut self, instance: String) -> Self {
        if self.problem.status >= 500 {
            self.problem.instance = Some(instance);
        }
        self
    }

    pub(super) fn log(&self) {
        let Some(cause) = &self.cause else { return };
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            chain = format!("{chain}: {error}");
            source = error.source();
        }
        tracing::error!(error = %chain, status = self.problem.status, "request failed");
    }

    pub(super) fn into_plain_response(mut self) -> Response {
        if self.problem.code.is_empty() {
            code::of_status(self.problem.status).clone_into(&mut self.problem.code);
        }
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&*self.problem).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, CONTENT_TYPE)];
        let mut response = (status, kind, body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}

impl From<WriteError> for Failure {
    /// What is left when a handler did not treat an error itself.
    fn from(error: WriteError) -> Self {
        let problem = match &error {
            WriteError::Conflict { .. } => {
                Problem::new(409, "the object changed meanwhile: read it and try again")
            }
            WriteError::DuplicateKey { .. } => Problem::new(500, "Internal server error"),
            WriteError::Unavailable(_) => Problem::new(
                503,
                "the store is unavailable: the change may or may not have been made",
            ),
        };
        let failure = Self {
            problem: Box::new(problem),
            cause: None,
            retry_after: None,
        };
        match failure.problem.status {
            409 => failure.coded(code::CHANGED),
            _ => Self {
                cause: Some(Arc::new(error)),
                ..failure
            },
        }
    }
}

impl IntoResponse for Failure {
    /// Leaves the rendering to the middleware, which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
