//! The HTTP API.
//!
//! Handlers parse, ask [`crate::plan`] and the cache, and write through [`crate::repo`]. The
//! shape of errors is decided here and nowhere else.

mod agents;
mod asking;
mod backup;
mod caller;
mod certificates;
mod compress;
mod cookies;
mod copy;
mod deliver;
mod doctor;
mod events;
mod exec;
mod extract;
mod failure;
mod federations;
mod flow;
mod forward;
mod guard;
mod identify;
mod join;
mod login;
mod logs;
mod meta;
mod nodes;
mod objects;
mod once;
pub mod openapi;
mod page;
mod policy;
mod projects;
mod query;
mod reference;
mod rehearse;
mod revisions;
mod routes;
mod secrets;
mod select;
mod share;
mod status;
mod stored;
mod streams;
mod tag;
mod tail;
mod tokens;
mod top;
mod tunnel;
mod users;
mod view;
mod watch;
mod whoami;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use cara_api::paths;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::Shared;
use crate::plan::shares::Sharer;
use failure::Failure;
pub(crate) use join::server_names;

/// What handlers get.
#[derive(Clone)]
pub(crate) struct App {
    shared: Arc<Shared>,
    /// Ends streams when the server stops.
    token: CancellationToken,
    /// Whether what is written is kept.
    mode: rehearse::Mode,
    /// The request that is answered, for handlers that write, or open streams.
    by: Option<policy::Admitted>,
    /// Whose share streams are of.
    sharer: Sharer,
}

