//! Certificates of nodes after they joined: the next one, and none any more.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path};
use axum::response::Response;
use cara_api::Node;
use cara_api::join::{IssuedCertificate, RenewRequest};

use super::{checked, read};
use crate::audit::{Caller, Verb};
use crate::http::extract::node_name;
use crate::http::failure::Failure;
use crate::http::objects;
use crate::http::rehearse::Writing;
use crate::http::view::now;
use crate::plan::admission::Shown;
use crate::repo;

/// The next certificate of a node, for the next key.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/certificate", tag = "agents",
    params(("name" = String, Path)), request_body = RenewRequest,
    responses((status = 200, body = IssuedCertificate), (status = 401, body = cara_api::Problem),
        (status = 403, body = cara_api::Problem)))]
pub(in crate::http) async fn renew(
    Writing(app): Writing,
    Path(name): Path<String>,
    Extension(shown): Extension<Shown>,
    by: Caller,
    body: Body,
) -> Result<Json<IssuedCertificate>, Failure> {
    app.must_be_live()?;
    let Shown::Certificate(presented) = shown else {
        return Err(Failure::conflict(
            "the agent inside the server has no certificate",
        ));
    };
    let node = node_name(&name)?;
    let asked: RenewRequest = read(body).await?;
    let request = checked(&asked.certificate_request)?;
    let issued = app.issue(&request, &node, presented.admission)?;
    let changed = objects::replace(&app, &name, None, |old: &Node| {
        let mut node = old.clone();
        let admission = node.status.admission.as_mut();
        // It may have been shut out since the request came in.
        let admission = admission
            .filter(|a| a.id == presented.admission && a.revoked_at.is_none())
            .ok_or_else(|| Failure::forbidden(format!("node {name} was shut out")))?;
        admission.certificate_not_after = issued.not_after;
        node.metadata.updated_at = Some(now());
        let batch = repo::replace_node(&node);
        Ok(Some((node, batch)))
    });
    let changed = changed.await?;
    if let Some(new) = &changed.new {
        app.audit_admission(&by, Verb::Renew, new);
    }
    tracing::info!(node = %name, until = %issued.not_after, "renewed the certificate");
    Ok(Json(app.issued(issued)))
}

/// Shuts a node out: its certificates are useless from now on, and its connections end. Its
/// containers go on until its projects are placed elsewhere.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/revoke", tag = "nodes", params(("name" = String, Path)),
    responses((status = 200, body = Node), (status = 404, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "It did not join by a token")))]
pub(in crate::http) async fn revoke(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let key = node_name(&name)?;
    let changed = objects::replace(&app, &name, None, |old: &Node| {
        let mut node = old.clone();
        let Some(admission) = node.status.admission.as_mut() else {
            return Err(Failure::conflict(format!(
                "node {name:?} has no certificate that could be revoked: it did not join by a token"
            )));
        };
        if admission.revoked_at.is_some() {
            return Ok(None);
        }
        admission.revoked_at = Some(now());
        node.metadata.updated_at = Some(now());
        let batch = repo::replace_node(&node);
        Ok(Some((node, batch)))
    });
    let changed = changed.await?;
    app.shared.peers.cut_node(&key);
    if let Some(new) = &changed.new {
        app.audit_admission(&by, Verb::Revoke, new);
        tracing::warn!(node = %name, "shut out");
    }
    Ok(changed.answer(&app, &[]))
}
