//! What stands in the way of a project that shall leave a node, and when a drain is over. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::condition::{self, Condition, DRAINED, PLACED};
use cara_api::node::Drain;
use cara_api::project::VolumeType;
use cara_api::{Node, Project};

/// A place for a project may come free; after this long a project without one counts as blocked.
const PLACE_GRACE: Duration = Duration::from_secs(10);
/// A new copy that failed is tried again; after this long it counts as blocked.
const START_GRACE: Duration = Duration::from_secs(60);

/// What is known of a node that is being emptied.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// The node; none before it was seen.
    pub node: Option<Node>,
    /// The projects that are bound to it, by name.
    pub projects: BTreeMap<String, Project>,
    /// All of them are known.
    pub is_complete: bool,
}

/// How a project stands that shall leave a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its turn has not come.
    Waiting,
    /// It is on its way to the node that starts the new copy; to none yet while the old copy is
    /// removed first.
    Moving(Option<String>),
    /// It is being deleted, which empties the node as well.
    Ending,
    /// It cannot leave.
    Blocked(Block),
}

/// Why a project cannot leave its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// The data of these Ephemeral volumes would be lost.
    Ephemeral(Vec<String>),
    /// The data of these Persistent volumes is on this node.
    Persistent(Vec<String>),
    /// These volumes are directories of this node.
    HostPath(Vec<String>),
    /// No other node can take it; the scheduler's words.
    Nowhere(String),
    /// The new copy does not start, or the old one cannot be removed.
    Fails {
        /// The node that starts the new copy; none while the old copy is removed first.
        on: Option<String>,
        /// What went wrong last.
        message: String,
    },
}

/// How a project stands.
pub fn standing(project: &Project, drain: &Drain) -> Standing {
    let status = &project.status;
    if status.phase.is_ending() {
        return Standing::Ending;
    }
    let unplaced = condition::find(&status.conditions, PLACED).filter(|c| c.status == "False");
    if let Some(moving) = &status.moving {
        let to = (!moving.node_ref.is_empty()).then(|| moving.node_ref.clone());
        if let (None, Some(unplaced)) = (&to, unplaced) {
            return Standing::Blocked(Block::Nowhere(unplaced.message.clone()));
        }
        return match moving.message.as_str() {
            "" => Standing::Moving(to),
            message => Standing::Blocked(Block::Fails {
                on: to,
                message: message.to_owned(),
            }),
        };
    }
    let volumes = |kind| -> Vec<String> {
        let of_kind = project
            .spec
            .volumes
            .iter()
            .filter(|v| v.volume_type() == Some(kind));
        of_kind.map(|v| v.name.clone()).collect()
    };
    let persistent = volumes(VolumeType::Persistent);
    if !persistent.is_empty() {
        return Standing::Blocked(Block::Persistent(persistent));
    }
    let paths = volumes(VolumeType::HostPath);
    if !paths.is_empty() {
        return Standing::Blocked(Block::HostPath(paths));
    }
    let ephemeral = volumes(VolumeType::Ephemeral);
    if !ephemeral.is_empty() && !drain.delete_ephemeral_data {
        return Standing::Blocked(Block::Ephemeral(ephemeral));
    }
    match unplaced {
        Some(unplaced) => Standing::Blocked(Block::Nowhere(unplaced.message.clone())),
        None => Standing::Waiting,
    }
}

impl Standing {
    /// The standing in a line.
    pub fn text(&self) -> String {
        match self {
            Self::Waiting => "waits for its turn".to_owned(),
            Self::Moving(Some(node)) => format!("moves to {node}"),
            Self::Moving(None) => "moves: its old copy is removed first".to_owned(),
            Self::Ending => "is being deleted".to_owned(),
            Self::Blocked(block) => format!("stays: {}", block.text()),
        }
    }
}

