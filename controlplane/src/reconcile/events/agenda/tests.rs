//! What the recorder keeps in mind, and what it forgets.

use std::sync::Arc;

use cara_api::hostname::Domain;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn project(name: &str) -> ObjectRef {
    ObjectRef {
        kind: "Project".into(),
        name: name.into(),
    }
}

fn created(name: &str, revision: u64) -> Change {
    let mut object = Project::default();
    object.metadata.name = name.into();
    object.metadata.updated_at = Some(at(7));
    Change {
        revision: Revision(revision),
        before: None,
        after: Some(Object::Project(Arc::new(object))),
    }
}

fn note(agenda: &mut Agenda, change: &Change, exists: bool) {
    let domain = Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    };
    let site = Site {
        domain: &domain,
        http_port: 80,
        https_port: None,
        reserved: &[],
    };
    agenda.note(change, &site, at(9), |_| exists);
}

fn due(agenda: &mut Agenda) -> Vec<String> {
    let due = agenda.take_due(Instant::now() + GATHER);
    let show = |told: &Told| format!("{}@{}", told.revision, told.time.as_second());
    due.iter()
        .map(|(object, told)| {
            let told: Vec<String> = told.iter().map(show).collect();
            format!("{} {}", object.name, told.join(" "))
        })
        .collect()
}

#[test]
fn changes_gather_and_carry_the_time_at_which_they_were_made() {
    let mut agenda = Agenda::new(Revision(0), Revision(0));
    note(&mut agenda, &created("a", 1), true);
    note(&mut agenda, &created("b", 2), true);
    note(&mut agenda, &created("a", 3), true);
    assert!(agenda.take_due(Instant::now()).is_empty(), "they gather");
    assert_eq!(due(&mut agenda), ["a 1@7 3@7", "b 2@7"]);
    assert_eq!(due(&mut agenda), [""; 0]);
}

#[test]
fn what_could_not_be_written_is_kept_before_what_came_since() {
    let mut agenda = Agenda::new(Revision(0), Revision(0));
    note(&mut agenda, &created("a", 1), true);
    let mut taken = agenda.take_due(Instant::now() + GATHER);
    note(&mut agenda, &created("a", 2), true);
    let (object, told) = taken.remove(0);
    let gone = std::io::Error::other("gone");
    let error = RecordError::Read(cara_store::ReadError::Unavailable(Arc::new(gone)));
    agenda.failed(object, told, &error);
    assert_eq!(due(&mut agenda), [""; 0], "not at once");
    let later = agenda.take_due(Instant::now() + RETRY);
    let revisions: Vec<u64> = later[0].1.iter().map(|t| t.revision.0).collect();
    assert_eq!(revisions, [1, 2]);
}

#[test]
fn what_waits_is_bounded() {
    let mut agenda = Agenda::new(Revision(0), Revision(0));
    for revision in 1..=200 {
        note(&mut agenda, &created("a", revision), true);
    }
    for number in 0..2 * RECORDS_MAX {
        note(&mut agenda, &created(&format!("p{number}"), 300), true);
    }
    let taken = agenda.take_due(Instant::now() + GATHER);
    assert_eq!(taken.len(), RECORDS_MAX);
    assert_eq!(taken[0].1.len(), EVENTS_MAX);
}

#[test]
fn a_restart_does_not_bring_back_what_ended_before() {
    let mut agenda = Agenda::new(Revision(0), Revision(10));
    agenda.know(project("told"), at(1), false);
    note(&mut agenda, &created("forgotten", 1), false);
    note(&mut agenda, &created("told", 2), false);
    note(&mut agenda, &created("alive", 3), true);
    note(&mut agenda, &created("new", 11), false);
    assert_eq!(due(&mut agenda), ["alive 3@7", "new 11@7", "told 2@7"]);
}

#[test]
fn records_go_an_hour_after_their_object_and_when_there_are_too_many() {
    let mut agenda = Agenda::new(Revision(0), Revision(0));
    agenda.know(project("gone"), at(0), false);
    agenda.know(project("alive"), at(0), true);
    assert_eq!(agenda.expire(at(3_599)), []);
    assert_eq!(agenda.expire(at(3_600)), [project("gone")]);
    assert_eq!(agenda.expire(at(3_600)), [], "told once");
    for number in 0..RECORDS_MAX {
        agenda.know(project(&format!("p{number}")), at(5_000), true);
    }
    agenda.know(project("ended"), at(6_000), false);
    assert_eq!(
        agenda.expire(at(6_001)),
        [project("ended"), project("alive")],
        "first what ended, then the quietest"
    );
}
