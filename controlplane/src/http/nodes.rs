//! Nodes.

use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::node::{Drain, Heartbeat, NodeState, NodeStatus};
use cara_api::problem::FieldError;
use cara_api::problem::code;
use cara_api::project::ProjectPhase;
use cara_api::{Node, NodeName, ResourceVersion, decode, schema, validate};

use super::App;
use super::extract::{self, document, document_or_default, expected_version, node_name, sound};
use super::failure::Failure;
use super::join::may_register;
use super::objects::{self, Named, Replaced};
use super::query::is_forced;
use super::rehearse::Writing;
use super::view::{begin, now, written};
use crate::audit::{Caller, Verb};
use crate::liveness::Peer;
use crate::plan::admission::Who;
use crate::plan::{Action, node as plan};
use crate::repo;

/// Lists or watches nodes.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes",
    params(("watch" = Option<bool>, Query, description = "Stream changes as JSON lines instead"),
        ("resourceVersion" = Option<String>, Query, description = "Watch what happens after this version")),
    responses((status = 200, description = "NodeList, or a stream of watch events")))]
pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    objects::list::<Node>(&app, &query, Named::All)
}

/// Reads or watches one node.
#[utoipa::path(get, path = "/api/v1/nodes/{name}", tag = "nodes", params(("name" = String, Path)),
    responses((status = 200, body = Node), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    objects::read::<Node>(&app, &query, name)
}

/// Creates a node; agents register with it.
#[utoipa::path(post, path = "/api/v1/nodes", tag = "nodes", request_body = Node,
    responses((status = 201, body = Node), (status = 400, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    Extension(who): Extension<Who>,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Node>(body, &schema::NODE).await?;
    let given = &decoded.value;
    may_register(&who, &given.metadata.name)?;
    let mut faults =
        validate::identity::<Node>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(validate::node(given));
    let (mut node, warned) = sound(decoded, faults)?;
    begin(&mut node.metadata);
    node.status = NodeStatus::default();
    let batch = repo::create_node(&node);
    let created = objects::create(&app, node, batch).await?;
    app.audit(&by, Verb::Create, None, Some(&created));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// Replaces spec, labels and annotations; the status stays.
#[utoipa::path(put, path = "/api/v1/nodes/{name}", tag = "nodes", request_body = Node,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Node), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Node>(body, &schema::NODE).await?;
    let given = &decoded.value;
    let mut faults = validate::same_identity::<Node>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(validate::node(given));
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    let replaced = change(&app, &name, expected, |old| {
        let mut node = old.clone();
        node.spec = given.spec.clone();
        node.metadata.labels = given.metadata.labels.clone();
        node.metadata.annotations = given.metadata.annotations.clone();
        node
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        app.audit(&by, Verb::Replace, Some(&*replaced.old), Some(new));
    }
    Ok(replaced.answer(&app, &warned))
}

/// Closes a node for new projects; those that are there stay.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/cordon", tag = "nodes", params(("name" = String, Path)),
    responses((status = 200, body = Node), (status = 404, body = cara_api::Problem)))]
pub(super) async fn cordon(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
) -> Result<Response, Failure> {
    let operated = operate(&app, &name, (&by, Verb::Cordon), plan::cordon).await?;
    Ok(operated.answer(&app, &[]))
}

/// Opens a node again, and ends its draining; moves that did not end yet are taken back.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/uncordon", tag = "nodes", params(("name" = String, Path)),
    responses((status = 200, body = Node), (status = 404, body = cara_api::Problem)))]
pub(super) async fn uncordon(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
) -> Result<Response, Failure> {
    let operated = operate(&app, &name, (&by, Verb::Uncordon), plan::uncordon).await?;
    Ok(operated.answer(&app, &[]))
}

/// Closes a node and moves its projects elsewhere, one at a time. The condition `Drained` says
/// how far it is; asking again changes how it is done, and nothing else.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/drain", tag = "nodes", request_body = Drain,
    params(("name" = String, Path)),
    responses((status = 200, body = Node), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem)))]
pub(super) async fn drain(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    let decoded = document_or_default::<Drain>(body, &schema::DRAIN).await?;
    let (wanted, warned) = sound(decoded, Vec::new())?;
    let drain = |node: &Node| plan::drain(node, &wanted);
    let operated = operate(&app, &name, (&by, Verb::Drain), drain).await?;
    Ok(operated.answer(&app, &warned))
}

