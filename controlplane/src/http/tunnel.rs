//! Where an agent opens the connection over which this server reaches it.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cara_api::Node;
use cara_api::stream::TUNNEL_PROTOCOL;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::Instrument;

use super::App;
use super::extract::node_name;
use super::failure::Failure;

/// How long the agent may take after it was answered.
const LIMIT: Duration = Duration::from_secs(10);

/// Turns the request into the tunnel of a node.
#[utoipa::path(get, path = "/api/v1/nodes/{name}/tunnel", tag = "agents", params(("name" = String, Path)),
    responses((status = 101, description = "The connection is the tunnel now: the agent serves HTTP/2 on it"),
        (status = 400, body = cara_api::Problem), (status = 404, body = cara_api::Problem)))]
pub(super) async fn open(
    State(app): State<App>,
    Path(name): Path<String>,
    mut request: Request,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let node = node_name(&name)?;
    if app.shared.cache.read(|state| state.node(&name).is_none()) {
        return Err(Failure::not_found::<Node>(&name));
    }
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let asked = request.headers().get(UPGRADE);
    let is_asked = asked.is_some_and(|value| value.as_bytes() == TUNNEL_PROTOCOL.as_bytes());
    let Some(upgrade) = upgrade.filter(|_| is_asked) else {
        let detail = format!(
            "a tunnel begins with `Connection: Upgrade` and `Upgrade: {TUNNEL_PROTOCOL}` over HTTP/1.1"
        );
        return Err(Failure::bad_request(detail));
    };
    let shared = std::sync::Arc::clone(&app.shared);
    let token = app.token.clone();
    let span = tracing::info_span!("tunnel", %node);
    app.shared.tunnels.tasks.spawn(
        async move {
            match tokio::time::timeout(LIMIT, upgrade).await {
                Ok(Ok(upgraded)) => {
                    let connection = TokioIo::new(upgraded);
                    shared.tunnels.hold(node, connection, token).await;
                }
                Ok(Err(error)) => tracing::debug!(error = %error, "no tunnel"),
                Err(_) => tracing::debug!("no tunnel in time"),
            }
        }
        .instrument(span),
    );
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(TUNNEL_PROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
