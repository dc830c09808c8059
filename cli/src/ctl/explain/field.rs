//! A field of a document, from the schema that the server reads documents by. Pure.

use std::fmt;
use std::sync::LazyLock;

use cara_api::schema::{self, Part, Schema, Shape};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::super::args::Kind;
use super::super::table::yaml;
use super::nearest;

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// The kind, as documents name it.
    pub kind: &'static str,
    /// The path, such as `spec.services.image`; empty for the document.
    pub field: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub takes: String,
    /// Whether it must be given.
    pub required: bool,
    /// Whether only the server writes it.
    pub read_only: bool,
    /// What holds when it is left out; empty when nothing does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default: String,
    /// What it means.
    pub text: String,
    /// How it is written.
    pub example: String,
    /// What stands below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Below>,
}

/// A field below another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Below {
    /// Its name.
    pub name: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub takes: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it means.
    pub text: String,
}

/// Documents in which every field can be looked for.
const EXAMPLES: [&str; 2] = [
    include_str!("examples.yaml"),
    include_str!("../../../../deploy/examples/hello.yaml"),
];

static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let parsed = EXAMPLES
        .iter()
        .map(|text| serde_saphyr::from_multiple(text));
    parsed.flat_map(Result::unwrap_or_default).collect()
});

/// The field of a topic such as `project.spec.services.image`. Numbers of items may be left out.
///
/// # Errors
/// There is no such kind or field; in words, with the one that was probably meant.
pub fn find(topic: &str) -> Result<Field, String> {
    let (word, path) = topic.split_once('.').unwrap_or((topic, ""));
    let kind = kind(word)?;
    let mut part = schema_of(kind).root();
    let mut field = Field {
        kind: kind.as_str(),
        field: String::new(),
        takes: takes(part),
        required: false,
        read_only: false,
        default: String::new(),
        text: part.summary().unwrap_or_default().to_owned(),
        example: String::new(),
        fields: Vec::new(),
    };
    for segment in path.split('.').filter(|segment| !segment.is_empty()) {
        let wanted = segment.split('[').next().unwrap_or(segment);
        part = inside(part);
        let Shape::Object(properties) = part.shape() else {
            return match part.child(None) {
                // A key of a map is the user's own.
                Some(child) => Ok(of_map(field, wanted, child)),
                None => Err(format!(
                    "{} takes {}: there is nothing below it",
                    field.place(),
                    field.takes
                )),
            };
        };
        let found = properties
            .names()
            .find(|name| name.eq_ignore_ascii_case(wanted));
        let Some((name, child)) = found.and_then(|name| Some((name, part.child(Some(name))?)))
        else {
            return Err(missing(&field, wanted, properties.names()));
        };
        field.field = join(&field.field, name);
        field.takes = takes(child);
        field.required = part.is_required(name);
        field.read_only |= part.is_read_only(name);
        field.text = part.text(name).unwrap_or_default().to_owned();
        part = child;
    }
    field.default = default(&field.text);
    field.example = example(kind, &field.field, part);
    field.fields = below(inside(part));
    Ok(field)
}

/// What a text says of a field that is left out: the clause that ends with these words.
fn default(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((before, _)) = text.split_once(" when left out") else {
        return String::new();
    };
    let from = before.rfind([';', '.', ':']).map_or(0, |at| at + 1);
    before[from..].trim().to_owned()
}

/// A key of a map.
fn of_map(mut field: Field, key: &str, part: Part<'_>) -> Field {
    field.field = join(&field.field, key);
    field.takes = takes(part);
    field.required = false;
    field
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::from_str(word, true).map_err(|_| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.noun()).collect();
        match nearest(word, names.iter().copied()) {
            Some(name) => format!("there is no kind {word:?}: did you mean {name}?"),
            None => format!(
                "there is no kind {word:?}: there are {}; codes begin with E-",
                names.join(", ")
            ),
        }
    })
}

fn schema_of(kind: Kind) -> &'static Schema {
    match kind {
        Kind::Projects => &schema::PROJECT,
        Kind::Nodes => &schema::NODE,
        Kind::Secrets => &schema::SECRET,
        Kind::Certificates => &schema::CERTIFICATE,
        Kind::Users => &schema::USER,
        Kind::Federations => &schema::FEDERATION,
    }
}

fn missing<'a>(field: &Field, wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let place = field.place();
    match nearest(wanted, names.iter().copied()) {
        Some(name) => format!("{place} has no field {wanted:?}: did you mean {name}?"),
        None => format!(
            "{place} has no field {wanted:?}: it has {}",
            names.join(", ")
        ),
    }
}

