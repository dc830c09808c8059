//! What differs between two documents, as operations like those of JSON Patch (RFC 6902), with
//! the old value too.

use serde::Serialize;
use serde_json::{Map, Value};

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Operation {
    pub(crate) op: Op,
    /// JSON Pointer (RFC 6901).
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) old: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new: Option<Value>,
}

/// What was done to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    Add,
    Remove,
    Replace,
}

impl Operation {
    /// A difference whose values are not told.
    pub(crate) fn untold(op: Op, path: String) -> Self {
        Self {
            op,
            path,
            old: None,
            new: None,
        }
    }
}

/// What leads from `before` to `after`. Lists of one length are compared item by item, others
/// count as one value.
pub(crate) fn diff(before: &Value, after: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    compare(before, after, String::new(), &mut found);
    found
}

fn compare(before: &Value, after: &Value, path: String, found: &mut Vec<Operation>) {
    match (before, after) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => compare_maps(old, new, &path, found),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, format!("{path}/{index}"), found);
            }
        }
        (old, new) => found.push(Operation {
            op: Op::Replace,
            path,
            old: Some(old.clone()),
            new: Some(new.clone()),
        }),
    }
}

fn compare_maps(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    path: &str,
    found: &mut Vec<Operation>,
) {
    for (key, value) in old {
        let path = format!("{path}/{}", pointer(key));
        match new.get(key) {
            Some(changed) => compare(value, changed, path, found),
            None => found.push(Operation {
                op: Op::Remove,
                path,
                old: Some(value.clone()),
                new: None,
            }),
        }
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        found.push(Operation {
            op: Op::Add,
            path: format!("{path}/{}", pointer(key)),
            old: None,
            new: Some(value.clone()),
        });
    }
}

/// A key as part of a JSON Pointer.
pub(crate) fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(before: Value, after: Value) -> Vec<String> {
        let show = |value: &Option<Value>| value.as_ref().map_or("-".into(), Value::to_string);
        diff(&before, &after)
            .iter()
            .map(|o| format!("{:?} {} {} {}", o.op, o.path, show(&o.old), show(&o.new)))
            .collect()
    }

    #[test]
    fn differences_are_found_where_they_are() {
        assert_eq!(shown(json!({"a": 1}), json!({"a": 1})), [""; 0]);
        assert_eq!(
            shown(
                json!({"spec": {"image": "a", "env": [{"n": 1}, {"n": 2}], "gone": true}}),
                json!({"spec": {"image": "b", "env": [{"n": 1}, {"n": 3}]}, "l/~": {}}),
            ),
            [
                "Replace /spec/image \"a\" \"b\"",
                "Replace /spec/env/1/n 2 3",
                "Remove /spec/gone true -",
                "Add /l~1~0 - {}",
            ]
        );
        assert_eq!(
            shown(json!({"a": [1]}), json!({"a": [1, 2]})),
            ["Replace /a [1] [1,2]"]
        );
        assert_eq!(
            shown(json!({}), json!({"spec": {"a": 1}})),
            ["Add /spec - {\"a\":1}"]
        );
    }
}