/// The whole API.
pub(crate) fn router(shared: Arc<Shared>, token: CancellationToken) -> Router {
    let mode = rehearse::Mode::Real;
    let app = App {
        shared,
        token,
        mode,
        by: None,
        sharer: Sharer::Everybody,
    };
    Router::new()
        .route(paths::HEALTHZ, get(meta::healthz))
        .route(paths::READYZ, get(meta::readyz))
        .route(paths::VERSION, get(meta::version))
        .route(paths::METRICS, get(meta::metrics))
        .route(paths::OPENAPI, get(openapi::serve))
        .route(paths::DOCTOR, get(doctor::look))
        .route(paths::DOCS, get(reference::serve))
        .route(paths::PROJECTS, get(projects::list).post(projects::create))
        .route(
            paths::PROJECT,
            get(projects::read)
                .put(projects::replace)
                .delete(projects::delete),
        )
        .route(paths::PROJECT_STATUS, patch(status::patch))
        .route(paths::PROJECT_REVISIONS, get(revisions::list))
        .route(paths::PROJECT_ROLLBACK, post(revisions::rollback))
        .route(paths::PROJECT_SHARE, post(share::create))
        .route(paths::PROJECT_LOGS, get(logs::of_service))
        .route(paths::PROJECT_ALL_LOGS, get(logs::of_project))
        .route(paths::SERVICE_EXEC, get(exec::exec))
        .route(paths::SERVICE_FORWARD, get(forward::forward))
        .route(paths::SERVICE_FILES, get(copy::read).put(copy::write))
        .route(paths::USAGE, get(top::usage))
        .route(paths::SECRETS, get(secrets::list).post(secrets::create))
        .route(
            paths::SECRET,
            get(secrets::read)
                .put(secrets::replace)
                .delete(secrets::delete),
        )
        .route(
            paths::CERTIFICATES,
            get(certificates::list).post(certificates::create),
        )
        .route(
            paths::CERTIFICATE,
            get(certificates::read)
                .put(certificates::replace)
                .delete(certificates::delete),
        )
        .route(paths::USERS, get(users::list).post(users::create))
        .route(
            paths::USER,
            get(users::read).put(users::replace).delete(users::delete),
        )
        .route(paths::TOKENS, get(tokens::list).post(tokens::create))
        .route(
            paths::TOKEN,
            get(tokens::read)
                .put(tokens::replace)
                .delete(tokens::delete),
        )
        .route(
            paths::FEDERATIONS,
            get(federations::list).post(federations::create),
        )
        .route(
            paths::FEDERATION,
            get(federations::read)
                .put(federations::replace)
                .delete(federations::delete),
        )
        .route(paths::WHOAMI, get(whoami::whoami))
        .route(paths::LOGIN, get(whoami::login))
        .route(paths::LOGIN_DEVICE, post(login::device))
        .route(paths::LOGIN_DEVICE_TOKEN, post(login::device_token))
        .route(paths::LOGIN_BROWSER, get(login::browser))
        .route(paths::LOGIN_CALLBACK, get(login::callback))
        .route(paths::LOGIN_FEDERATION, post(login::federation))
        .route(paths::LOGOUT, post(whoami::logout))
        .route(paths::CA, get(certificates::authority))
        .route(paths::BACKUP, get(backup::create).post(backup::restore))
        .route(paths::EVENTS, get(events::list))
        .route(paths::ROUTES, get(routes::list))
        .route(paths::ROUTES_EXPLAIN, get(routes::explain))
        .route(paths::TAIL, get(tail::tail))
        .route(paths::NODES, get(nodes::list).post(nodes::create))
        .route(
            paths::NODE,
            get(nodes::read).put(nodes::replace).delete(nodes::delete),
        )
        .route(paths::NODE_CORDON, post(nodes::cordon))
        .route(paths::NODE_UNCORDON, post(nodes::uncordon))
        .route(paths::NODE_DRAIN, post(nodes::drain))
        .route(paths::NODE_HEARTBEAT, post(nodes::heartbeat))
        .route(paths::NODE_ASSIGNMENTS, get(agents::assignments))
        .route(paths::NODE_REPORTS, post(agents::reports))
        .route(paths::NODE_CERTIFICATE, post(join::certificates::renew))
        .route(paths::NODE_REVOKE, post(join::certificates::revoke))
        .route(
            paths::JOIN_TOKENS,
            get(join::tokens::list_tokens).post(join::tokens::create_token),
        )
        .route(paths::JOIN_TOKEN, delete(join::tokens::delete_token))
        .route(paths::JOIN, post(join::join))
        .route(paths::JOIN_AUTHORITY, get(join::authority))
        .route(paths::NODE_TUNNEL, get(tunnel::open))
        .method_not_allowed_fallback(|| async {
            plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
        })
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "404 page not found\n") })
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            once::once,
        ))
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            backup::gate,
        ))
        .layer(axum::middleware::from_fn(rehearse::unless_impossible))
        .layer(axum::middleware::from_fn(tag::unless_known))
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            guard::guard,
        ))
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            identify::identify,
        ))
        .layer(compress::layer())
        .layer(axum::middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Errors of routing are plain text, as clients of the older system know them.
fn plain(status: StatusCode, text: &'static str) -> Response {
    let nosniff = (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    (status, [nosniff], text).into_response()
}

/// Gives each request an id and a span, and counts it.
async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7();
    request.extensions_mut().insert(caller::RequestId(id));
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!("request", %id, %method, path = request.uri().path());
    let answer = next.run(request).instrument(span.clone());
    let mut response = match method {
        Method::GET | Method::HEAD => answer.await,
        _ => to_its_end(&app, answer).await,
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let problem = failure.with_instance(format!("urn:uuid:{id}"));
        span.in_scope(|| problem.log());
        response = problem.into_plain_response();
    }
    let status = response.status();
    let labels = [method_label(&method), &route, status.as_str()];
    app.shared.metrics.requests.with_label_values(&labels).inc();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), "answered"));
    response
}

/// Answers a request that may write, also when its client goes away meanwhile: a write and what
/// belongs to it, such as its record in the audit log, are not cut apart.
async fn to_its_end(
    app: &App,
    answer: impl Future<Output = Response> + Send + 'static,
) -> Response {
    match app.shared.writes.spawn(answer).await {
        Ok(response) => response,
        Err(error) => Failure::internal(error).into_response(),
    }
}

fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
