//! YAML as a tree in which every value knows where it stands.
//!
//! Owns anchors, merge keys (`<<`) and the tags `!reset` and `!override`. Refuses to know what a
//! compose file means. Input is bounded: its depth, and how much aliases may make of it.

use std::collections::BTreeMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fault::{Fault, Place};

/// Values within values; deeper ones are refused.
const DEPTH_MAX: usize = 64;
/// Values of one file after its aliases were filled in.
const NODES_MAX: usize = 100_000;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Place,
    pub mark: Mark,
    pub value: Value,
}

/// What a tag says about merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    None,
    /// `!reset`: takes the value of an earlier file away.
    Reset,
    /// `!override`: takes the place of the value of an earlier file.
    Override,
}

/// A value. Numbers keep their text, so that `1.10` stays what it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Entries in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map(pub Vec<(Key, Node)>);

/// The key of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub at: Place,
    pub text: String,
}

impl Map {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(k, _)| k.text == key).map(|(_, n)| n)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let found = self.0.iter_mut().find(|(k, _)| k.text == key);
        found.map(|(_, n)| n)
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let index = self.0.iter().position(|(k, _)| k.text == key)?;
        Some(self.0.remove(index).1)
    }

    /// Puts a value under a key, in the place of what was there.
    pub fn put(&mut self, key: Key, node: Node) {
        match self.get_mut(&key.text) {
            Some(old) => *old = node,
            None => self.0.push((key, node)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.0.iter().map(|(key, node)| (key, node))
    }
}

impl Node {
    /// A value that nobody tagged.
    pub fn new(at: Place, value: Value) -> Self {
        Self {
            at,
            mark: Mark::None,
            value,
        }
    }

    pub fn text(at: Place, text: impl Into<String>) -> Self {
        Self::new(at, Value::Text(text.into()))
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a scalar; none for null, lists and maps.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What it is, in words.
    pub fn noun(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads the one document of a file. An empty file is an empty map.
///
/// # Errors
/// It is not YAML, or larger than what is bounded.
pub fn parse(file: &Rc<str>, text: &str) -> Result<Node, Fault> {
    let mut reader = Reader {
        file,
        events: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        count: 0,
    };
    let mut root = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            event if root.is_none() => root = Some(reader.node(event, span, 0)?),
            _ => {
                let message = "there is more than one document: a compose file has one";
                return Err(Fault::new(&reader.place(span), message));
            }
        }
    }
    let start = Place::new(file, 1, 1);
    Ok(match root {
        Some(Node {
            value: Value::Null, ..
        })
        | None => Node::new(start, Value::Map(Map::default())),
        Some(root) => root,
    })
}

struct Reader<'a> {
    file: &'a Rc<str>,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    /// Anchored values by number, and of how many values they are made.
    anchors: BTreeMap<usize, (Node, usize)>,
    count: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Fault> {
        loop {
            match self.events.next_event() {
                None => return Ok(None),
                Some(Err(error)) => {
                    let mark = error.marker();
                    let place = Place::new(self.file, mark.line(), mark.col() + 1);
                    return Err(Fault::new(&place, format!("not YAML: {}", error.info())));
                }
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(found)) => return Ok(Some(found)),
            }
        }
    }

    fn place(&self, span: Span) -> Place {
        Place::new(self.file, span.start.line(), span.start.col() + 1)
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let at = self.place(span);
        if depth > DEPTH_MAX {
            let message = format!("values are nested more than {DEPTH_MAX} deep");
            return Err(Fault::new(&at, message));
        }
        let before = self.count;
        self.counted(&at, 1)?;
        let (value, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.as_deref().is_some_and(is_text_tag);
                let plain = style == ScalarStyle::Plain && !is_text;
                let value = if plain {
                    plain_scalar(&text)
                } else {
                    Value::Text(text.into_owned())
                };
                (value, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => (self.list(&at, depth)?, anchor, tag),
            Event::MappingStart(_, anchor, tag) => (self.map(&at, depth)?, anchor, tag),
            Event::Alias(anchor) => return self.alias(&at, anchor),
            _ => return Err(Fault::new(&at, "not YAML: a value is expected here")),
        };
        let mut node = Node::new(at, value);
        node.mark = tag.as_deref().map_or(Mark::None, mark);
        if anchor != 0 {
            let size = self.count - before;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn counted(&mut self, at: &Place, more: usize) -> Result<(), Fault> {
        self.count = self.count.saturating_add(more);
        if self.count > NODES_MAX {
            let message = format!("there are more than {NODES_MAX} values, aliases filled in");
            return Err(Fault::new(at, message));
        }
        Ok(())
    }

    fn alias(&mut self, at: &Place, anchor: usize) -> Result<Node, Fault> {
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            return Err(Fault::new(at, "the alias stands within what it names"));
        };
        self.counted(at, size)?;
        Ok(node)
    }

    fn expect(&mut self, at: &Place) -> Result<(Event<'a>, Span), Fault> {
        let next = self.next()?;
        next.ok_or_else(|| Fault::new(at, "not YAML: the file ends within this"))
    }

    fn list(&mut self, at: &Place, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            match self.expect(at)? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, at: &Place, depth: usize) -> Result<Value, Fault> {
        let mut own = Map::default();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, span) = match self.expect(at)? {
                (Event::MappingEnd, _) => break,
                found => found,
            };
            let is_plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.expect(at)?;
            let value = self.node(event, span, depth + 1)?;
            let text = match key.value {
                Value::Null => "null".to_owned(),
                _ => key.scalar().ok_or_else(|| {
                    Fault::new(&key.at, format!("a key is a text, not {}", key.noun()))
                })?,
            };
            if is_plain && text == "<<" {
                match value.value {
                    Value::List(items) => merged.extend(items),
                    _ => merged.push(value),
                }
            } else if own.get(&text).is_some() {
                return Err(Fault::new(
                    &key.at,
                    format!("key {text:?} stands here twice"),
                ));
            } else {
                own.0.push((Key { at: key.at, text }, value));
            }
        }
        for source in merged {
            let Value::Map(entries) = source.value else {
                let message = format!("<< takes a map or a list of maps, not {}", source.noun());
                return Err(Fault::new(&source.at, message));
            };
            for (key, value) in entries.0 {
                if own.get(&key.text).is_none() {
                    own.0.push((key, value));
                }
            }
        }
        Ok(Value::Map(own))
    }
}

