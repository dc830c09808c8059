//! What a container may use, from `deploy`, `mem_limit` and their like; and what else stands in
//! `deploy`.

use cara_api::project::{Resources, Service};
use cara_api::quantity;

use super::fault::Place;
use super::scope::{Scope, bytes};
use super::yaml::{Map, Node, Value};

/// Memory below this is refused, in bytes.
const MEMORY_MIN: u128 = 6 << 20;

/// Takes `deploy` and the older fields. Gives the restart condition of `deploy`, if there is one.
pub fn resources(scope: &mut Scope<'_>, service: &mut Service) -> Option<String> {
    let (deploy_at, mut deploy) = scope
        .map("deploy")
        .unwrap_or((scope.at.clone(), Map::default()));
    let mut given = deploy.take("resources");
    let resources = given.as_mut().and_then(Node::as_map_mut);
    let mut found = Resources::default();
    if let Some(resources) = resources {
        for (section, amounts) in [
            ("limits", &mut found.limits),
            ("reservations", &mut found.requests),
        ] {
            let Some(Node {
                value: Value::Map(map),
                ..
            }) = resources.take(section)
            else {
                continue;
            };
            for (key, node) in map.0 {
                let field = format!("deploy.resources.{section}.{}", key.text);
                let text = node.scalar();
                match (key.text.as_str(), text) {
                    ("cpus", Some(text)) => {
                        amount(scope, amounts, "cpu", (&node.at, &field), Some(text))
                    }
                    ("memory", Some(text)) => {
                        amount(scope, amounts, "memory", (&node.at, &field), bytes(&text))
                    }
                    ("pids", Some(text)) if section == "limits" => {
                        amount(scope, amounts, "pids", (&node.at, &field), Some(text));
                    }
                    ("devices" | "generic_resources", _) => scope.lost(
                        &key.at,
                        field,
                        "services get no devices, such as graphics cards",
                        "run it on a machine of its own and reach it over the network",
                    ),
                    _ => scope.lost(
                        &key.at,
                        field,
                        "it is not an amount of cpus, memory or pids",
                        "",
                    ),
                }
            }
        }
    }
    for (field, name) in [("cpus", "cpu"), ("pids_limit", "pids")] {
        if let Some((at, text)) = scope.text(field)
            && !matches!(text.as_str(), "0" | "-1")
        {
            amount(scope, &mut found.limits, name, (&at, field), Some(text));
        }
    }
    for (field, amounts) in [
        ("mem_limit", &mut found.limits),
        ("mem_reservation", &mut found.requests),
    ] {
        if let Some((at, text)) = scope.text(field)
            && text != "0"
        {
            amount(scope, amounts, "memory", (&at, field), bytes(&text));
        }
    }
    consistent(scope, &mut found);
    service.resources = found;
    rest_of_deploy(scope, deploy, &deploy_at)
}

type Amounts = std::collections::BTreeMap<String, String>;

fn amount(
    scope: &mut Scope<'_>,
    amounts: &mut Amounts,
    name: &str,
    (at, field): (&Place, &str),
    text: Option<String>,
) {
    let milli = text.as_deref().and_then(quantity::milli);
    match (text, milli) {
        (Some(text), Some(milli)) if milli > 0 => {
            if name == "memory" && milli < MEMORY_MIN * 1_000 && field.contains("limit") {
                amounts.insert(name.to_owned(), "6Mi".to_owned());
                scope.remark(
                    "/resources",
                    format!("It was {text} of memory; 6Mi is the least."),
                );
            } else {
                amounts.entry(name.to_owned()).or_insert(text);
            }
        }
        _ => scope.fault(
            at,
            format!("{field} is not an amount such as 0.5 cpus or 512m of memory"),
        ),
    }
}

/// What is reserved may not be more than what may be used.
fn consistent(scope: &mut Scope<'_>, found: &mut Resources) {
    for name in ["cpu", "memory"] {
        let milli = |amounts: &Amounts| amounts.get(name).and_then(|text| quantity::milli(text));
        let (Some(limit), Some(request)) = (milli(&found.limits), milli(&found.requests)) else {
            continue;
        };
        if request > limit {
            found.requests.remove(name);
            scope.remark(
                "/resources",
                format!("More {name} was reserved than allowed: the limit is reserved."),
            );
        }
    }
}

fn rest_of_deploy(scope: &mut Scope<'_>, deploy: Map, at: &Place) -> Option<String> {
    let mut restart = None;
    for (key, node) in deploy.0 {
        let field = format!("deploy.{}", key.text);
        let text = node.scalar();
        let (why, way_out) = match (key.text.as_str(), text.as_deref()) {
            (_, None) if node.is_null() => continue,
            ("replicas", Some(count)) => {
                replicas(scope, &field, &key.at, count);
                continue;
            }
            ("mode", Some("replicated")) => continue,
            ("mode", Some("replicated-job" | "global-job")) => {
                restart = Some("none".to_owned());
                continue;
            }
            ("restart_policy", _) => {
                restart = restart_policy(scope, &node);
                continue;
            }
            ("mode", _) => (
                "a service runs once, on the node of its project",
                "apply a project for each node, with nodeSelector",
            ),
            ("placement", _) => (
                "nodes are chosen for the project as a whole",
                "use spec.nodeSelector, spec.tolerations and spec.spread",
            ),
            ("update_config" | "rollback_config", _) => (
                "a service that writes to no volume is replaced without a gap, and a change that fails is taken back",
                "",
            ),
            ("labels", _) => (
                "they are labels of a Swarm service",
                "put them under labels of the service",
            ),
            ("endpoint_mode", _) => ("it belongs to Swarm", ""),
            _ => ("it is not known", ""),
        };
        scope.lost(&key.at, field, why, way_out);
    }
    if let Some((place, count)) = scope.text("scale") {
        replicas(scope, "scale", &place, &count);
    }
    let _ = at;
    restart
}

fn replicas(scope: &mut Scope<'_>, field: &str, at: &Place, count: &str) {
    if count != "1" {
        scope.lost(
            at,
            field,
            format!("a service runs once, not {count} times"),
            "give it more resources, or apply the project under several names",
        );
    }
}

fn restart_policy(scope: &mut Scope<'_>, node: &Node) -> Option<String> {
    let map = node.as_map()?;
    for (key, _) in map.iter().filter(|(key, _)| key.text != "condition") {
        let field = format!("deploy.restart_policy.{}", key.text);
        scope.lost(
            &key.at,
            field,
            "pauses between tries grow from 1 s to 60 s, without a limit of tries",
            "",
        );
    }
    map.get("condition").and_then(Node::scalar)
}
