//! Federation rules: which tokens of other issuers are exchanged.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::access::validate as rules;
use cara_api::problem::FieldError;
use cara_api::schema::{self, Schema};
use cara_api::{API_VERSION, Federation, Resource};
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

impl Stored for Federation {
    fn schema() -> &'static Schema {
        &schema::FEDERATION
    }

    fn said(&self) -> [&str; 2] {
        [&self.api_version, &self.kind]
    }

    fn faults(&self) -> Vec<FieldError> {
        rules::federation(self)
    }

    fn respecify(&mut self, given: &Self) -> bool {
        let is_other = self.spec != given.spec;
        self.spec.clone_from(&given.spec);
        is_other
    }

    fn creation(&self) -> Batch {
        repo::create_federation(self)
    }

    fn replacement(&self) -> Batch {
        repo::replace_federation(self)
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
    stored::create::<Federation>(&app, &by, body).await
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
    stored::replace::<Federation>(&app, &name, (&by, &headers), body).await
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
    stored::delete(&app, &name, (&by, &headers), repo::delete_federation).await
}
