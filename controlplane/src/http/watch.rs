//! Change streams: JSON lines, as Kubernetes sends them.
//!
//! Without a version a watch begins with everything there is; with one it continues after it.
//! An idle stream carries a bookmark, which also moves the version to resume from.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::meta::ObjectMeta;
use cara_api::{
    API_VERSION, Node, Problem, Project, Resource, ResourceVersion, WatchEvent, WatchKind,
};
use cara_store::Revision;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::App;
use super::failure::Failure;
use super::view::View;
use crate::cache::{Change, Object, State, TooOld};

/// Which objects a watch shows.
pub(super) trait Filter<T>: Clone + Send + Sync + 'static {
    fn selects(&self, object: &T) -> bool;

    /// Whether the watcher may be shown an object, selected or not.
    fn shows(&self, _object: &T) -> bool {
        true
    }
}

/// A kind that can be watched.
pub(super) trait Watched: View {
    /// What a field selector can name.
    const FIELDS: &'static [&'static str] = &["metadata.name"];
    /// The value of one of these, empty when it has none.
    fn field(&self, field: &str) -> Cow<'_, str> {
        match field {
            "metadata.name" => Cow::Borrowed(&self.meta().name),
            _ => Cow::Borrowed(""),
        }
    }
    fn of(object: &Object) -> Option<&Arc<Self>>;
    fn all(state: &State) -> Vec<Arc<Self>>;
    fn find<'s>(state: &'s State, name: &str) -> Option<&'s Arc<Self>>;
}

impl Watched for Project {
    const FIELDS: &'static [&'static str] = &["metadata.name", "status.phase", "status.nodeRef"];

    fn field(&self, field: &str) -> Cow<'_, str> {
        match field {
            "metadata.name" => Cow::Borrowed(&self.metadata.name),
            "status.phase" => Cow::Borrowed(self.status.phase.as_str()),
            "status.nodeRef" => Cow::Borrowed(&self.status.node_ref),
            _ => Cow::Borrowed(""),
        }
    }

    fn of(object: &Object) -> Option<&Arc<Self>> {
        match object {
            Object::Project(project) => Some(project),
            Object::Node(_) | Object::Secret(_) | Object::Certificate(_) => None,
        }
    }

    fn all(state: &State) -> Vec<Arc<Self>> {
        state.projects().values().cloned().collect()
    }

    fn find<'s>(state: &'s State, name: &str) -> Option<&'s Arc<Self>> {
        state.project(name)
    }
}

impl Watched for Node {
    const FIELDS: &'static [&'static str] =
        &["metadata.name", "spec.unschedulable", "status.state"];

    fn field(&self, field: &str) -> Cow<'_, str> {
        match field {
            "metadata.name" => Cow::Borrowed(&self.metadata.name),
            "spec.unschedulable" => Cow::Owned(self.spec.unschedulable.to_string()),
            "status.state" => Cow::Borrowed(self.status.state.as_str()),
            _ => Cow::Borrowed(""),
        }
    }

    fn of(object: &Object) -> Option<&Arc<Self>> {
        match object {
            Object::Node(node) => Some(node),
            Object::Project(_) | Object::Secret(_) | Object::Certificate(_) => None,
        }
    }

    fn all(state: &State) -> Vec<Arc<Self>> {
        state.nodes().values().cloned().collect()
    }

    fn find<'s>(state: &'s State, name: &str) -> Option<&'s Arc<Self>> {
        state.node(name)
    }
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// With everything there is.
    Snapshot,
    /// With what happened after.
    After(Revision),
}

/// Whether a query asks for a watch.
pub(super) fn requested(query: &[(String, String)]) -> Result<Option<Start>, Failure> {
    let value = |key: &str| {
        query
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    };
    match value("watch") {
        None | Some("false" | "0") => return Ok(None),
        Some("true" | "1" | "") => {}
        Some(other) => {
            return Err(Failure::bad_request(format!(
                "watch={other} is neither true nor false"
            )));
        }
    }
    let text = value("resourceVersion").unwrap_or_default();
    let version: ResourceVersion = text.parse().map_err(|_| {
        Failure::bad_request(format!(
            "resourceVersion {text:?} is not one that this server gave"
        ))
    })?;
    Ok(Some(if version.is_zero() {
        Start::Snapshot
    } else {
        Start::After(Revision(version.0))
    }))
}

