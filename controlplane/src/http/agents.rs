//! What agents call: the stream of their assignments, and their reports.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::agent::{Assignment, Assignments, Message, Refusal, Report, ReportAnswer, Reports};
use cara_api::{Node, NodeName, ResourceVersion};
use cara_store::{Revision, WriteError};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::App;
use super::deliver::{fill_secrets, name_secrets};
use super::extract::{self, node_name};
use super::failure::Failure;
use super::objects::TRIES;
use super::view::now;
use crate::cache::{self, Object};
use crate::liveness::Peer;
use crate::plan::assign::assignment;
use crate::plan::project::{Heard, fold};
use crate::repo;

/// Reports of one request that are written at once.
const PARALLEL: usize = 32;

/// Streams to an agent everything that its node should run, again after every change.
#[utoipa::path(get, path = "/api/v1/nodes/{name}/assignments", tag = "agents", params(("name" = String, Path)),
    responses((status = 200, description = "A stream of JSON lines"), (status = 404, body = cara_api::Problem)))]
pub(super) async fn assignments(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let node = node_name(&name)?;
    if app.shared.cache.read(|state| state.node(&name).is_none()) {
        return Err(Failure::not_found::<Node>(&name));
    }
    app.shared.liveness.note(&node, Peer::Agent, now());
    app.shared.liveness.news.notify_one();
    tracing::info!(%node, "agent follows");
    let follower = Follower {
        heads: app.shared.cache.heads(),
        keepalive_at: Instant::now() + app.shared.config.keepalive,
        app,
        node,
        seen: None,
        sent: None,
    };
    let body = stream::unfold(follower, |mut follower| async {
        follower
            .next()
            .await
            .map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), follower))
    });
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(body),
    )
        .into_response())
}

struct Follower {
    app: App,
    heads: watch::Receiver<Revision>,
    node: NodeName,
    /// What the node should run was looked at as of this revision.
    seen: Option<Revision>,
    sent: Option<Vec<Assignment>>,
    /// When a keepalive is due, whatever else happens in the store.
    keepalive_at: Instant,
}

impl Follower {
    fn send(&mut self, message: &Message) -> Bytes {
        self.keepalive_at = Instant::now() + self.app.shared.config.keepalive;
        line(message)
    }

    /// The next line; none ends the stream, and the agent comes back.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                changed = self.heads.changed() => {
                    changed.ok()?;
                    // What the cache does not know for certain is no reason to remove anything.
                    if !self.app.shared.cache.is_live() {
                        continue;
                    }
                    let (projects, revision, exists) = self.app.shared.cache.read(|state| {
                        let is_due = self.seen.is_none_or(|seen| concerns(state, seen, &self.node));
                        let projects = is_due.then(|| {
                            let mut all = assigned(state, &self.node);
                            name_secrets(&mut all, state);
                            all
                        });
                        (projects, state.revision(), state.node(self.node.as_str()).is_some())
                    });
                    if !exists {
                        return None;
                    }
                    self.seen = Some(revision);
                    let Some(projects) = projects else { continue };
                    if self.sent.as_ref() != Some(&projects) {
                        self.sent = Some(projects.clone());
                        let mut projects = projects;
                        fill_secrets(&mut projects, &self.app);
                        let revision = ResourceVersion(revision.0);
                        return Some(self.send(&Message::Assignments(Assignments { revision, projects })));
                    }
                }
                () = tokio::time::sleep_until(self.keepalive_at) => return Some(self.send(&Message::Keepalive)),
                () = self.app.token.cancelled() => return None,
            }
        }
    }
}

