//! What handlers do alike for objects of every kind: list, read and watch them, create them, and
//! change them on condition that they are as they were read.
//!
//! Refuses to know what is special about a kind: which faults a document has, what a change
//! means, what of it is audited.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use cara_api::{List, Resource, ResourceVersion};
use cara_store::{Batch, Revision, WriteError};

use super::App;
use super::extract::check_version;
use super::failure::Failure;
use super::page::Page;
use super::select::Selector;
use super::tag::tagged;
use super::view::{View, written};
use super::watch::{self, Filter, Watched};
use super::write::at;

/// How often a write without a condition of the client's is tried again after a lost race.
pub(super) const TRIES: usize = 8;
/// How many projects an error names at most.
const NAMED_MAX: usize = 10;

/// The parameters of a request.
pub(super) type Parameters = [(String, String)];

/// Whether a deletion is asked for although something speaks against it.
pub(super) fn is_forced(query: &Parameters) -> bool {
    let mut pairs = query.iter();
    pairs.any(|(key, value)| key == "force" && value == "true")
}

/// Refuses a deletion because of those who use the object.
pub(super) fn in_use<T: Resource>(name: &str, users: &[String]) -> Failure {
    let named: Vec<&str> = users.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = match users.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Failure::conflict(format!(
        "{} {name:?} is used by {}{more}: change or delete them first, or delete it with force=true",
        T::NOUN,
        named.join(", ")
    ))
}

/// All objects of a kind, or one; selectors narrow that down.
#[derive(Debug, Clone)]
pub(super) enum Named {
    All,
    One(String),
}

impl<T: Resource> Filter<T> for Named {
    fn selects(&self, object: &T) -> bool {
        match self {
            Self::All => true,
            Self::One(name) => *name == object.meta().name,
        }
    }
}

/// Lists or watches the objects that a filter and the selectors of a query select.
pub(super) fn list<T: Watched>(
    app: &App,
    query: &Parameters,
    filter: impl Filter<T>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let filter = Selector::of::<T>(query, filter)?;
    if let Some(start) = watch::requested(query)? {
        return watch::stream::<T>(app, filter, start);
    }
    let page = Page::of::<T>(query)?;
    let cache = &app.shared.cache;
    let (mut items, revision) = cache.read(|state| page.objects::<T>(state))?;
    items.retain(|object| filter.selects(object));
    let (items, meta) = page.cut(items, revision);
    let views = items.iter().map(|object| object.view(&app.shared));
    let mut list = List::new(views.collect(), meta.resource_version);
    list.metadata = meta;
    Ok(tagged(
        StatusCode::OK,
        list.metadata.resource_version,
        &list,
    ))
}

/// Reads or watches one object.
pub(super) fn read<T: Watched>(
    app: &App,
    query: &Parameters,
    name: String,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    if let Some(start) = watch::requested(query)? {
        return watch::stream::<T>(app, Named::One(name), start);
    }
    let found = current::<T>(app, &name)?;
    let version = found.meta().resource_version;
    Ok(tagged(StatusCode::OK, version, &found.view(&app.shared)))
}

/// The object as the cache shows it.
pub(super) fn current<T: Watched>(app: &App, name: &str) -> Result<Arc<T>, Failure> {
    let cache = &app.shared.cache;
    let found = cache.read(|state| T::find(state, name).map(Arc::clone));
    found.ok_or_else(|| Failure::not_found::<T>(name))
}

/// Writes a new object by a batch that holds only where there is none of that name.
pub(super) async fn create<T: Resource>(app: &App, object: T, batch: Batch) -> Result<T, Failure> {
    let name = object.meta().name.clone();
    match app.commit(batch).await {
        Ok(revision) => {
            if !app.is_rehearsal() {
                tracing::info!(kind = T::NOUN, name, %revision, "created");
            }
            Ok(at(object, revision))
        }
        Err(WriteError::Conflict { key }) => {
            let taken = app.claim_taken(&key);
            Err(taken.unwrap_or_else(|| Failure::exists::<T>(&name)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What became of an object that was to be changed.
pub(super) struct Changed<T, D> {
    /// As it was read.
    pub(super) old: Arc<T>,
    /// What was decided about it.
    pub(super) decided: D,
    /// Where the change was written; none when there was nothing to write.
    pub(super) revision: Option<Revision>,
}

/// Decides what becomes of an object as it is now, and writes that on condition that it still is;
/// after a lost race, decides again. A batch has to name the revision that it is based on.
pub(super) async fn change<T: Watched, D>(
    app: &App,
    name: &str,
    expected: Option<ResourceVersion>,
    mut decide: impl FnMut(&Arc<T>) -> Result<(Option<Batch>, D), Failure>,
) -> Result<Changed<T, D>, Failure> {
    for _ in 0..TRIES {
        let old = current::<T>(app, name)?;
        check_version(&*old, expected)?;
        let (batch, decided) = decide(&old)?;
        let Some(batch) = batch else {
            let revision = None;
            return Ok(Changed {
                old,
                decided,
                revision,
            });
        };
        match app.commit(batch).await {
            Ok(revision) => {
                let revision = Some(revision);
                return Ok(Changed {
                    old,
                    decided,
                    revision,
                });
            }
            Err(WriteError::Conflict { key }) => match app.claim_taken(&key) {
                Some(taken) => return Err(taken),
                None => app.catch_up().await?,
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::conflict(format!(
        "{} {name:?} is being changed by others at the same time: try again",
        T::NOUN
    )))
}

/// An object and what took its place.
pub(super) struct Replaced<T> {
    /// As it was read.
    pub(super) old: Arc<T>,
    /// As it was written; none when nothing differed.
    pub(super) new: Option<T>,
}

/// Puts something else in the place of an object, or nothing where nothing differs; see [`change`].
pub(super) async fn replace<T: Watched>(
    app: &App,
    name: &str,
    expected: Option<ResourceVersion>,
    mut decide: impl FnMut(&T) -> Result<Option<(T, Batch)>, Failure>,
) -> Result<Replaced<T>, Failure> {
    let changed = change(app, name, expected, |old: &Arc<T>| {
        Ok(match decide(old)? {
            Some((new, batch)) => (Some(batch), Some(new)),
            None => (None, None),
        })
    });
    let changed = changed.await?;
    let written = changed.decided.zip(changed.revision);
    let new = written.map(|(new, revision)| at(new, revision));
    Ok(Replaced {
        old: changed.old,
        new,
    })
}

impl<T: View> Replaced<T> {
    /// The answer: the object as it is now.
    pub(super) fn answer(&self, app: &App, warned: &[String]) -> Response {
        let now = self.new.as_ref().unwrap_or(&self.old);
        written(&app.shared, StatusCode::OK, now, warned)
    }
}

/// Removes an object by a batch, unless something speaks against it; see [`change`].
pub(super) async fn delete<T: Watched>(
    app: &App,
    name: &str,
    expected: Option<ResourceVersion>,
    mut decide: impl FnMut(&T) -> Result<Batch, Failure>,
) -> Result<Arc<T>, Failure> {
    let deleted = change(app, name, expected, |old: &Arc<T>| {
        Ok((Some(decide(old)?), ()))
    });
    deleted.await.map(|deleted| deleted.old)
}
