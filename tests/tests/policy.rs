//! Every route of every listener has a row that says what it asks for, and no row is of a route that
//! is not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cara_api::access::routes::{self, Row};

/// Where routers are made, and the rows of each.
const LISTENERS: [(&str, &[Row]); 3] = [
    ("controlplane/src", routes::API),
    ("agent/src", routes::AGENT),
    ("agent/src/stream", routes::TUNNEL),
];

/// The ways of axum to answer a method.
const METHODS: [(&str, &str); 7] = [
    ("get", "GET"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("head", "HEAD"),
    ("options", "OPTIONS"),
];

/// What would put routes past this test.
const HIDDEN: [&str; 10] = [
    ".nest(",
    ".merge(",
    ".nest_service(",
    ".route_service(",
    ".fallback_service(",
    "any(",
    "any_service(",
    "on(MethodFilter",
    "connect(handler",
    "trace(handler",
];

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("the workspace").to_owned()
}

fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        // What is a listener of its own has rows of its own.
        if LISTENERS
            .iter()
            .any(|(other, _)| path == root().join(other))
        {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            // Only what comes before the tests is served.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.push((path.display().to_string(), text.to_owned()));
        }
    }
    found
}

/// What stands between the parenthesis at the start of a text and the one that closes it.
fn inside(text: &str) -> &str {
    let mut depth = 0_usize;
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..place];
        }
    }
    panic!("a parenthesis is not closed: {text:.80}")
}

/// The value of a constant of `api/src/paths.rs`.
fn path_of(paths: &str, name: &str) -> String {
    let start = format!("pub const {name}: &str =");
    let place = paths
        .find(&start)
        .unwrap_or_else(|| panic!("paths::{name}"));
    let value = paths[place..].split('"').nth(1).expect("a text");
    value.to_owned()
}

/// Methods and paths that a source adds to a router.
fn routes_in(file: &str, text: &str, paths: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (place, _) in text.match_indices(".route(") {
        let call = inside(&text[place + ".route".len()..]);
        let (path, answers) = call.split_once(',').expect("path and methods");
        let name = path.trim().rsplit("paths::").next().unwrap_or_default();
        assert!(
            path.trim().ends_with(&format!("paths::{name}")) && !name.contains('"'),
            "{file}: {path:?}: name paths of api/src/paths.rs"
        );
        let compact: String = answers.split_whitespace().collect();
        let has = |word: &str| {
            let begins = compact.starts_with(&format!("{word}("));
            let call = format!("::{word}(");
            begins || compact.contains(&format!(").{word}(")) || compact.starts_with(&call)
        };
        let methods = METHODS.iter().filter(|(word, _)| has(word));
        let methods: Vec<&str> = methods.map(|(_, method)| *method).collect();
        assert!(!methods.is_empty(), "{file}: no method of {name} is known");
        let path = path_of(paths, name);
        found.extend(methods.into_iter().map(|m| (m.to_owned(), path.clone())));
    }
    found
}

#[test]
fn every_route_has_a_policy() {
    let paths = std::fs::read_to_string(root().join("api/src/paths.rs")).expect("the paths");
    for (folder, rows) in LISTENERS {
        let mut routes = BTreeSet::new();
        for (file, text) in sources(&root().join(folder)) {
            if !text.contains("axum::") {
                continue;
            }
            for word in HIDDEN {
                let call =
                    text.contains(&format!(" {word}")) || text.contains(&format!("\n{word}"));
                let is_method = word.starts_with('.') && text.contains(word);
                assert!(
                    !call && !is_method,
                    "{file}: {word} hides routes: use .route(..)"
                );
            }
            routes.extend(routes_in(&file, &text, &paths));
        }
        let known: BTreeSet<_> = rows
            .iter()
            .map(|row| (row.method.to_owned(), row.path.to_owned()))
            .collect();
        let open: Vec<_> = routes.difference(&known).collect();
        assert!(
            open.is_empty(),
            "{folder}: say in api/src/access/routes.rs what these ask for: {open:?}"
        );
        let gone: Vec<_> = known.difference(&routes).collect();
        assert!(
            gone.is_empty(),
            "{folder}: these rows have no route: {gone:?}"
        );
        assert!(!routes.is_empty(), "{folder}: no routes were found");
    }
}
