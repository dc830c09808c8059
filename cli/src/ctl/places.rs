//! Where the fields of a document stand in its file.
//!
//! Owns lines and columns alone: what a document holds is read elsewhere. A file that cannot be
//! read here has no places, which is no reason not to apply it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A line and a column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// The places of the fields of a document, by path such as `spec.services[0].image`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    source: String,
    /// Paths in small letters, since case is forgiven.
    by_path: BTreeMap<String, Place>,
}

impl Places {
    /// The places of each document of a file that is not empty.
    pub fn of(source: &str, text: &str) -> Vec<Self> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let parsed = serde_saphyr::from_multiple_with_options::<Spanned<Node>>(text, options);
        let documents = parsed.unwrap_or_default().into_iter();
        let documents = documents.filter(|document| document.value != Node::Null);
        let places = documents.map(|document| {
            let mut places = Self {
                source: source.to_owned(),
                by_path: BTreeMap::new(),
            };
            places.walk("", &document.value);
            places
        });
        places.collect()
    }

    fn walk(&mut self, path: &str, node: &Node) {
        match node {
            Node::Null | Node::Leaf => {}
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.add(&path, place(item));
                    self.walk(&path, &item.value);
                }
            }
            Node::Map(fields) => {
                for (key, value) in fields {
                    let joined = match path {
                        "" => key.value.clone(),
                        path => format!("{path}.{}", key.value),
                    };
                    self.add(&joined, place(key));
                    self.add(&format!("{path}[{:?}]", key.value), place(key));
                    self.walk(&joined, &value.value);
                }
            }
        }
    }

    fn add(&mut self, path: &str, place: Place) {
        self.by_path.insert(path.to_ascii_lowercase(), place);
    }

    /// Where a field stands, as `shop.yaml:12:7`.
    pub fn find(&self, path: &str) -> Option<String> {
        let place = self.by_path.get(&path.to_ascii_lowercase())?;
        Some(format!("{}:{}:{}", self.source, place.line, place.column))
    }

    /// Where a field stands, or would stand: at what it is missing from.
    fn find_or_above(&self, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            if let Some(place) = self.find(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// A warning or fault with the place of the field that it names first, if that is known:
    /// `spec.x: must be …`, or `unknown field "spec.y"`.
    pub fn locate(&self, message: &str) -> String {
        let quoted = message.strip_prefix("unknown field \"");
        let path = match quoted {
            Some(rest) => rest.split('"').next(),
            None => message.split(": ").next(),
        };
        match path.and_then(|path| self.find_or_above(path)) {
            Some(place) => format!("{place}: {message}"),
            None => message.to_owned(),
        }
    }
}

fn place<T>(spanned: &Spanned<T>) -> Place {
    Place {
        line: spanned.referenced.line(),
        column: spanned.referenced.column(),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Null,
    Leaf,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = fields.next_key::<Spanned<String>>()? {
            map.push((key, fields.next_value()?));
        }
        // Nothing is left, but some readers want to be told.
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# shop
kind: Project
metadata:
  name: shop
  labels: {app.io/tier: web}
spec:
  servces: []
  services:
    - name: web
      imagee: shop:1
    - {name: db, image: postgres, ports: [80]}
---
# nothing
---
kind: Node
spek: {}
";

    #[test]
    fn fields_are_found_where_they_stand() {
        let all = Places::of("shop.yaml", TEXT);
        assert_eq!(all.len(), 2);
        for (document, path, expected) in [
            (0, "kind", Some("shop.yaml:2:1")),
            (0, "spec.servces", Some("shop.yaml:7:3")),
            (0, "spec.services[0].imagee", Some("shop.yaml:10:7")),
            (0, "spec.services[1].ports", Some("shop.yaml:11:35")),
            (
                0,
                "metadata.labels[\"app.io/tier\"]",
                Some("shop.yaml:5:12"),
            ),
            (0, "spec.ghost", None),
            (1, "spek", Some("shop.yaml:16:1")),
            (1, "SPEK", Some("shop.yaml:16:1")),
        ] {
            assert_eq!(all[document].find(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn warnings_and_faults_are_told_with_their_place() {
        let places = &Places::of("shop.yaml", TEXT)[0];
        for (message, expected) in [
            (
                "unknown field \"spec.servces\", did you mean \"services\"?",
                "shop.yaml:7:3: unknown field \"spec.servces\", did you mean \"services\"?",
            ),
            (
                "spec.services[0]: service web: image is required",
                "shop.yaml:9:7: spec.services[0]: service web: image is required",
            ),
            (
                "spec.services[0].image: service web: image is required",
                "shop.yaml:9:7: spec.services[0].image: service web: image is required",
            ),
            ("something else", "something else"),
        ] {
            assert_eq!(places.locate(message), expected);
        }
    }

    #[test]
    fn what_cannot_be_read_has_no_places() {
        assert_eq!(Places::of("f", "a: [\n"), []);
        assert_eq!(Places::of("f", "").len(), 0);
        let json = Places::of("f.json", "{\"kind\": \"Node\",\n \"spec\": {\"x\": 1}}");
        assert_eq!(json[0].find("spec.x").as_deref(), Some("f.json:2:11"));
    }
}
