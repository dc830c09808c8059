//! What every object carries: type, name, labels, versions and times.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A point in time, RFC 3339 on the wire.
pub type Timestamp = jiff::Timestamp;

/// Counts the edits of a `spec`, from 1.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after one more edit.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// True for the value that stands for "never".
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// The store's revision of an object or list as clients see it: opaque, text on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// True for the value that stands for "none".
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for ResourceVersion {
    type Err = std::num::ParseIntError;

    /// Reads a version that a client sent back; quotes and a weak mark (`W/"7"`) as in an
    /// entity tag are taken off, an empty text means none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim().trim_start_matches("W/").trim_matches('"');
        if digits.is_empty() {
            return Ok(Self(0));
        }
        digits.parse().map(Self)
    }
}

impl Serialize for ResourceVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| serde::de::Error::custom("resourceVersion must be a number in quotes"))
    }
}

/// What identifies an object and what users attach to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Unique within its kind; cannot be changed.
    #[schema(required = true)]
    pub name: String,
    /// Unique over all objects of all times; set by the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, read_only)]
    pub uid: Option<uuid::Uuid>,
    /// Changes with every write; send it back to make a write conditional.
    #[serde(skip_serializing_if = "ResourceVersion::is_zero")]
    #[schema(value_type = String)]
    pub resource_version: ResourceVersion,
    /// Counts the edits of `spec`; set by the server.
    #[serde(skip_serializing_if = "Generation::is_zero")]
    #[schema(value_type = u64, read_only)]
    pub generation: Generation,
    /// Key/value pairs for selection and grouping.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Key/value pairs that identify nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When the object was created; set by the server.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime, read_only)]
    pub created_at: Option<Timestamp>,
    /// When spec, labels, annotations or status last changed; set by the server.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime, read_only)]
    pub updated_at: Option<Timestamp>,
}

/// Reads a time; the year 1, which older clients send for "never", is none.
///
/// # Errors
/// The text is not RFC 3339.
pub fn zero_as_none<'de, D>(deserializer: D) -> Result<Option<Timestamp>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let time = Option::<Timestamp>::deserialize(deserializer)?;
    Ok(time.filter(|t| t.as_second() > ZERO_TIME_SECOND))
}

/// `0001-01-01T00:00:00Z` in seconds since 1970.
const ZERO_TIME_SECOND: i64 = -62_135_596_800;

/// An object that is stored, listed and watched under its name.
pub trait Resource:
    Clone + PartialEq + fmt::Debug + Serialize + serde::de::DeserializeOwned + Send + Sync + 'static
{
    /// The value of `kind`, such as `Project`.
    const KIND: &'static str;
    /// The kind in lower case, as messages name it.
    const NOUN: &'static str;

    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The object's metadata, to change it.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_times_of_older_clients_are_none() {
        let json =
            r#"{"name":"a","createdAt":"0001-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}"#;
        let meta: ObjectMeta = serde_json::from_str(json).expect("valid metadata");
        assert_eq!(meta.created_at, None);
        assert!(meta.updated_at.is_some());
    }

    #[test]
    fn a_resource_version_reads_as_an_entity_tag() {
        for (text, expected) in [
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("W/\"7\"", Some(7)),
            ("", Some(0)),
            ("x", None),
        ] {
            assert_eq!(
                text.parse::<ResourceVersion>().ok().map(|v| v.0),
                expected,
                "{text}"
            );
        }
    }
}
