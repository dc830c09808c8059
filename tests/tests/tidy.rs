//! The rules of the house that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines of code.
const LINES_MAX: usize = 800;
/// The 90th percentile stays below this, in lines of code.
const LINES_P90: usize = 400;
/// Longest composition root, in lines.
const ROOT_MAX: usize = 150;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                let name = path
                    .strip_prefix(root())
                    .expect("inside")
                    .display()
                    .to_string();
                found.push((name, text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

/// The part of a file before its tests, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let production = text.split("#[cfg(test)]").next().unwrap_or_default();
    production
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
}

fn is_test(name: &str) -> bool {
    name.contains("tests/") || name.ends_with("tests.rs")
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut sizes: Vec<(usize, String)> = rust_files()
        .into_iter()
        .map(|(name, text)| (code(&text).count(), name))
        .collect();
    sizes.sort();
    let (p90, name) = &sizes[sizes.len() * 9 / 10];
    assert!(
        *p90 < LINES_P90,
        "the 90th percentile is {p90} lines ({name})"
    );
    let long = sizes.iter().filter(|(lines, _)| *lines > LINES_MAX);
    report(
        &long
            .map(|(lines, name)| format!("{name}: {lines} lines of code, at most {LINES_MAX}"))
            .collect::<Vec<_>>(),
    );
    for (name, text) in rust_files()
        .iter()
        .filter(|(name, _)| name.starts_with("cli/src/bin/"))
    {
        assert!(
            text.lines().count() < ROOT_MAX,
            "{name} is a composition root"
        );
    }
}

#[test]
fn every_module_says_what_it_owns() {
    let files = rust_files();
    let silent = files
        .iter()
        .filter(|(name, text)| !is_test(name) && !text.starts_with("//!"));
    report(
        &silent
            .map(|(name, _)| format!("{name}: begin with //!"))
            .collect::<Vec<_>>(),
    );
}

/// Words that mean a clock, chance, or the outside.
const IMPURE: [&str; 13] = [
    "async ",
    "tokio",
    "::now()",
    "SystemTime",
    "rand",
    "std::env",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "cara_store",
    "crate::http",
    "bollard",
];

#[test]
fn plans_and_routes_are_pure() {
    let is_pure = |name: &str| {
        name.contains("/plan/") || name.ends_with("/plan.rs") || name.starts_with("routes/src/")
    };
    let mut faults = Vec::new();
    let files = rust_files();
    let pure: Vec<_> = files
        .iter()
        .filter(|(name, _)| is_pure(name) && !is_test(name))
        .collect();
    assert!(pure.len() > 12, "the plans were not found");
    for (name, text) in pure {
        for line in code(text) {
            faults.extend(
                IMPURE
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{name}: {word:?} in {line}")),
            );
        }
    }
    report(&faults);
}

#[test]
fn handlers_reach_the_store_in_one_place_only() {
    let files = rust_files();
    let handlers = files
        .iter()
        .filter(|(name, _)| name.starts_with("controlplane/src/http/"));
    let others = handlers.filter(|(name, _)| !name.ends_with("/write.rs"));
    let touching = others
        .filter(|(_, text)| code(text).any(|line| line.contains(".store.") || line == ".store"));
    report(
        &touching
            .map(|(name, _)| format!("{name}: go through write.rs"))
            .collect::<Vec<_>>(),
    );
}

/// Which crate of ours may import which.
const ARROWS: [(&str, &[&str]); 11] = [
    ("cara-api", &[]),
    ("cara-store", &[]),
    ("cara-certs", &[]),
    ("cara-routes", &["cara-api"]),
    ("cara-oidc", &["cara-api"]),
    (
        "cara-controlplane",
        &[
            "cara-api",
            "cara-store",
            "cara-routes",
            "cara-certs",
            "cara-oidc",
        ],
    ),
    (
        "cara-gateway",
        &["cara-api", "cara-routes", "cara-certs", "cara-oidc"],
    ),
    ("cara-agent", &["cara-api", "cara-certs"]),
    (
        "cara-cli",
        &[
            "cara-api",
            "cara-store",
            "cara-controlplane",
            "cara-gateway",
            "cara-agent",
        ],
    ),
    // The simulation runs their planners, and two control planes get one store.
    (
        "cara-tests",
        &[
            "cara-agent",
            "cara-api",
            "cara-cli",
            "cara-controlplane",
            "cara-store",
        ],
    ),
    ("cara-bench", &[]),
];

#[test]
fn imports_follow_the_arrows() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let may = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no place in the arrows"));
        let ours = package
            .dependencies
            .iter()
            .filter(|d| d.name.starts_with("cara-") && d.name != name);
        for dependency in ours {
            assert!(
                may.contains(&dependency.name.as_str()),
                "{name} must not import {}",
                dependency.name
            );
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), ARROWS.len(), "every crate of the arrows exists");
}

