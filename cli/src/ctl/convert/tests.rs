//! The corpus in `cli/tests/corpus`: each directory holds compose files, optionally `args` (the
//! command line) and `shell.env` (the environment), and what comes of them. `UPDATE_CORPUS=1`
//! writes that anew.

use std::path::{Path, PathBuf};

use cara_api::hostname::Domain;
use cara_api::{Project, Secret, decode, schema, validate};
use clap::Parser;
use proptest::prelude::*;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Convert,
}

/// The disk below a directory, so that places name files as a user sees them.
struct Below(PathBuf);

impl Files for Below {
    fn kind(&self, path: &str) -> Kind {
        Disk.kind(&self.0.join(path).display().to_string())
    }

    fn read(&self, path: &str, max: usize) -> std::io::Result<Vec<u8>> {
        Disk.read(&self.0.join(path).display().to_string(), max)
    }

    fn list(&self, path: &str) -> std::io::Result<Vec<String>> {
        Disk.list(&self.0.join(path).display().to_string())
    }
}

fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(root).expect("the corpus");
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    entries
}

fn name(entry: &Path) -> String {
    entry
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

/// What `args` and `shell.env` ask for.
fn asked(entry: &Path) -> Request {
    let read = |file: &str| std::fs::read_to_string(entry.join(file)).unwrap_or_default();
    let args = read("args");
    let words = ["convert"].into_iter().chain(args.split_whitespace());
    let options = Line::try_parse_from(words).expect("arguments").options;
    let mut request = request(&options, &Below(entry.to_owned())).expect("a request");
    let variables = envfile::parse(&read("shell.env"), envfile::Form::Raw, &Variables::new());
    let variables = variables.expect("variables").into_iter();
    request.environment = variables
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect();
    request.here = name(entry).get(3..).expect("NN-name").to_owned();
    request
}

/// The result and the notes, as they are kept.
fn outcome(entry: &Path) -> (String, String) {
    let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
    match convert(&Below(entry.to_owned()), &asked(entry)) {
        Ok(done) => (
            done.text,
            lines(done.notes.iter().map(ToString::to_string).collect()),
        ),
        Err(faults) => (
            String::new(),
            lines(
                faults
                    .iter()
                    .map(|fault| format!("fault: {fault}"))
                    .collect(),
            ),
        ),
    }
}

#[test]
fn every_entry_of_the_corpus_gives_what_is_expected() {
    let is_update = std::env::var_os("UPDATE_CORPUS").is_some();
    let entries = corpus();
    assert!(entries.len() >= 25, "only {} entries", entries.len());
    let mut wrong = Vec::new();
    for entry in entries {
        let (text, notes) = outcome(&entry);
        for (file, found) in [("expected.yaml", text), ("expected.notes", notes)] {
            let path = entry.join(file);
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            if is_update && found.is_empty() {
                let _ = std::fs::remove_file(&path);
            } else if is_update {
                std::fs::write(&path, found).expect("written");
            } else if found != expected {
                wrong.push(format!("{}/{file}:\n{found}", name(&entry)));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "UPDATE_CORPUS=1 writes the corpus anew\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_result_is_taken_as_it_is() {
    let domain = Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    };
    for entry in corpus() {
        let (text, _) = outcome(&entry);
        if text.is_empty() {
            continue;
        }
        let options = serde_saphyr::options! { strict_booleans: true };
        let documents: Vec<serde_json::Value> =
            serde_saphyr::from_multiple_with_options(&text, options).expect("YAML");
        for document in documents {
            let body = serde_json::to_vec(&document).expect("JSON");
            let (warnings, faults) = match document["kind"].as_str() {
                Some("Secret") => {
                    let mut read =
                        decode::document::<Secret>(&body, &schema::SECRET).expect("a document");
                    let found = validate::secret(&read.value);
                    read.add_faults(found);
                    (read.warnings, read.faults)
                }
                _ => {
                    let mut read =
                        decode::document::<Project>(&body, &schema::PROJECT).expect("a document");
                    let name = read.value.metadata.name.clone();
                    let found = validate::project(&read.value.spec, &name, &domain);
                    read.add_faults(found);
                    (read.warnings, read.faults)
                }
            };
            let entry = name(&entry);
            assert_eq!((warnings, faults), (Vec::new(), Vec::new()), "{entry}");
        }
    }
}

#[test]
fn notes_and_faults_show_no_value() {
    for entry in corpus() {
        let (_, notes) = outcome(&entry);
        assert!(!notes.contains("swordfish"), "{}: {notes}", name(&entry));
    }
}

/// One compose file in memory, and nothing beside it.
struct Alone(Vec<u8>);

impl Files for Alone {
    fn kind(&self, path: &str) -> Kind {
        if path == "compose.yaml" {
            Kind::File
        } else {
            Kind::Missing
        }
    }

    fn read(&self, path: &str, _: usize) -> std::io::Result<Vec<u8>> {
        match self.kind(path) {
            Kind::File => Ok(self.0.clone()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    }

    fn list(&self, _: &str) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// A change of a file.
#[derive(Debug, Clone)]
enum Change {
    Drop { line: usize },
    Double { line: usize },
    Swap { line: usize, other: usize },
    Indent { line: usize, by: usize },
    Word { line: usize, word: String },
    Byte { at: usize, byte: u8 },
    Cut { at: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let line = 0_usize..200;
    let words = prop_oneof![
        "[a-z]{1,5}: ?[-\\[\\]{}!&*<>|%@`'\"$,#?0-9a-z./]{0,12}",
        "- ?[-\\[\\]{}:!&*'\"$0-9a-z./]{0,12}",
        Just("    ports: {a: [b]}".to_owned()),
        Just("    volumes: 5".to_owned()),
        Just("    command: {}".to_owned()),
        Just("    environment: [[x]]".to_owned()),
        Just("    <<: [*x]".to_owned()),
        Just("    extends: web".to_owned()),
        Just("    networks: [[]]".to_owned()),
        Just("    deploy: []".to_owned()),
        Just("    healthcheck: {test: []}".to_owned()),
        Just("  - 99999999999:80-1".to_owned()),
        Just("include: [compose.yaml]".to_owned()),
    ];
    prop_oneof![
        line.clone().prop_map(|line| Change::Drop { line }),
        line.clone().prop_map(|line| Change::Double { line }),
        (line.clone(), 0_usize..200).prop_map(|(line, other)| Change::Swap { line, other }),
        (line.clone(), 0_usize..8).prop_map(|(line, by)| Change::Indent { line, by }),
        (line, words).prop_map(|(line, word)| Change::Word { line, word }),
        (0_usize..4_000, any::<u8>()).prop_map(|(at, byte)| Change::Byte { at, byte }),
        (0_usize..4_000).prop_map(|at| Change::Cut { at }),
    ]
}

fn apply(text: &mut Vec<u8>, change: &Change) {
    let lossy = String::from_utf8_lossy(text).into_owned();
    let mut lines: Vec<String> = lossy.lines().map(ToOwned::to_owned).collect();
    let count = lines.len().max(1);
    match change {
        Change::Drop { line } if !lines.is_empty() => drop(lines.remove(line % count)),
        Change::Double { line } if !lines.is_empty() => {
            let again = lines[line % count].clone();
            lines.insert(line % count, again);
        }
        Change::Swap { line, other } if !lines.is_empty() => {
            lines.swap(line % count, other % count)
        }
        Change::Indent { line, by } if !lines.is_empty() => {
            let line = &mut lines[line % count];
            *line = format!("{:by$}{}", "", line.trim_start(), by = *by);
        }
        Change::Word { line, word } => lines.insert(line % count, word.clone()),
        Change::Byte { at, byte } if !text.is_empty() => {
            let at = at % text.len();
            text[at] = *byte;
            return;
        }
        Change::Cut { at } if !text.is_empty() => return text.truncate(at % text.len()),
        _ => {}
    }
    *text = lines.join("\n").into_bytes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever the file: documents, or faults that say something.
    #[test]
    fn odd_files_are_refused_or_converted(
        entry in 0_usize..100,
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let all = corpus();
        let entry = &all[entry % all.len()];
        let mut text = std::fs::read(entry.join("compose.yaml")).expect("a file");
        changes.iter().for_each(|change| apply(&mut text, change));
        let request = Request {
            files: vec!["compose.yaml".to_owned()],
            here: "odd".to_owned(),
            ..asked(entry)
        };
        match convert(&Alone(text), &Request { env_files: Vec::new(), ..request }) {
            Ok(done) => prop_assert!(done.text.contains("kind: Project")),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                prop_assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
            }
        }
    }
}
