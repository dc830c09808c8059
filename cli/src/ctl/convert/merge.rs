//! How a later file changes an earlier one, and how a service changes the one that it extends.
//!
//! Both are in the form of [`super::shape`]. Pure.

use super::yaml::{Map, Mark, Node, Value};

/// What the fields above a value are called, from `services` on.
type Path<'a> = Vec<&'a str>;

/// The earlier value, changed by the later one.
pub fn merge(base: Node, over: Node) -> Node {
    merged(base, over, &mut Vec::new())
}

/// The earlier service, changed by the later one.
pub fn merge_service(base: Node, over: Node) -> Node {
    merged(base, over, &mut vec!["services", ""])
}

/// Takes away what is marked as such in the only file that has it.
pub fn settle(node: &mut Node) {
    match &mut node.value {
        Value::Map(map) => {
            map.0.retain(|(_, node)| node.mark != Mark::Reset);
            map.0.iter_mut().for_each(|(_, node)| settle(node));
        }
        Value::List(items) => {
            items.retain(|node| node.mark != Mark::Reset);
            items.iter_mut().for_each(settle);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

fn merged(base: Node, over: Node, path: &mut Path<'_>) -> Node {
    if over.mark != Mark::None {
        return over;
    }
    match (base.value, over.value) {
        (Value::Map(base_map), Value::Map(over_map)) => {
            if path.len() == 3
                && path.last() == Some(&"logging")
                && driver(&base_map) != driver(&over_map)
            {
                return Node::new(over.at, Value::Map(over_map));
            }
            Node::new(base.at, Value::Map(maps(base_map, over_map, path)))
        }
        (Value::List(base_list), Value::List(over_list)) => {
            Node::new(base.at, Value::List(lists(base_list, over_list, path)))
        }
        // Nothing changes nothing; a variable without value is one that comes from outside.
        (value, Value::Null) if path.get(2) != Some(&"environment") => Node::new(base.at, value),
        (_, value) => Node::new(over.at, value),
    }
}

fn driver(logging: &Map) -> Option<String> {
    logging.get("driver").and_then(Node::scalar)
}

fn maps(mut base: Map, over: Map, path: &mut Path<'_>) -> Map {
    for (key, node) in over.0 {
        if node.mark == Mark::Reset {
            base.take(&key.text);
            continue;
        }
        let Some(slot) = base.get_mut(&key.text) else {
            base.0.push((key, node));
            continue;
        };
        let earlier = std::mem::replace(slot, Node::new(node.at.clone(), Value::Null));
        let mut below: Path<'_> = path.clone();
        below.push(&key.text);
        *slot = merged(earlier, node, &mut below);
    }
    base
}

fn lists(mut base: Vec<Node>, over: Vec<Node>, path: &Path<'_>) -> Vec<Node> {
    let field = path.get(2..).unwrap_or_default();
    let identity: fn(&Node) -> Vec<Option<String>> = match field {
        ["command" | "entrypoint"] | ["healthcheck", "test"] => return over,
        ["ports"] => |node| fields(node, &["host_ip", "target", "published", "protocol"]),
        ["volumes"] => |node| fields(node, &["target"]),
        ["secrets" | "configs"] => |node| match fields(node, &["target"]).pop().flatten() {
            Some(target) => vec![Some(target)],
            None => fields(node, &["source"]),
        },
        ["env_file"] => |node| fields(node, &["path"]),
        _ => |node| vec![node.scalar()],
    };
    for node in over {
        let id = identity(&node);
        let is_known = id.iter().any(Option::is_some);
        match base
            .iter_mut()
            .find(|earlier| is_known && identity(earlier) == id)
        {
            Some(earlier) => *earlier = node,
            None => base.push(node),
        }
    }
    base
}

fn fields(node: &Node, names: &[&str]) -> Vec<Option<String>> {
    let map = node.as_map();
    let field = |name: &&str| map.and_then(|map| map.get(name)).and_then(Node::scalar);
    names.iter().map(field).collect()
}
