//! How the agent says no: problem documents, and plain text where clients of the older system know that.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::Problem;
use cara_api::problem::CONTENT_TYPE;

/// Errors of routing are plain text, as clients of the older system know them.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response {
    let nosniff = (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    (status, [nosniff], text).into_response()
}

/// All other errors are problem documents.
pub(crate) fn problem(status: u16, detail: String) -> Response {
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&Problem::new(status, detail)).unwrap_or_default();
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    (status_code, [kind], body).into_response()
}