/// Answers with a stream.
pub(super) fn stream<T: Watched>(
    app: &App,
    filter: impl Filter<T>,
    start: Start,
) -> Result<Response, Failure> {
    let (seen, first) = app.shared.cache.read(|state| match start {
        Start::After(revision) if revision > state.revision() => Err(Failure::too_old()),
        Start::After(revision) => match state.changes_since(revision) {
            Ok(_) => Ok((revision, Vec::new())),
            Err(TooOld) => Err(Failure::too_old()),
        },
        Start::Snapshot => Ok((state.revision(), T::all(state))),
    })?;
    let chosen = first.iter().filter(|object| filter.selects(object));
    let mut lines: VecDeque<Bytes> = chosen
        .map(|o| line(WatchKind::Added, &o.view(&app.shared)))
        .collect();
    if start == Start::Snapshot {
        lines.push_back(bookmark::<T>(seen));
    }
    let watcher = Watcher {
        app: app.clone(),
        heads: app.shared.cache.heads(),
        filter,
        seen,
        lines,
        has_ended: false,
        bookmark_at: Instant::now() + app.shared.config.keepalive,
    };
    let body = stream::unfold(watcher, |mut watcher| async {
        watcher
            .next::<T>()
            .await
            .map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), watcher))
    });
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(body),
    )
        .into_response())
}

struct Watcher<F> {
    app: App,
    heads: watch::Receiver<Revision>,
    filter: F,
    seen: Revision,
    lines: VecDeque<Bytes>,
    has_ended: bool,
    /// When a bookmark is due, whatever else happens in the store.
    bookmark_at: Instant,
}

impl<F> Watcher<F> {
    async fn next<T: Watched>(&mut self) -> Option<Bytes>
    where
        F: Filter<T>,
    {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.bookmark_at = Instant::now() + self.app.shared.config.keepalive;
                return Some(line);
            }
            if self.has_ended {
                return None;
            }
            tokio::select! {
                changed = self.heads.changed() => {
                    changed.ok()?;
                    self.collect::<T>();
                }
                () = tokio::time::sleep_until(self.bookmark_at) => {
                    // The version moves on with events too, which wake nobody.
                    self.collect::<T>();
                    if self.lines.is_empty() {
                        self.lines.push_back(bookmark::<T>(self.seen));
                    }
                }
                () = self.app.token.cancelled() => return None,
            }
        }
    }

    fn collect<T: Watched>(&mut self)
    where
        F: Filter<T>,
    {
        let shared = Arc::clone(&self.app.shared);
        let (changes, revision) = shared
            .cache
            .read(|state| (state.changes_since(self.seen), state.revision()));
        let Ok(changes) = changes else {
            let problem = Problem::new(
                410,
                "the watch fell behind: list again and watch from there",
            );
            self.lines.push_back(line(WatchKind::Error, &problem));
            self.has_ended = true;
            return;
        };
        self.lines.extend(
            changes
                .iter()
                .filter_map(|change| event::<T>(change, &self.filter, &self.app)),
        );
        self.seen = revision;
    }
}

/// The line for a change, as the filter sees it: an object that stops being selected is deleted
/// for this watcher.
fn event<T: Watched>(change: &Change, filter: &impl Filter<T>, app: &App) -> Option<Bytes> {
    let before = change
        .before
        .as_ref()
        .and_then(T::of)
        .filter(|o| filter.selects(o));
    let after = change.after.as_ref().and_then(T::of);
    let selected = after.filter(|o| filter.selects(o));
    let (kind, object) = match (before, selected) {
        (None, Some(object)) => (WatchKind::Added, object),
        (Some(_), Some(object)) => (WatchKind::Modified, object),
        // As it is now, unless it left what the watcher may read.
        (Some(last), None) => {
            let now = after.filter(|object| filter.shows(object));
            (WatchKind::Deleted, now.unwrap_or(last))
        }
        (None, None) => return None,
    };
    let mut view = object.view(&app.shared);
    if kind == WatchKind::Deleted {
        view.meta_mut().resource_version = ResourceVersion(change.revision.0);
    }
    Some(line(kind, &view))
}

/// An object with nothing but a version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
}

fn bookmark<T: Watched>(revision: Revision) -> Bytes {
    bookmark_of(T::KIND, revision)
}

/// The line that says that nothing else happened up to a revision.
pub(super) fn bookmark_of(kind: &'static str, revision: Revision) -> Bytes {
    let metadata = ObjectMeta {
        resource_version: ResourceVersion(revision.0),
        ..ObjectMeta::default()
    };
    line(
        WatchKind::Bookmark,
        &Mark {
            api_version: API_VERSION,
            kind,
            metadata,
        },
    )
}

/// A line of a change stream.
pub(super) fn line<O: Serialize>(kind: WatchKind, object: &O) -> Bytes {
    let mut text = serde_json::to_vec(&WatchEvent { kind, object }).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
