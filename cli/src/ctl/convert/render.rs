//! Documents as YAML, with comments. Purely of values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::scope::Remarks;

/// The longest line in which a map or list stands in braces.
const WIDTH: usize = 90;

/// A document with its comments.
pub fn document(value: &Value, remarks: &Remarks) -> String {
    let mut known = BTreeSet::new();
    paths(value, "", &mut known);
    let mut placed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, texts) in remarks {
        let mut at = path.as_str();
        // What is not there after all is said above the thing that it would belong to.
        while !at.is_empty() && !known.contains(at) {
            at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        placed
            .entry(at)
            .or_default()
            .extend(texts.iter().map(String::as_str));
    }
    let mut writer = Writer {
        text: String::new(),
        remarks: placed,
    };
    writer.remark("", 0);
    writer.block(value, "", 0);
    writer.text
}

/// What an item of a list is called in paths.
fn item_path(path: &str, index: usize, item: &Value) -> String {
    let name = ["name", "mountPath", "path", "service"]
        .iter()
        .find_map(|field| item.get(field)?.as_str());
    match name {
        Some(name) => format!("{path}/{name}"),
        None => format!("{path}/{index}"),
    }
}

fn paths(value: &Value, path: &str, known: &mut BTreeSet<String>) {
    known.insert(path.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| paths(value, &format!("{path}/{key}"), known)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| paths(item, &item_path(path, index, item), known));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Writer<'a> {
    text: String,
    remarks: BTreeMap<&'a str, Vec<&'a str>>,
}

impl Writer<'_> {
    fn remark(&mut self, path: &str, indent: usize) {
        for text in self.remarks.remove(path).unwrap_or_default() {
            for line in text.lines() {
                let _ = writeln!(self.text, "{:indent$}# {line}", "");
            }
        }
    }

    /// True when a comment stands somewhere below.
    fn has_remarks(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.remarks.keys().any(|key| key.starts_with(&below))
    }

    /// A map or list of at least one entry, on lines of its own.
    fn block(&mut self, value: &Value, path: &str, indent: usize) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let path = format!("{path}/{key}");
                    self.remark(&path, indent);
                    let _ = write!(self.text, "{:indent$}{}:", "", scalar(key));
                    self.value(value, &path, indent, indent + 2);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = item_path(path, index, item);
                    self.remark(&path, indent);
                    let _ = write!(self.text, "{:indent$}-", "");
                    match item {
                        Value::Object(map)
                            if !map.is_empty() && self.flow(item, &path, indent).is_none() =>
                        {
                            // The first field stands on the line of the dash.
                            let from = self.text.len();
                            self.block(item, &path, indent + 2);
                            let dash = self.text.get(from..).unwrap_or_default().to_owned();
                            self.text.truncate(from);
                            if dash.trim_start().starts_with('#') {
                                let _ = write!(self.text, "\n{dash}");
                            } else {
                                let _ = write!(self.text, " {}", dash.trim_start());
                            }
                        }
                        _ => self.value(item, &path, indent, indent + 2),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let _ = writeln!(self.text, "{:indent$}{}", "", inline(value));
            }
        }
    }

    /// What follows a key or a dash.
    fn value(&mut self, value: &Value, path: &str, indent: usize, below: usize) {
        if let Value::String(text) = value
            && let Some(block) = literal(text, below)
        {
            self.text.push_str(&block);
            return;
        }
        match self.flow(value, path, indent) {
            Some(flow) => {
                let _ = writeln!(self.text, " {flow}");
            }
            None => {
                self.text.push('\n');
                self.block(value, path, below);
            }
        }
    }

    /// The value on one line, if it fits.
    fn flow(&self, value: &Value, path: &str, indent: usize) -> Option<String> {
        let is_plain = |value: &Value| match value {
            Value::String(text) => !text.contains('\n'),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        };
        let fits = match value {
            Value::Object(map) => map.values().all(is_plain),
            Value::Array(items) => items.iter().all(is_plain),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Some(inline(value));
            }
        };
        let is_empty = match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        // The parts of a document stand on lines of their own.
        let is_high = path.split('/').count() <= 2;
        let text = inline(value);
        let is_short = fits && !is_high && indent + text.len() <= WIDTH && !self.has_remarks(path);
        (is_empty || is_short).then_some(text)
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), inline(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A text without quotes where no reader takes it for something else.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    serde_json::to_string(text)
        .unwrap_or_default()
        .replace('\u{7f}', "\\u007f")
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
        .replace('\u{feff}', "\\ufeff")
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "none", "inf", "nan",
    ];
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_./@+=: -".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.".contains(c));
    let ends = !text.ends_with([' ', ':']) && !text.contains(": ");
    let is_number_like = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text
            .chars()
            .all(|c| c.is_ascii_hexdigit() || "xXoO_.:+- TtZz".contains(c));
    let is_word = WORDS.contains(&text.to_ascii_lowercase().trim_start_matches('.'));
    begins && ends && text.chars().all(is_allowed) && !is_number_like && !is_word && text != "..."
}

