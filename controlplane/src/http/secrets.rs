//! Secrets. Values come in and are sealed; no answer carries them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::secret::Hidden;
use cara_api::{API_VERSION, ResourceVersion, Secret, schema, validate};

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::guard::Asker;
use super::objects::{self, Named, in_use};
use super::query::is_forced;
use super::rehearse::Writing;
use super::view::{View, begin, now, written};
use super::watch::Watched;
use crate::Shared;
use crate::audit::{self, Caller, Op, Operation, Verb};
use crate::cache::{Object, State as CacheState};
use crate::plan::access::change::secrets_of;
use crate::repo::{self, SealedSecret};
use crate::vault::{self, Values};

impl View for SealedSecret {
    type Shown = Secret;

    fn view(&self, _: &Shared) -> Secret {
        Secret {
            api_version: API_VERSION.to_owned(),
            kind: "Secret".to_owned(),
            metadata: self.metadata.clone(),
            data: BTreeMap::new(),
            keys: self.keys.clone(),
        }
    }
}

impl Watched for SealedSecret {
    fn of(object: &Object) -> Option<&Arc<Self>> {
        match object {
            Object::Secret(secret) => Some(secret),
            Object::Project(_) | Object::Node(_) | Object::Certificate(_) => None,
        }
    }

    fn all(state: &CacheState) -> Vec<Arc<Self>> {
        state.secrets().values().cloned().collect()
    }

    fn find<'s>(state: &'s CacheState, name: &str) -> Option<&'s Arc<Self>> {
        state.secret(name)
    }
}

/// Lists or watches secrets, without their values.
#[utoipa::path(get, path = "/api/v1/secrets", tag = "secrets",
    params(("watch" = Option<bool>, Query, description = "Stream changes as JSON lines instead"),
        ("resourceVersion" = Option<String>, Query, description = "Watch what happens after this version")),
    responses((status = 200, description = "SecretList, or a stream of watch events"),
        (status = 410, body = cara_api::Problem, description = "The version is too old: list again")))]
pub(super) async fn list(
    State(app): State<App>,
    who: Asker,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    objects::list::<SealedSecret>(&app, &query, who.readable(Named::All))
}

/// Reads or watches one secret, without its values.
#[utoipa::path(get, path = "/api/v1/secrets/{name}", tag = "secrets", params(("name" = String, Path)),
    responses((status = 200, body = Secret), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    who: Asker,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let filter = who.readable(Named::One(name.clone()));
    objects::read_among::<SealedSecret>(&app, &query, filter, &name)
}

/// Creates a secret.
#[utoipa::path(post, path = "/api/v1/secrets", tag = "secrets", request_body = Secret,
    responses((status = 201, body = Secret, description = "Stored; the answer has no values"),
        (status = 400, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 413, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Secret>(body, &schema::SECRET).await?;
    let given = &decoded.value;
    let mut faults =
        validate::identity::<Secret>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(validate::secret(given));
    let (mut given, warned) = sound(decoded, faults)?;
    begin(&mut given.metadata);
    let secret = SealedSecret {
        keys: given.data.keys().cloned().collect(),
        values_version: ResourceVersion::default(),
        sealed: seal(&app, &given)?,
        metadata: given.metadata.clone(),
    };
    let batch = repo::create_secret(&secret);
    let created = objects::create(&app, secret, batch).await?;
    audit(&app, &by, Verb::Create, None, Some((&created, &given.data)));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// The values of a document, sealed under its name and uid.
fn seal(app: &App, given: &Secret) -> Result<vault::Sealed, Failure> {
    vault::seal(
        &app.shared.key,
        repo::secret_owner(&given.metadata),
        &given.data,
    )
    .map_err(Failure::internal)
}

/// Replaces labels, annotations and all values.
#[utoipa::path(put, path = "/api/v1/secrets/{name}", tag = "secrets", request_body = Secret,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Secret), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Secret>(body, &schema::SECRET).await?;
    let given = &decoded.value;
    let mut faults = validate::same_identity::<Secret>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &name,
    );
    faults.extend(validate::secret(given));
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(&headers, given.metadata.resource_version)?;
    let mut values = Values::new();
    let replaced = objects::replace(&app, &name, expected, |old| {
        values = open(&app, old)?;
        let secret = changed(&app, old, &values, &given)?;
        Ok(secret.map(|secret| {
            let batch = repo::replace_secret(&secret);
            (secret, batch)
        }))
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        if !app.is_rehearsal() {
            tracing::info!(secret = %name, revision = %new.metadata.resource_version, "replaced");
        }
        let (before, after) = ((&*replaced.old, &values), (new, &given.data));
        audit(&app, &by, Verb::Replace, Some(before), Some(after));
    }
    Ok(replaced.answer(&app, &warned))
}

fn open(app: &App, secret: &SealedSecret) -> Result<Values, Failure> {
    vault::open(&app.shared.key, secret.owner(), &secret.sealed).map_err(Failure::internal)
}

/// The secret with the user's part replaced; none when nothing differs. Values that stay the
/// same stay sealed as they are, under the version that they have.
fn changed(
    app: &App,
    old: &SealedSecret,
    values: &Values,
    given: &Secret,
) -> Result<Option<SealedSecret>, Failure> {
    let mut secret = old.clone();
    secret.metadata.labels = given.metadata.labels.clone();
    secret.metadata.annotations = given.metadata.annotations.clone();
    if given.data != *values {
        secret.keys = given.data.keys().cloned().collect();
        let owner = repo::secret_owner(&old.metadata);
        secret.sealed =
            vault::seal(&app.shared.key, owner, &given.data).map_err(Failure::internal)?;
        secret.values_version = ResourceVersion::default();
        secret.metadata.generation = old.metadata.generation.next();
    } else if secret == *old {
        return Ok(None);
    } else {
        secret.values_version = old.values_version();
    }
    secret.metadata.updated_at = Some(now());
    Ok(Some(secret))
}

/// Deletes a secret that no project names.
#[utoipa::path(delete, path = "/api/v1/secrets/{name}", tag = "secrets",
    params(("name" = String, Path),
        ("force" = Option<bool>, Query, description = "Delete it although projects name it")),
    responses((status = 204, description = "Gone"), (status = 404, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "Projects still name it")))]
