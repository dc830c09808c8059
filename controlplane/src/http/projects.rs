//! Projects.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cara_api::project::ProjectSpec;
use cara_api::project::{ProjectPhase, ProjectStatus};
use cara_api::{List, Project, ResourceVersion, schema, validate};
use cara_store::{Batch, WriteError};

use super::App;
use super::extract::{check_version, document, expected_version, sound};
use super::failure::Failure;
use super::view::{View, begin, now, written};
use super::watch::{self, Filter};
use super::write::{TRIES, at};
use crate::audit::{Caller, Verb};
use crate::plan::{claims, project};
use crate::repo;

/// Which projects a list or watch shows.
#[derive(Debug, Clone, Default)]
struct Selection {
    name: Option<String>,
    phases: Vec<String>,
    node: Option<String>,
}

impl Selection {
    fn of(query: &[(String, String)]) -> Self {
        let values = |key: &'static str| {
            query
                .iter()
                .filter(move |(k, _)| k == key)
                .map(|(_, v)| v.clone())
        };
        Self {
            name: None,
            phases: values("phase").collect(),
            node: values("nodeRef").next(),
        }
    }
}

impl Filter<Project> for Selection {
    fn selects(&self, project: &Project) -> bool {
        let status = &project.status;
        let by_phase =
            self.phases.is_empty() || self.phases.iter().any(|p| p == status.phase.as_str());
        let by_node = self
            .node
            .as_ref()
            .is_none_or(|node| *node == status.node_ref);
        by_phase
            && by_node
            && self
                .name
                .as_ref()
                .is_none_or(|name| *name == project.metadata.name)
    }
}

/// Lists or watches projects.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects",
    params(
        ("phase" = Option<Vec<ProjectPhase>>, Query, description = "Only projects in one of these phases"),
        ("nodeRef" = Option<String>, Query, description = "Only projects on this node"),
        ("watch" = Option<bool>, Query, description = "Stream changes as JSON lines instead"),
        ("resourceVersion" = Option<String>, Query, description = "Watch what happens after this version")),
    responses((status = 200, description = "ProjectList, or a stream of watch events"),
        (status = 410, body = cara_api::Problem, description = "The version is too old: list again")))]
pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let selection = Selection::of(&query);
    if let Some(start) = watch::requested(&query)? {
        return watch::stream::<Project>(&app, selection, start);
    }
    let (items, revision) = app.shared.cache.read(|state| {
        let chosen = state.projects().values().filter(|p| selection.selects(p));
        (chosen.map(Arc::clone).collect::<Vec<_>>(), state.revision())
    });
    let views = items.iter().map(|p| p.view(&app.shared)).collect();
    Ok(Json(List::new(views, ResourceVersion(revision.0))).into_response())
}

/// Reads or watches one project.
#[utoipa::path(get, path = "/api/v1/projects/{name}", tag = "projects",
    params(("name" = String, Path),
        ("watch" = Option<bool>, Query, description = "Stream changes as JSON lines instead")),
    responses((status = 200, body = Project), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    if let Some(start) = watch::requested(&query)? {
        let selection = Selection {
            name: Some(name),
            ..Selection::default()
        };
        return watch::stream::<Project>(&app, selection, start);
    }
    let found = current(&app, &name)?;
    Ok(Json(found.view(&app.shared)).into_response())
}

pub(super) fn current(app: &App, name: &str) -> Result<Arc<Project>, Failure> {
    let found = app
        .shared
        .cache
        .read(|state| state.project(name).map(Arc::clone));
    found.ok_or_else(|| Failure::not_found::<Project>(name))
}

