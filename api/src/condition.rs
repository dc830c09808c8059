//! Conditions: what happened to an object, in words that a person and a program can read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::{Timestamp, zero_as_none};

/// `Phase`: why a project is in its phase; replaced at every transition.
pub const PHASE: &str = "Phase";
/// `Placed`: present, with status False, while no node can take the project.
pub const PLACED: &str = "Placed";
/// `Progress`: present while an agent pulls images or replaces services.
pub const PROGRESS: &str = "Progress";
/// `NotReadyAt`: present while the node of a project that shall run is not ready; its transition
/// time starts the grace after which the project is placed again.
pub const NOT_READY_AT: &str = "NotReadyAt";
/// `TerminatingAt`: present while the node of a project that is being deleted is not ready; its
/// transition time starts the time after which the project counts as removed.
pub const TERMINATING_AT: &str = "TerminatingAt";
/// `RolledBack`: present while the newest generation failed and the stable one runs instead.
pub const ROLLED_BACK: &str = "RolledBack";
/// `Expiring`: present while a certificate ends soon, or has ended.
pub const EXPIRING: &str = "Expiring";
/// `Ready`: whether a node may be given work, or a certificate be served.
pub const READY: &str = "Ready";
/// `DiskPressure`: whether a node runs out of disk.
pub const DISK_PRESSURE: &str = "DiskPressure";
/// `MemoryPressure`: whether a node runs out of memory.
pub const MEMORY_PRESSURE: &str = "MemoryPressure";
/// `Drained`: present while a node is being emptied; True when no project is left on it.
pub const DRAINED: &str = "Drained";

/// One observation about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What is observed, in CamelCase. An object has at most one condition of a type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the observation was last confirmed, if it is confirmed at all.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_heartbeat_time: Option<Timestamp>,
    /// When status, reason or message last changed.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_transition_time: Option<Timestamp>,
    /// One CamelCase word for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Condition {
    /// A condition that changed at `now`.
    pub fn new(
        kind: &str,
        is_true: bool,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            status: if is_true { "True" } else { "False" }.to_owned(),
            last_heartbeat_time: None,
            last_transition_time: Some(now),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.status == other.status && self.reason == other.reason && self.message == other.message
    }
}

/// The condition of a type, if present.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Sets the condition of its type. One that says the same as before keeps its transition time,
/// so that writing it again changes nothing; one that changed goes to the end of the list,
/// where older clients look for the newest.
pub fn set(conditions: &mut Vec<Condition>, condition: Condition) {
    if find(conditions, &condition.kind).is_some_and(|old| old.says_the_same(&condition)) {
        return;
    }
    clear(conditions, &condition.kind);
    conditions.push(condition);
}

/// Removes the condition of a type.
pub fn clear(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.kind != kind);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_condition_keeps_its_time_and_a_changed_one_comes_last() {
        let at = |s| Timestamp::from_second(s).expect("in range");
        let mut list = Vec::new();
        set(&mut list, Condition::new(PHASE, true, "A", "a", at(1)));
        set(&mut list, Condition::new(PROGRESS, true, "P", "p", at(2)));
        let before = list.clone();
        set(&mut list, Condition::new(PHASE, true, "A", "a", at(3)));
        assert_eq!(list, before);
        set(&mut list, Condition::new(PHASE, true, "B", "b", at(4)));
        let order: Vec<_> = list.iter().map(|c| c.reason.as_str()).collect();
        assert_eq!(order, ["P", "B"]);
        clear(&mut list, PHASE);
        assert_eq!(find(&list, PHASE), None);
    }
}
