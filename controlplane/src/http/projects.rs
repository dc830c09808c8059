//! Projects.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::problem::FieldError;
use cara_api::project::{ProjectPhase, ProjectSpec, ProjectStatus};
use cara_api::{Project, ResourceVersion, schema, validate};
use cara_store::Batch;

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::guard::Asker;
use super::objects::{self, Named};
use super::query::is_forced;
use super::rehearse::Writing;
use super::view::{begin, now, written};
use super::watch::Filter;
use crate::audit::{Caller, Verb};
use crate::plan::{claims, project};
use crate::repo;

/// Which projects a list or watch shows.
#[derive(Debug, Clone, Default)]
struct Selection {
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
        by_phase && by_node
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
    who: Asker,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    objects::list::<Project>(&app, &query, who.readable(Selection::of(&query)))
}

/// Reads or watches one project.
#[utoipa::path(get, path = "/api/v1/projects/{name}", tag = "projects",
    params(("name" = String, Path),
        ("watch" = Option<bool>, Query, description = "Stream changes as JSON lines instead")),
    responses((status = 200, body = Project), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    who: Asker,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let filter = who.readable(Named::One(name.clone()));
    objects::read_among::<Project>(&app, &query, filter, &name)
}

/// Creates a project; it is placed afterwards.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", request_body = Project,
    responses((status = 201, body = Project, description = "Stored; status.phase is Pending"),
        (status = 400, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 413, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Project>(body, &schema::PROJECT).await?;
    let given = &decoded.value;
    let domain = &app.shared.config.domain;
    let mut faults =
        validate::identity::<Project>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(spec_faults(&app, &given.spec, &given.metadata.name));
    let (mut project, warned) = sound(decoded, faults)?;
    begin(&mut project.metadata);
    project.status = ProjectStatus::default();
    let hosts = claims::of_spec(&project.spec, &project.metadata.name, domain);
    app.must_be_free(&hosts, &project.metadata.name)?;
    let batch = repo::create_project(&project, &hosts);
    let created = objects::create(&app, project, batch).await?;
    app.audit(&by, Verb::Create, None, Some(&created));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// Replaces spec, labels and annotations; the status stays.
#[utoipa::path(put, path = "/api/v1/projects/{name}", tag = "projects", request_body = Project,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Project), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Project>(body, &schema::PROJECT).await?;
    let given = &decoded.value;
    let mut faults = validate::same_identity::<Project>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(spec_faults(&app, &given.spec, &name));
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    let replaced = objects::replace(&app, &name, expected, |old| changed(&app, old, &given));
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        app.audit(&by, Verb::Replace, Some(&*replaced.old), Some(new));
    }
    Ok(replaced.answer(&app, &warned))
}

/// What a spec must not be, by its own rules and those of the installation.
pub(super) fn spec_faults(app: &App, spec: &ProjectSpec, name: &str) -> Vec<FieldError> {
    let config = &app.shared.config;
    let mut faults = validate::project(spec, name, &config.domain);
    faults.extend(validate::reserved(
        spec,
        name,
        &config.domain,
        &config.reserved,
    ));
    faults
}

/// A changed project, with what writes it on condition that it is as it was read.
type Change = (Project, Batch);

fn being_deleted(name: &str) -> Failure {
    Failure::conflict(format!(
        "operation conflicts with current resource state: project {name:?} is being deleted"
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
    Ok(Some((base, batch)))
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
    app.must_be_free(&hosts, name)?;
    let batch = repo::replace_project(&changed.project, &old_hosts, &hosts);
    let batch = repo::keep_revision(batch, &changed.replaced, outdated);
    Ok(Some((changed.project, batch)))
}

/// Deletes a project: at once when nothing of it can run, else after its agent removed it.
#[utoipa::path(delete, path = "/api/v1/projects/{name}", tag = "projects",
    params(("name" = String, Path),
        ("force" = Option<bool>, Query, description = "Forget the record now; the node sweeps up on its own")),
    responses((status = 202, description = "On its way out"), (status = 204, description = "Gone"),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
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
    let deleted = objects::change(&app, &name, expected, |old: &Arc<Project>| {
        let is_bound = !old.status.node_ref.is_empty();
        if is_forced || !is_bound {
            return Ok((Some(removal(&app, old)), StatusCode::NO_CONTENT));
        }
        let is_ending = old.status.phase.is_ending();
        Ok(((!is_ending).then(|| ending(old)), StatusCode::ACCEPTED))
    });
    let deleted = deleted.await?;
    if deleted.revision.is_some() && !app.is_rehearsal() {
        app.audit(&by, Verb::Delete, Some(&*deleted.old), None);
        tracing::info!(project = %name, forced = is_forced, "deletion");
    }
    Ok(deleted.decided)
}

/// Forgets a project with all that belongs to it.
fn removal(app: &App, project: &Project) -> Batch {
    let (hosts, generations) = app.shared.cache.read(|state| {
        let stored = state.revisions(&project.metadata.name);
        let stored = stored.into_iter().flatten();
        let generations: Vec<_> = stored.map(|(generation, _)| *generation).collect();
        let hosts = state.owned_claims(project, &app.shared.config.domain);
        (hosts, generations)
    });
    repo::delete_project(project, &hosts, generations)
}

/// Lets the project's agent remove it first.
fn ending(project: &Project) -> Batch {
    let (time, nothing) = (now(), BTreeSet::new());
    let mut ending = project.clone();
    ending.status =
        project::terminate(project, "DeletionRequested", "deletion was asked for", time);
    ending.metadata.updated_at = Some(time);
    repo::replace_project(&ending, &nothing, &nothing)
}
