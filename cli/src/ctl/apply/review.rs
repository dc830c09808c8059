//! What becomes of each object, before anything is written.
//!
//! Of a project the plan is worked out here; what becomes of other objects the server says in a
//! dry run, since only it knows whether values of a secret are those that are stored.

use std::collections::BTreeSet;

use cara_api::client::{Error, Method, Terms, Written};
use cara_api::plan::{Fate, Plan, Weight};
use cara_api::{Project, decode, schema};
use serde_json::Value;

use super::form;
use crate::ctl::args::Kind;
use crate::ctl::consent::Intent;
use crate::ctl::diff::own_part;
use crate::ctl::failure::Failure;
use crate::ctl::manifest::Document;
use crate::ctl::{Context, address, live};

/// A document, and what it meets.
#[derive(Debug)]
pub struct Change {
    /// What is wished for.
    pub document: Document,
    /// The object as it was seen; none when there is none.
    pub seen: Option<Value>,
    /// What happens.
    pub intent: Intent,
}

/// Looks at what each document meets. A document that the server will refuse is told about when
/// it is applied.
///
/// # Errors
/// The server does not answer, or refuses to show an object.
pub async fn all(context: &Context, documents: Vec<Document>) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for document in documents {
        let path = address::one(document.kind, &document.name);
        let seen = live::read(context, &path).await;
        let seen = seen
            .map_err(|error| Failure::of(&format!("apply {}", form::object(&document)), &error))?;
        let intent = match (&seen, document.kind) {
            (Some(seen), Kind::Projects) => project(context, &document, seen),
            (Some(seen), _) => {
                let wanted = wanted(context, &document, &path).await;
                other(context, &document, seen, wanted.as_ref())
            }
            (None, _) => {
                let paint = context.screen.colours;
                Intent::whole(&form::object(&document), Fate::Create, &[], paint)
            }
        };
        changes.push(Change {
            document,
            seen,
            intent,
        });
    }
    Ok(changes)
}

fn nothing() -> Intent {
    Intent::new(Weight::Harmless, Vec::new())
}

fn project(context: &Context, document: &Document, seen: &Value) -> Intent {
    let body = document.body.to_string();
    let decoded = decode::document::<Project>(body.as_bytes(), &schema::PROJECT);
    let before = serde_json::from_value::<Project>(seen.clone());
    match (decoded, before) {
        (Ok(decoded), Ok(before)) if decoded.faults.is_empty() => {
            let plan = Plan::between(Some(&before.spec), &decoded.value.spec);
            Intent::of(&form::object(document), &plan, context.screen.colours)
        }
        (Ok(_) | Err(_), _) => nothing(),
    }
}

/// What the server would make of a document; as it stands where there is no dry run, and none
/// when the server refuses it.
async fn wanted(context: &Context, document: &Document, path: &str) -> Option<Value> {
    if matches!(document.kind, Kind::Users | Kind::Federations) {
        return Some(document.body.clone());
    }
    let target = (Method::PUT, path);
    let tried: Result<Written<Value>, Error> = context
        .client
        .write_on(target, Terms::DRY, &document.body)
        .await;
    tried.ok().map(|written| written.object)
}

fn other(context: &Context, document: &Document, seen: &Value, wanted: Option<&Value>) -> Intent {
    let Some(wanted) = wanted else {
        return nothing();
    };
    let because = differences(document.kind, seen, wanted);
    let fate = match (because.is_empty(), document.kind) {
        (true, _) => Fate::Keep,
        // Services that use it are started anew.
        (false, Kind::Secrets) => Fate::Replace,
        (false, _) => Fate::Update,
    };
    let object = form::object(document);
    Intent::whole(&object, fate, &because, context.screen.colours)
}

/// What differs, part by part; values are not shown.
fn differences(kind: Kind, seen: &Value, wanted: &Value) -> Vec<String> {
    let (old, new) = (own_part(seen), own_part(wanted));
    let mut found = Vec::new();
    for part in ["metadata", "spec"] {
        let field = |side: &Value, name: &str| match side.pointer(&format!("/{part}/{name}")) {
            // What is left out and what is empty are the same.
            Some(Value::Object(map)) if map.is_empty() => None,
            Some(Value::Array(list)) if list.is_empty() => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::Bool(false)) | None => None,
            Some(value) => Some(value.clone()),
        };
        let sides = [&old, &new].map(|side| side.get(part).and_then(Value::as_object));
        let names = sides.into_iter().flatten().flat_map(|map| map.keys());
        let names: BTreeSet<&String> = names.collect();
        let differ = names
            .into_iter()
            .filter(|n| field(&old, n) != field(&new, n));
        found.extend(differ.map(|name| format!("{part}.{name}")));
    }
    let generation = |object: &Value| object.pointer("/metadata/generation").cloned();
    if kind == Kind::Secrets && generation(seen) != generation(wanted) {
        found.push("values".to_owned());
    }
    let keys = |object: &Value| {
        let keys = object.get("keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().filter_map(Value::as_str);
        keys.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    if kind == Kind::Secrets {
        let (old, new) = (keys(seen), keys(wanted));
        found.extend(old.difference(&new).map(|key| format!("key {key} goes")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_named_and_never_shown() {
        let secret = |generation: u64, team: &str| {
            json!({"kind": "Secret", "keys": ["a"],
                "metadata": {"name": "s", "uid": "u", "generation": generation, "labels": {"team": team}}})
        };
        let user = |suspended: bool, grants: Value| {
            json!({"kind": "User", "metadata": {"name": "u", "labels": {}},
            "spec": {"grants": grants, "suspended": suspended}})
        };
        let bare = json!({"kind": "User", "metadata": {"name": "u"}, "spec": {"grants": [1]}});
        let mut both = secret(1, "a");
        both["keys"] = json!(["a", "b"]);
        for (kind, seen, wanted, expected) in [
            (Kind::Secrets, secret(1, "a"), secret(1, "a"), ""),
            (Kind::Secrets, secret(1, "a"), secret(2, "a"), "values"),
            (
                Kind::Secrets,
                secret(1, "a"),
                secret(2, "b"),
                "metadata.labels, values",
            ),
            (Kind::Secrets, both, secret(2, "a"), "values, key b goes"),
            (Kind::Users, user(false, json!([1])), bare.clone(), ""),
            (Kind::Users, user(true, json!([1])), bare, "spec.suspended"),
            (
                Kind::Users,
                user(true, json!([1])),
                user(true, json!([2])),
                "spec.grants",
            ),
        ] {
            let found = differences(kind, &seen, &wanted).join(", ");
            assert_eq!(found, expected, "{seen} {wanted}");
        }
    }
}
