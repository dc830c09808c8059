//! Lists and change streams of objects.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::{Resource, ResourceVersion};

/// Where in the history a list stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Watch from here to see everything that happened after the list was made.
    #[serde(skip_serializing_if = "ResourceVersion::is_zero")]
    #[schema(value_type = String)]
    pub resource_version: ResourceVersion,
    /// Where the next page begins; none on the last one. Opaque.
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continues: String,
    /// How many objects are on later pages.
    #[serde(skip_serializing_if = "is_zero")]
    pub remaining_item_count: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// All objects of a kind that a query selected, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// Always [`crate::API_VERSION`].
    pub api_version: String,
    /// The kind of the items followed by `List`.
    pub kind: String,
    /// The revision of the list.
    #[serde(default)]
    pub metadata: ListMeta,
    /// Never null.
    pub items: Vec<T>,
}

impl<T: Resource> List<T> {
    /// A list of `items` as they were at `version`.
    pub fn new(items: Vec<T>, version: ResourceVersion) -> Self {
        Self {
            api_version: crate::API_VERSION.to_owned(),
            kind: format!("{}List", T::KIND),
            metadata: ListMeta {
                resource_version: version,
                ..ListMeta::default()
            },
            items,
        }
    }
}

/// What a line of a change stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WatchKind {
    /// The object came into the watched set.
    Added,
    /// The object changed.
    Modified,
    /// The object left the watched set; its last state is given.
    Deleted,
    /// Nothing changed up to `metadata.resourceVersion`; the stream is alive.
    Bookmark,
    /// The stream ends; the object is a problem document.
    Error,
}

/// One line of a change stream (`?watch=true`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent<T> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: WatchKind,
    /// To whom.
    pub object: T,
}
