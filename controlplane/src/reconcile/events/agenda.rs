//! What waits to be written down, and which records there are. Bounded; no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::event::ObjectRef;
use cara_api::{Certificate, Node, ObjectMeta, Project, Resource, Timestamp};
use cara_store::Revision;
use tokio::time::Instant;

use super::{GATHER, GATHER_PROGRESS, RecordError, drafts_of};
use crate::cache::{Change, Object, State};
use crate::plan::events::history::EVENTS_MAX;
use crate::plan::events::{Again, Draft, Site};

/// Records that are kept, all objects together.
const RECORDS_MAX: usize = 2_000;
/// How long the events of an object that is gone are kept.
const KEPT_AFTER_END: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often it is looked whether records are old enough to go.
const SWEEP: Duration = Duration::from_secs(60);

/// What one change of an object means.
pub(super) struct Told {
    pub(super) revision: Revision,
    pub(super) time: Timestamp,
    pub(super) drafts: Vec<Draft>,
}

struct Pending {
    told: Vec<Told>,
    due_at: Instant,
}

/// A record that is in the store, or soon will be.
struct Known {
    last_time: Timestamp,
    exists: bool,
}

/// What the recorder has in mind.
pub(super) struct Agenda {
    /// Changes up to here were noted.
    pub(super) seen: Revision,
    /// Changes up to here happened before this process looked.
    started_at: Revision,
    pending: BTreeMap<ObjectRef, Pending>,
    known: BTreeMap<ObjectRef, Known>,
    sweep_at: Instant,
    is_failing: bool,
}

impl Agenda {
    pub(super) fn new(floor: Revision, head: Revision) -> Self {
        Self {
            seen: floor,
            started_at: head,
            pending: BTreeMap::new(),
            known: BTreeMap::new(),
            sweep_at: Instant::now() + SWEEP,
            is_failing: false,
        }
    }

    /// Notes that there is a record.
    pub(super) fn know(&mut self, object: ObjectRef, last_time: Timestamp, exists: bool) {
        self.known.insert(object, Known { last_time, exists });
    }

    /// Takes in a change.
    pub(super) fn note(
        &mut self,
        change: &Change,
        site: &Site<'_>,
        now: Timestamp,
        exists: impl Fn(&ObjectRef) -> bool,
    ) {
        let Some(object) = object_of(change) else {
            return;
        };
        // What ended long ago, and whose record went, is not brought back by a restart.
        let is_past = change.revision <= self.started_at;
        if is_past && !self.known.contains_key(&object) && !exists(&object) {
            return;
        }
        let drafts = drafts_of(change, site);
        if drafts.is_empty() {
            return;
        }
        let time = time_of(change, now);
        self.know(object.clone(), time, change.after.is_some());
        let is_progress = drafts.iter().all(|d| d.again == Again::Continued);
        let gather = if is_progress { GATHER_PROGRESS } else { GATHER };
        let due_at = Instant::now() + gather;
        let told = Told {
            revision: change.revision,
            time,
            drafts,
        };
        self.wait(object, vec![told], due_at);
    }

    fn wait(&mut self, object: ObjectRef, told: Vec<Told>, due_at: Instant) {
        if !self.pending.contains_key(&object) && self.pending.len() >= RECORDS_MAX {
            return;
        }
        let pending = self.pending.entry(object).or_insert(Pending {
            told: Vec::new(),
            due_at,
        });
        pending.due_at = pending.due_at.min(due_at);
        pending.told.extend(told);
        // More than a record holds is not worth waiting with.
        let surplus = pending.told.len().saturating_sub(EVENTS_MAX);
        pending.told.drain(..surplus);
    }

    /// When there is something to do.
    pub(super) fn due_at(&self) -> Instant {
        let writes = self.pending.values().map(|p| p.due_at).min();
        let may_expire = self.known.len() > RECORDS_MAX || self.known.values().any(|k| !k.exists);
        let sweep = may_expire.then_some(self.sweep_at);
        let far = Instant::now() + super::super::RESYNC;
        [writes, sweep].into_iter().flatten().min().unwrap_or(far)
    }

