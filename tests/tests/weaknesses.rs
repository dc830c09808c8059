//! `docs/compatibility.md` names for each weakness of the older system the test that shows that
//! ours does not have it. Both ways: the tests exist, and those that are there are named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Weaknesses that are known.
const KNOWN: usize = 27;
const HEADING: &str = "## Weaknesses of the older system that ours does not have\n";

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

/// Names of all test functions of the workspace.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.extend(tests_of(&std::fs::read_to_string(&path).expect("text")));
            }
        }
    }
    found
}

/// Functions that follow an attribute `test`.
fn tests_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async ").unwrap_or(line);
        if let Some((name, _)) = function.strip_prefix("fn ").and_then(|f| f.split_once('('))
            && std::mem::take(&mut is_test)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The rows of the table: number, and what shows it.
fn rows() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("docs/compatibility.md")).expect("text");
    let (_, section) = text.split_once(HEADING).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["", number, _, shown, ""] if number.parse::<u32>().is_ok() => {
                Some(((*number).to_owned(), (*shown).to_owned()))
            }
            _ => None,
        }
    });
    rows.collect()
}

/// Names of tests in a cell; other code in it is no name of a function of ours.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    let code = cell.split('`').skip(1).step_by(2);
    code.filter(|name| !name.starts_with('.'))
}

#[test]
fn every_weakness_has_a_row_that_names_tests_that_exist_or_says_later() {
    let tests = tests();
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    let rows = rows();
    let numbers: Vec<String> = rows.iter().map(|(number, _)| number.clone()).collect();
    let expected: Vec<String> = (1..=KNOWN).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
    for (number, shown) in &rows {
        let unknown: Vec<&str> = named(shown).filter(|name| !tests.contains(*name)).collect();
        assert!(unknown.is_empty(), "{number}: no such test: {unknown:?}");
        let is_later = shown.contains("later: ");
        assert!(
            is_later || named(shown).next().is_some(),
            "{number}: {shown}"
        );
    }
}

#[test]
fn every_test_of_a_weakness_is_in_its_row() {
    let rows = rows();
    for test in tests() {
        let Some(rest) = test.strip_prefix("weakness_") else {
            continue;
        };
        let number = rest.split('_').next().unwrap_or_default();
        let number = number.trim_start_matches('0');
        let row = rows.iter().find(|(row, _)| row == number);
        let is_named = row.is_some_and(|(_, shown)| named(shown).any(|name| name == test));
        assert!(is_named, "docs/compatibility.md does not name {test}");
    }
}
