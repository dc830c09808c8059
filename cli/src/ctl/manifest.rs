//! Files of documents: YAML or JSON, several in a file, files in a directory.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::Kind;
use super::codes;
use super::failure::Failure;
use super::places::Places;

/// One document and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it describes.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: String,
    /// The document as JSON.
    pub body: Value,
    /// Where its fields stand.
    pub places: Places,
}

/// Reads all documents of all sources. Nothing is sent before everything was read.
///
/// # Errors
/// A source cannot be read, is not YAML, or holds a document of an unknown kind.
pub fn read_all(sources: &[String]) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for source in sources {
        for (name, text) in texts(source)? {
            documents.extend(parse(&name, &text)?);
        }
    }
    if documents.is_empty() {
        return Err(Failure::other(
            "apply: there is no document in what was given",
        ));
    }
    Ok(in_order(documents))
}

/// Secrets and certificates first, since a project that names one needs it to be there; all others
/// keep their order.
fn in_order(mut documents: Vec<Document>) -> Vec<Document> {
    let is_needed = |kind| matches!(kind, Kind::Secrets | Kind::Certificates);
    documents.sort_by_key(|document| !is_needed(document.kind));
    documents
}

fn texts(source: &str) -> Result<Vec<(String, String)>, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::other(format!("read manifest: {}: {error}", path.display())).coded(&codes::FILE)
    };
    if source == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| failed(Path::new("standard input"), e))?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let path = PathBuf::from(source);
    let mut files = vec![path.clone()];
    if path.is_dir() {
        let entries = std::fs::read_dir(&path).map_err(|e| failed(&path, e))?;
        files = entries
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|p| is_manifest(p))
            .collect();
        files.sort();
    }
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).map_err(|e| failed(&file, e))?;
        Ok((file.display().to_string(), text))
    };
    files.into_iter().map(read).collect()
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| matches!(e, "yaml" | "yml" | "json"))
}

/// Reads all documents of a text; `source` names it in messages.
///
/// # Errors
/// See [`read_all`].
pub fn parse(source: &str, text: &str) -> Result<Vec<Document>, Failure> {
    // YAML 1.2: `on` and `yes` are words, as they are to every reader of a compose file.
    let options = serde_saphyr::options! { strict_booleans: true };
    let values: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| unreadable(source, text, &error))?;
    let documents = values.into_iter().filter(|value| !value.is_null());
    let places = Places::of(source, text);
    documents
        .enumerate()
        .map(|(index, body)| {
            let places = places.get(index).cloned().unwrap_or_default();
            document(source, index + 1, body, places)
        })
        .collect()
}

/// What is wrong with a file. The parser quotes the text; one with a secret in it is not shown.
fn unreadable(source: &str, text: &str, error: &serde_saphyr::Error) -> Failure {
    let may_hold_secret = text.lines().any(|line| {
        line.contains("kind") && (line.contains("Secret") || line.contains("Certificate"))
    });
    if !may_hold_secret {
        // The parser does not know what it reads.
        let error = error.to_string().replace("<input>", source);
        let error = error.strip_prefix("error: ").unwrap_or(&error);
        return Failure::other(format!("parse manifest: {source}: {error}")).coded(&codes::YAML);
    }
    let place = error.location();
    let place = place.map(|at| format!(" at line {} column {}", at.line(), at.column()));
    let place = place.unwrap_or_default();
    Failure::other(format!(
        "parse manifest: {source}: it is not YAML{place}; its text is not shown, since it may hold a secret"
    ))
    .coded(&codes::YAML)
}

fn document(source: &str, number: usize, body: Value, places: Places) -> Result<Document, Failure> {
    let kind = match body.get("kind").and_then(Value::as_str) {
        Some("Project") => Kind::Projects,
        Some("Node") => Kind::Nodes,
        Some("Secret") => Kind::Secrets,
        Some("Certificate") => Kind::Certificates,
        Some("User") => Kind::Users,
        Some("Federation") => Kind::Federations,
        other => {
            let text = other.unwrap_or_default();
            let message =
                format!("apply: unsupported kind {text:?} in document {number} of {source}");
            return Err(Failure::other(message)
                .coded(&codes::YAML)
                .with("kind must be Project, Node, Secret, Certificate, User or Federation"));
        }
    };
    let name = body
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if name.is_empty() {
        return Err(Failure::other(format!(
            "apply: metadata.name is required in document {number} of {source}"
        ))
        .coded(&codes::YAML));
    }
    Ok(Document {
        kind,
        name,
        body,
        places,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let documents = parse("f.yaml", text).map_err(|failure| format!("{failure:?}"))?;
        Ok(documents
            .iter()
            .map(|d| format!("{}/{}", d.kind.noun(), d.name))
            .collect())
    }

    #[test]
    fn every_document_of_a_file_is_read() {
        let text = "kind: Project\nmetadata: {name: a}\n---\n# nothing\n---\nkind: Node\nmetadata:\n  name: b\n";
        assert_eq!(names(text), Ok(vec!["project/a".into(), "node/b".into()]));
        assert_eq!(
            names(r#"{"kind":"Project","metadata":{"name":"j"}}"#),
            Ok(vec!["project/j".into()])
        );
    }

    #[test]
    fn values_keep_their_type() {
        let text = "kind: Project\nmetadata: {name: a}\nspec: {port: 80, word: \"80\", yes: on, no: true}\n";
        let documents = parse("f", text).expect("valid");
        assert_eq!(
            documents[0].body["spec"],
            serde_json::json!({"port": 80, "word": "80", "yes": "on", "no": true})
        );
    }

    #[test]
    fn a_document_that_cannot_be_applied_is_named() {
        assert!(
            names("kind: Volume\nmetadata: {name: a}")
                .is_err_and(|e| e.contains("unsupported kind"))
        );
        assert!(names("kind: Project").is_err_and(|e| e.contains("metadata.name is required")));
        assert!(names("a:\n\tb: c").is_err_and(|e| e.contains("parse manifest: f.yaml")));
    }

    #[test]
    fn secrets_are_applied_first_and_the_others_in_their_order() {
        let kinds = ["Project", "Node", "Secret", "Project", "Secret"];
        let text: Vec<String> = kinds
            .iter()
            .enumerate()
            .map(|(n, kind)| format!("kind: {kind}\nmetadata: {{name: n{n}}}\n"))
            .collect();
        let documents = in_order(parse("f", &text.join("---\n")).expect("valid"));
        let order: Vec<&str> = documents.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(order, ["n2", "n4", "n0", "n1", "n3"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_shows_no_value() {
        for text in [
            "kind: Secret\nmetadata: {name: a}\ndata:\n  password: swordfish\n  token: [swordfish\n",
            "kind: Secret\nmetadata: {name: a}\ndata:\n  password: \"swordfish\n",
            "kind: Secret\ndata:\n  a: *swordfish\n",
            "kind: Secret\ndata:\n  a: swordfish\n  a: swordfish\n",
        ] {
            let said = names(text).expect_err("refused");
            assert!(said.contains("parse manifest: f.yaml"), "{said}");
            assert!(!said.contains("swordfish"), "{said}");
        }
    }
}
