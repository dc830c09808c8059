//! One form for what may be written in several: lists become maps, short syntax becomes long.
//!
//! Files are brought into this form before they are merged, so that merging is by key. Relative
//! paths are completed here, with the directory that they are relative to.

use super::fault::{Fault, Place};
use super::files::join;
use super::ports;
use super::yaml::{Key, Map, Node, Value};

/// Fields that are a map or a list of `KEY=VALUE`.
const PAIRS: [&str; 5] = [
    "environment",
    "labels",
    "annotations",
    "sysctls",
    "extra_hosts",
];
/// Fields that are one text or a list of them.
const LISTS: [&str; 6] = [
    "dns",
    "dns_search",
    "dns_opt",
    "tmpfs",
    "profiles",
    "label_file",
];

/// Brings a service into its one form.
///
/// # Errors
/// A value is of a kind that the field does not take.
pub fn service(name: &str, node: &mut Node, directory: &str) -> Result<(), Fault> {
    if node.is_null() {
        node.value = Value::Map(Map::default());
    }
    let noun = node.noun();
    let at = node.at.clone();
    let Some(fields) = node.as_map_mut() else {
        return Err(Fault::new(
            &at,
            format!("service {name:?} is a map, not {noun}"),
        ));
    };
    for field in PAIRS {
        change(fields, field, pairs)?;
    }
    for field in LISTS {
        change(fields, field, one_or_more)?;
    }
    change(fields, "depends_on", |node| {
        named(node, "condition", "service_started")
    })?;
    change(fields, "networks", |node| named(node, "", ""))?;
    change(fields, "extends", |node| long(node, "service"))?;
    change(fields, "build", |node| long(node, "context"))?;
    change(fields, "env_file", |node| env_files(node, directory))?;
    change(fields, "ports", ports::long_form)?;
    change(fields, "volumes", |node| {
        each(node, |item| mount(item, directory))
    })?;
    for field in ["secrets", "configs"] {
        change(fields, field, |node| {
            each(node, |item| long(item, "source"))
        })?;
    }
    Ok(())
}

/// Completes the path of a file at the top level, of a secret or config.
pub fn source(node: &mut Node, directory: &str) {
    let Some(fields) = node.as_map_mut() else {
        return;
    };
    if let Some(file) = fields.get_mut("file")
        && let Some(path) = file.scalar()
    {
        file.value = Value::Text(join(directory, &path));
    }
}

fn change(
    fields: &mut Map,
    field: &str,
    change: impl FnOnce(Node) -> Result<Value, Fault>,
) -> Result<(), Fault> {
    let Some(node) = fields.get_mut(field).filter(|node| !node.is_null()) else {
        return Ok(());
    };
    let taken = Node::new(
        node.at.clone(),
        std::mem::replace(&mut node.value, Value::Null),
    );
    let expected = |fault: Fault| fault;
    node.value = change(taken).map_err(expected)?;
    Ok(())
}

fn wrong(node: &Node, expected: &str) -> Fault {
    Fault::new(
        &node.at,
        format!("expected {expected}, not {}", node.noun()),
    )
}

/// `[A=b, C]` is `{A: b, C: null}`.
fn pairs(node: Node) -> Result<Value, Fault> {
    let items = match node.value {
        Value::Map(_) => return Ok(node.value),
        Value::List(items) => items,
        _ => return Err(wrong(&node, "a map or a list of KEY=VALUE")),
    };
    let mut map = Map::default();
    for item in items {
        let text = item.scalar().ok_or_else(|| wrong(&item, "KEY=VALUE"))?;
        let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((key, value)) => (key.to_owned(), Value::Text(value.to_owned())),
            None => (text, Value::Null),
        };
        let key = Key {
            at: item.at.clone(),
            text: key,
        };
        map.put(key, Node::new(item.at, value));
    }
    Ok(Value::Map(map))
}

fn one_or_more(node: Node) -> Result<Value, Fault> {
    match node.value {
        Value::List(_) => Ok(node.value),
        Value::Map(_) => Err(wrong(&node, "a text or a list")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            Ok(Value::List(vec![node]))
        }
    }
}

