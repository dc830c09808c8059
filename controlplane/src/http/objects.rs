//! What handlers do alike for objects of every kind: list, read and watch them, create them, and
//! change them on condition that they are as they were read.
//!
//! Refuses to know what is special about a kind: which faults a document has, what a change
//! means, what of it is audited.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use cara_api::problem::code;
use cara_api::{List, Resource, ResourceVersion};
use cara_store::{Batch, Key, Revision, WriteError};

use super::App;
use super::extract::check_version;
use super::failure::Failure;
use super::page::Page;
use super::policy::{Subject, has, under};
use super::query::Parameters;
use super::select::Selector;
use super::tag::tagged;
use super::view::{View, written};
use super::watch::{self, Filter, Watched};
use super::write::at;

/// How often a write without a condition of the client's is tried again after a lost race.
pub(super) const TRIES: usize = 8;
/// How many projects an error names at most.
const NAMED_MAX: usize = 10;

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
    .coded(code::IN_USE)
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
    let (mut items, revision) = cache.read(|state| {
        let (mut items, revision) = page.objects::<T>(state)?;
        // Later pages show objects as they were; what left the reader's reach since is not shown.
        items.retain(|object| {
            let now = T::find(state, &object.meta().name);
            now.is_none_or(|now| Arc::ptr_eq(now, object) || filter.shows(now))
        });
        Ok::<_, Failure>((items, revision))
    })?;
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

/// Reads or watches one object of a kind of which somebody may read all or nothing.
pub(super) fn read<T: Watched>(
    app: &App,
    query: &Parameters,
    name: String,
) -> Result<Response, Failure> {
    read_among::<T>(app, query, Named::One(name.clone()), &name)
}

/// Reads or watches one object, while it is among those that a filter selects.
pub(super) fn read_among<T: Watched>(
    app: &App,
    query: &Parameters,
    filter: impl Filter<T>,
    name: &str,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    if let Some(start) = watch::requested(query)? {
        return watch::stream::<T>(app, filter, start);
    }
    let found = current::<T>(app, name)?;
    if !filter.selects(&found) {
        return Err(Failure::not_found::<T>(name));
    }
    let version = found.meta().resource_version;
    Ok(tagged(StatusCode::OK, version, &found.view(&app.shared)))
}

/// The object as the cache shows it.
pub(super) fn current<T: Watched>(app: &App, name: &str) -> Result<Arc<T>, Failure> {
    let cache = &app.shared.cache;
    let found = cache.read(|state| T::find(state, name).map(Arc::clone));
    found.ok_or_else(|| Failure::not_found::<T>(name))
}

/// Why an object was not created.
pub(super) enum NotCreated {
    /// What is under a key is not as the batch wants it.
    Taken(Key),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NotCreated {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Writes a new object by a batch that holds only where there is none of that name.
pub(super) async fn create<T: Subject>(app: &App, object: T, batch: Batch) -> Result<T, Failure> {
    let name = object.meta().name.clone();
    let created = create_unless_taken(app, object, batch).await;
    created.map_err(|why| match why {
        NotCreated::Taken(key) => {
            let taken = app.claim_taken(&key);
            taken.unwrap_or_else(|| Failure::exists::<T>(&name))
        }
        NotCreated::Failed(failure) => failure,
    })
}

/// The same, for a batch of which other things may fail than the name.
pub(super) async fn create_unless_taken<T: Subject>(
    app: &App,
    object: T,
    batch: Batch,
) -> Result<T, NotCreated> {
    let name = object.meta().name.clone();
    for _ in 0..TRIES {
        let conditions = app.judge(None, Some(&object))?;
        match app.commit(under(batch.clone(), &conditions)).await {
            Ok(revision) => {
                if !app.is_rehearsal() {
                    tracing::info!(kind = T::NOUN, name, %revision, "created");
                }
                return Ok(at(object, revision));
            }
            Err(WriteError::Conflict { key }) if has(&conditions, &key) => app.catch_up().await?,
            Err(WriteError::Conflict { key }) => return Err(NotCreated::Taken(key)),
            Err(error) => return Err(Failure::from(error).into()),
        }
    }
    Err(contested::<T>(&name).into())
}

/// 409: the object, or what its write depends on, does not come to rest.
fn contested<T: Resource>(name: &str) -> Failure {
    Failure::changed(format!(
        "{} {name:?} is being changed by others at the same time: try again",
        T::NOUN
    ))
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
/// after a lost race, decides again. A batch has to name the revision that it is based on. Whether
/// the caller may do it is asked about the object as it was read.
pub(super) async fn change<T: Watched + Subject, D>(
    app: &App,
    name: &str,
    expected: Option<ResourceVersion>,
    mut decide: impl FnMut(&Arc<T>) -> Result<(Option<Batch>, D), Failure>,
) -> Result<Changed<T, D>, Failure> {
    let judged = |old: &Arc<T>| {
        let conditions = app.judge(Some(&**old), None)?;
        let (batch, decided) = decide(old)?;
        Ok((batch.map(|batch| under(batch, &conditions)), decided))
    };
    change_as_judged(app, name, expected, judged).await
}

/// The same, where the one who decides has judged.
async fn change_as_judged<T: Watched, D>(
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
    Err(contested::<T>(name))
}

/// An object and what took its place.
pub(super) struct Replaced<T> {
    /// As it was read.
    pub(super) old: Arc<T>,
    /// As it was written; none when nothing differed.
    pub(super) new: Option<T>,
}

/// Puts something else in the place of an object, or nothing where nothing differs; see [`change`].
/// Whether the caller may do it is asked about the object as it was read, and as it will be.
pub(super) async fn replace<T: Watched + Subject>(
    app: &App,
    name: &str,
    expected: Option<ResourceVersion>,
    mut decide: impl FnMut(&T) -> Result<Option<(T, Batch)>, Failure>,
) -> Result<Replaced<T>, Failure> {
    let changed = change_as_judged(app, name, expected, |old: &Arc<T>| {
        app.judge(Some(&**old), None)?;
        Ok(match decide(old)? {
            Some((new, batch)) => {
                let conditions = app.judge(Some(&**old), Some(&new))?;
                (Some(under(batch, &conditions)), Some(new))
            }
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
pub(super) async fn delete<T: Watched + Subject>(
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
