//! JSON Schemas of the documents that users write, generated from the Rust types.
//!
//! The same schema is published in `deploy/schemas/` and drives [`crate::decode`], so what is
//! published and what is accepted cannot drift apart.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A schema with all its parts under `$defs`.
#[derive(Debug)]
pub struct Schema(Value);

/// Schema of [`crate::Project`].
pub static PROJECT: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::Project>);
/// Schema of [`crate::Node`].
pub static NODE: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::Node>);
/// Schema of [`crate::Secret`].
pub static SECRET: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::Secret>);
/// Schema of [`crate::Certificate`].
pub static CERTIFICATE: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::Certificate>);
/// Schema of [`crate::User`].
pub static USER: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::User>);
/// Schema of [`crate::Token`].
pub static TOKEN: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::Token>);
/// Schema of [`crate::Federation`].
pub static FEDERATION: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::Federation>);
/// Schema of [`crate::access::login::DevicePoll`].
pub static DEVICE_POLL: LazyLock<Schema> =
    LazyLock::new(Schema::of::<crate::access::login::DevicePoll>);
/// Schema of [`crate::access::login::Exchange`].
pub static EXCHANGE: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::access::login::Exchange>);
/// Schema of [`crate::node::Drain`].
pub static DRAIN: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::node::Drain>);
/// Schema of [`crate::project::Rollback`].
pub static ROLLBACK: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::project::Rollback>);
/// Schema of [`crate::share::ShareRequest`].
pub static SHARE: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::share::ShareRequest>);
/// Schema of [`crate::node::Heartbeat`].
pub static HEARTBEAT: LazyLock<Schema> = LazyLock::new(Schema::of::<crate::node::Heartbeat>);
/// Schema of [`crate::project::StatusPatch`].
pub static STATUS_PATCH: LazyLock<Schema> =
    LazyLock::new(Schema::of::<crate::project::StatusPatch>);

impl Schema {
    fn of<T: ToSchema>() -> Self {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        let mut defs = Map::new();
        for (name, part) in parts {
            defs.insert(name, to_json(&part));
        }
        let mut root = Map::new();
        root.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert("title".into(), json!(T::name()));
        if let Value::Object(own) = to_json(&T::schema()) {
            root.extend(own);
        }
        root.insert("$defs".into(), Value::Object(defs));
        let mut schema = Value::Object(root);
        publishable(&mut schema);
        Self(schema)
    }

    /// The document as it is published.
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// The schema of the document's root.
    pub fn root(&self) -> Part<'_> {
        Part {
            schema: &self.0,
            whole: &self.0,
        }
    }
}

fn to_json(schema: &impl serde::Serialize) -> Value {
    serde_json::to_value(schema).expect("a schema is a JSON document")
}

/// Points references into `$defs`, drops the empty defaults that serde's attributes leave, and
/// closes objects, so that editors mark what is misspelt.
fn publishable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replace("#/components/schemas/", "#/$defs/");
            }
            map.shift_remove("default");
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties")
                    .or_insert(Value::Bool(false));
            }
            map.values_mut().for_each(publishable);
        }
        Value::Array(items) => items.iter_mut().for_each(publishable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A place in a schema, references followed.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    schema: &'a Value,
    whole: &'a Value,
}

/// What kind of value a schema asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape<'a> {
    /// An object with these properties.
    Object(Properties<'a>),
    /// An object with any keys.
    Map,
    /// A list.
    Array,
    /// A text.
    Text,
    /// An RFC 3339 time.
    Time,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// Anything.
    Any,
}

/// The properties of an object schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties<'a>(&'a Map<String, Value>);

impl<'a> Properties<'a> {
    /// The names of the properties.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.keys().map(String::as_str)
    }
}

impl<'a> Part<'a> {
    fn at(self, schema: &'a Value) -> Self {
        let target = schema.get("$ref").and_then(Value::as_str);
        let options = schema
            .get("oneOf")
            .or_else(|| schema.get("allOf"))
            .and_then(Value::as_array);
        let not_null = |option: &&Value| option.get("type").and_then(Value::as_str) != Some("null");
        if let Some(found) = target.and_then(|t| self.whole.pointer(t.trim_start_matches('#'))) {
            return self.at(found);
        }
        match options.and_then(|list| list.iter().find(not_null)) {
            Some(option) => self.at(option),
            None => Self {
                schema,
                whole: self.whole,
            },
        }
    }

    /// What is asked for here.
    pub fn shape(self) -> Shape<'a> {
        let kind = match self.schema.get("type") {
            Some(Value::Array(kinds)) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|k| *k != "null"),
            Some(Value::String(kind)) => Some(kind.as_str()),
            _ => None,
        };
        let is_time = self.schema.get("format").and_then(Value::as_str) == Some("date-time");
        match kind {
            Some("object") => match self.schema.get("properties").and_then(Value::as_object) {
                Some(properties) => Shape::Object(Properties(properties)),
                None => Shape::Map,
            },
            Some("array") => Shape::Array,
            Some("string") if is_time => Shape::Time,
            Some("string") => Shape::Text,
            Some("integer") => Shape::Integer,
            Some("boolean") => Shape::Boolean,
            _ => Shape::Any,
        }
    }

    /// Whether a property is set by the server only.
    pub fn is_read_only(self, property: &str) -> bool {
        let found = self.schema.get("properties").and_then(|p| p.get(property));
        found.and_then(|p| p.get("readOnly")) == Some(&Value::Bool(true))
    }

    /// What is said about a property: beside its name, else with its type.
    pub fn text(self, property: &str) -> Option<&'a str> {
        let found = self.schema.get("properties")?.get(property)?;
        let options = found.get("oneOf").and_then(Value::as_array);
        let described = |value: &'a Value| value.get("description").and_then(Value::as_str);
        described(found)
            .or_else(|| options.and_then(|list| list.iter().find_map(described)))
            .or_else(|| self.child(Some(property))?.summary())
    }

    /// What is said about the type as a whole.
    pub fn summary(self) -> Option<&'a str> {
        self.schema.get("description").and_then(Value::as_str)
    }

    /// Whether a property must be given.
    pub fn is_required(self, property: &str) -> bool {
        let required = self.schema.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|name| name == property))
    }

    /// The values that are taken; none when there are too many to name.
    pub fn choices(self) -> impl Iterator<Item = &'a str> {
        let all = self.schema.get("enum").and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The least and the greatest number that is taken, where there are such.
    pub fn bounds(self) -> (Option<i64>, Option<i64>) {
        let bound = |key| self.schema.get(key).and_then(Value::as_i64);
        (bound("minimum"), bound("maximum"))
    }

    /// The schema of a property, of the values of a map, or of the items of a list.
    pub fn child(self, property: Option<&str>) -> Option<Self> {
        let found = match property {
            Some(name) => self.schema.get("properties")?.get(name)?,
            None => self
                .schema
                .get("items")
                .or_else(|| self.schema.get("additionalProperties"))?,
        };
        Some(self.at(found))
    }
}
