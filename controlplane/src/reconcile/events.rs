//! Writes down what happened to objects: follows the cache's history, asks [`plan::events`] what
//! each change means, and keeps a short history for each object in the store.
//!
//! Nothing depends on it: changes gather in memory, one write for an object covers what happened
//! to it within [`GATHER`], and a write that fails is tried again later. A record notes up to
//! which revision its object's changes are told, so a restart goes on where it ended, as far as
//! the cache's history reaches back. Records are not objects: no watch and no reconciler wakes
//! up for them, this one included.

mod agenda;

use std::sync::Arc;
use std::time::Duration;

use cara_api::Timestamp;
use cara_api::event::ObjectRef;
use cara_store::{ReadError, WriteError};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::agenda::{Agenda, Told};
use super::RETRY;
use crate::Shared;
use crate::plan::events::{self, Site};
use crate::repo::{self, EventRecord};

const NAME: &str = "events";

/// How long changes of an object gather before they are written.
const GATHER: Duration = Duration::from_millis(250);
/// The same for news of something that goes on, such as the percentage of a pull.
const GATHER_PROGRESS: Duration = Duration::from_secs(2);
/// Writes that are under way at once.
const PARALLEL: usize = 8;
/// How often a write that lost a race is tried at once.
const TRIES: usize = 3;
/// Longest time that a write may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Records events until cancelled. What was not written yet is told after the next start.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    let mut heads = shared.cache.heads();
    let mut agenda = loop {
        if shared.cache.is_live()
            && let Ok(agenda) = begin(&shared).await
        {
            break agenda;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            changed = heads.changed() => if changed.is_err() { return },
            () = token.cancelled() => return,
        }
    };
    loop {
        note_changes(&shared, &mut agenda);
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = tokio::time::sleep_until(agenda.due_at()) => {}
            changed = heads.changed() => {
                if changed.is_err() { return }
                continue;
            }
        }
        tokio::select! {
            () = write_due(&shared, &mut agenda) => {}
            () = token.cancelled() => return,
        }
    }
}

/// An agenda that knows the records there are.
async fn begin(shared: &Shared) -> Result<Agenda, ReadError> {
    let listing = shared.store.list(repo::EVENTS.to_owned(), None).await?;
    let (floor, head) = shared.cache.read(|state| (state.floor(), state.revision()));
    let mut agenda = Agenda::new(floor, head);
    for entry in &listing.entries {
        let Some(object) = repo::object_of(&entry.key) else {
            continue;
        };
        let record = repo::decode_record(entry).ok();
        let last_time = record.and_then(|r| r.events.last_time());
        let last_time = last_time.unwrap_or_else(Timestamp::now);
        let exists = shared.cache.read(|state| agenda::exists(state, &object));
        agenda.know(object, last_time, exists);
    }
    Ok(agenda)
}

fn note_changes(shared: &Shared, agenda: &mut Agenda) {
    let site = shared.config.site();
    let now = Timestamp::now();
    let (changes, revision) = shared
        .cache
        .read(|state| (state.changes_since(agenda.seen), state.revision()));
    match changes {
        Ok(changes) => {
            for change in changes {
                let exists =
                    |object: &ObjectRef| shared.cache.read(|state| agenda::exists(state, object));
                agenda.note(&change, &site, now, exists);
            }
        }
        Err(crate::cache::TooOld) => {
            tracing::warn!("some events were lost: too much happened at once");
        }
    }
    agenda.seen = revision;
}