/// `[a, b]` is `{a: {}, b: {}}`, each with a field if one is given.
fn named(node: Node, field: &str, text: &str) -> Result<Value, Fault> {
    let items = match node.value {
        Value::Map(_) => return Ok(node.value),
        Value::List(items) => items,
        _ => return Err(wrong(&node, "a map or a list of names")),
    };
    let mut map = Map::default();
    for item in items {
        let name = item.scalar().ok_or_else(|| wrong(&item, "a name"))?;
        let mut fields = Map::default();
        if !field.is_empty() {
            fields.put(key(&item.at, field), Node::text(item.at.clone(), text));
        }
        let entry = Node::new(item.at.clone(), Value::Map(fields));
        map.put(
            Key {
                at: item.at,
                text: name,
            },
            entry,
        );
    }
    Ok(Value::Map(map))
}

fn key(at: &Place, text: &str) -> Key {
    let text = text.to_owned();
    Key {
        at: at.clone(),
        text,
    }
}

/// A text stands for a map with that one field.
fn long(node: Node, field: &str) -> Result<Value, Fault> {
    if matches!(node.value, Value::Map(_)) {
        return Ok(node.value);
    }
    let text = node
        .scalar()
        .ok_or_else(|| wrong(&node, "a text or a map"))?;
    Ok(Value::Map(Map(vec![(
        key(&node.at, field),
        Node::text(node.at, text),
    )])))
}

fn each(node: Node, change: impl Fn(Node) -> Result<Value, Fault>) -> Result<Value, Fault> {
    let Value::List(items) = node.value else {
        return Err(wrong(&node, "a list"));
    };
    let changed = items.into_iter().map(|item| {
        let at = item.at.clone();
        Ok(Node::new(at, change(item)?))
    });
    changed.collect::<Result<_, _>>().map(Value::List)
}

fn env_files(node: Node, directory: &str) -> Result<Value, Fault> {
    let listed = Node::new(node.at.clone(), one_or_more(node)?);
    each(listed, |item| {
        let mut fields = long(item, "path")?;
        if let Value::Map(map) = &mut fields
            && let Some(path) = map.get_mut("path")
            && let Some(text) = path.scalar()
        {
            path.value = Value::Text(join(directory, &text));
        }
        Ok(fields)
    })
}

/// `SOURCE:TARGET:OPTIONS` in its long form.
fn mount(node: Node, directory: &str) -> Result<Value, Fault> {
    let mut fields = match node.value {
        Value::Map(map) => map,
        Value::Text(ref text) => short_mount(&node.at, text)?,
        _ => return Err(wrong(&node, "SOURCE:TARGET or a map")),
    };
    let is_bind = fields.get("type").and_then(Node::scalar).as_deref() == Some("bind");
    if is_bind
        && let Some(source) = fields.get_mut("source")
        && let Some(path) = source.scalar()
        && !path.starts_with('~')
    {
        source.value = Value::Text(join(directory, &path));
    }
    Ok(Value::Map(fields))
}

fn short_mount(at: &Place, text: &str) -> Result<Map, Fault> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            let message = format!("{text:?} is not SOURCE:TARGET or SOURCE:TARGET:OPTIONS");
            return Err(Fault::new(at, message));
        }
    };
    let mut map = Map::default();
    let mut put = |name: &str, value: Value| map.put(key(at, name), Node::new(at.clone(), value));
    let is_path = |source: &str| source.starts_with(['.', '/', '~']);
    let kind = if source.is_some_and(is_path) {
        "bind"
    } else {
        "volume"
    };
    put("type", Value::Text(kind.to_owned()));
    if let Some(source) = source {
        put("source", Value::Text(source.to_owned()));
    }
    put("target", Value::Text(target.to_owned()));
    for option in options.split(',') {
        match option {
            "ro" => put("read_only", Value::Bool(true)),
            // What concerns labels and caches of the machine has no meaning elsewhere.
            "" | "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "nocopy" => put("volume", nocopy(at)),
            other => put("option", Value::Text(other.to_owned())),
        }
    }
    Ok(map)
}

fn nocopy(at: &Place) -> Value {
    let flag = Node::new(at.clone(), Value::Bool(true));
    Value::Map(Map(vec![(key(at, "nocopy"), flag)]))
}
