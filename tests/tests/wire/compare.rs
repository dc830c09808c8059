//! When two answers count as the same.
//!
//! What differs everywhere is declared here once, and in the first part of
//! `docs/compatibility.md`, instead of in every case.

use std::collections::BTreeSet;

use cara_api::Timestamp;
use serde_json::{Map, Value};

/// Fields that only this server sends. Clients of the older system do not look at them.
pub const ADDITIONS: [&str; 15] = [
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.generation",
    "status.ingress",
    "status.observedGeneration",
    "status.bindingEpoch",
    "status.services",
    "status.lastEpoch",
    "status.stableGeneration",
    "status.rejectedGeneration",
    "status.moving",
    "code",
    "errors",
    "warnings",
    "instance",
];

/// Fields that the older system always sends, and this server only when they say something. So are
/// times that are not known.
pub const SENT_WHEN_SET: [&str; 1] = ["network.throughput"];

const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A value without what may differ: times are only times, additions and empty values are gone,
/// lists are sorted by name.
pub fn normal(mut value: Value) -> Value {
    normalise(&mut value, "");
    value
}

fn normalise(value: &mut Value, parent: &str) {
    match value {
        Value::String(text) => *text = times(text),
        Value::Array(items) => {
            // What is in a list of objects is an object of its own.
            let inner = if parent == "items" { "" } else { parent };
            items.iter_mut().for_each(|item| normalise(item, inner));
            if parent == "items" {
                items.sort_by_key(|item| item["metadata"]["name"].to_string());
            }
        }
        Value::Object(map) => fields(map, parent),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn fields(map: &mut Map<String, Value>, parent: &str) {
    // The version of a list is an addition of which nothing is left.
    let is_list = map.contains_key("items");
    for (key, item) in std::mem::take(map) {
        let path = if parent.is_empty() {
            key.clone()
        } else {
            format!("{parent}.{key}")
        };
        if ADDITIONS.contains(&path.as_str()) || (is_list && key == "metadata") {
            continue;
        }
        let mut item = item;
        normalise(&mut item, &key);
        let is_empty = item.as_object().is_some_and(Map::is_empty);
        if item != ZERO_TIME && !(is_empty && SENT_WHEN_SET.contains(&path.as_str())) {
            map.insert(key, item);
        }
    }
}

/// Times in a text replaced: a whole text, or the beginnings of its lines.
fn times(text: &str) -> String {
    let is_time =
        |word: &str| word.len() > 10 && word != ZERO_TIME && word.parse::<Timestamp>().is_ok();
    if is_time(text) {
        return "<time>".to_owned();
    }
    let lines = text.split('\n').map(|line| match line.split_once(' ') {
        Some((first, rest)) if is_time(first) => format!("<time> {rest}"),
        Some(_) | None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Leaves out conditions of `actual` whose type `expected` does not have: this server writes
/// more of them, and earlier.
pub fn without_more_conditions(expected: &Value, actual: &mut Value) {
    match actual {
        Value::Object(map) => {
            if let Some(Value::Array(conditions)) = map.get_mut("conditions") {
                let known = expected["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let known: BTreeSet<&str> =
                    known.iter().filter_map(|c| c["type"].as_str()).collect();
                conditions.retain(|c| c["type"].as_str().is_some_and(|t| known.contains(t)));
                if conditions.is_empty() {
                    map.remove("conditions");
                }
            }
            for (key, item) in map.iter_mut() {
                without_more_conditions(&expected[key.as_str()], item);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                without_more_conditions(&expected[index], item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
