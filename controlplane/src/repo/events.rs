//! Histories of events in the store: one record for each object, beside the objects.

use cara_api::event::{Event, ObjectRef};
use cara_store::{Batch, Entry, Key, Precondition, Revision};
use serde::{Deserialize, Serialize};

use super::{DecodeError, open, seal};
use crate::plan::events::history::{History, Past};

/// Prefix of the keys of histories.
pub(crate) const EVENTS: &str = "events/";
const KIND: &str = "Events";

/// The last events of one object, as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventRecord {
    /// Changes of the object up to this revision are told; a server that starts again, or a
    /// second one over the same store, does not tell them twice.
    pub(crate) told: u64,
    pub(crate) events: History,
}

impl EventRecord {
    /// The events as clients see them, the one that happened last at the end.
    pub(crate) fn shown<'a>(
        &'a self,
        regarding: &'a ObjectRef,
    ) -> impl Iterator<Item = (bool, Event)> + 'a {
        let events = self.events.events().iter();
        events.map(|past| (past.is_fresh, shown(regarding, past)))
    }
}

fn shown(regarding: &ObjectRef, past: &Past) -> Event {
    Event {
        regarding: regarding.clone(),
        kind: past.kind,
        reason: past.reason.clone(),
        message: past.message.clone(),
        source: past.source.clone(),
        count: past.count,
        first_time: past.first_time,
        last_time: past.last_time,
    }
}

/// Prefix of the histories of a kind.
pub(crate) fn events_of_kind(kind: &str) -> String {
    format!("{EVENTS}{kind}/")
}

pub(crate) fn event_key(object: &ObjectRef) -> Key {
    Key::new(format!("{EVENTS}{}/{}", object.kind, object.name))
}

/// The object that a history is about.
pub(crate) fn object_of(key: &Key) -> Option<ObjectRef> {
    let (kind, name) = key.as_str().strip_prefix(EVENTS)?.split_once('/')?;
    Some(ObjectRef {
        kind: kind.to_owned(),
        name: name.to_owned(),
    })
}

pub(crate) fn decode_record(entry: &Entry) -> Result<EventRecord, DecodeError> {
    open(entry)
}

/// Writes a history over the one that was read, if there was one.
pub(crate) fn write_record(
    object: &ObjectRef,
    record: EventRecord,
    read_at: Option<Revision>,
) -> Batch {
    let when = read_at.map_or(Precondition::Absent, Precondition::At);
    Batch::new().put(event_key(object), seal(KIND, record), when)
}

/// Removes a history as it was read.
pub(crate) fn delete_record(object: &ObjectRef, read_at: Revision) -> Batch {
    Batch::new().delete(event_key(object), Precondition::At(read_at))
}
