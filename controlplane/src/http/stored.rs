//! What handlers do alike for kinds that are stored as they are given: users and federation rules
//! whole, tokens in the end of them. There is no status to keep, and nobody watches them.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cara_api::problem::FieldError;
use cara_api::schema::Schema;
use cara_api::{ResourceVersion, validate};
use cara_store::Batch;
use serde::de::DeserializeOwned;

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::objects;
use super::policy::Subject;
use super::query::Parameters;
use super::view::{begin, now, written};
use super::watch::{self, Watched};
use crate::audit::{Caller, Verb};

/// A kind of which clients give spec, labels and annotations.
pub(super) trait Stored: Watched + Subject + DeserializeOwned + Default + PartialEq {
    /// What documents of it look like.
    fn schema() -> &'static Schema;
    /// `apiVersion` and `kind` as the document says them.
    fn said(&self) -> [&str; 2];
    /// What is wrong with the spec.
    fn faults(&self) -> Vec<FieldError>;
    /// Takes the spec of another; true when it is another one.
    fn respecify(&mut self, given: &Self) -> bool;
    /// What writes a new one.
    fn creation(&self) -> Batch;
    /// What writes it in the place of the one that it was read as.
    fn replacement(&self) -> Batch;
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

/// Creates an object from a document.
pub(super) async fn create<T: Stored>(
    app: &App,
    by: &Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<T>(body, T::schema()).await?;
    let given = &decoded.value;
    let [version, kind] = given.said();
    let mut faults = validate::identity::<T>(version, kind, &given.meta().name);
    faults.extend(given.faults());
    let (mut object, warned) = sound(decoded, faults)?;
    begin(object.meta_mut());
    let batch = object.creation();
    let created = objects::create(app, object, batch).await?;
    app.audit(by, Verb::Create, None, Some(&created));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// Replaces spec, labels and annotations of an object by those of a document.
pub(super) async fn replace<T: Stored>(
    app: &App,
    name: &str,
    (by, headers): (&Caller, &HeaderMap),
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<T>(body, T::schema()).await?;
    let given = &decoded.value;
    let [version, kind] = given.said();
    let mut faults = validate::same_identity::<T>(version, kind, &given.meta().name, name);
    faults.extend(given.faults());
    let (given, warned) = sound(decoded, faults)?;
    let expected = expected_version(headers, given.meta().resource_version)?;
    let replaced = objects::replace(app, name, expected, |old: &T| {
        let mut object = old.clone();
        let is_respecified = object.respecify(&given);
        let meta = object.meta_mut();
        meta.labels.clone_from(&given.meta().labels);
        meta.annotations.clone_from(&given.meta().annotations);
        if object == *old {
            return Ok(None);
        }
        let meta = object.meta_mut();
        if is_respecified {
            meta.generation = old.meta().generation.next();
        }
        meta.updated_at = Some(now());
        let batch = object.replacement();
        Ok(Some((object, batch)))
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        app.audit(by, Verb::Replace, Some(&*replaced.old), Some(new));
    }
    Ok(replaced.answer(app, &warned))
}

/// Deletes an object by a batch.
pub(super) async fn delete<T: Watched + Subject>(
    app: &App,
    name: &str,
    (by, headers): (&Caller, &HeaderMap),
    batch: impl Fn(&T) -> Batch,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let expected = expected_version(headers, ResourceVersion::default())?;
    let deleted = objects::delete(app, name, expected, |old: &T| Ok(batch(old)));
    let old = deleted.await?;
    tracing::info!(kind = T::NOUN, name, "deleted");
    app.audit(by, Verb::Delete, Some(&*old), None);
    Ok(StatusCode::NO_CONTENT)
}
