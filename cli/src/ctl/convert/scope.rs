//! What every part of the conversion gets: the fields of one service, and where to say what
//! becomes of them. A field that nobody takes is found at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{Fault, Note, Place};
use super::yaml::{Map, Node, Value};

/// Comments by the place in the project that they stand above, such as
/// `/spec/services/web/restartPolicy`.
pub type Remarks = BTreeMap<String, Vec<String>>;

/// Where findings are collected.
#[derive(Debug, Default)]
pub struct Sink {
    pub notes: Vec<Note>,
    pub faults: Vec<Fault>,
    pub remarks: Remarks,
    /// Other names that services were reached by.
    pub aliases: Vec<Alias>,
}

/// A name that a service was reached by, and is no more.
#[derive(Debug, Clone)]
pub struct Alias {
    pub service: String,
    pub name: String,
    pub field: &'static str,
    pub at: Place,
}

impl Sink {
    pub fn remark(&mut self, path: impl Into<String>, text: impl Into<String>) {
        let remarks = self.remarks.entry(path.into()).or_default();
        let text = text.into();
        if !remarks.contains(&text) {
            remarks.push(text);
        }
    }

    pub fn fault(&mut self, at: &Place, message: impl Into<String>) {
        self.faults.push(Fault::new(at, message));
    }
}

/// The fields of one service that are still to be looked at.
pub struct Scope<'a> {
    pub name: &'a str,
    pub at: Place,
    pub fields: Map,
    pub sink: &'a mut Sink,
}

impl Scope<'_> {
    /// Takes a field out; null is as good as nothing.
    pub fn take(&mut self, field: &str) -> Option<Node> {
        self.fields.take(field).filter(|node| !node.is_null())
    }

    /// Takes a field that is one text.
    pub fn text(&mut self, field: &str) -> Option<(Place, String)> {
        let node = self.take(field)?;
        let text = node.scalar();
        if text.is_none() {
            self.wrong(&node, field, "a text");
        }
        Some((node.at, text?))
    }

    /// Takes a field that is true or false.
    pub fn flag(&mut self, field: &str) -> Option<(Place, bool)> {
        let node = self.take(field)?;
        let flag = flag(&node);
        if flag.is_none() {
            self.wrong(&node, field, "true or false");
        }
        Some((node.at, flag?))
    }

    /// Takes a field that is a list of texts.
    pub fn texts(&mut self, field: &str) -> Vec<(Place, String)> {
        let Some(node) = self.take(field) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong(&node, field, "a list");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.scalar() {
                Some(text) => texts.push((item.at.clone(), text)),
                None => self.wrong(item, field, "a text"),
            }
        }
        texts
    }

    /// Takes a field that is a map.
    pub fn map(&mut self, field: &str) -> Option<(Place, Map)> {
        let node = self.take(field)?;
        match node.value {
            Value::Map(map) => Some((node.at, map)),
            _ => {
                self.wrong(&node, field, "a map");
                None
            }
        }
    }

    /// Takes a field that is a list.
    pub fn list(&mut self, field: &str) -> Vec<Node> {
        let Some(node) = self.take(field) else {
            return Vec::new();
        };
        match node.value {
            Value::List(items) => items,
            _ => {
                self.wrong(&node, field, "a list");
                Vec::new()
            }
        }
    }

    pub fn wrong(&mut self, node: &Node, field: &str, expected: &str) {
        let message = format!(
            "service {}: {field}: expected {expected}, not {}",
            self.name,
            node.noun()
        );
        self.sink.fault(&node.at, message);
    }

    pub fn fault(&mut self, at: &Place, message: impl std::fmt::Display) {
        let message = format!("service {}: {message}", self.name);
        self.sink.fault(at, message);
    }

    /// Says what is not carried over.
    pub fn lost(
        &mut self,
        at: &Place,
        field: impl Into<String>,
        why: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.sink.notes.push(Note {
            place: at.clone(),
            service: Some(self.name.to_owned()),
            field: field.into(),
            why: why.into(),
            way_out: way_out.into(),
        });
    }

    /// A comment above a field of this service.
    pub fn remark(&mut self, field: &str, text: impl Into<String>) {
        let path = format!("/spec/services/{}{field}", self.name);
        self.sink.remark(path, text);
    }

    /// A name that the service is not reached by any more, unless it is its own.
    pub fn alias(&mut self, name: &str, field: &'static str, at: &Place) {
        if name != self.name {
            let (service, name) = (self.name.to_owned(), name.to_owned());
            self.sink.aliases.push(Alias {
                service,
                name,
                field,
                at: at.clone(),
            });
        }
    }
}

/// A boolean, also as a text that variables left behind.
pub fn flag(node: &Node) -> Option<bool> {
    match node.scalar()?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// A duration as compose writes it, such as `1m30s` or `2h`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let seconds = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    Duration::try_from_secs_f64(total).ok()
}

/// A duration as projects write it.
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (s, rest) = (ms / 1_000, ms % 1_000);
    match (s / 60, s % 60, rest) {
        (0, s, 0) => format!("{s}s"),
        (m, 0, 0) => format!("{m}m"),
        (m, s, 0) => format!("{m}m{s}s"),
        _ => format!("{ms}ms"),
    }
}

/// Bytes as compose writes them (`512m`, `1g`, `64k`, `1gb`), as projects write them.
pub fn bytes(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let digits = digits.trim_end();
    digits.parse::<f64>().ok().filter(|amount| *amount >= 0.0)?;
    let suffix = match unit {
        "" | "b" => "",
        "k" | "kb" | "kib" => "Ki",
        "m" | "mb" | "mib" => "Mi",
        "g" | "gb" | "gib" => "Gi",
        "t" | "tb" | "tib" => "Ti",
        _ => return None,
    };
    Some(format!("{digits}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_amounts_are_said_anew() {
        for (text, expected) in [
            ("1m30s", Some("1m30s")),
            ("90s", Some("1m30s")),
            ("120s", Some("2m")),
            ("2h", Some("120m")),
            ("500ms", Some("500ms")),
            ("1.5s", Some("1500ms")),
            ("10", None),
            ("", None),
            ("s", None),
            ("1x", None),
        ] {
            assert_eq!(
                duration(text).map(show_duration).as_deref(),
                expected,
                "{text}"
            );
        }
        for (text, expected) in [
            ("512m", Some("512Mi")),
            ("1.5GB", Some("1.5Gi")),
            ("64 kb", Some("64Ki")),
            ("1048576", Some("1048576")),
            ("300b", Some("300")),
            ("lots", None),
            ("-1", None),
        ] {
            assert_eq!(bytes(text).as_deref(), expected, "{text}");
        }
    }
}