fn is_text_tag(tag: &Tag) -> bool {
    tag.is_yaml_core_schema_tag("str")
}

fn mark(tag: &Tag) -> Mark {
    match tag.to_string().as_str() {
        "!reset" => Mark::Reset,
        "!override" => Mark::Override,
        _ => Mark::None,
    }
}

/// What a word without quotes is, by the core schema of YAML 1.2: `yes` and `on` are words.
fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_plain = digits.bytes().next().is_some_and(|b| b.is_ascii_digit());
    is_plain && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        parse(&Rc::from("f.yaml"), text).map_err(|fault| fault.to_string())
    }

    fn show(node: &Node) -> String {
        let list = |items: Vec<String>| items.join(" ");
        match &node.value {
            Value::Null => "~".into(),
            Value::Bool(flag) => format!("{flag}!"),
            Value::Number(text) => format!("#{text}"),
            Value::Text(text) => text.clone(),
            Value::List(items) => format!("[{}]", list(items.iter().map(show).collect())),
            Value::Map(map) => {
                let entries = map.iter().map(|(k, n)| format!("{}={}", k.text, show(n)));
                format!("{{{}}}", list(entries.collect()))
            }
        }
    }

    #[test]
    fn values_are_what_compose_takes_them_for() {
        for (text, expected) in [
            (
                "a: yes\nb: true\nc: 1.10\nd: '80'\ne:\nf: 22:22\ng: !!str 5\n",
                "{a=yes b=true! c=#1.10 d=80 e=~ f=22:22 g=5}",
            ),
            (
                "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz:\n  <<: [*x, {c: 4, a: 9}]\n",
                "{x={a=#1 b=#2} y={b=#3 a=#1} z={a=#1 b=#2 c=#4}}",
            ),
            ("", "{}"),
            ("# nothing\n", "{}"),
        ] {
            assert_eq!(read(text).map(|node| show(&node)), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn faults_name_file_line_and_column() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "f.yaml:2:1: key \"a\" stands here twice"),
            (
                "a: 1\n---\nb: 2\n",
                "f.yaml:3:1: there is more than one document: a compose file has one",
            ),
            (
                "a:\n  <<: 5\n",
                "f.yaml:2:7: << takes a map or a list of maps, not a number",
            ),
            ("? [a]\n: b\n", "f.yaml:1:3: a key is a text, not a list"),
        ] {
            assert_eq!(
                read(text).map(|n| show(&n)),
                Err(expected.to_owned()),
                "{text}"
            );
        }
        for text in ["a: *nobody", "a: [", "a: \"", "&a [*a]"] {
            assert!(
                read(text).is_err_and(|e| e.starts_with("f.yaml:")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_aliases_make_of_a_file_is_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            let before = n - 1;
            let ten = vec![format!("*a{before}"); 10].join(", ");
            text += &format!("a{n}: &a{n} [{ten}]\n");
        }
        assert!(read(&text).is_err_and(|e| e.contains("more than 100000 values")));
        let deep = "[".repeat(70) + &"]".repeat(70);
        assert!(read(&deep).is_err_and(|e| e.contains("nested more than 64 deep")));
    }

    #[test]
    fn tags_tell_how_to_merge() {
        let root = read("a: !reset null\nb: !override [x]\nc: !other 1\n").expect("valid");
        let marks: Vec<Mark> = root
            .as_map()
            .expect("a map")
            .iter()
            .map(|(_, n)| n.mark)
            .collect();
        assert_eq!(marks, [Mark::Reset, Mark::Override, Mark::None]);
    }
}
