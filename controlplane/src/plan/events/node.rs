//! What happened to a node.

use cara_api::Node;
use cara_api::condition::{self, Condition, DISK_PRESSURE, DRAINED, MEMORY_PRESSURE, READY};

use super::{Again, Draft, SCHEDULER, agent, says_the_same};

/// What a change of a node means, in order.
pub fn of_node(before: Option<&Node>, after: Option<&Node>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let Some(after) = after else {
        drafts.push(Draft::normal("Removed", "the node was deleted", SCHEDULER));
        return drafts;
    };
    let new = Node::default();
    let before = before.unwrap_or_else(|| {
        drafts.push(Draft::normal("Registered", "the node is known", SCHEDULER));
        &new
    });
    drafts.extend(readiness(before, after));
    for kind in [DISK_PRESSURE, MEMORY_PRESSURE] {
        drafts.extend(pressure(before, after, kind));
    }
    drafts.extend(wishes(before, after));
    drafts.extend(drained(before, after));
    drafts
}

fn found<'a>(node: &'a Node, kind: &str) -> Option<&'a Condition> {
    condition::find(&node.status.conditions, kind)
}

fn readiness(before: &Node, after: &Node) -> Option<Draft> {
    let status = |node| found(node, READY).map(|c: &Condition| c.status == "True");
    let message = found(after, READY).map_or("", |c| c.message.as_str());
    match (status(before), status(after)) {
        (Some(true), Some(true)) | (None | Some(false), Some(false)) | (_, None) => None,
        (None | Some(false), Some(true)) => Some(Draft::normal("Ready", message, SCHEDULER)),
        (Some(true), Some(false)) => Some(Draft::warning("NotReady", message, SCHEDULER)),
    }
}

fn pressure(before: &Node, after: &Node, kind: &str) -> Option<Draft> {
    let is_true = |node| found(node, kind).is_some_and(|c| c.status == "True");
    let message = found(after, kind).map_or("", |c| c.message.as_str());
    let source = agent(&after.metadata.name);
    match (is_true(before), is_true(after)) {
        (false, true) => Some(Draft::warning(kind, message, source)),
        (true, false) => Some(Draft::normal(&format!("No{kind}"), message, source)),
        (false, false) | (true, true) => None,
    }
}

fn wishes(before: &Node, after: &Node) -> Vec<Draft> {
    let (old, new) = (&before.spec, &after.spec);
    let mut drafts = Vec::new();
    let mut say = |reason, message| drafts.push(Draft::normal(reason, message, SCHEDULER));
    match (old.drain.is_some(), new.drain.is_some()) {
        (false, true) => say("Draining", "the node's projects move elsewhere"),
        (true, false) => say("DrainEnded", "the node is not being emptied any more"),
        (false, false) | (true, true) => {}
    }
    match (old.unschedulable, new.unschedulable) {
        (false, true) => say("Cordoned", "the node takes no new projects"),
        (true, false) => say("Uncordoned", "the node takes new projects"),
        (false, false) | (true, true) => {}
    }
    drafts
}

/// Characters of the progress of a drain that an event tells.
const PROGRESS_MAX: usize = 160;

/// The beginning of what the condition says in full: how many projects are left, and the first
/// ones of them.
fn short(message: &str) -> String {
    if message.chars().count() <= PROGRESS_MAX {
        return message.to_owned();
    }
    let end = message.char_indices().nth(PROGRESS_MAX);
    let cut = end.map_or(message, |(at, _)| &message[..at]);
    let whole = cut.rfind([',', ';']).or_else(|| cut.rfind(' '));
    let whole = whole.map_or(cut, |at| &cut[..at]);
    format!("{whole}… (all: the node's condition Drained)")
}

fn drained(before: &Node, after: &Node) -> Option<Draft> {
    let (old, new) = (found(before, DRAINED), found(after, DRAINED)?);
    if says_the_same(old, Some(new)) {
        return None;
    }
    if new.status == "True" {
        return Some(Draft::normal("Drained", &new.message, SCHEDULER));
    }
    let reason = match new.reason.as_str() {
        "" => "Draining",
        reason => reason,
    };
    let message = short(&new.message);
    Some(Draft::normal(reason, message, SCHEDULER).again(Again::Continued))
}
