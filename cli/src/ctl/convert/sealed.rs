//! `secrets` and `configs`: Secret documents, and files with a content.
//!
//! Values go into documents only, never into notes.

use std::collections::BTreeMap;

use cara_api::project::{ConfigFile, SecretFile, Service};
use cara_api::secret::Hidden;
use cara_api::{API_VERSION, ObjectMeta, Secret};

use super::fault::Place;
use super::files::Files;
use super::interpolate::Variables;
use super::mounts;
use super::scope::{Scope, flag};
use super::yaml::{Map, Node};

/// What all services see.
pub struct Shared<'a> {
    pub project: &'a str,
    pub files: &'a dyn Files,
    pub variables: &'a Variables,
    pub secrets: Option<&'a Map>,
    pub configs: Option<&'a Map>,
}

/// Secret documents by name.
pub type Secrets = BTreeMap<String, Secret>;

/// Where the content of an entry comes from.
enum Content {
    Text(String),
    /// It is made elsewhere.
    External,
    /// In words: why there is none.
    None(String),
}

/// One reference of a service.
struct Reference {
    at: Place,
    source: String,
    target: Option<String>,
}

/// Takes `secrets`.
pub fn secrets(
    scope: &mut Scope<'_>,
    service: &mut Service,
    shared: &Shared<'_>,
    made: &mut Secrets,
) {
    for node in scope.list("secrets") {
        let Some(found) = reference(scope, &node, "secrets") else {
            continue;
        };
        let Some(entry) = shared.secrets.and_then(|map| map.get(&found.source)) else {
            let message = format!(
                "secret {:?} is not in the secrets of the file",
                found.source
            );
            scope.fault(&found.at, message);
            continue;
        };
        let name = secret_name(shared.project, &found.source);
        let key: String = found
            .source
            .chars()
            .map(|c| if is_key(c) { c } else { '-' })
            .collect();
        let target = found.target.unwrap_or_else(|| found.source.clone());
        let path = if target.starts_with('/') {
            target
        } else {
            format!("/run/secrets/{target}")
        };
        service.secrets.push(SecretFile {
            secret: name.clone(),
            key: key.clone(),
            path,
        });
        let way_out = format!("caractrl create secret {name} --from-file {key}=FILE");
        let field = format!("secrets.{}", found.source);
        let why = match content(entry, shared) {
            Content::Text(value) => {
                let secret = Secret {
                    api_version: API_VERSION.to_owned(),
                    kind: "Secret".to_owned(),
                    metadata: ObjectMeta {
                        name: name.clone(),
                        ..ObjectMeta::default()
                    },
                    data: BTreeMap::from([(key, Hidden::new(value))]),
                    ..Secret::default()
                };
                made.insert(name, secret);
                continue;
            }
            Content::External => "it is made elsewhere, and its value is not known here".to_owned(),
            Content::None(why) => why,
        };
        beside(scope, &entry.at, field, why, way_out);
    }
}

/// Takes `configs`.
pub fn configs(scope: &mut Scope<'_>, service: &mut Service, shared: &Shared<'_>) {
    for node in scope.list("configs") {
        let Some(found) = reference(scope, &node, "configs") else {
            continue;
        };
        let Some(entry) = shared.configs.and_then(|map| map.get(&found.source)) else {
            let message = format!(
                "config {:?} is not in the configs of the file",
                found.source
            );
            scope.fault(&found.at, message);
            continue;
        };
        let target = found.target.unwrap_or_else(|| format!("/{}", found.source));
        let field = format!("configs.{}", found.source);
        let why = match content(entry, shared) {
            Content::Text(content) => {
                service.configs.push(ConfigFile {
                    path: target,
                    content,
                });
                continue;
            }
            Content::External => {
                "it is made elsewhere, and its content is not known here".to_owned()
            }
            Content::None(why) => why,
        };
        beside(
            scope,
            &entry.at,
            field,
            why,
            "write the content under configs of the service".to_owned(),
        );
    }
}

/// Several services may name it: said beside the services, once.
fn beside(scope: &mut Scope<'_>, at: &Place, field: String, why: String, way_out: String) {
    if scope.sink.notes.iter().all(|note| note.field != field) {
        scope.lost(at, field, why, way_out);
        if let Some(note) = scope.sink.notes.last_mut() {
            note.service = None;
        }
    }
}

fn reference(scope: &mut Scope<'_>, node: &Node, field: &str) -> Option<Reference> {
    let map = node.as_map();
    let text = |name: &str| map.and_then(|map| map.get(name)).and_then(Node::scalar);
    let Some(source) = text("source") else {
        scope.fault(&node.at, format!("{field}: a source is needed"));
        return None;
    };
    for name in ["uid", "gid", "mode"] {
        if text(name).is_some() {
            scope.lost(
                &node.at,
                format!("{field}.{name}"),
                "files are readable by every user of the container",
                "",
            );
        }
    }
    Some(Reference {
        at: node.at.clone(),
        source,
        target: text("target"),
    })
}

fn content(entry: &Node, shared: &Shared<'_>) -> Content {
    let map = entry.as_map();
    let text = |name: &str| map.and_then(|map| map.get(name)).and_then(Node::scalar);
    if let Some(content) = text("content") {
        return Content::Text(content);
    }
    if let Some(path) = text("file") {
        return match mounts::file(shared.files, &path) {
            Ok(content) => Content::Text(content),
            Err(why) => Content::None(format!("the file {path} cannot be taken: {why}")),
        };
    }
    if let Some(name) = text("environment") {
        return match shared.variables.get(&name) {
            Some(value) => Content::Text(value.clone()),
            None => Content::None(format!("the variable {name} is not set")),
        };
    }
    match map
        .and_then(|map| map.get("external"))
        .map(|node| flag(node).unwrap_or(true))
    {
        Some(true) => Content::External,
        Some(false) | None => {
            Content::None("it says neither file, environment nor content".to_owned())
        }
    }
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// The name of the document: secrets of all projects share their names.
fn secret_name(project: &str, source: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = source.chars().map(word).collect();
    format!("{project}-{}", name.trim_matches('-'))
        .trim_end_matches('-')
        .to_owned()
}