    /// Takes out what gathered long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(ObjectRef, Vec<Told>)> {
        let due: Vec<ObjectRef> = self
            .pending
            .iter()
            .filter(|(_, p)| p.due_at <= now)
            .map(|(object, _)| object.clone())
            .collect();
        due.into_iter()
            .filter_map(|object| {
                let told = self.pending.remove(&object)?.told;
                Some((object, told))
            })
            .collect()
    }

    pub(super) fn written(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("events can be written again");
        }
    }

    /// Keeps what could not be written for later.
    pub(super) fn failed(&mut self, object: ObjectRef, mut told: Vec<Told>, error: &RecordError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(error = %error, cause, "cannot write events; trying again");
        }
        let newer = self.pending.remove(&object);
        told.extend(newer.into_iter().flat_map(|p| p.told));
        self.wait(object, told, Instant::now() + RETRY);
    }

    /// Takes out the objects whose records are no longer kept.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<ObjectRef> {
        if Instant::now() < self.sweep_at {
            return Vec::new();
        }
        self.sweep_at = Instant::now() + SWEEP;
        self.expire(now)
    }

    fn expire(&mut self, now: Timestamp) -> Vec<ObjectRef> {
        let is_old =
            |known: &Known| !known.exists && now.duration_since(known.last_time) >= KEPT_AFTER_END;
        let waits = |object: &ObjectRef| self.pending.contains_key(object);
        let mut gone: Vec<ObjectRef> = self
            .known
            .iter()
            .filter(|(object, known)| is_old(known) && !waits(object))
            .map(|(object, _)| object.clone())
            .collect();
        for object in &gone {
            self.known.remove(object);
        }
        // Too many: first those of objects that are gone, then the quietest.
        let surplus = self.known.len().saturating_sub(RECORDS_MAX);
        if surplus > 0 {
            let mut all: Vec<(bool, Timestamp, ObjectRef)> = self
                .known
                .iter()
                .map(|(object, k)| (k.exists, k.last_time, object.clone()))
                .collect();
            all.sort();
            for (_, _, object) in all.into_iter().take(surplus) {
                self.known.remove(&object);
                gone.push(object);
            }
        }
        gone
    }
}

fn meta_of(object: &Object) -> Option<(&'static str, &ObjectMeta)> {
    match object {
        Object::Project(project) => Some((Project::KIND, &project.metadata)),
        Object::Node(node) => Some((Node::KIND, &node.metadata)),
        Object::Certificate(certificate) => Some((Certificate::KIND, &certificate.metadata)),
        Object::Secret(_) => None,
    }
}

fn object_of(change: &Change) -> Option<ObjectRef> {
    let (kind, meta) = meta_of(change.after.as_ref().or(change.before.as_ref())?)?;
    Some(ObjectRef {
        kind: kind.to_owned(),
        name: meta.name.clone(),
    })
}

/// When a change was made: what the object says, unless it says nothing new.
fn time_of(change: &Change, now: Timestamp) -> Timestamp {
    let updated = |object: &Option<Object>| meta_of(object.as_ref()?)?.1.updated_at;
    let after = updated(&change.after);
    let time = after.filter(|_| after != updated(&change.before));
    let micros = |time: Timestamp| Timestamp::from_microsecond(time.as_microsecond());
    micros(time.unwrap_or(now)).unwrap_or(now)
}

/// Whether an object is there.
pub(super) fn exists(state: &State, object: &ObjectRef) -> bool {
    match object.kind.as_str() {
        Project::KIND => state.project(&object.name).is_some(),
        Node::KIND => state.node(&object.name).is_some(),
        Certificate::KIND => state.certificate(&object.name).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
