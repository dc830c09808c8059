//! What is decided while a node is being emptied, in tables.

use super::*;
use cara_api::Timestamp;
use cara_api::project::{Move, ProjectPhase, Volume};

fn condition(kind: &str, is_true: bool, message: &str) -> Condition {
    Condition::new(kind, is_true, "Reason", message, Timestamp::UNIX_EPOCH)
}

fn project(volumes: &[(&str, &str)]) -> Project {
    let mut project = Project::default();
    project.status.phase = ProjectPhase::Running;
    project.status.node_ref = "a".to_owned();
    project.spec.volumes = volumes
        .iter()
        .map(|(name, kind)| Volume {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            ..Volume::default()
        })
        .collect();
    project
}

fn moving(mut project: Project, to: &str, message: &str) -> Project {
    project.status.moving = Some(Move {
        node_ref: to.to_owned(),
        reason: "Drain".to_owned(),
        message: message.to_owned(),
        ..Move::default()
    });
    project
}

fn unplaced(mut project: Project) -> Project {
    let message = "node b: needs 2 GiB, 1.1 free";
    project.status.conditions = vec![condition(PLACED, false, message)];
    project
}

fn ending(mut project: Project) -> Project {
    project.status.phase = ProjectPhase::Terminating;
    project
}

const KEEP: Drain = Drain {
    delete_ephemeral_data: false,
};
const LOSE: Drain = Drain {
    delete_ephemeral_data: true,
};

#[test]
fn every_project_of_a_drained_node_has_a_standing() {
    let cache = [("cache", "Ephemeral"), ("tmp", "Ephemeral")];
    let data = [("data", "Persistent"), ("cache", "Ephemeral")];
    let path = [("media", "HostPath")];
    for (project, drain, expected) in [
        (project(&[]), KEEP, "waits for its turn"),
        (
            project(&path),
            LOSE,
            "stays: its HostPath volume media is a directory here",
        ),
        (
            project(&cache),
            KEEP,
            "stays: the data of its Ephemeral volumes cache, tmp would be lost",
        ),
        (project(&cache), LOSE, "waits for its turn"),
        (
            project(&data),
            LOSE,
            "stays: the data of its Persistent volume data is here",
        ),
        (moving(project(&[]), "b", ""), KEEP, "moves to b"),
        (
            moving(project(&[]), "b", "web(exit=1)"),
            KEEP,
            "stays: its new copy on b does not start: web(exit=1)",
        ),
        (
            moving(project(&cache), "", ""),
            LOSE,
            "moves: its old copy is removed first",
        ),
        (
            moving(project(&cache), "", "no answer"),
            LOSE,
            "stays: its old copy cannot be removed: no answer",
        ),
        (
            unplaced(project(&[])),
            KEEP,
            "stays: no other node can take it: node b: needs 2 GiB, 1.1 free",
        ),
        (
            unplaced(moving(project(&[]), "", "")),
            KEEP,
            "stays: no other node can take it: node b: needs 2 GiB, 1.1 free",
        ),
        (ending(project(&data)), KEEP, "is being deleted"),
    ] {
        assert_eq!(standing(&project, &drain).text(), expected);
    }
}

/// Node `a` with a drain that the server has looked at, and these projects.
fn picture(drained: Option<bool>, projects: &[Project]) -> Picture {
    let mut node = Node::default();
    node.spec.drain = Some(KEEP);
    let said = drained.map(|is_true| condition(DRAINED, is_true, ""));
    node.status.conditions = said.into_iter().collect();
    let names = (0..).map(|n| format!("p{n}"));
    Picture {
        node: Some(node),
        projects: names.zip(projects.iter().cloned()).collect(),
        is_complete: true,
    }
}

#[test]
fn a_drain_is_over_when_nothing_moves_any_more() {
    let kept = || project(&[("data", "Persistent")]);
    let persistent = || Block::Persistent(vec!["data".to_owned()]);
    let nowhere = || Block::Nowhere("node b: needs 2 GiB, 1.1 free".to_owned());
    let blocked = |blocks: Vec<Block>| {
        let names = (0..).map(|n| format!("p{n}"));
        Verdict::Blocked(names.zip(blocks).collect())
    };
    let fails = || Block::Fails {
        on: Some("b".to_owned()),
        message: "web(exit=1)".to_owned(),
    };
    let alone = [unplaced(project(&[]))];
    let failing = [moving(project(&[]), "b", "web(exit=1)"), kept()];
    for (picture, stuck_for, expected) in [
        (Picture::default(), None, Verdict::Going),
        (picture(Some(true), &[]), None, Verdict::Drained),
        (picture(Some(false), &[]), None, Verdict::Going),
        (picture(Some(false), &[project(&[])]), None, Verdict::Going),
        (
            picture(Some(false), &[kept(), project(&[])]),
            None,
            Verdict::Going,
        ),
        (
            picture(Some(false), &[kept(), ending(kept())]),
            None,
            Verdict::Going,
        ),
        (
            picture(Some(false), &[kept()]),
            None,
            blocked(vec![persistent()]),
        ),
        (picture(None, &[kept()]), None, Verdict::Going),
        (
            picture(Some(false), &alone),
            None,
            Verdict::Stuck(PLACE_GRACE),
        ),
        (
            picture(Some(false), &alone),
            Some(PLACE_GRACE),
            blocked(vec![nowhere()]),
        ),
        (
            picture(Some(false), &failing),
            Some(PLACE_GRACE),
            Verdict::Stuck(START_GRACE),
        ),
        (
            picture(Some(false), &failing),
            Some(START_GRACE),
            blocked(vec![fails(), persistent()]),
        ),
    ] {
        assert_eq!(verdict(&picture, stuck_for), expected, "{picture:?}");
    }
    let mut unseen = picture(Some(false), &[kept()]);
    unseen.is_complete = false;
    assert_eq!(verdict(&unseen, None), Verdict::Going);
    let mut stopped = picture(Some(false), &[kept()]);
    stopped.node.as_mut().expect("a node").spec.drain = None;
    assert_eq!(verdict(&stopped, None), Verdict::Stopped);
}

#[test]
fn the_node_tells_how_many_are_left() {
    assert_eq!(node_line(&Picture::default()), "draining");
    for (projects, expected) in [
        (&[][..], "draining, no project left"),
        (&[project(&[])], "draining, 1 project left"),
        (&[project(&[]), project(&[])], "draining, 2 projects left"),
    ] {
        assert_eq!(node_line(&picture(Some(false), projects)), expected);
    }
}

#[test]
fn every_block_has_a_way_out() {
    let volumes = || vec!["data".to_owned()];
    for (block, expected) in [
        (
            Block::Ephemeral(volumes()),
            "caractrl drain a --delete-ephemeral-data moves it without that data",
        ),
        (
            Block::Persistent(volumes()),
            "save the data, then caractrl delete project shop and apply it anew, or caractrl uncordon a to leave it here",
        ),
        (
            Block::Nowhere(String::new()),
            "start another node or make room on one; the drain goes on by itself",
        ),
        (
            Block::Fails {
                on: None,
                message: String::new(),
            },
            "caractrl describe project shop shows more; the drain goes on by itself",
        ),
    ] {
        assert_eq!(block.way_out("shop", "a"), expected);
    }
}
