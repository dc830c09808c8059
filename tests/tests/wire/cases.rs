//! The cases as they are written down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A request and the answer to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Number of the recorded case.
    #[serde(default)]
    pub case: String,
    /// Why this step is there, when it is no recorded case.
    #[serde(default)]
    pub setup: String,
    #[serde(default)]
    pub title: String,
    /// Method and path.
    pub request: String,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub body: String,
    /// The body is sent without saying its length.
    #[serde(default)]
    pub chunked: bool,
    /// The answer becomes this one after a while.
    #[serde(default)]
    pub waits: bool,
    /// What the older system answered.
    #[serde(default)]
    pub recorded: Answer,
    /// Why ours is another answer: a key of the reasons.
    #[serde(default)]
    pub differs: String,
    /// What is different, in one line for the document.
    #[serde(default)]
    pub note: String,
    /// Our answer, when it differs; the answer to a step that is no case.
    #[serde(default)]
    pub ours: Answer,
    /// Values of the answer that the step waits for, by JSON pointer.
    #[serde(default)]
    pub until: BTreeMap<String, Value>,
}

impl Step {
    /// What this server has to answer.
    pub fn expected(&self) -> &Answer {
        if self.ours.answer.is_empty() {
            &self.recorded
        } else {
            &self.ours
        }
    }
}

/// An answer. What is not written down is not compared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Status and content type.
    pub answer: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    /// The detail of a problem document, whose other fields follow from the status.
    #[serde(default)]
    problem: Option<String>,
}

impl Answer {
    /// The status alone.
    pub fn status(&self) -> &str {
        self.answer.split(' ').next().unwrap_or_default()
    }

    /// The content type, empty where there is no body; none when it is not written down.
    pub fn content_type(&self) -> Option<&str> {
        if self.problem.is_some() {
            return Some("application/problem+json");
        }
        match (self.status(), self.answer.split_once(' ')) {
            (_, Some((_, text))) => Some(text),
            ("202" | "204", None) => Some(""),
            (_, None) => None,
        }
    }

    /// The headers that are compared.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// The body, if it is compared.
    pub fn body(&self) -> Option<Value> {
        let Some(detail) = &self.problem else {
            return self.body.clone();
        };
        let status: u16 = self.status().parse().expect("a status");
        let title = match status {
            400 => "Validation Problem",
            404 => "Not Found",
            409 => "Conflict",
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            other => panic!("the older system sent no problem document with {other}"),
        };
        let base = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Status";
        Some(
            json!({"title": title, "status": status, "type": format!("{base}/{status}"), "detail": detail}),
        )
    }
}

/// Why answers differ.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The key that cases name.
    pub key: String,
    pub title: String,
    pub why: String,
}

/// Cases that cannot be replayed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    pub cases: Vec<String>,
    pub why: String,
}

/// The folder of the cases.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/golden")
}

/// Reads a file of the folder.
pub fn load<T: DeserializeOwned>(name: &str) -> T {
    parse(name, &text(name))
}

/// The steps of a file; `project` stands where it says `{project}`.
pub fn steps(name: &str, project: &str) -> Vec<Step> {
    parse(name, &text(name).replace("{project}", project))
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("text")
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file with steps, in order of their names.
pub fn files() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("a folder");
    let names = entries.map(|e| {
        e.expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    let mut names: Vec<String> = names
        .filter(|name| name.as_bytes().get(1) == Some(&b'-'))
        .collect();
    names.sort();
    names
}
