//! The last events of one object.

use cara_api::Timestamp;
use cara_api::event::EventType;
use serde::{Deserialize, Serialize};

use super::{Again, Draft};

/// Events that are kept for one object.
pub const EVENTS_MAX: usize = 50;

/// The last events of one object, the one that happened last at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<Past>);

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// Whether somebody should look.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Who saw it.
    pub source: String,
    /// How often it happened.
    pub count: u32,
    /// When it happened first.
    pub first_time: Timestamp,
    /// When it happened last.
    pub last_time: Timestamp,
    /// It came or changed with the newest write of the history.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_fresh: bool,
}

impl History {
    /// The events, the one that happened last at the end.
    pub fn events(&self) -> &[Past] {
        &self.0
    }

    /// When anything happened last.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.0.iter().map(|past| past.last_time).max()
    }

    /// Begins a new write: nothing is fresh.
    pub fn settle(&mut self) {
        self.0.iter_mut().for_each(|past| past.is_fresh = false);
    }

    /// Adds what happened at `time`.
    pub fn add(&mut self, draft: &Draft, time: Timestamp) {
        let position = self.0.iter().rposition(|past| {
            past.reason == draft.reason
                && past.source == draft.source
                && (draft.again != Again::Same || past.message == draft.message)
        });
        let past = match position.map(|at| self.0.remove(at)) {
            Some(mut past) => {
                if draft.again != Again::Continued {
                    past.count = past.count.saturating_add(1);
                }
                past.kind = draft.kind;
                past.message.clone_from(&draft.message);
                past.last_time = time;
                past.is_fresh = true;
                past
            }
            None => Past {
                kind: draft.kind,
                reason: draft.reason.clone(),
                message: draft.message.clone(),
                source: draft.source.clone(),
                count: 1,
                first_time: time,
                last_time: time,
                is_fresh: true,
            },
        };
        self.0.push(past);
        let surplus = self.0.len().saturating_sub(EVENTS_MAX);
        self.0.drain(..surplus);
    }
}
