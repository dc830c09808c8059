//! The OpenAPI document, generated from handlers and types.

mod common;
mod examples;

use axum::Json;
use cara_api::project::StatusPatch;
use cara_api::{Certificate, Node, Problem, Project, Secret, node::Heartbeat};
use utoipa::OpenApi;

/// Names every handler, and the types of the documents that users send.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Caravanserai",
        description = "Projects, nodes and what agents say about them."
    ),
    paths(
        super::projects::list,
        super::projects::create,
        super::projects::read,
        super::projects::replace,
        super::projects::delete,
        super::revisions::list,
        super::revisions::rollback,
        super::share::create,
        super::status::patch,
        super::logs::of_service,
        super::logs::of_project,
        super::exec::exec,
        super::forward::forward,
        super::copy::read,
        super::copy::write,
        super::top::usage,
        super::secrets::list,
        super::secrets::create,
        super::secrets::read,
        super::secrets::replace,
        super::secrets::delete,
        super::certificates::list,
        super::certificates::create,
        super::certificates::read,
        super::certificates::replace,
        super::certificates::delete,
        super::certificates::authority,
        super::users::list,
        super::users::create,
        super::users::read,
        super::users::replace,
        super::users::delete,
        super::tokens::list,
        super::tokens::create,
        super::tokens::read,
        super::tokens::replace,
        super::tokens::delete,
        super::federations::list,
        super::federations::create,
        super::federations::read,
        super::federations::replace,
        super::federations::delete,
        super::whoami::whoami,
        super::whoami::login,
        super::whoami::logout,
        super::backup::create,
        super::backup::restore,
        super::login::device,
        super::login::device_token,
        super::login::federation,
        super::login::browser,
        super::login::callback,
        super::events::list,
        super::routes::list,
        super::routes::explain,
        super::tail::tail,
        super::nodes::list,
        super::nodes::create,
        super::nodes::read,
        super::nodes::replace,
        super::nodes::delete,
        super::nodes::cordon,
        super::nodes::uncordon,
        super::nodes::drain,
        super::nodes::heartbeat,
        super::agents::assignments,
        super::agents::reports,
        super::join::authority,
        super::join::tokens::list_tokens,
        super::join::tokens::create_token,
        super::join::tokens::delete_token,
        super::join::join,
        super::tunnel::open,
        super::join::certificates::renew,
        super::join::certificates::revoke,
        super::meta::healthz,
        super::meta::readyz,
        super::meta::version,
        super::meta::metrics,
        super::doctor::look,
    ),
    components(schemas(Project, Node, Secret, Certificate, Problem, Heartbeat, StatusPatch))
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    common::complete(&mut document);
    document
}

pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