async fn operate(
    app: &App,
    name: &str,
    (by, verb): (&Caller, Verb),
    edit: impl Fn(&Node) -> Node,
) -> Result<Replaced<Node>, Failure> {
    app.must_be_live()?;
    let operated = change(app, name, None, edit).await?;
    if let Some(new) = &operated.new {
        app.audit(by, verb, Some(&*operated.old), Some(new));
    }
    Ok(operated)
}

/// Changes a node. Its health is brought in line in the same write.
async fn change(
    app: &App,
    name: &str,
    expected: Option<ResourceVersion>,
    edit: impl Fn(&Node) -> Node,
) -> Result<Replaced<Node>, Failure> {
    let changed = objects::replace(app, name, expected, |old: &Node| {
        let mut node = edit(old);
        if node.spec != old.spec {
            node.metadata.generation = old.metadata.generation.next();
        }
        let (time, key) = (now(), node.name());
        let action = app.shared.cache.read(|state| {
            let seen = app.shared.liveness.last(&node, time);
            plan::settle(&node, seen, state.settled_on(&key), time).action
        });
        if let Action::Write(status) = action {
            node.status = status;
        }
        if node == *old {
            return Ok(None);
        }
        node.metadata.updated_at = Some(time);
        let batch = repo::replace_node(&node);
        Ok(Some((node, batch)))
    });
    changed.await
}

/// Deletes a node that no project is bound to; with force, its projects are placed again.
#[utoipa::path(delete, path = "/api/v1/nodes/{name}", tag = "nodes",
    params(("name" = String, Path),
        ("force" = Option<bool>, Query, description = "Delete it although projects are bound to it")),
    responses((status = 204, description = "Gone"), (status = 404, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "Projects are still bound to it")))]
pub(super) async fn delete(
    Writing(app): Writing,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let is_forced = is_forced(&query);
    let expected = expected_version(&headers, ResourceVersion::default())?;
    let key = node_name(&name)?;
    let mut bound = 0;
    let deleted = objects::delete(&app, &name, expected, |old: &Node| {
        bound = assigned(&app, &key);
        if bound > 0 && !is_forced {
            // The odd tail is what clients of the older system know.
            return Err(Failure::conflict(format!(
                "cannot delete node {name:?}: {bound} project(s) still assigned: resource already exists"
            ))
            .coded(code::IN_USE));
        }
        Ok(repo::delete_node(old))
    });
    let node = deleted.await?;
    if app.is_rehearsal() {
        return Ok(StatusCode::NO_CONTENT);
    }
    app.shared.liveness.forget(&key);
    app.shared.order.forget(&key);
    app.shared.peers.cut_node(&key);
    app.audit(&by, Verb::Delete, Some(&*node), None);
    tracing::info!(node = %name, forced = is_forced, projects = bound, "deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// How many projects a node has or had, and may have something of.
fn assigned(app: &App, node: &NodeName) -> usize {
    let is_active = |phase| match phase {
        ProjectPhase::Scheduled
        | ProjectPhase::Running
        | ProjectPhase::Failed
        | ProjectPhase::Terminating => true,
        ProjectPhase::Pending | ProjectPhase::Terminated => false,
    };
    app.shared.cache.read(|state| {
        let bound = state.bound_to(node);
        bound.filter(|p| is_active(p.status.phase)).count()
    })
}

/// Takes a sign of life. Only what changed is written to the store.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/heartbeat", tag = "agents", request_body = Heartbeat,
    params(("name" = String, Path)),
    responses((status = 204, description = "Taken"), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem)))]
pub(super) async fn heartbeat(
    Writing(app): Writing,
    Path(name): Path<String>,
    body: Body,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    objects::current::<Node>(&app, &name)?;
    let bytes = extract::body(body).await?;
    let beat = if bytes.is_empty() {
        Heartbeat::default()
    } else {
        read_heartbeat(&bytes)?
    };
    let key = NodeName::trusted(&name);
    app.shared.liveness.note(&key, Peer::Plain, now());
    change(&app, &name, None, |old| plan::merge(old, &beat, now())).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read_heartbeat(bytes: &[u8]) -> Result<Heartbeat, Failure> {
    let decoded = decode::document::<Heartbeat>(bytes, &schema::HEARTBEAT);
    let mut decoded = decoded.map_err(|fault| Failure::invalid(&[fault]))?;
    let state = &decoded.value.state;
    if !state.is_empty() && NodeState::parse(state).is_none() {
        let message = format!("invalid state {state}: must be one of Ready, NotReady, Draining");
        decoded.add_faults(vec![FieldError::new("state", message)]);
    }
    if decoded.faults.is_empty() {
        Ok(decoded.value)
    } else {
        Err(Failure::invalid(&decoded.faults))
    }
}
