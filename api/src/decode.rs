//! Reads a document that a user sent, and finds all that is wrong with its form at once.
//!
//! Serde stops at the first value of a wrong type. Here the JSON is first held against the
//! schema: wrong types become faults (and are replaced by empty values so that the rest can
//! still be checked), unknown fields become warnings, and keys that differ in case only are
//! corrected, since clients of the older system may rely on that.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::meta::Timestamp;
use crate::problem::FieldError;
use crate::schema::{Part, Properties, Schema, Shape};

/// A document, and what was found on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The document; values of a wrong type are empty in it.
    pub value: T,
    /// Unknown fields, in words.
    pub warnings: Vec<String>,
    /// Values of a wrong type.
    pub faults: Vec<FieldError>,
}

impl<T> Decoded<T> {
    /// Adds the faults that a check of the decoded value found, leaving out those that only
    /// follow from a fault of form at the same place.
    pub fn add_faults(&mut self, found: Vec<FieldError>) {
        let formal: Vec<String> = self.faults.iter().map(|f| f.path.clone()).collect();
        let follows = |fault: &FieldError| formal.iter().any(|path| is_below(&fault.path, path));
        self.faults
            .extend(found.into_iter().filter(|fault| !follows(fault)));
    }
}

/// Reads `body` as a document that `schema` describes. `null` and absent fields are empty.
///
/// # Errors
/// The body is not JSON, or not an object.
pub fn document<T>(body: &[u8], schema: &Schema) -> Result<Decoded<T>, FieldError>
where
    T: DeserializeOwned + Default,
{
    let mut value = match serde_json::from_slice(body) {
        Ok(Value::Null) => Value::Object(serde_json::Map::new()),
        Ok(value @ Value::Object(_)) => value,
        Ok(other) => {
            return Err(FieldError::form(
                "",
                format!("expected object, got {}", name_of(&other)),
            ));
        }
        Err(_) if body.iter().all(u8::is_ascii_whitespace) => {
            return Err(FieldError::form("", "EOF"));
        }
        Err(error) if error.is_eof() => return Err(FieldError::form("", "unexpected EOF")),
        Err(error) => return Err(FieldError::form("", error.to_string())),
    };
    let mut walk = Walk::default();
    walk.visit(&mut value, schema.root(), "");
    let value = match serde_json::from_value(value) {
        Ok(value) => value,
        Err(error) => {
            walk.faults.push(FieldError::form("", error.to_string()));
            T::default()
        }
    };
    Ok(Decoded {
        value,
        warnings: walk.warnings,
        faults: walk.faults,
    })
}

#[derive(Default)]
struct Walk {
    warnings: Vec<String>,
    faults: Vec<FieldError>,
}

impl Walk {
    fn visit(&mut self, value: &mut Value, part: Part<'_>, path: &str) {
        match (part.shape(), &mut *value) {
            (Shape::Object(properties), Value::Object(_)) => {
                self.object(value, part, properties, path)
            }
            (Shape::Map, Value::Object(map)) => {
                map.retain(|_, item| !item.is_null());
                for (key, item) in map.iter_mut() {
                    if let Some(child) = part.child(None) {
                        self.visit(item, child, &format!("{path}[{key:?}]"));
                    }
                }
            }
            (Shape::Array, Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(child) = part.child(None) {
                        self.visit(item, child, &format!("{path}[{index}]"));
                    }
                }
            }
            (Shape::Text, Value::String(text)) => {
                if text.contains('\0') {
                    text.clear();
                    self.faults
                        .push(FieldError::form(path, "must not contain a NUL character"));
                }
            }
            (Shape::Time, Value::String(text)) => {
                if text.parse::<Timestamp>().is_err() {
                    let message = format!(
                        "{text:?} is not a time in RFC 3339 form, such as 2026-12-31T23:59:59Z"
                    );
                    self.faults.push(FieldError::form(path, message));
                    *value = Value::Null;
                }
            }
            (Shape::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
            (Shape::Boolean, Value::Bool(_)) | (Shape::Any, _) => {}
            (shape, other) => {
                let message = format!("expected {}, got {}", expected(shape), name_of(other));
                self.faults.push(FieldError::form(path, message));
                *value = empty(shape);
            }
        }
    }

