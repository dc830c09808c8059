//! From requests to checked values.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use cara_api::decode::{self, Decoded};
use cara_api::problem::FieldError;
use cara_api::schema::Schema;
use cara_api::{NodeName, Resource, ResourceVersion};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::tag::version_of;

/// Largest request body, in bytes.
pub(super) const BODY_MAX: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body whole.
pub(super) async fn body(body: Body) -> Result<bytes::Bytes, Failure> {
    large_body(body, BODY_MAX, BODY_TIMEOUT).await
}

/// Reads a body of at most `max` bytes whole.
pub(super) async fn large_body(
    body: Body,
    max: usize,
    within: Duration,
) -> Result<bytes::Bytes, Failure> {
    let read = tokio::time::timeout(within, axum::body::to_bytes(body, max)).await;
    let read = read.map_err(|_| Failure::bad_request("the request body did not arrive in time"))?;
    read.map_err(|error| {
        if http_body_limit::is_length_limit(&error) {
            Failure::too_large(max)
        } else {
            Failure::bad_request("the request body ended early")
        }
    })
}

mod http_body_limit {
    use std::error::Error;

    /// Axum wraps the limit's error without naming it in a type of its own.
    pub(super) fn is_length_limit(error: &axum::Error) -> bool {
        error
            .source()
            .is_some_and(|source| source.to_string().contains("length limit exceeded"))
    }
}

/// Reads a body as a document of a schema.
pub(super) async fn document<T>(request_body: Body, schema: &Schema) -> Result<Decoded<T>, Failure>
where
    T: DeserializeOwned + Default,
{
    let bytes = body(request_body).await?;
    decode::document(&bytes, schema).map_err(|fault| Failure::invalid(&[fault]))
}

/// The same, where an empty body stands for the defaults.
pub(super) async fn document_or_default<T>(
    request_body: Body,
    schema: &Schema,
) -> Result<Decoded<T>, Failure>
where
    T: DeserializeOwned + Default,
{
    let bytes = body(request_body).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    decode::document(text, schema).map_err(|fault| Failure::invalid(&[fault]))
}

/// The document and its warnings, if neither its form nor these checks have a fault.
pub(super) fn sound<T>(
    mut decoded: Decoded<T>,
    faults: Vec<FieldError>,
) -> Result<(T, Vec<String>), Failure> {
    decoded.add_faults(faults);
    if decoded.faults.is_empty() {
        return Ok((decoded.value, decoded.warnings));
    }
    Err(Failure::invalid(&decoded.faults).warned(decoded.warnings))
}

/// The name of a node in a path. One that breaks the rule cannot exist.
pub(super) fn node_name(text: &str) -> Result<NodeName, Failure> {
    NodeName::parse(text).map_err(|_| Failure::not_found::<cara_api::Node>(text))
}

/// The version that a write is conditional on: from `If-Match`, or from the document.
pub(super) fn expected_version(
    headers: &HeaderMap,
    document: ResourceVersion,
) -> Result<Option<ResourceVersion>, Failure> {
    let header = headers.get(axum::http::header::IF_MATCH);
    match header.map(|value| value.to_str().unwrap_or_default().trim()) {
        Some("*") => Ok(None),
        Some(text) => match version_of(text).parse::<ResourceVersion>() {
            Ok(version) if !version.is_zero() => Ok(Some(version)),
            Ok(_) | Err(_) => Err(Failure::bad_request(format!(
                "If-Match {text:?} is neither an ETag of this server nor a resourceVersion"
            ))),
        },
        None => Ok((!document.is_zero()).then_some(document)),
    }
}

/// Refuses a write that is conditional on another version than the current one.
pub(super) fn check_version<T: Resource>(
    current: &T,
    expected: Option<ResourceVersion>,
) -> Result<(), Failure> {
    let found = current.meta().resource_version;
    match expected {
        Some(version) if version != found => Err(Failure::changed(format!(
            "{} {:?} has resourceVersion {found}, not {version}: read it again and repeat the change",
            T::NOUN,
            current.meta().name
        ))),
        Some(_) | None => Ok(()),
    }
}
