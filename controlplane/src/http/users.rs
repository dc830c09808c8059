//! Users: who has roles.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::access::validate as rules;
use cara_api::{API_VERSION, Resource, ResourceVersion, User, schema, validate};

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::objects::{self, Named};
use super::query::Parameters;
use super::rehearse::Writing;
use super::view::{View, begin, now, written};
use super::watch::{self, Watched};
use crate::Shared;
use crate::audit::{Caller, Verb};
use crate::cache::{Object, State as CacheState, tokens_of};
use crate::repo;

impl View for User {
    type Shown = Self;

    fn view(&self, _: &Shared) -> Self {
        let mut user = self.clone();
        API_VERSION.clone_into(&mut user.api_version);
        Self::KIND.clone_into(&mut user.kind);
        user
    }
}

impl Watched for User {
    fn of(_: &Object) -> Option<&Arc<Self>> {
        None
    }

    fn all(state: &CacheState) -> Vec<Arc<Self>> {
        state.access().users().values().cloned().collect()
    }

    fn find<'s>(state: &'s CacheState, name: &str) -> Option<&'s Arc<Self>> {
        state.access().users().get(name)
    }
}

/// Refuses a watch of what has no history.
pub(super) fn not_watched(query: &Parameters) -> Result<(), Failure> {
    match watch::requested(query)? {
        None => Ok(()),
        Some(_) => Err(Failure::bad_request(
            "users, tokens and federation rules cannot be watched: list them again",
        )),
    }
}

/// Lists users.
#[utoipa::path(get, path = "/api/v1/users", tag = "access",
    responses((status = 200, description = "UserList"), (status = 403, body = cara_api::Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    not_watched(&query)?;
    objects::list::<User>(&app, &query, Named::All)
}

/// Reads a user.
#[utoipa::path(get, path = "/api/v1/users/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 200, body = User), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    not_watched(&query)?;
    objects::read::<User>(&app, &query, name)
}

/// Creates a user.
#[utoipa::path(post, path = "/api/v1/users", tag = "access", request_body = User,
    responses((status = 201, body = User), (status = 400, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<User>(body, &schema::USER).await?;
    let given = &decoded.value;
    let mut faults =
        validate::identity::<User>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(rules::user(given));
    let (mut user, warned) = sound(decoded, faults)?;
    begin(&mut user.metadata);
    let batch = repo::create_user(&user);
    let created = objects::create(&app, user, batch).await?;
    app.audit(&by, Verb::Create, None, Some(&created));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// Replaces spec, labels and annotations.
#[utoipa::path(put, path = "/api/v1/users/{name}", tag = "access", request_body = User,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = User), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<User>(body, &schema::USER).await?;
    let given = &decoded.value;
    let mut faults = validate::same_identity::<User>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(rules::user(given));
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    let replaced = objects::replace(&app, &name, expected, |old: &User| {
        let mut user = old.clone();
        user.spec = given.spec.clone();
        user.metadata.labels = given.metadata.labels.clone();
        user.metadata.annotations = given.metadata.annotations.clone();
        if user == *old {
            return Ok(None);
        }
        if user.spec != old.spec {
            user.metadata.generation = old.metadata.generation.next();
        }
        user.metadata.updated_at = Some(now());
        let batch = repo::replace_user(&user);
        Ok(Some((user, batch)))
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        app.audit(&by, Verb::Replace, Some(&*replaced.old), Some(new));
    }
    Ok(replaced.answer(&app, &warned))
}

/// Deletes a user, and the tokens that act for it.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "access", params(("name" = String, Path)),
    responses((status = 204, description = "Gone"), (status = 404, body = cara_api::Problem)))]
pub(super) async fn delete(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let expected = expected_version(&headers, ResourceVersion::default())?;
    let deleted = objects::delete(&app, &name, expected, |old: &User| {
        let cache = &app.shared.cache;
        Ok(cache.read(|state| repo::delete_user(old, tokens_of(state.access(), old))))
    });
    let old = deleted.await?;
    tracing::info!(user = %name, "deleted");
    app.audit(&by, Verb::Delete, Some(&*old), None);
    Ok(StatusCode::NO_CONTENT)
}