pub(super) async fn delete(
    Writing(app): Writing,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let expected = expected_version(&headers, ResourceVersion::default())?;
    let is_forced = is_forced(&query);
    let deleted = objects::delete(&app, &name, expected, |old: &SealedSecret| {
        let users = users(&app, &name);
        if !is_forced && !users.is_empty() {
            return Err(in_use::<Secret>(&name, &users));
        }
        Ok(repo::delete_secret(old))
    });
    let old = deleted.await?;
    if !app.is_rehearsal() {
        tracing::info!(secret = %name, forced = is_forced, "deleted");
    }
    let keys = old.keys.iter().map(|k| (k.clone(), Hidden::default()));
    let before = (&*old, &keys.collect());
    audit(&app, &by, Verb::Delete, Some(before), None);
    Ok(StatusCode::NO_CONTENT)
}

/// Projects that name the secret and are not on their way out.
fn users(app: &App, name: &str) -> Vec<String> {
    app.shared.cache.read(|state| {
        let projects = state.projects().values();
        let users =
            projects.filter(|p| !p.status.phase.is_ending() && secrets_of(&p.spec).contains(name));
        users.map(|p| p.metadata.name.clone()).collect()
    })
}

/// Records a write: which keys came, went or changed, and nothing of their values.
fn audit(
    app: &App,
    by: &Caller,
    verb: Verb,
    before: Option<(&SealedSecret, &Values)>,
    after: Option<(&SealedSecret, &Values)>,
) {
    let Some((object, _)) = after.or(before) else {
        return;
    };
    let meta = |of: Option<(&SealedSecret, _)>| {
        of.map_or_else(
            || serde_json::json!({}),
            |(s, _)| audit::meta_part(&s.metadata),
        )
    };
    let mut operations = audit::diff(&meta(before), &meta(after));
    let nothing = Values::new();
    let values = |of: Option<(_, _)>| of.map_or(&nothing, |(_, values)| values);
    operations.extend(key_operations(values(before), values(after)));
    app.audit_operations::<SealedSecret>(by, verb, &object.metadata, operations);
}

fn key_operations(old: &Values, new: &Values) -> Vec<Operation> {
    let path = |key: &String| format!("/data/{}", audit::pointer(key));
    let kept = old.iter().filter_map(|(key, value)| match new.get(key) {
        None => Some(Operation::untold(Op::Remove, path(key))),
        Some(changed) if changed != value => Some(Operation::untold(Op::Replace, path(key))),
        Some(_) => None,
    });
    let added = new.keys().filter(|key| !old.contains_key(*key));
    kept.chain(added.map(|key| Operation::untold(Op::Add, path(key))))
        .collect()
}
