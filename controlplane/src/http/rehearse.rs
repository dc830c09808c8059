//! Dry runs (`dryRun=All`): a write goes all its way, with every check and the answer that it would
//! get, and stops before the store. It leaves nothing: no object, no event, no record in the audit log.

use axum::extract::{FromRequestParts, MatchedPath, Query, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cara_api::paths;

use super::App;
use super::asking::sharer;
use super::failure::Failure;
use super::policy::Admitted;
use super::query::{Parameters, value};

const DRY_RUN: &str = "dryRun";

/// Where a dry run is possible. Elsewhere it is refused, so that nobody writes by mistake.
pub(super) const POSSIBLE: [&str; 13] = [
    paths::PROJECTS,
    paths::PROJECT,
    paths::PROJECT_ROLLBACK,
    paths::SECRETS,
    paths::SECRET,
    paths::CERTIFICATES,
    paths::CERTIFICATE,
    paths::NODES,
    paths::NODE,
    paths::NODE_CORDON,
    paths::NODE_UNCORDON,
    paths::NODE_DRAIN,
    paths::BACKUP,
];

/// Whether what a request writes is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is.
    Real,
    /// It is only tried.
    Rehearsal,
}

/// The application, for handlers that write: with who makes the request, and whether it is a dry run.
pub(super) struct Writing(pub(super) App);

impl FromRequestParts<App> for Writing {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let query = query.map(|Query(pairs)| pairs).unwrap_or_default();
        let mode = mode(&query)?;
        let by = parts.extensions.get::<Admitted>().cloned();
        Ok(Self(App {
            mode,
            by,
            sharer: sharer(&parts.extensions),
            ..app.clone()
        }))
    }
}

fn mode(query: &Parameters) -> Result<Mode, Failure> {
    read(value(query, DRY_RUN))
}

/// What a request with this value of `dryRun` is.
///
/// # Errors
/// The value is not known.
pub(super) fn read(value: Option<&str>) -> Result<Mode, Failure> {
    match value {
        None => Ok(Mode::Real),
        Some("All") => Ok(Mode::Rehearsal),
        Some(other) => Err(Failure::bad_request(format!(
            "dryRun={other} is not known: it is \"All\", or is left out"
        ))),
    }
}

/// Refuses a dry run of what cannot be tried.
pub(super) async fn unless_impossible(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.extensions().get::<MatchedPath>();
    let is_possible = path.is_some_and(|path| POSSIBLE.contains(&path.as_str()));
    let query = request.uri().query().unwrap_or_default();
    if !is_read && !is_possible && is_asked(query) {
        return Failure::bad_request("there is no dry run of this").into_response();
    }
    next.run(request).await
}

/// Whether a query asks for a dry run.
pub(super) fn is_asked(query: &str) -> bool {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.any(|(key, _)| key == DRY_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_dry_run() {
        let of = |text: Option<&str>| {
            let query = text.map(|text| (DRY_RUN.to_owned(), text.to_owned()));
            mode(&Vec::from_iter(query)).ok()
        };
        assert_eq!(of(None), Some(Mode::Real));
        assert_eq!(of(Some("All")), Some(Mode::Rehearsal));
        for text in ["", "all", "true", "None"] {
            assert_eq!(of(Some(text)), None, "{text}");
        }
    }

    #[test]
    fn a_query_that_asks_for_it() {
        assert!(is_asked("dryRun=All"));
        assert!(is_asked("force=true&dryRun"));
        assert!(!is_asked("x=dryRun&dryRunner=1"));
    }
}