/// A text of several lines as such; none when it would not come back as it is.
fn literal(text: &str, indent: usize) -> Option<String> {
    let body = text.trim_end_matches('\n');
    let ending = text.len() - body.len();
    let is_readable = |c: char| {
        c == '\n' || c == '\t' || (!c.is_control() && !"\u{85}\u{2028}\u{2029}\u{feff}".contains(c))
    };
    let begins = body.starts_with(|c: char| !c.is_whitespace());
    if !text.contains('\n') || !begins || !text.chars().all(is_readable) {
        return None;
    }
    let chomp = match ending {
        0 => "|-",
        1 => "|",
        _ => return None,
    };
    let mut block = format!(" {chomp}\n");
    for line in body.split('\n') {
        match line {
            "" => block.push('\n'),
            line => {
                let _ = writeln!(block, "{:indent$}{line}", "");
            }
        }
    }
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_stand_above_what_they_are_about() {
        let value = serde_json::json!({"kind": "Project", "spec": {"services": [
            {"name": "web", "image": "nginx:1", "env": [{"name": "A", "value": "yes"}], "args": ["a b", "-c"]},
            {"name": "db", "image": "x", "configs": [{"path": "/a", "content": "one\ntwo\n"}]}]}});
        let remarks = [
            ("", "Top."),
            ("/spec/services/db/image", "Why."),
            ("/spec/services/web/env/A/nowhere", "Above A."),
            ("/spec/services/db", "The base."),
        ];
        let remarks: Remarks = remarks
            .map(|(path, text)| (path.to_owned(), vec![text.to_owned()]))
            .into();
        let expected = "\
# Top.
kind: Project
spec:
  services:
    - name: web
      image: nginx:1
      env:
        # Above A.
        - {name: A, value: \"yes\"}
      args: [a b, \"-c\"]
    # The base.
    - name: db
      # Why.
      image: x
      configs:
        - path: /a
          content: |
            one
            two
";
        assert_eq!(document(&value, &remarks), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            "[a-z0-9.:_+-]{0,8}",
            "[a-z \\t\\n#:]{0,20}",
            "\\PC{0,6}",
            Just("0x1F".to_owned()),
            Just("1e3".to_owned()),
            Just("2020-01-01".to_owned()),
            Just("12:30:45".to_owned()),
            Just("~".to_owned()),
            Just("- a".to_owned()),
            Just("a\n\n  b\n".to_owned()),
            Just("a\r\nb".to_owned()),
        ];
        let leaf = prop_oneof![
            3 => text.clone().prop_map(Value::String),
            1 => any::<i64>().prop_map(Value::from),
            1 => any::<bool>().prop_map(Value::Bool),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::btree_map("[a-zA-Z0-9./ -]{1,8}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in any_value()) {
            let value = serde_json::json!({"root": value});
            let text = document(&value, &Remarks::new());
            let options = serde_saphyr::options! { strict_booleans: true };
            let read: Result<Value, _> = serde_saphyr::from_str_with_options(&text, options);
            prop_assert_eq!(read.map_err(|e| format!("{e}\n{text}")), Ok(value));
        }
    }
}