/// The items of a list; everything else as it is.
fn inside(part: Part<'_>) -> Part<'_> {
    match part.shape() {
        Shape::Array => part.child(None).unwrap_or(part),
        Shape::Object(_)
        | Shape::Map
        | Shape::Text
        | Shape::Time
        | Shape::Integer
        | Shape::Boolean
        | Shape::Any => part,
    }
}

fn takes(part: Part<'_>) -> String {
    let choices: Vec<&str> = part.choices().collect();
    if !choices.is_empty() {
        return format!("one of {}", choices.join(", "));
    }
    match part.shape() {
        Shape::Object(_) => "object".to_owned(),
        Shape::Map => {
            let values = part.child(None).map_or("anything".to_owned(), takes);
            format!("map of {values}")
        }
        Shape::Array => {
            let items = part.child(None).map_or("anything".to_owned(), takes);
            format!("list of {items}")
        }
        Shape::Text => "text".to_owned(),
        Shape::Time => "time (RFC 3339)".to_owned(),
        Shape::Integer => match part.bounds() {
            (Some(least), Some(greatest)) => format!("number from {least} to {greatest}"),
            (Some(least), None) => format!("number from {least}"),
            (None, Some(greatest)) => format!("number up to {greatest}"),
            (None, None) => "number".to_owned(),
        },
        Shape::Boolean => "true or false".to_owned(),
        Shape::Any => "anything".to_owned(),
    }
}

fn below(part: Part<'_>) -> Vec<Below> {
    let Shape::Object(properties) = part.shape() else {
        return Vec::new();
    };
    let below = properties.names().filter_map(|name| {
        let child = part.child(Some(name))?;
        let text = part.text(name).unwrap_or_default();
        Some(Below {
            name: name.to_owned(),
            takes: takes(child),
            required: part.is_required(name),
            text: text.to_owned(),
        })
    });
    below.collect()
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// The field as an example has it, else made up from what it takes.
fn example(kind: Kind, path: &str, part: Part<'_>) -> String {
    let Some(name) = path.rsplit('.').next().filter(|name| !name.is_empty()) else {
        return String::new();
    };
    let mut documents = DOCUMENTS.iter().filter(|d| d["kind"] == kind.as_str());
    let found = documents.find_map(|document| at(document, path).cloned());
    let value = found.unwrap_or_else(|| made_up(part));
    let mut object = serde_json::Map::new();
    object.insert(name.to_owned(), value);
    yaml(&Value::Object(object)).unwrap_or_default()
}

/// The first value at a path, in any item of the lists on the way.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        Value::Array(items) => items.iter().find_map(|item| at(item, path)),
        Value::Object(map) => match rest {
            "" => map.get(name),
            rest => at(map.get(name)?, rest),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn made_up(part: Part<'_>) -> Value {
    if let Some(choice) = part.choices().find(|choice| !choice.is_empty()) {
        return Value::from(choice);
    }
    match part.shape() {
        Shape::Object(properties) => {
            let required = properties.names().filter(|name| part.is_required(name));
            let fields = required.filter_map(|name| {
                let child = part.child(Some(name))?;
                Some((name.to_owned(), made_up(child)))
            });
            Value::Object(fields.collect())
        }
        Shape::Map => serde_json::json!({"key": part.child(None).map_or(Value::Null, made_up)}),
        Shape::Array => Value::Array(part.child(None).map(made_up).into_iter().collect()),
        Shape::Text => Value::from("text"),
        Shape::Time => Value::from("2026-12-31T23:59:59Z"),
        Shape::Integer => Value::from(part.bounds().0.unwrap_or(1).max(1)),
        Shape::Boolean => Value::from(true),
        Shape::Any => Value::Null,
    }
}

impl Field {
    /// The field as a sentence names it.
    fn place(&self) -> String {
        match self.field.as_str() {
            "" => self.kind.to_owned(),
            field => format!("{}.{field}", self.kind.to_lowercase()),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "KIND:     {}", self.kind)?;
        if !self.field.is_empty() {
            writeln!(f, "FIELD:    {}", self.field)?;
        }
        let must = match (self.read_only, self.required) {
            (true, _) => ", written by the server only",
            (false, true) => ", required",
            (false, false) => "",
        };
        writeln!(f, "TAKES:    {}{must}", self.takes)?;
        if !self.default.is_empty() {
            writeln!(f, "DEFAULT:  {}", self.default)?;
        }
        if !self.text.is_empty() {
            writeln!(f, "\n{}", self.text)?;
        }
        if !self.example.is_empty() {
            writeln!(f, "\nEXAMPLE:")?;
            for line in self.example.lines() {
                writeln!(f, "  {line}")?;
            }
        }
        if self.fields.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nFIELDS:")?;
        for field in &self.fields {
            let must = if field.required { ", required" } else { "" };
            writeln!(f, "  {} ({}{must})", field.name, field.takes)?;
            for line in field.text.lines() {
                writeln!(f, "      {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_path_in_any_case() {
        for (topic, path, takes, required) in [
            ("project", "", "object", false),
            (
                "projects.spec.services",
                "spec.services",
                "list of object",
                true,
            ),
            (
                "project.spec.services[0].image",
                "spec.services.image",
                "text",
                true,
            ),
            (
                "Project.SPEC.services.IMAGE",
                "spec.services.image",
                "text",
                true,
            ),
            (
                "project.spec.expireAt",
                "spec.expireAt",
                "time (RFC 3339)",
                false,
            ),
            (
                "project.metadata.labels",
                "metadata.labels",
                "map of text",
                false,
            ),
            (
                "project.metadata.labels.tier",
                "metadata.labels.tier",
                "text",
                false,
            ),
            ("cert.spec", "spec", "object", true),
        ] {
            let field = find(topic).unwrap_or_else(|error| panic!("{topic}: {error}"));
            assert_eq!(
                (field.field.as_str(), field.takes.as_str(), field.required),
                (path, takes, required),
                "{topic}"
            );
        }
        let policy = find("project.spec.services.restartPolicy").expect("a field");
        assert!(
            policy.takes.starts_with("one of Always"),
            "{}",
            policy.takes
        );
        assert_eq!(policy.default, "`Always`");
        let grace = find("project.spec.services.stopGracePeriod").expect("a field");
        assert_eq!(grace.default, "10 s");
        assert!(find("project.status.phase").expect("a field").read_only);
    }

    #[test]
    fn what_is_misspelt_is_guessed() {
        for (topic, message) in [
            ("projet", "did you mean project?"),
            ("volume", "there are project, node, secret, certificate"),
            (
                "project.spec.servics",
                "project.spec has no field \"servics\": did you mean services?",
            ),
            (
                "project.spec.services.image.tag",
                "there is nothing below it",
            ),
            ("project.spec.xyzxyzxyz", "it has services, volumes"),
        ] {
            let said = find(topic).expect_err("refused");
            assert!(said.contains(message), "{said}");
        }
    }

    /// Every field of every kind, those of the status included.
    fn all(part: Part<'_>, topic: &str, depth: usize, found: &mut Vec<String>) {
        found.push(topic.to_owned());
        let part = inside(part);
        let Shape::Object(properties) = part.shape() else {
            return;
        };
        for name in properties.names() {
            if let Some(child) = part.child(Some(name)).filter(|_| depth < 8) {
                all(child, &format!("{topic}.{name}"), depth + 1, found);
            }
        }
    }

    #[test]
    fn every_field_has_a_text_and_an_example() {
        for kind in Kind::ALL {
            let mut topics = Vec::new();
            all(schema_of(kind).root(), kind.noun(), 0, &mut topics);
            assert!(topics.len() > 10);
            for topic in topics {
                let field = find(&topic).unwrap_or_else(|error| panic!("{topic}: {error}"));
                assert!(!field.text.is_empty(), "{topic} has no text");
                assert!(
                    field.field.is_empty() || !field.example.is_empty(),
                    "{topic}"
                );
            }
        }
    }

    #[test]
    fn examples_are_documents_without_a_fault() {
        for text in EXAMPLES {
            for value in serde_saphyr::from_multiple::<Value>(text).expect("YAML") {
                if value["kind"] != "Project" {
                    continue;
                }
                let body = value.to_string();
                let decoded = cara_api::decode::document::<cara_api::Project>(
                    body.as_bytes(),
                    &schema::PROJECT,
                )
                .expect("an object");
                assert_eq!((decoded.faults, decoded.warnings), (vec![], vec![]));
                let project = decoded.value;
                let domain = cara_api::hostname::Domain {
                    environment: "dev".into(),
                    base: "localhost".into(),
                };
                let name = &project.metadata.name;
                let faults = cara_api::validate::project(&project.spec, name, &domain);
                assert_eq!(faults, []);
            }
        }
    }
}
