//! Entity tags: who has an answer already is told so instead of getting it again.
//!
//! A tag begins with the `resourceVersion`, and goes on with a digest: parts of what is shown
//! follow from other objects, and change without the version. `If-Match` takes either.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cara_api::ResourceVersion;
use serde::Serialize;

use super::failure::Failure;

/// Bytes of the digest that a tag shows.
const DIGEST_LEN: usize = 8;

/// A JSON answer with its tag.
pub(super) fn tagged<T: Serialize>(
    status: StatusCode,
    version: ResourceVersion,
    value: &T,
) -> Response {
    let body = match serde_json::to_vec(value) {
        Ok(body) => body,
        Err(error) => return Failure::internal(error).into_response(),
    };
    let json = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let digest = ring::digest::digest(&ring::digest::SHA256, &body);
    let digest = digest.as_ref().iter().take(DIGEST_LEN);
    let digest: String = digest.map(|byte| format!("{byte:02x}")).collect();
    let mut response = (status, [json], body).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}-{digest}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Answers 304 to who has the current answer.
pub(super) async fn unless_known(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let (Some(known), true, StatusCode::OK) = (known, is_read, response.status()) else {
        return response;
    };
    let Some(tag) = response.headers().get(header::ETAG) else {
        return response;
    };
    if !matches(
        known.to_str().unwrap_or_default(),
        tag.to_str().unwrap_or_default(),
    ) {
        return response;
    }
    (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.clone())]).into_response()
}

/// Whether one of the tags of `If-None-Match` is this one; compared weakly (RFC 9110 section 13.1.2).
fn matches(known: &str, tag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|one| bare(one) == bare(tag))
}

/// The version that a tag begins with; other texts stay as they are.
pub(super) fn version_of(text: &str) -> &str {
    text.split_once('-').map_or(text, |(version, _)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (known, expected) in [
            ("\"7-ab\"", true),
            ("W/\"7-ab\"", true),
            ("\"6-ab\", \"7-ab\"", true),
            ("*", true),
            ("\"7\"", false),
            ("7-ab", false),
            ("", false),
        ] {
            assert_eq!(matches(known, "\"7-ab\""), expected, "{known}");
        }
    }

    #[test]
    fn a_tag_begins_with_the_version() {
        let of = |text: &str| {
            version_of(text)
                .parse::<ResourceVersion>()
                .map(|v| v.0)
                .ok()
        };
        assert_eq!(of("\"7-abcd\""), Some(7));
        assert_eq!(of("\"7\""), Some(7));
        assert_eq!(of("x-7"), None);
    }
}
