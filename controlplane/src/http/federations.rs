//! Federation rules: which tokens of other issuers are exchanged.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::access::validate as rules;
use cara_api::{API_VERSION, Federation, Resource, ResourceVersion, schema, validate};

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::objects::{self, Named};
use super::rehearse::Writing;
use super::users::not_watched;
use super::view::{View, begin, now, written};
use super::watch::Watched;
use crate::Shared;
use crate::audit::{Caller, Verb};
use crate::cache::{Object, State as CacheState};
use crate::repo;

impl View for Federation {
    type Shown = Self;

    fn view(&self, _: &Shared) -> Self {
        let mut rule = self.clone();
        API_VERSION.clone_into(&mut rule.api_version);
        Self::KIND.clone_into(&mut rule.kind);
        rule
    }
}

impl Watched for Federation {
    fn of(_: &Object) -> Option<&Arc<Self>> {
        None
    }

    fn all(state: &CacheState) -> Vec<Arc<Self>> {
        state.access().federations().values().cloned().collect()
    }

    fn find<'s>(state: &'s CacheState, name: &str) -> Option<&'s Arc<Self>> {
        state.access().federations().get(name)
    }
}

/// Lists federation rules.
#[utoipa::path(get, path = "/api/v1/federations", tag = "access",
    responses((status = 200, description = "FederationList"), (status = 403, body = cara_api::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    not_watched(&query)?;
    objects::list::<Federation>(&app, &query, Named::All)
}

/// Reads a rule.
#[utoipa::path(get, path = "/api/v1/federations/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 200, body = Federation), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    not_watched(&query)?;
    objects::read::<Federation>(&app, &query, name)
}

/// Creates a rule.
#[utoipa::path(post, path = "/api/v1/federations", tag = "access", request_body = Federation,
    responses((status = 201, body = Federation), (status = 400, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Federation>(body, &schema::FEDERATION).await?;
    let given = &decoded.value;
    let mut faults =
        validate::identity::<Federation>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(rules::federation(given));
    let (mut rule, warned) = sound(decoded, faults)?;
    begin(&mut rule.metadata);
    let batch = repo::create_federation(&rule);
    let created = objects::create(&app, rule, batch).await?;
    app.audit(&by, Verb::Create, None, Some(&created));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// Replaces spec, labels and annotations.
#[utoipa::path(put, path = "/api/v1/federations/{name}", tag = "access", request_body = Federation,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Federation), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Federation>(body, &schema::FEDERATION).await?;
    let given = &decoded.value;
    let mut faults = validate::same_identity::<Federation>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(rules::federation(given));
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    let replaced = objects::replace(&app, &name, expected, |old: &Federation| {
        let mut rule = old.clone();
        rule.spec = given.spec.clone();
        rule.metadata.labels = given.metadata.labels.clone();
        rule.metadata.annotations = given.metadata.annotations.clone();
        if rule == *old {
            return Ok(None);
        }
        if rule.spec != old.spec {
            rule.metadata.generation = old.metadata.generation.next();
        }
        rule.metadata.updated_at = Some(now());
        let batch = repo::replace_federation(&rule);
        Ok(Some((rule, batch)))
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        app.audit(&by, Verb::Replace, Some(&*replaced.old), Some(new));
    }
    Ok(replaced.answer(&app, &warned))
}

/// Deletes a rule; tokens that it gave stay good until their end.
#[utoipa::path(delete, path = "/api/v1/federations/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 204, description = "Gone"), (status = 404, body = cara_api::Problem)))]
pub(super) async fn delete(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let expected = expected_version(&headers, ResourceVersion::default())?;
    let deleted = objects::delete(&app, &name, expected, |old: &Federation| {
        Ok(repo::delete_federation(old))
    });
    let old = deleted.await?;
    tracing::info!(rule = %name, "deleted");
    app.audit(&by, Verb::Delete, Some(&*old), None);
    Ok(StatusCode::NO_CONTENT)
}
