//! `docs/compatibility.md` lists every difference. `UPDATE=1` writes its tables again.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use crate::cases::{Absent, Reason, Step, files, load, steps};
use crate::compare::{ADDITIONS, SENT_WHEN_SET};

/// What is generated stands behind this line.
const MARK: &str = "<!-- From here on written by `make schemas`. -->\n";

fn all_steps() -> Vec<Step> {
    files()
        .iter()
        .flat_map(|file| steps(file, "demo"))
        .collect()
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn tables() -> String {
    let cases = all_steps();
    let mut text = String::new();
    for reason in load::<Vec<Reason>>("reasons.yaml") {
        let _ = write!(text, "\n### {}\n\n{}\n\n", reason.title, reason.why);
        text.push_str("| case | | then | now | |\n|---|---|---|---|---|\n");
        for step in cases.iter().filter(|step| step.differs == reason.key) {
            let (then, now) = (step.recorded.status(), step.ours.status());
            let (title, note) = (cell(&step.title), cell(&step.note));
            let _ = writeln!(
                text,
                "| {} | {title} | {then} | {now} | {note} |",
                step.case
            );
        }
    }
    text.push_str("\n### Not replayed\n\n| case | why |\n|---|---|\n");
    for absent in load::<Vec<Absent>>("absent.yaml") {
        let _ = writeln!(
            text,
            "| {} | {} |",
            absent.cases.join(", "),
            cell(&absent.why)
        );
    }
    text
}

#[test]
fn every_difference_is_in_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let file = root.join("docs/compatibility.md");
    let found = std::fs::read_to_string(&file).expect("text");
    let (prose, found) = found.split_once(MARK).expect("the mark");
    let expected = tables();
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make schemas` asks for the files"
    )]
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&file, format!("{prose}{MARK}{expected}")).expect("written");
    } else {
        assert!(
            found == expected,
            "docs/compatibility.md is not what the cases say: run `make schemas`"
        );
    }
    for field in ADDITIONS.iter().chain(&SENT_WHEN_SET) {
        assert!(
            prose.contains(&format!("`{field}`")),
            "docs/compatibility.md does not name {field}"
        );
    }
}

#[test]
fn every_recorded_case_has_its_place() {
    let steps = all_steps();
    let absent = load::<Vec<Absent>>("absent.yaml");
    let absent = absent.iter().flat_map(|group| group.cases.iter());
    let mut found: Vec<&String> = steps.iter().map(|step| &step.case).chain(absent).collect();
    found.retain(|case| case.starts_with('W'));
    found.sort();
    let expected: Vec<String> = (1..=161).map(|number| format!("W{number:03}")).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
}

#[test]
fn every_step_is_whole() {
    let reasons = load::<Vec<Reason>>("reasons.yaml");
    let reasons: BTreeSet<&str> = reasons.iter().map(|reason| reason.key.as_str()).collect();
    let steps = all_steps();
    for step in &steps {
        let name = format!("{}{} {}", step.case, step.setup, step.request);
        let is_case = !step.case.is_empty();
        assert_eq!(is_case, step.setup.is_empty(), "{name}: a case or a setup");
        assert_eq!(
            is_case,
            !step.recorded.answer.is_empty(),
            "{name}: cases have an answer recorded"
        );
        let differs = !step.differs.is_empty();
        assert_eq!(
            differs,
            !step.note.is_empty(),
            "{name}: a difference has a note"
        );
        assert_eq!(
            differs || !is_case,
            !step.ours.answer.is_empty(),
            "{name}: our own answer"
        );
        assert!(
            !differs || reasons.contains(step.differs.as_str()),
            "{name}: {} is no reason",
            step.differs
        );
    }
    let used: BTreeSet<&str> = steps
        .iter()
        .map(|step| step.differs.as_str())
        .filter(|key| !key.is_empty())
        .collect();
    assert_eq!(used, reasons, "every reason is needed");
}
