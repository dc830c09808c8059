//! The reference of the API as a page, made of the OpenAPI document. It needs nothing from anywhere
//! else, not even a script: what the browser may load is its own style.

mod page;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::openapi;

const STYLE: &str = include_str!("reference/style.css");

/// The page and what the browser is told about it.
struct Reference {
    page: String,
    policy: String,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let document = serde_json::to_value(openapi::document()).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let digest = BASE64_STANDARD.encode(digest);
    Reference {
        page: page::render(&document, STYLE),
        policy: format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    }
});

/// The page.
pub(super) async fn serve() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, REFERENCE.policy.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, REFERENCE.page.as_str()).into_response()
}