fn line(message: &Message) -> Bytes {
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Whether anything that a node is told may have changed after `seen`: work follows from changes,
/// however many nodes and projects there are.
fn concerns(state: &cache::State, seen: Revision, node: &NodeName) -> bool {
    let Ok(changes) = state.changes_since(seen) else {
        return true;
    };
    let is_here = |object: &Option<Object>| match object {
        Some(Object::Project(project)) => {
            let status = &project.status;
            let moving = status.moving.as_ref();
            status.node_ref == node.as_str()
                || moving.is_some_and(|moving| moving.node_ref == node.as_str())
        }
        // Whether a project refers to it, only the project knows.
        Some(Object::Secret(_)) => true,
        Some(Object::Node(_) | Object::Certificate(_)) | None => false,
    };
    let mut changes = changes.iter();
    changes.any(|change| is_here(&change.before) || is_here(&change.after))
}

/// Everything that a node is told, sorted by name.
fn assigned(state: &cache::State, node: &NodeName) -> Vec<Assignment> {
    let here = state.bound_to(node).chain(state.arriving_at(node));
    let mut all: Vec<Assignment> = here
        .map(|project| assignment(project, node, state.stable(project).map(|r| &**r)))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Takes the reports of an agent. An answer means that they are durable.
#[utoipa::path(post, path = "/api/v1/nodes/{name}/reports", tag = "agents", params(("name" = String, Path)),
    responses((status = 200, description = "Taken, but for those that are named"),
        (status = 400, body = cara_api::Problem), (status = 503, body = cara_api::Problem)))]
pub(super) async fn reports(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<ReportAnswer>, Failure> {
    app.must_be_live()?;
    let node = node_name(&name)?;
    let bytes = extract::body(body).await?;
    let reports: Reports = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad_request(format!("invalid request body: {error}")))?;
    if app.shared.cache.read(|state| state.node(&name).is_none()) {
        return Err(Failure::not_found::<Node>(&name));
    }
    app.shared.liveness.note(&node, Peer::Agent, now());
    let mut newest = app.shared.order.turn(&node).await;
    if !newest.note(&reports.session, reports.sequence) {
        return Ok(Json(late(reports)));
    }
    let (app, node) = (&app, &node);
    let taken = stream::iter(reports.reports)
        .map(|report| async move {
            let taken = take_report(app, node, &report, Follows::Assignments).await?;
            Ok::<_, Failure>((report.project, taken))
        })
        .buffer_unordered(PARALLEL)
        .collect::<Vec<_>>();
    let mut answer = ReportAnswer::default();
    for result in taken.await {
        if let (project, Taken::Refused(reason)) = result? {
            tracing::info!(%project, %node, reason, "report refused");
            answer.refused.push(Refusal { project, reason });
        }
    }
    Ok(Json(answer))
}

/// The answer to reports that arrived after later ones of their agent.
fn late(reports: Reports) -> ReportAnswer {
    let refused = reports.reports.into_iter().map(|report| Refusal {
        project: report.project,
        reason: "a later report of the node was taken before".to_owned(),
    });
    ReportAnswer {
        refused: refused.collect(),
    }
}

/// What became of a report.
pub(super) enum Taken {
    /// It is in the project's status, or said nothing new.
    Yes,
    /// It is not about the current binding.
    Refused(String),
}

/// What a reporter acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// The generation that it is assigned; it can return to an earlier one.
    Assignments,
    /// The newest spec, always.
    Spec,
}

/// Folds a report into its project, on condition that the project is as it was read: a report
/// that races with a deletion or a move is folded again, over the newer state, and refused.
pub(super) async fn take_report(
    app: &App,
    node: &NodeName,
    report: &Report,
    follows: Follows,
) -> Result<Taken, Failure> {
    for _ in 0..TRIES {
        let found = app.shared.cache.read(|state| {
            let project = state.project(report.project.as_str())?;
            Some((Arc::clone(project), state.stable(project).is_some()))
        });
        let Some((project, is_stored)) = found else {
            return Ok(Taken::Refused("the project does not exist".to_owned()));
        };
        let time = now();
        let heard = Heard {
            node,
            report,
            can_roll_back: is_stored && follows == Follows::Assignments,
        };
        let status = match fold(&project, &heard, time) {
            Ok(Some(status)) => status,
            Ok(None) => return Ok(Taken::Yes),
            Err(stale) => return Ok(Taken::Refused(stale.to_string())),
        };
        if status.phase != project.status.phase {
            tracing::info!(project = %report.project, from = %project.status.phase, to = %status.phase, %node, "phase");
        }
        let mut changed = (*project).clone();
        changed.status = status;
        changed.metadata.updated_at = Some(time);
        match app.commit(repo::write_project_status(&changed)).await {
            Ok(_) => return Ok(Taken::Yes),
            Err(WriteError::Conflict { .. }) => app.catch_up().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::unavailable(
        "the project is being changed by others at the same time: send the report again",
    ))
}
