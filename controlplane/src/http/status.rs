//! `PATCH …/status`: how agents of the older system report.
//!
//! The patch is read as a report about the current binding and folded like any other. What such
//! an agent may say is Running, Failed and Terminated; everything else is the server's to say.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use cara_api::agent::{Outcome, Report};
use cara_api::problem::FieldError;
use cara_api::project::{ProjectPhase, StatusPatch};
use cara_api::{NodeName, Project, ResourceVersion, schema};

use super::App;
use super::agents::{Follows, Taken, take_report};
use super::extract::{check_version, document, expected_version};
use super::failure::Failure;
use super::guard::Asker;
use super::policy::must_be_node_of;
use crate::plan::assign::stops_first;

/// Takes the report of an agent of the older system.
#[utoipa::path(patch, path = "/api/v1/projects/{name}/status", tag = "agents", request_body = StatusPatch,
    params(("name" = String, Path)),
    responses((status = 204, description = "Taken"), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn patch(
    State(app): State<App>,
    Asker(who): Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let decoded = document::<StatusPatch>(body, &schema::STATUS_PATCH).await?;
    if !decoded.faults.is_empty() {
        return Err(Failure::invalid(&decoded.faults));
    }
    let patch = decoded.value;
    let phase = phase(&patch).map_err(|fault| Failure::invalid(&[fault]))?;
    let found: Option<Arc<Project>> = app
        .shared
        .cache
        .read(|state| state.project(&name).map(Arc::clone));
    let project = found.ok_or_else(|| Failure::not_found::<Project>(&name))?;
    // The project may have come to another node while the report was on its way.
    must_be_node_of(&who, &project)?;
    check_version(
        &*project,
        expected_version(&headers, ResourceVersion::default())?,
    )?;
    let refused = |why: &str| {
        Failure::conflict(format!(
            "operation conflicts with current resource state: project {name:?} {why}"
        ))
    };
    let moving = project.status.moving.as_ref();
    let is_ending = project.status.phase.is_ending();
    let shall_go = is_ending || moving.is_some_and(stops_first);
    let outcome = match (phase, shall_go) {
        (ProjectPhase::Running, false) => Outcome::Running,
        (ProjectPhase::Failed, false) => Outcome::Failed {
            reason: patch.reason,
            message: patch.message,
        },
        (ProjectPhase::Failed, true) => Outcome::Removing {
            message: patch.message,
        },
        (ProjectPhase::Terminated, true) => Outcome::Removed,
        (ProjectPhase::Running, true) if is_ending => return Err(refused("is being deleted")),
        (ProjectPhase::Running, true) => return Err(refused("is moving to another node")),
        (ProjectPhase::Terminated, false) => return Err(refused("is not being deleted")),
        (ProjectPhase::Pending | ProjectPhase::Scheduled | ProjectPhase::Terminating, _) => {
            return Err(refused("takes this phase from the server only"));
        }
    };
    if project.status.node_ref.is_empty() {
        return Err(refused("is not bound to a node"));
    }
    let report = Report {
        project: project.name(),
        epoch: project.status.binding_epoch,
        generation: project.metadata.generation,
        outcome,
        services: project.status.services.clone(),
        progress: String::new(),
    };
    let node = NodeName::trusted(&project.status.node_ref);
    match take_report(&app, &node, &report, Follows::Spec).await? {
        Taken::Yes => Ok(StatusCode::NO_CONTENT),
        Taken::Refused(reason) => Err(refused(&reason)),
    }
}

fn phase(patch: &StatusPatch) -> Result<ProjectPhase, FieldError> {
    if patch.phase.is_empty() {
        return Err(FieldError::new("phase", "phase is required"));
    }
    ProjectPhase::parse(&patch.phase).ok_or_else(|| {
        let all: Vec<&str> = ProjectPhase::ALL
            .iter()
            .map(|phase| phase.as_str())
            .collect();
        FieldError::new(
            "phase",
            format!(
                "invalid phase {}: must be one of {}",
                patch.phase,
                all.join(", ")
            ),
        )
    })
}