/// Creates a project; it is placed afterwards.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = Project,
    responses((status = 201, body = Project, description = "Stored; status.phase is Pending"),
        (status = 400, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 413, body = cara_api::Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Project>(body, &schema::PROJECT).await?;
    let given = &decoded.value;
    let domain = &app.shared.config.domain;
    let mut faults =
        validate::identity::<Project>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(validate::project(&given.spec, &given.metadata.name, domain));
    let (mut project, warned) = sound(decoded, faults)?;
    begin(&mut project.metadata);
    project.status = ProjectStatus::default();
    let hosts = claims::of_spec(&project.spec, &project.metadata.name, domain);
    match app.commit(repo::create_project(&project, &hosts)).await {
        Ok(revision) => {
            tracing::info!(project = %project.metadata.name, %revision, "created");
            let created = at(project, revision);
            app.audit(&by, Verb::Create, None, Some(&created));
            Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
        }
        Err(WriteError::Conflict { key }) => {
            let name = &project.metadata.name;
            Err(app
                .claim_taken(&key)
                .unwrap_or_else(|| Failure::exists::<Project>(name)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Replaces spec, labels and annotations; the status stays.
#[utoipa::path(put, path = "/api/v1/projects/{name}", tag = "projects", request_body = Project,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Project), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    State(app): State<App>,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Project>(body, &schema::PROJECT).await?;
    let given = &decoded.value;
    let domain = &app.shared.config.domain;
    let mut faults = validate::same_identity::<Project>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(validate::project(&given.spec, &name, domain));
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    for _ in 0..TRIES {
        let old = current(&app, &name)?;
        check_version(&*old, expected)?;
        let Some(change) = changed(&app, &old, &given)? else {
            return Ok(written(&app.shared, StatusCode::OK, &*old, &warned));
        };
        if let Some(replaced) = change.write(&app).await? {
            app.audit(&by, Verb::Replace, Some(&*old), Some(&replaced));
            return Ok(written(&app.shared, StatusCode::OK, &replaced, &warned));
        }
    }
    Err(too_busy(&name))
}

/// A changed project, ready to be written on condition that it is as it was read.
pub(super) struct Change {
    project: Project,
    batch: Batch,
}

impl Change {
    /// Writes it; none after a lost race: read again and decide again.
    pub(super) async fn write(self, app: &App) -> Result<Option<Project>, Failure> {
        match app.commit(self.batch).await {
            Ok(revision) => Ok(Some(at(self.project, revision))),
            Err(WriteError::Conflict { key }) => match app.claim_taken(&key) {
                Some(taken) => Err(taken),
                None => app.catch_up().await.map(|()| None),
            },
            Err(error) => Err(error.into()),
        }
    }
}

fn being_deleted(name: &str) -> Failure {
    Failure::conflict(format!(
        "operation conflicts with current resource state: project {name:?} is being deleted"
    ))
}

pub(super) fn too_busy(name: &str) -> Failure {
    Failure::conflict(format!(
        "project {name:?} is being changed by others at the same time: try again"
    ))
}

/// The project with the user's part replaced; none when nothing differs.
fn changed(app: &App, old: &Project, given: &Project) -> Result<Option<Change>, Failure> {
    let mut base = old.clone();
    base.metadata.labels = given.metadata.labels.clone();
    base.metadata.annotations = given.metadata.annotations.clone();
    if let Some(change) = with_spec(app, &base, &given.spec)? {
        return Ok(Some(change));
    }
    if base == *old {
        return Ok(None);
    }
    base.metadata.updated_at = Some(now());
    let nothing = BTreeSet::new();
    let batch = repo::replace_project(&base, &nothing, &nothing);
    Ok(Some(Change {
        project: base,
        batch,
    }))
}

/// The project in a new generation, with the claims on its hostnames and the generation that it
/// replaces; none when the spec asks for nothing new.
pub(super) fn with_spec(
    app: &App,
    old: &Project,
    spec: &ProjectSpec,
) -> Result<Option<Change>, Failure> {
    let name = &old.metadata.name;
    if old.status.phase.is_ending() {
        return Err(being_deleted(name));
    }
    let time = now();
    let Some(mut changed) = project::respecify(old, spec, time) else {
        return Ok(None);
    };
    changed.project.metadata.updated_at = Some(time);
    let domain = &app.shared.config.domain;
    let stable = old.status.stable_generation;
    let (old_hosts, outdated) = app.shared.cache.read(|state| {
        let stored = state.revisions(name);
        let outdated = stored.map(|stored| project::outdated(stored, stable));
        (
            state.owned_claims(old, domain),
            outdated.unwrap_or_default(),
        )
    });
    let hosts = claims::of_spec(&changed.project.spec, name, domain);
    let batch = repo::replace_project(&changed.project, &old_hosts, &hosts);
    Ok(Some(Change {
        batch: repo::keep_revision(batch, &changed.replaced, outdated),
        project: changed.project,
    }))
}

/// Deletes a project: at once when nothing of it can run, else after its agent removed it.
#[utoipa::path(delete, path = "/api/v1/projects/{name}", tag = "projects",
    params(("name" = String, Path),
        ("force" = Option<bool>, Query, description = "Forget the record now; the node sweeps up on its own")),
    responses((status = 202, description = "On its way out"), (status = 204, description = "Gone"),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let is_forced = query
        .iter()
        .any(|(key, value)| key == "force" && value == "true");
    let expected = expected_version(&headers, ResourceVersion::default())?;
    for _ in 0..TRIES {
        let old = current(&app, &name)?;
        check_version(&*old, expected)?;
        let is_bound = !old.status.node_ref.is_empty();
        let (batch, status) = if is_forced || !is_bound {
            let (hosts, generations) = app.shared.cache.read(|state| {
                let stored = state.revisions(&name).into_iter().flatten();
                let generations: Vec<_> = stored.map(|(generation, _)| *generation).collect();
                let hosts = state.owned_claims(&old, &app.shared.config.domain);
                (hosts, generations)
            });
            let batch = repo::delete_project(&old, &hosts, generations);
            (batch, StatusCode::NO_CONTENT)
        } else if old.status.phase.is_ending() {
            return Ok(StatusCode::ACCEPTED);
        } else {
            let time = now();
            let mut ending = (*old).clone();
            ending.status =
                project::terminate(&old, "DeletionRequested", "deletion was asked for", time);
            ending.metadata.updated_at = Some(time);
            let nothing = BTreeSet::new();
            (
                repo::replace_project(&ending, &nothing, &nothing),
                StatusCode::ACCEPTED,
            )
        };
        match app.commit(batch).await {
            Ok(_) => {
                app.audit(&by, Verb::Delete, Some(&*old), None);
                tracing::info!(project = %name, forced = is_forced, "deletion");
                return Ok(status);
            }
            Err(WriteError::Conflict { .. }) => app.catch_up().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(too_busy(&name))
}