impl Block {
    /// Why it stays.
    pub fn text(&self) -> String {
        match self {
            Self::Ephemeral(volumes) => {
                format!(
                    "the data of its Ephemeral {} would be lost",
                    counted(volumes)
                )
            }
            Self::Persistent(volumes) => {
                format!("the data of its Persistent {} is here", counted(volumes))
            }
            Self::HostPath(volumes) => {
                format!("its HostPath {} is a directory here", counted(volumes))
            }
            Self::Nowhere(message) => format!("no other node can take it: {message}"),
            Self::Fails { on, message } => match on {
                Some(node) => format!("its new copy on {node} does not start: {message}"),
                None => format!("its old copy cannot be removed: {message}"),
            },
        }
    }

    /// What the user can do about it.
    pub fn way_out(&self, project: &str, node: &str) -> String {
        match self {
            Self::Ephemeral(_) => {
                format!("caractrl drain {node} --delete-ephemeral-data moves it without that data")
            }
            Self::Persistent(_) | Self::HostPath(_) => {
                format!(
                    "save the data, then caractrl delete project {project} and apply it anew, \
                     or caractrl uncordon {node} to leave it here"
                )
            }
            Self::Nowhere(_) => {
                "start another node or make room on one; the drain goes on by itself".to_owned()
            }
            Self::Fails { .. } => format!(
                "caractrl describe project {project} shows more; the drain goes on by itself"
            ),
        }
    }

    /// How long it may take until it comes free by itself; zero for what does not.
    fn patience(&self) -> Duration {
        match self {
            Self::Ephemeral(_) | Self::Persistent(_) | Self::HostPath(_) => Duration::ZERO,
            Self::Nowhere(_) => PLACE_GRACE,
            Self::Fails { .. } => START_GRACE,
        }
    }
}

fn counted(volumes: &[String]) -> String {
    match volumes {
        [one] => format!("volume {one}"),
        several => format!("volumes {}", several.join(", ")),
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Look on.
    Going,
    /// Only blocked projects are left, but some may come free within this time of being stuck.
    Stuck(Duration),
    /// No project is left.
    Drained,
    /// Somebody stopped it.
    Stopped,
    /// Only blocked projects are left: each with its reason.
    Blocked(Vec<(String, Block)>),
}

/// Judges a drain that has been stuck for a time, if it has.
pub fn verdict(picture: &Picture, stuck_for: Option<Duration>) -> Verdict {
    let Some(node) = &picture.node else {
        return Verdict::Going;
    };
    let Some(drain) = &node.spec.drain else {
        return Verdict::Stopped;
    };
    if condition::find(&node.status.conditions, DRAINED).is_some_and(|c| c.status == "True") {
        return Verdict::Drained;
    }
    // Without the server's own view of the drain, it has not looked at the projects yet.
    if !picture.is_complete || drained(node).is_none() {
        return Verdict::Going;
    }
    let mut blocked = Vec::new();
    for (name, project) in &picture.projects {
        match standing(project, drain) {
            Standing::Blocked(block) => blocked.push((name.clone(), block)),
            Standing::Waiting | Standing::Moving(_) | Standing::Ending => return Verdict::Going,
        }
    }
    let longest = blocked.iter().map(|(_, block)| block.patience()).max();
    match longest {
        None => Verdict::Going,
        Some(patience) if stuck_for.unwrap_or_default() < patience => Verdict::Stuck(patience),
        Some(_) => Verdict::Blocked(blocked),
    }
}

fn drained(node: &Node) -> Option<&Condition> {
    condition::find(&node.status.conditions, DRAINED)
}

/// The node in a line.
pub fn node_line(picture: &Picture) -> String {
    match picture.projects.len() {
        _ if !picture.is_complete => "draining".to_owned(),
        0 => "draining, no project left".to_owned(),
        1 => "draining, 1 project left".to_owned(),
        n => format!("draining, {n} projects left"),
    }
}

#[cfg(test)]
mod tests;
