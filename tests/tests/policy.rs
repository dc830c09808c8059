//! Every route of every listener has a row that says what it asks for, and no row is of a route that
//! is not there. Whatever takes connections is known here, by who is let in there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cara_api::access::routes::{self, Row};

/// Where routers are made, and the rows of each.
const LISTENERS: [(&str, &[Row]); 3] = [
    ("controlplane/src", routes::API),
    ("agent/src", routes::AGENT),
    ("agent/src/stream", routes::TUNNEL),
];

/// All that takes connections in what is shipped: the file, and what decides there who is let in.
const TAKERS: [(&str, Guard); 9] = [
    // The API of the server, with health, metrics and the pages of logins of the API.
    ("controlplane/src/lib.rs", Guard::Rows("controlplane/src")),
    (
        "controlplane/src/listen.rs",
        Guard::Rows("controlplane/src"),
    ),
    // The agent's own port, and what the server asks for through the tunnel.
    ("agent/src/lib.rs", Guard::Rows("agent/src")),
    ("agent/src/tunnel.rs", Guard::Rows("agent/src/stream")),
    // HTTP of previews: rules of projects, and a few pages of the gateway's own.
    ("gateway/src/server.rs", Guard::Rows("gateway/src")),
    // Ports of the gateway that projects own.
    ("gateway/src/listen/streams.rs", Guard::Projects),
    // Looks which ports of this host are free, and serves nothing.
    ("agent/src/runtime/ports.rs", Guard::Nothing),
    // A Unix socket in the data directory, for the server's own successor.
    ("cli/src/handover/host.rs", Guard::Files),
    // `caractrl port-forward`, on the machine of who runs it.
    ("cli/src/ctl/forward.rs", Guard::Files),
];

/// What is bound elsewhere, and handed over to one of [`TAKERS`].
const BINDS_ONLY: [&str; 1] = ["cli/src/agent.rs"];

/// What decides who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// The rows of `api/src/access/routes.rs` for routes in a folder.
    Rows(&'static str),
    /// The rules of the project that has the port.
    Projects,
    /// Permissions of files, or that it is one's own machine.
    Files,
    /// Nobody is let in.
    Nothing,
}

/// How connections are taken.
const TAKES: [&str; 6] = [
    "axum::serve(",
    ".serve_connection(",
    "istener.accept()",
    "socket.accept()",
    "TcpListener::bind(",
    "UnixListener::bind(",
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

/// The sources of the crates that are shipped, without their tests.
fn shipped() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("a name");
            if path.is_dir() && name != "tests" {
                walk(&path, found);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
                let place = path.strip_prefix(root()).expect("below the root");
                found.insert(place.display().to_string(), text.to_owned());
            }
        }
    }
    let mut found = BTreeMap::new();
    for part in [
        "api",
        "certs",
        "store",
        "routes",
        "oidc",
        "controlplane",
        "gateway",
        "agent",
        "cli",
    ] {
        walk(&root().join(part).join("src"), &mut found);
    }
    found
}

#[test]
fn every_listener_is_known() {
    let takers: BTreeSet<_> = shipped()
        .into_iter()
        .filter(|(_, text)| TAKES.iter().any(|word| text.contains(word)))
        .map(|(file, _)| file)
        .collect();
    let known = TAKERS.iter().map(|(file, _)| *file).chain(BINDS_ONLY);
    let known: BTreeSet<_> = known.map(str::to_owned).collect();
    assert_eq!(
        takers, known,
        "say in TAKERS what decides who is let in where connections are taken"
    );
    let with_rows: BTreeSet<_> = LISTENERS.iter().map(|(folder, _)| *folder).collect();
    let gateway = ["gateway/src"];
    for (file, guard) in TAKERS {
        if let Guard::Rows(folder) = guard {
            let has_rows = with_rows.contains(folder) || gateway.contains(&folder);
            assert!(has_rows, "{file}: no test holds rows against {folder}");
        }
    }
}

#[test]
fn every_page_of_the_gateways_own_has_a_policy() {
    let paths = std::fs::read_to_string(root().join("api/src/paths.rs")).expect("the paths");
    let mut pages = BTreeSet::new();
    for (file, text) in shipped() {
        if !file.starts_with("gateway/src") || file.contains("fuzzing") {
            continue;
        }
        for (place, _) in text.match_indices("paths::") {
            let rest = &text[place + "paths::".len()..];
            let end = rest.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
            pages.insert(path_of(&paths, &rest[..end.unwrap_or(rest.len())]));
        }
        // What the gateway answers itself is nowhere spelled out.
        for own in ["\"/.cara/", "\"/.well-known/"] {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let spelled: Vec<_> = code.filter(|line| line.contains(own)).collect();
            assert!(
                spelled.is_empty(),
                "{file}: name a path of api/src/paths.rs: {spelled:?}"
            );
        }
    }
    let known: BTreeSet<_> = routes::GATEWAY
        .iter()
        .map(|row| row.path.to_owned())
        .collect();
    // Where all of them begin.
    pages.remove("/.cara/");
    assert_eq!(
        pages, known,
        "say in api/src/access/routes.rs what these ask for"
    );
}

/// Handlers of requests that write which are not judged again at the write, and why.
const NOT_JUDGED: [(&str, &str); 4] = [
    ("join.rs", "who shows a join token is nobody yet"),
    (
        "agents.rs",
        "reports are taken by the binding of their node",
    ),
    ("status.rs", "the node is asked about at each try"),
    ("login.rs", "who begins a login is nobody yet"),
];

#[test]
fn what_writes_is_judged_again_at_the_write() {
    let mut unjudged = Vec::new();
    let mut judged = 0;
    for (file, text) in sources(&root().join("controlplane/src/http")) {
        for method in ["post", "put", "patch", "delete"] {
            let attribute = format!("#[utoipa::path({method}, ");
            for handler in text.split(&attribute).skip(1) {
                let signature = handler.split(" -> ").next().unwrap_or_default();
                match signature.contains("Writing(app)") {
                    true => judged += 1,
                    false => unjudged.push(file.clone()),
                }
            }
        }
    }
    assert!(judged > 25, "only {judged} handlers were found");
    unjudged.retain(|file| {
        let known = |(name, _): &(&str, &str)| file.ends_with(&format!("/http/{name}"));
        !NOT_JUDGED.iter().any(known)
    });
    assert!(unjudged.is_empty(), "{unjudged:?}: take Writing(app)");
}
