//! Events: what happened to an object, in order, for people. A bounded history for each object.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::list::ListMeta;
use crate::meta::{ResourceVersion, Timestamp};

/// Something that happened to an object. The same thing again counts up instead of being listed
/// twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The object.
    pub regarding: ObjectRef,
    /// Whether somebody should look.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// One CamelCase word for programs, such as `Scheduled`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Who saw it: `scheduler`, `certificates`, or `agent/NODE`.
    pub source: String,
    /// How often it happened.
    pub count: u32,
    /// When it happened first.
    #[schema(value_type = String, format = DateTime)]
    pub first_time: Timestamp,
    /// When it happened last.
    #[schema(value_type = String, format = DateTime)]
    pub last_time: Timestamp,
}

/// Names an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct ObjectRef {
    /// Its kind, such as `Project`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum EventType {
    /// All is as it should be.
    Normal,
    /// Something went wrong.
    Warning,
}

/// Events that a query selected, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventList {
    /// Always [`crate::API_VERSION`].
    pub api_version: String,
    /// `EventList`.
    pub kind: String,
    /// The revision of the list.
    #[serde(default)]
    pub metadata: ListMeta,
    /// Never null.
    pub items: Vec<Event>,
}

impl EventList {
    /// A list of `items` as they were at `version`.
    pub fn new(items: Vec<Event>, version: ResourceVersion) -> Self {
        Self {
            api_version: crate::API_VERSION.to_owned(),
            kind: "EventList".to_owned(),
            metadata: ListMeta {
                resource_version: version,
                ..ListMeta::default()
            },
            items,
        }
    }
}
