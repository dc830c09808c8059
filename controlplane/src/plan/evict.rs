//! Which projects must leave a node, and how. Pure.

use cara_api::node::{Drain, TaintEffect};
use cara_api::project::{ProjectRevision, VolumeType};
use cara_api::{Node, Project};

use super::place::is_tolerated;

/// Why a project must leave its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The node is being emptied.
    Drain,
    /// The node has a `NoExecute` taint that the project does not tolerate.
    Taint,
}

impl Cause {
    /// One CamelCase word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Drain => "NodeDraining",
            Self::Taint => "NodeTainted",
        }
    }
}

/// Why a project must leave a node, if it must.
pub fn cause(project: &Project, node: &Node) -> Option<Cause> {
    if node.spec.drain.is_some() {
        return Some(Cause::Drain);
    }
    let drives_out = |t: &&cara_api::node::Taint| {
        TaintEffect::parse(&t.effect) == Some(TaintEffect::NoExecute)
            && !is_tolerated(&project.spec.tolerations, t)
    };
    let found = node.spec.taints.iter().find(drives_out);
    found.map(|_| Cause::Taint)
}

/// True when projects may have to leave a node.
pub fn drives_out(node: &Node) -> bool {
    let is_hard =
        |t: &cara_api::node::Taint| TaintEffect::parse(&t.effect) == Some(TaintEffect::NoExecute);
    node.spec.drain.is_some() || node.spec.taints.iter().any(is_hard)
}

/// How a project can leave its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The new copy is ready before the old one goes.
    StartFirst,
    /// The old copy goes first, and what it stored with it.
    StopFirst,
    /// Not at all.
    Blocked(Blocked),
}

/// What keeps a project on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// It would lose what it stored, and nobody said that it may.
    Ephemeral,
    /// Its data stays on the node.
    Persistent,
    /// It uses a directory of the node.
    HostPath,
}

/// A project, with the stored spec of its stable generation while a newer one is not known to
/// run: what is on the node may still be of the earlier one, and its data counts as well.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its stable generation, if that was replaced.
    pub stable: Option<&'a ProjectRevision>,
}

impl Settled<'_> {
    fn has_volume(&self, kind: VolumeType) -> bool {
        let earlier = self.stable.is_some_and(|r| r.spec.has_volume(kind));
        earlier || self.project.spec.has_volume(kind)
    }

    /// True when the project can run on its node only.
    pub fn is_pinned(&self) -> bool {
        self.has_volume(VolumeType::Persistent) || self.has_volume(VolumeType::HostPath)
    }
}

/// How a project can leave a node that is drained like this, or not drained at all.
pub fn way(project: Settled<'_>, drain: Option<&Drain>) -> Way {
    if project.has_volume(VolumeType::Persistent) {
        return Way::Blocked(Blocked::Persistent);
    }
    if project.has_volume(VolumeType::HostPath) {
        return Way::Blocked(Blocked::HostPath);
    }
    if !project.has_volume(VolumeType::Ephemeral) {
        return Way::StartFirst;
    }
    if drain.is_some_and(|d| d.delete_ephemeral_data) {
        Way::StopFirst
    } else {
        Way::Blocked(Blocked::Ephemeral)
    }
}

impl Blocked {
    /// The block and the way out, in words.
    pub fn explain(self, project: &str) -> String {
        match self {
            Self::Ephemeral => format!(
                "project {project} has Ephemeral volume data: drain with --delete-ephemeral-data to lose it"
            ),
            Self::Persistent => format!(
                "project {project} has Persistent volume data on this node: delete the project, or its volume, to let it go"
            ),
            Self::HostPath => format!(
                "project {project} uses a HostPath of this node: delete the project, or its volume, to let it go"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use cara_api::node::Taint;
    use std::sync::Arc;

    use cara_api::project::{ProjectSpec, Toleration, Volume};

    use super::*;

    #[test]
    fn volumes_decide_how_a_project_leaves() {
        let loses = Drain {
            delete_ephemeral_data: true,
        };
        for (volumes, drain, expected) in [
            (&[][..], None, Way::StartFirst),
            (&["Ephemeral"], None, Way::Blocked(Blocked::Ephemeral)),
            (
                &["Ephemeral"],
                Some(Drain::default()),
                Way::Blocked(Blocked::Ephemeral),
            ),
            (&["Ephemeral"], Some(loses.clone()), Way::StopFirst),
            (
                &["Ephemeral", "Persistent"],
                Some(loses.clone()),
                Way::Blocked(Blocked::Persistent),
            ),
            (&["HostPath"], Some(loses), Way::Blocked(Blocked::HostPath)),
        ] {
            let volume = |kind: &&str| Volume {
                kind: (*kind).into(),
                ..Volume::default()
            };
            let spec = ProjectSpec {
                volumes: volumes.iter().map(volume).collect(),
                ..ProjectSpec::default()
            };
            let project = Project {
                spec,
                ..Project::default()
            };
            assert_eq!(
                way(
                    Settled {
                        project: &project,
                        stable: None
                    },
                    drain.as_ref()
                ),
                expected,
                "{volumes:?} {drain:?}"
            );
            let stable = ProjectRevision {
                ran: false,
                project: String::new(),
                generation: cara_api::Generation(1),
                spec: Arc::new(project.spec),
                replaced_at: cara_api::Timestamp::UNIX_EPOCH,
            };
            let replaced = Settled {
                project: &Project::default(),
                stable: Some(&stable),
            };
            assert_eq!(
                way(replaced, drain.as_ref()),
                expected,
                "what may still run counts as well"
            );
        }
    }

    #[test]
    fn only_a_taint_that_is_not_tolerated_drives_a_project_out() {
        let mut node = Node::default();
        let taint = |effect: &str| Taint {
            key: "gpu".into(),
            value: "old".into(),
            effect: effect.into(),
        };
        let mut project = Project::default();
        for (effect, expected) in [
            ("NoSchedule", None),
            ("PreferNoSchedule", None),
            ("NoExecute", Some(Cause::Taint)),
        ] {
            node.spec.taints = vec![taint(effect)];
            assert_eq!(cause(&project, &node), expected, "{effect}");
        }
        for (key, value, effect, expected) in [
            ("gpu", "", "", None),
            ("gpu", "new", "", Some(Cause::Taint)),
            ("", "", "NoSchedule", Some(Cause::Taint)),
            ("", "", "", None),
        ] {
            project.spec.tolerations = vec![Toleration {
                key: key.into(),
                value: value.into(),
                effect: effect.into(),
            }];
            assert_eq!(cause(&project, &node), expected, "{key} {value} {effect}");
        }
        node.spec.drain = Some(Drain::default());
        assert_eq!(cause(&project, &node), Some(Cause::Drain));
    }
}
