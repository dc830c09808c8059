//! What of two states of an object is compared, and how that is shown. Pure.

use serde_json::{Value, json};
use similar::TextDiff;

use crate::ctl::failure::Failure;
use crate::ctl::table::yaml;

/// What the server sets in `metadata`: no document says it.
const OF_SERVER: [&str; 5] = [
    "uid",
    "resourceVersion",
    "generation",
    "createdAt",
    "updatedAt",
];
/// Lines around a difference.
const AROUND: usize = 3;

/// The part of an object that documents say.
pub fn own_part(object: &Value) -> Value {
    let mut own = object.clone();
    if let Some(map) = own.as_object_mut() {
        map.remove("status");
    }
    if let Some(meta) = own.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in OF_SERVER {
            meta.remove(key);
        }
    }
    own
}

/// The two sides of a comparison. Values of secrets are not shown; that they differ is, since the
/// generation counts them.
pub fn sides(live: Option<&Value>, wanted: &Value) -> (Option<Value>, Option<Value>) {
    let mut old = live.map(own_part);
    let mut new = own_part(wanted);
    let generation = |object: &Value| object.pointer("/metadata/generation").cloned();
    let is_secret = wanted["kind"] == "Secret";
    if let (Some(live), Some(old)) = (live, &mut old)
        && is_secret
        && generation(live) != generation(wanted)
    {
        old["values"] = json!("as stored");
        new["values"] = json!("changed");
    }
    (old, Some(new))
}

/// The difference as a unified diff; empty when there is none.
///
/// # Errors
/// An object cannot be written as YAML.
pub fn unified(object: &str, old: Option<&Value>, new: Option<&Value>) -> Result<String, Failure> {
    let text = |side: Option<&Value>| side.map_or(Ok(String::new()), yaml);
    let (before, after) = (text(old)?, text(new)?);
    let name = |side: Option<&Value>, whose: &str| match side {
        Some(_) => format!("{whose}/{object}"),
        None => "/dev/null".to_owned(),
    };
    let diff = TextDiff::from_lines(&before, &after);
    let shown = diff
        .unified_diff()
        .context_radius(AROUND)
        .header(&name(old, "live"), &name(new, "file"))
        .to_string();
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(image: &str, generation: u64) -> Value {
        json!({"kind": "Project", "metadata": {"name": "shop", "uid": "x", "generation": generation,
                "resourceVersion": "7", "labels": {"team": "red"}},
            "spec": {"services": [{"name": "web", "image": image}]}, "status": {"phase": "Running"}})
    }

    fn shown(live: Option<&Value>, wanted: &Value) -> String {
        let (old, new) = sides(live, wanted);
        unified("project/shop", old.as_ref(), new.as_ref()).expect("YAML")
    }

    #[test]
    fn what_the_server_sets_is_no_difference() {
        assert_eq!(shown(Some(&project("a", 1)), &project("a", 2)), "");
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let text = shown(Some(&project("a", 1)), &project("b", 1));
        assert!(
            text.starts_with("--- live/project/shop\n+++ file/project/shop\n@@ "),
            "{text}"
        );
        let changed: Vec<&str> = text
            .lines()
            .skip(3)
            .filter(|line| line.starts_with(['-', '+']))
            .map(str::trim_end)
            .collect();
        assert_eq!(changed.len(), 2, "{text}");
        assert!(changed[0].ends_with("image: a") && changed[1].ends_with("image: b"));
        let new = shown(None, &project("b", 1));
        assert!(
            new.starts_with("--- /dev/null\n+++ file/project/shop\n"),
            "{new}"
        );
    }

    #[test]
    fn values_of_secrets_differ_without_being_shown() {
        let secret = |generation: u64| json!({"kind": "Secret", "metadata": {"name": "s", "generation": generation}, "keys": ["a"]});
        assert_eq!(shown(Some(&secret(1)), &secret(1)), "");
        let text = shown(Some(&secret(1)), &secret(2));
        assert!(
            text.contains("-values: as stored\n+values: changed\n"),
            "{text}"
        );
    }
}
