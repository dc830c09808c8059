//! Health, version and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, TextEncoder};
use serde_json::json;

use super::App;
use super::failure::Failure;

/// The process is alive.
#[utoipa::path(get, path = "/api/healthz", tag = "server", responses((status = 200, description = "OK")))]
pub(super) async fn healthz() -> &'static str {
    "OK"
}

/// Store and cache are live.
#[utoipa::path(get, path = "/api/readyz", tag = "server",
    responses((status = 200, description = "OK"), (status = 503, body = cara_api::Problem)))]
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Failure> {
    app.must_be_live()?;
    app.store_answers().await?;
    Ok("OK")
}

/// Version of the server.
#[utoipa::path(get, path = "/api/version", tag = "server", responses((status = 200, description = "Version")))]
pub(super) async fn version(State(app): State<App>) -> Response {
    let domain = &app.shared.config.domain;
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "apiVersion": cara_api::API_VERSION,
        "environment": domain.environment,
        "baseDomain": domain.base,
    });
    Json(body).into_response()
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "Metrics")))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&app.shared.registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(error = %error, "cannot encode metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