/// The modules of the gateway, the lowest first: each names only modules of lower layers.
const GATEWAY_LAYERS: [&[&str]; 12] = [
    &[
        "deadline", "draining", "limit", "pages", "panics", "pipe", "ratio", "workers",
    ],
    &["leaving"],
    &["answer", "filter", "request"],
    &["access_log", "listen", "upstream"],
    &["metrics", "trace"],
    &["live"],
    &["access"],
    &["config", "ctx"],
    &["edge"],
    &["phases"],
    &["fastpath", "proxy"],
    &["fuzzing", "scale", "server"],
];

/// What a line, or the list that begins in it, names after `crate::`.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        let text = text.trim().chars();
        text.take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let places = code.split("crate::").skip(1);
    let names = places.map(|place| match place.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap_or_default(),
        None => place.split(',').next().unwrap_or_default(),
    });
    names.flat_map(|names| names.split(',').map(word)).collect()
}

#[test]
fn layers_of_the_gateway_rest_on_lower_ones() {
    let layer = |module: &str| {
        let mut layers = GATEWAY_LAYERS.iter();
        layers.position(|modules| modules.contains(&module))
    };
    let mut faults = Vec::new();
    for (name, text) in rust_files() {
        let Some(path) = name.strip_prefix("gateway/src/") else {
            continue;
        };
        let own = path.split(['/', '.']).next().unwrap_or_default();
        if own == "lib" || is_test(&name) {
            continue;
        }
        let mine = layer(own);
        if mine.is_none() {
            faults.push(format!("{name}: {own} has no layer"));
        }
        let code: Vec<&str> = code(&text).collect();
        let others = named(&code.join(" "));
        for other in others.iter().filter(|other| *other != own) {
            if layer(other).is_none() || layer(other) >= mine {
                faults.push(format!("{name}: {other} is in no lower layer"));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_command_line_asks_the_terminal_in_one_place() {
    let asks = ["is_terminal()", "tcgetwinsize(", "\"NO_COLOR\"", "\"TERM\""];
    let files = rust_files().into_iter().filter(|(name, _)| {
        name.starts_with("cli/src/ctl") && name != "cli/src/ctl/screen.rs" && !is_test(name)
    });
    let mut faults = Vec::new();
    for (name, text) in files {
        let asked = asks.iter().filter(|ask| text.contains(*ask));
        faults.extend(asked.map(|ask| format!("{name}: {ask} belongs to screen.rs")));
    }
    report(&faults);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let mut faults = Vec::new();
    for (name, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            // Assembled here, so that this file does not break its own rule.
            for word in [
                ["to", "do"].concat(),
                ["fix", "me"].concat(),
                ["xx", "x"].concat(),
            ] {
                if lower.contains(&format!("// {word}")) || lower.contains(&format!("//{word}")) {
                    faults.push(format!("{name}:{}: finish it or leave it out", number + 1));
                }
            }
        }
    }
    report(&faults);
}
