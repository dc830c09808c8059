//! Earlier generations of a project, and the way back to them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use cara_api::project::{ProjectRevision, ProjectSpec, Rollback};
use cara_api::{API_VERSION, Generation, Project, schema};
use serde::Serialize;

use super::App;
use super::extract::{document_or_default, sound};
use super::failure::Failure;
use super::objects;
use super::projects::{spec_faults, with_spec};
use super::rehearse::Writing;
use crate::audit::{Caller, Verb};
use crate::plan::project::revision_before;

/// Earlier generations, oldest first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RevisionList {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Arc<ProjectRevision>>,
}

/// Lists the earlier generations that are kept.
#[utoipa::path(get, path = "/api/v1/projects/{name}/revisions", tag = "projects", params(("name" = String, Path)),
    responses((status = 200, description = "ProjectRevisionList, oldest first"), (status = 404, body = cara_api::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    objects::current::<Project>(&app, &name)?;
    let items = app.shared.cache.read(|state| {
        let stored = state.revisions(&name).into_iter().flatten();
        stored.map(|(_, revision)| Arc::clone(revision)).collect()
    });
    let list = RevisionList {
        api_version: API_VERSION,
        kind: "ProjectRevisionList",
        items,
    };
    Ok(Json(list).into_response())
}

/// Makes a new generation with the spec of an earlier one.
#[utoipa::path(post, path = "/api/v1/projects/{name}/rollback", tag = "projects", request_body = Rollback,
    params(("name" = String, Path)),
    responses((status = 200, body = Project), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "There is no such generation")))]
pub(super) async fn rollback(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document_or_default::<Rollback>(body, &schema::ROLLBACK).await?;
    let (wanted, warned) = sound(decoded, Vec::new())?;
    let replaced = objects::replace(&app, &name, None, |old| {
        let spec = earlier(&app, old, &wanted)?;
        // Stored under rules of then, and for hosts that may be the gateway's own by now.
        let faults = spec_faults(&app, &spec, &name);
        if !faults.is_empty() {
            return Err(Failure::invalid(&faults));
        }
        with_spec(&app, old, &spec)
    });
    let replaced = replaced.await?;
    if let Some(project) = &replaced.new
        && !app.is_rehearsal()
    {
        app.audit(&by, Verb::Rollback, Some(&*replaced.old), Some(project));
        tracing::info!(project = %name, generation = project.metadata.generation.0, "rolled back by request");
    }
    Ok(replaced.answer(&app, &warned))
}

fn earlier(app: &App, project: &Project, wanted: &Rollback) -> Result<Arc<ProjectSpec>, Failure> {
    let name = &project.metadata.name;
    app.shared.cache.read(|state| {
        let stored = state.revisions(name);
        let Some(generation) = wanted.generation else {
            let found = stored.and_then(|stored| revision_before(project, stored));
            return found.map(|r| Arc::clone(&r.spec)).ok_or_else(|| {
                Failure::conflict(format!(
                    "project {name:?} has no earlier generation to return to"
                ))
            });
        };
        let key = u64::try_from(generation).ok().map(Generation);
        let found = key.and_then(|key| stored?.get(&key));
        found.map(|r| Arc::clone(&r.spec)).ok_or_else(|| {
            let kept: Vec<String> = stored
                .into_iter()
                .flatten()
                .map(|(generation, _)| generation.0.to_string())
                .collect();
            let kept = if kept.is_empty() {
                "none is kept".to_owned()
            } else {
                format!("kept are {}", kept.join(", "))
            };
            Failure::conflict(format!(
                "project {name:?} has no earlier generation {generation}: {kept}"
            ))
        })
    })
}
