//! Events: what happened to objects, oldest first.
//!
//! Read from the store, not from the cache: they are asked for by people, now and then.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::event::{EventList, ObjectRef};
use cara_api::{Certificate, Event, Node, Problem, Project, Resource, ResourceVersion, WatchKind};
use cara_store::{Changes, Event as StoreEvent, ReadError, Revision, Watch};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::App;
use super::failure::Failure;
use super::guard::Asker;
use super::watch::{self, Start, bookmark_of, line};
use crate::repo;

/// Events in a list unless the query asks for another number; the newest ones.
const LIMIT: usize = 1_000;

/// Which events a query asks for.
#[derive(Debug, Clone)]
struct Selection {
    who: Asker,
    kind: Option<&'static str>,
    name: Option<String>,
}

impl Selection {
    fn of(query: &[(String, String)], who: Asker) -> Result<Self, Failure> {
        let kind = match value(query, "kind") {
            None => None,
            Some(text) if text.eq_ignore_ascii_case(Project::KIND) => Some(Project::KIND),
            Some(text) if text.eq_ignore_ascii_case(Node::KIND) => Some(Node::KIND),
            Some(text) if text.eq_ignore_ascii_case(Certificate::KIND) => Some(Certificate::KIND),
            Some(text) => {
                return Err(Failure::bad_request(format!(
                    "kind {text:?} has no events: must be \"Project\", \"Node\" or \"Certificate\""
                )));
            }
        };
        let name = value(query, "name").map(ToOwned::to_owned);
        Ok(Self { who, kind, name })
    }

    fn prefix(&self) -> String {
        self.kind
            .map_or_else(|| repo::EVENTS.to_owned(), repo::events_of_kind)
    }

    /// What is told of a project that is gone, those see who may read it by its name.
    fn selects(&self, object: &ObjectRef, app: &App) -> bool {
        let is_asked_for = self.kind.is_none_or(|kind| kind == object.kind)
            && self.name.as_ref().is_none_or(|name| *name == object.name);
        is_asked_for
            && app.shared.cache.read(|state| {
                let project = state.project(&object.name);
                let meta = project.map(|project| &project.metadata);
                self.who.may_read(&object.kind, &object.name, meta)
            })
    }
}

fn value<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let found = query.iter().find(|(k, v)| k == key && !v.is_empty());
    found.map(|(_, v)| v.as_str())
}

/// Lists or watches events.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(("kind" = Option<String>, Query, description = "Only events of objects of this kind: Project, Node or Certificate"),
        ("name" = Option<String>, Query, description = "Only events of the object of this name"),
        ("limit" = Option<usize>, Query, description = "At most so many, the newest ones; 1000 when left out"),
        ("watch" = Option<bool>, Query, description = "Stream events as JSON lines instead"),
        ("resourceVersion" = Option<String>, Query, description = "Watch what happens after this version")),
    responses((status = 200, body = EventList, description = "EventList, oldest first, or a stream of watch events"),
        (status = 410, body = cara_api::Problem, description = "The version is too old: list again")))]
pub(super) async fn list(
    State(app): State<App>,
    who: Asker,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let selection = Selection::of(&query, who)?;
    let start = watch::requested(&query)?;
    if let Some(Start::After(revision)) = start {
        return Ok(stream_after(&app, selection, revision, VecDeque::new()));
    }
    let limit = match value(&query, "limit").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => return Err(Failure::bad_request("limit is not a number")),
    };
    let (items, revision) = stored(&app, &selection, limit).await?;
    if start.is_none() {
        let version = ResourceVersion(revision.0);
        return Ok(Json(EventList::new(items, version)).into_response());
    }
    let added = items.iter().map(|item| line(WatchKind::Added, item));
    let lines = added.chain([bookmark_of("Event", revision)]).collect();
    Ok(stream_after(&app, selection, revision, lines))
}

async fn stored(
    app: &App,
    selection: &Selection,
    limit: usize,
) -> Result<(Vec<Event>, Revision), Failure> {
    let listing = app.list_stored(selection.prefix()).await?;
    let mut items = Vec::new();
    for entry in &listing.entries {
        let object = repo::object_of(&entry.key).filter(|object| selection.selects(object, app));
        let record = repo::decode_record(entry);
        if let (Some(object), Ok(record)) = (object, record) {
            items.extend(record.shown(&object).map(|(_, event)| event));
        }
    }
    // Stable: what happened to one object at one time stays in its order.
    items.sort_by_key(|event| event.last_time);
    let surplus = items.len().saturating_sub(limit);
    items.drain(..surplus);
    Ok((items, listing.revision))
}

struct Watcher {
    app: App,
    changes: Watch,
    selection: Selection,
    seen: Revision,
    lines: VecDeque<Bytes>,
    has_ended: bool,
    bookmark_at: Instant,
}

fn stream_after(
    app: &App,
    selection: Selection,
    seen: Revision,
    lines: VecDeque<Bytes>,
) -> Response {
    let watcher = Watcher {
        changes: app.watch_stored(selection.prefix(), seen),
        bookmark_at: Instant::now() + app.shared.config.keepalive,
        app: app.clone(),
        selection,
        seen,
        lines,
        has_ended: false,
    };
    let body = stream::unfold(watcher, |mut watcher| async {
        let line = watcher.next().await?;
        Some((Ok::<_, Infallible>(line), watcher))
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(body),
    )
        .into_response()
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.bookmark_at = Instant::now() + self.app.shared.config.keepalive;
                return Some(line);
            }
            if self.has_ended {
                return None;
            }
            tokio::select! {
                changes = self.changes.next() => self.take(changes?),
                () = tokio::time::sleep_until(self.bookmark_at) => {
                    self.lines.push_back(bookmark_of("Event", self.seen));
                }
                () = self.app.token.cancelled() => return None,
            }
        }
    }

    fn take(&mut self, changes: Result<Changes, ReadError>) {
        let changes = match changes {
            Ok(changes) => changes,
            Err(ReadError::Compacted { .. }) => {
                let detail = "resourceVersion is too old: list again and watch from there";
                self.lines
                    .push_back(line(WatchKind::Error, &Problem::new(410, detail)));
                self.has_ended = true;
                return;
            }
            Err(ReadError::Unavailable(_)) => {
                self.has_ended = true;
                return;
            }
        };
        self.seen = changes.revision;
        for event in &changes.events {
            let StoreEvent::Put(entry) = event else {
                continue;
            };
            let object =
                repo::object_of(&entry.key).filter(|o| self.selection.selects(o, &self.app));
            if let (Some(object), Ok(record)) = (object, repo::decode_record(entry)) {
                let fresh = record.shown(&object).filter(|(is_fresh, _)| *is_fresh);
                self.lines.extend(fresh.map(|(_, event)| line_of(&event)));
            }
        }
    }
}

fn line_of(event: &Event) -> Bytes {
    let kind = if event.count > 1 {
        WatchKind::Modified
    } else {
        WatchKind::Added
    };
    line(kind, event)
}
