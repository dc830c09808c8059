//! Published ports: from their short form to the long one, and what they say.

use super::fault::{Fault, Place};
use super::yaml::{Key, Map, Node, Value};

/// Ports that one line may stand for.
const RANGE_MAX: u16 = 100;

/// A port of a container that is reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub at: Place,
    pub target: u16,
    /// The port of the host; none when any will do.
    pub published: Option<u16>,
    pub host_ip: String,
    pub protocol: String,
    /// `http`, `h2c`, `tcp`, if it is told.
    pub app_protocol: String,
}

/// Brings all entries into the long form, one for each port of a range.
///
/// # Errors
/// An entry is not a port.
pub fn long_form(node: Node) -> Result<Value, Fault> {
    let Value::List(items) = node.value else {
        let message = format!("expected a list of ports, not {}", node.noun());
        return Err(Fault::new(&node.at, message));
    };
    let mut ports = Vec::new();
    for item in items {
        match item.scalar() {
            None if item.as_map().is_some() => ports.push(item),
            None => {
                return Err(Fault::new(
                    &item.at,
                    format!("expected a port, not {}", item.noun()),
                ));
            }
            Some(text) => {
                let short = short(&text).ok_or_else(|| {
                    let message = format!(
                        "{text:?} is not a port such as 80, 8080:80 or 127.0.0.1:8080:80/tcp"
                    );
                    Fault::new(&item.at, message)
                })?;
                ports.extend(short.entries(&item.at));
            }
        }
    }
    Ok(Value::List(ports))
}

/// Reads an entry of the long form.
///
/// # Errors
/// In words: what is wrong with it.
pub fn read(node: &Node) -> Result<Port, String> {
    let map = node.as_map();
    let field = |name: &str| map.and_then(|map| map.get(name)).and_then(Node::scalar);
    let number = |name: &str| match field(name) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Some(port)),
            Ok(_) | Err(_) => Err(format!("{name} {text:?} is not a port from 1 to 65535")),
        },
    };
    Ok(Port {
        at: node.at.clone(),
        target: number("target")?
            .ok_or("a port needs a target: the port that the container listens on")?,
        published: number("published")?,
        host_ip: field("host_ip").unwrap_or_default(),
        protocol: field("protocol").unwrap_or_else(|| "tcp".to_owned()),
        app_protocol: field("app_protocol").unwrap_or_default(),
    })
}

struct Short<'a> {
    host_ip: &'a str,
    published: Option<(u16, u16)>,
    target: (u16, u16),
    protocol: &'a str,
}

fn short(text: &str) -> Option<Short<'_>> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let (host, target) = match ports.rsplit_once(':') {
        Some((host, target)) => (Some(host), target),
        None => (None, ports),
    };
    let (host_ip, published) = match host {
        None => ("", None),
        Some(host) => match host.rsplit_once(':') {
            Some((ip, published)) => (ip.trim_matches(['[', ']']), Some(published)),
            None if host.contains('.') => (host, None),
            None => ("", Some(host)),
        },
    };
    let published = match published.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(range(text)?),
    };
    let target = range(target)?;
    let has_same_length =
        |(from, to): (u16, u16)| to - from == target.1 - target.0 || target.0 == target.1;
    let fits = published.is_none_or(has_same_length) && target.1 - target.0 < RANGE_MAX;
    let is_known = matches!(protocol, "tcp" | "udp" | "sctp");
    (fits && is_known).then_some(Short {
        host_ip,
        published,
        target,
        protocol,
    })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from > 0 && from <= to).then_some((from, to))
}

impl Short<'_> {
    fn entries(&self, at: &Place) -> Vec<Node> {
        let entry = |offset: u16| {
            let mut map = Map::default();
            let mut put = |name: &str, text: String| {
                let key = Key {
                    at: at.clone(),
                    text: name.to_owned(),
                };
                map.put(key, Node::text(at.clone(), text));
            };
            put("target", (self.target.0 + offset).to_string());
            if let Some((from, _)) = self.published {
                put("published", (from + offset).to_string());
            }
            if !self.host_ip.is_empty() {
                put("host_ip", self.host_ip.to_owned());
            }
            put("protocol", self.protocol.to_owned());
            Node::new(at.clone(), Value::Map(map))
        };
        (0..=self.target.1 - self.target.0).map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn check(text: &str) -> Option<Vec<String>> {
        let at = Place::new(&Rc::from("f"), 1, 1);
        let list = Value::List(vec![Node::text(at.clone(), text)]);
        let Ok(Value::List(items)) = long_form(Node::new(at, list)) else {
            return None;
        };
        let show = |node: &Node| {
            let port = read(node).expect("a port");
            let published = port.published.map_or("-".to_owned(), |p| p.to_string());
            format!(
                "{}|{published}|{}|{}",
                port.host_ip, port.target, port.protocol
            )
        };
        Some(items.iter().map(show).collect())
    }

    #[test]
    fn short_forms_are_read() {
        for (text, expected) in [
            ("80", Some(vec!["|-|80|tcp"])),
            ("8080:80", Some(vec!["|8080|80|tcp"])),
            ("127.0.0.1:8080:80/udp", Some(vec!["127.0.0.1|8080|80|udp"])),
            ("127.0.0.1::80", Some(vec!["127.0.0.1|-|80|tcp"])),
            ("[::1]:8080:80", Some(vec!["::1|8080|80|tcp"])),
            (
                "9090-9091:80-81",
                Some(vec!["|9090|80|tcp", "|9091|81|tcp"]),
            ),
            ("9090-9091:80", Some(vec!["|9090|80|tcp"])),
            ("3000-3001", Some(vec!["|-|3000|tcp", "|-|3001|tcp"])),
            ("80:81:82:83:x", None),
            ("0:80", None),
            ("80/icmp", None),
            ("1-2:80-85", None),
            ("1-60000:1-60000", None),
            ("", None),
            ("web", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(ToOwned::to_owned).collect());
            assert_eq!(check(text), expected, "{text}");
        }
    }
}
