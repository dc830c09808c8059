//! Objects as they were when a plan was shown, and whether they still are.
//!
//! What was agreed to is done to what was looked at, and to nothing else: a write names the
//! version that was seen. Statuses move on by themselves, and are no part of what was seen.

use cara_api::ResourceVersion;
use cara_api::client::Error;
use serde_json::Value;

use super::Context;
use super::codes;
use super::diff::own_part;
use super::failure::Failure;

/// How often a write is tried while the status moves under it.
pub const TRIES: u32 = 8;

/// An object; none when there is none.
///
/// # Errors
/// The server does not answer, or refuses to show it.
pub async fn read(context: &Context, path: &str) -> Result<Option<Value>, Error> {
    match context.client.get(path).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The version of an object.
pub fn version_of(object: &Value) -> ResourceVersion {
    let text = object.pointer("/metadata/resourceVersion");
    let text = text.and_then(Value::as_str).unwrap_or_default();
    text.parse().unwrap_or_default()
}

/// What became of the object that was seen, after a write was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Since {
    /// Nothing: the refusal has another reason.
    Same,
    /// Its status moved on, which is nobody's change: at this version it is as it was seen.
    MovedOn(ResourceVersion),
    /// Somebody changed it, or it is gone, or another one has its name.
    Changed,
}

/// Compares what was seen with what is there.
pub fn since(seen: &Value, tried: ResourceVersion, found: Option<&Value>) -> Since {
    let Some(found) = found else {
        return Since::Changed;
    };
    // The generation counts what cannot be read, such as values of secrets.
    let identity = |object: &Value| {
        let of = |key: &str| object.pointer(key).cloned();
        (of("/metadata/uid"), of("/metadata/generation"))
    };
    let is_same = identity(seen) == identity(found) && own_part(seen) == own_part(found);
    match version_of(found) {
        version if version == tried => Since::Same,
        version if is_same => Since::MovedOn(version),
        _ => Since::Changed,
    }
}

/// Somebody else was quicker.
pub fn changed(action: &str) -> Failure {
    Failure::conflict(format!(
        "{action}: it changed after it was looked at; nothing was done to it"
    ))
    .coded(&codes::CHANGED)
    .with("run the command again: it plans by what is there now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_that_moves_on_is_nobodys_change() {
        let object = |version: &str, uid: &str, generation: u64, image: &str, phase: &str| {
            json!({"kind": "Project",
                "metadata": {"name": "a", "uid": uid, "resourceVersion": version, "generation": generation},
                "spec": {"services": [{"name": "web", "image": image}]}, "status": {"phase": phase}})
        };
        let seen = object("5", "u", 1, "x:1", "Pending");
        let tried = version_of(&seen);
        let at = |version: &str| version.parse().expect("a version");
        for (found, expected) in [
            (Some(object("5", "u", 1, "x:1", "Pending")), Since::Same),
            (
                Some(object("9", "u", 1, "x:1", "Running")),
                Since::MovedOn(at("9")),
            ),
            (Some(object("9", "u", 1, "x:2", "Pending")), Since::Changed),
            (Some(object("9", "u", 2, "x:1", "Pending")), Since::Changed),
            (Some(object("9", "v", 1, "x:1", "Pending")), Since::Changed),
            (None, Since::Changed),
        ] {
            assert_eq!(since(&seen, tried, found.as_ref()), expected, "{found:?}");
        }
    }
}
