//! Users: who has roles.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::access::validate as rules;
use cara_api::problem::FieldError;
use cara_api::schema::{self, Schema};
use cara_api::{API_VERSION, Resource, User};
use cara_store::Batch;

use super::App;
use super::failure::Failure;
use super::objects::{self, Named};
use super::rehearse::Writing;
use super::stored::{self, Stored, not_watched};
use super::view::View;
use super::watch::Watched;
use crate::Shared;
use crate::audit::Caller;
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

impl Stored for User {
    fn schema() -> &'static Schema {
        &schema::USER
    }

    fn said(&self) -> [&str; 2] {
        [&self.api_version, &self.kind]
    }

    fn faults(&self) -> Vec<FieldError> {
        rules::user(self)
    }

    fn respecify(&mut self, given: &Self) -> bool {
        let is_other = self.spec != given.spec;
        self.spec.clone_from(&given.spec);
        is_other
    }

    fn creation(&self) -> Batch {
        repo::create_user(self)
    }

    fn replacement(&self) -> Batch {
        repo::replace_user(self)
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
    stored::create::<User>(&app, &by, body).await
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
    stored::replace::<User>(&app, &name, (&by, &headers), body).await
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
    let cache = &app.shared.cache;
    stored::delete(&app, &name, (&by, &headers), |old: &User| {
        cache.read(|state| repo::delete_user(old, tokens_of(state.access(), old)))
    })
    .await
}