/// Writes what gathered long enough, and removes what is no longer kept.
async fn write_due(shared: &Shared, agenda: &mut Agenda) {
    let writes = stream::iter(agenda.take_due(Instant::now()))
        .map(|(object, told)| async move {
            let result = write(shared, &object, &told).await;
            (object, told, result)
        })
        .buffer_unordered(PARALLEL);
    let results: Vec<_> = writes.collect().await;
    for (object, told, result) in results {
        shared
            .metrics
            .count(NAME, if result.is_ok() { "changed" } else { "failed" });
        match result {
            Ok(()) => agenda.written(),
            Err(error) => agenda.failed(object, told, &error),
        }
    }
    for object in agenda.take_expired(Timestamp::now()) {
        if let Err(error) = remove(shared, &object).await {
            tracing::debug!(error = %error, "cannot remove old events");
            agenda.know(object, Timestamp::now(), false);
        }
    }
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("cannot read the record")]
    Read(#[from] ReadError),
    #[error("cannot write the record")]
    Write(#[from] WriteError),
    #[error("the store did not answer in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

async fn write(shared: &Shared, object: &ObjectRef, told: &[Told]) -> Result<(), RecordError> {
    tokio::time::timeout(DEADLINE, async {
        let mut tries = 0;
        loop {
            let entry = shared.store.get(repo::event_key(object)).await?;
            let record = match entry.as_ref().map(repo::decode_record) {
                None => EventRecord::default(),
                Some(Ok(record)) => record,
                Some(Err(error)) => {
                    tracing::debug!(error = %error, kind = object.kind, name = object.name, "events of a newer version are left alone");
                    return Ok(());
                }
            };
            let Some(record) = merged(record, told) else {
                return Ok(());
            };
            let batch = repo::write_record(object, record, entry.map(|e| e.modified));
            match shared.store.apply(batch).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    })
    .await?
}

/// The record with what it does not tell yet; none when it tells everything.
fn merged(mut record: EventRecord, told: &[Told]) -> Option<EventRecord> {
    record.events.settle();
    let before = record.told;
    for told in told.iter().filter(|t| t.revision.0 > before) {
        for draft in &told.drafts {
            record.events.add(draft, told.time);
        }
        record.told = record.told.max(told.revision.0);
    }
    (record.told > before).then_some(record)
}

async fn remove(shared: &Shared, object: &ObjectRef) -> Result<(), RecordError> {
    tokio::time::timeout(DEADLINE, async {
        let Some(entry) = shared.store.get(repo::event_key(object)).await? else {
            return Ok(());
        };
        let batch = repo::delete_record(object, entry.modified);
        match shared.store.apply(batch).await {
            // Somebody wrote to it: the object is back, and told by its own changes.
            Ok(_) | Err(WriteError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
    .await?
}

/// What a change means.
fn drafts_of(change: &crate::cache::Change, site: &Site<'_>) -> Vec<events::Draft> {
    use crate::cache::Object;
    match (&change.before, &change.after) {
        (before, Some(Object::Project(after))) => {
            let before = match before {
                Some(Object::Project(before)) => Some(&**before),
                Some(Object::Node(_) | Object::Secret(_) | Object::Certificate(_)) | None => None,
            };
            events::of_project(before, Some(after), site)
        }
        (Some(Object::Project(before)), None) => events::of_project(Some(before), None, site),
        (before, Some(Object::Node(after))) => {
            let before = match before {
                Some(Object::Node(before)) => Some(&**before),
                Some(Object::Project(_) | Object::Secret(_) | Object::Certificate(_)) | None => {
                    None
                }
            };
            events::of_node(before, Some(after))
        }
        (Some(Object::Node(before)), None) => events::of_node(Some(before), None),
        (before, Some(Object::Certificate(after))) => {
            let before = match before {
                Some(Object::Certificate(before)) => Some(seen(before)),
                Some(Object::Project(_) | Object::Node(_) | Object::Secret(_)) | None => None,
            };
            events::of_certificate(before, Some(seen(after)))
        }
        (Some(Object::Certificate(before)), None) => {
            events::of_certificate(Some(seen(before)), None)
        }
        (_, Some(Object::Secret(_))) | (Some(Object::Secret(_)), None) | (None, None) => Vec::new(),
    }
}

fn seen(certificate: &repo::SealedCertificate) -> events::Seen<'_> {
    events::Seen {
        facts: &certificate.facts,
        attempts: &certificate.attempts,
        conditions: &certificate.conditions,
        managed_by: certificate.managed_by,
    }
}