    fn object(
        &mut self,
        value: &mut Value,
        part: Part<'_>,
        properties: Properties<'_>,
        path: &str,
    ) {
        let Value::Object(map) = value else { return };
        let given = std::mem::take(map);
        for (key, mut item) in given {
            if item.is_null() {
                continue;
            }
            let exact = properties.names().find(|name| *name == key);
            let Some(name) =
                exact.or_else(|| properties.names().find(|n| n.eq_ignore_ascii_case(&key)))
            else {
                self.warnings.push(unknown(&key, properties, path));
                continue;
            };
            // What only the server sets is ignored, whatever it is.
            if part.is_read_only(name) {
                continue;
            }
            let Some(child) = part.child(Some(name)) else {
                continue;
            };
            self.visit(&mut item, child, &join(path, name));
            map.insert(name.to_owned(), item);
        }
    }
}

/// Whether a path is the other one, or a part of what stands there.
fn is_below(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other).filter(|_| !other.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn unknown(key: &str, properties: Properties<'_>, path: &str) -> String {
    let distance = |name: &&str| strsim::damerau_levenshtein(name, key);
    // Longer ones are no slip of the pen, and comparing them would cost.
    let is_short = key.len() <= 64;
    let near = properties
        .names()
        .filter(|_| is_short)
        .min_by_key(distance)
        .filter(|name| distance(name) <= 2);
    let key = join(path, key);
    match near {
        Some(name) => format!("unknown field \"{key}\", did you mean \"{name}\"?"),
        None => format!("unknown field \"{key}\""),
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn expected(shape: Shape<'_>) -> &'static str {
    match shape {
        Shape::Object(_) | Shape::Map => "object",
        Shape::Array => "array",
        Shape::Text => "string",
        Shape::Time => "time",
        Shape::Integer => "integer",
        Shape::Boolean => "boolean",
        Shape::Any => "anything",
    }
}

fn empty(shape: Shape<'_>) -> Value {
    match shape {
        Shape::Object(_) | Shape::Map => Value::Object(serde_json::Map::new()),
        Shape::Array => Value::Array(Vec::new()),
        Shape::Text => Value::String(String::new()),
        Shape::Integer => Value::from(0),
        Shape::Boolean => Value::Bool(false),
        Shape::Time | Shape::Any => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Project, schema};

    fn read(body: &str) -> Result<Decoded<Project>, FieldError> {
        document(body.as_bytes(), &schema::PROJECT)
    }

    #[test]
    fn every_fault_of_form_is_found_at_once() {
        let body = r#"{"metadata":{"name":5,"labels":{"a":1}},"spec":{"expireAt":"tomorrow",
            "services":[{"name":"web","image":"x","env":[{"name":"A","value":true},{"name":"B","value":"a\u0000b"}]}, 7],
            "ingress":[{"name":"i","target":{"service":"web","port":"80"}}]}}"#;
        let decoded = read(body).expect("an object");
        let faults: Vec<String> = decoded.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "metadata.name: expected string, got number",
                "metadata.labels[\"a\"]: expected string, got number",
                "spec.expireAt: \"tomorrow\" is not a time in RFC 3339 form, such as 2026-12-31T23:59:59Z",
                "spec.services[0].env[0].value: expected string, got boolean",
                "spec.services[0].env[1].value: must not contain a NUL character",
                "spec.services[1]: expected object, got number",
                "spec.ingress[0].target.port: expected integer, got string",
            ]
        );
        assert_eq!(decoded.value.spec.services.len(), 2);
    }

    #[test]
    fn unknown_fields_warn_and_case_is_forgiven() {
        let body = r#"{"MetaData":{"NAME":"a"},"spec":{"servces":[],"x":1},"status":null}"#;
        let decoded = read(body).expect("an object");
        assert_eq!(decoded.value.metadata.name, "a");
        assert_eq!(
            decoded.warnings,
            [
                "unknown field \"spec.servces\", did you mean \"services\"?",
                "unknown field \"spec.x\""
            ]
        );
        assert_eq!(decoded.faults, []);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for (body, message) in [
            ("", "EOF"),
            ("{\"metadata\":", "unexpected EOF"),
            ("[]", "expected object, got array"),
            ("hello", "expected value at line 1 column 1"),
            ("{} trailing", "trailing characters at line 1 column 4"),
        ] {
            assert_eq!(read(body), Err(FieldError::form("", message)), "{body}");
        }
        assert_eq!(
            read("null").expect("null is empty").value,
            Project::default()
        );
    }

    #[test]
    fn a_fault_that_follows_from_a_fault_of_form_is_left_out() {
        let mut decoded = read(r#"{"metadata":{"name":5}}"#).expect("an object");
        decoded.add_faults(vec![
            FieldError::new("metadata.name", "metadata.name is required"),
            FieldError::new(
                "spec.services",
                "spec.services must contain at least one service",
            ),
        ]);
        let paths: Vec<&str> = decoded.faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["metadata.name", "spec.services"]);
    }
}
