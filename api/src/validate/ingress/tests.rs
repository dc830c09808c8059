//! Every rule, each in a document that breaks it alone.

mod access;
mod hosts;
mod target;
mod traffic;

use serde_json::{Value, json};

use crate::hostname::Domain;
use crate::project::ProjectSpec;

/// A project with these ingress entries.
fn spec(ingress: &Value) -> ProjectSpec {
    let spec = json!({"services": [{"name": "app", "image": "x"}, {"name": "beta", "image": "x"}],
        "ingress": ingress});
    serde_json::from_value(spec).expect("well-formed")
}

fn domain() -> Domain {
    Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    }
}

/// Faults of a project with these ingress entries.
fn faults(ingress: &Value) -> Vec<String> {
    let found = crate::validate::project(&spec(ingress), "shop", &domain());
    found.iter().map(ToString::to_string).collect()
}

/// An entry with what is given on top of a target.
fn entry(more: &Value) -> Value {
    let mut entry = json!({"name": "web", "target": {"service": "app", "port": 80}});
    merge(&mut entry, more);
    entry
}

fn merge(base: &mut Value, more: &Value) {
    let (Value::Object(base), Value::Object(more)) = (base, more) else {
        return;
    };
    for (key, value) in more {
        match base.get_mut(key) {
            _ if value.is_null() => drop(base.shift_remove(key)),
            Some(old) if old.is_object() => merge(old, value),
            Some(_) | None => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

/// Each entry has exactly one fault, whose field and words these are.
fn each(table: &[(Value, &str, &str)]) {
    for (more, field, words) in table {
        let found = faults(&json!([entry(more)]));
        let [fault] = &found[..] else {
            panic!("{more}: {found:#?}");
        };
        let prefix = format!("spec.ingress[0].{field}: ingress web: ");
        let message = fault.strip_prefix(&prefix).unwrap_or_default();
        assert!(message.contains(words), "{more}: {fault}");
    }
}

/// None of these entries has a fault.
fn sound(table: &[Value]) {
    for more in table {
        assert_eq!(faults(&json!([entry(more)])), [""; 0], "{more}");
    }
}

#[test]
fn all_faults_of_an_entry_are_found_at_once() {
    let all = faults(&json!([entry(&json!({
        "target": {"service": "nope", "port": 0}, "access": {"scope": "Public", "allow": ["x"]},
        "host": "a b", "path": "x", "limits": {"inFlight": -1}, "retries": {"attempts": 9},
        "cors": {}, "pause": {"maxWait": "x"}}))]));
    let fields: Vec<&str> = all.iter().filter_map(|f| f.split(": ").next()).collect();
    let expected = [
        "target.service",
        "target.port",
        "access.scope",
        "access.allow[0]",
        "path",
        "host",
        "limits.inFlight",
        "retries.attempts",
        "cors.origins",
        "pause.maxWait",
    ]
    .map(|field| format!("spec.ingress[0].{field}"));
    assert_eq!(fields, expected);
}
