//! What is waited for, and whether an object is that far. Pure.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::ctl::jsonpath::Template;

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Goal {
    /// A condition has a status.
    Condition {
        /// Its type.
        kind: String,
        /// Its status, such as `True`.
        status: String,
    },
    /// The phase of a project, or the state of a node.
    Phase(String),
    /// It is gone.
    Deleted,
    /// A value of the object.
    Path {
        /// As it was given.
        text: String,
        /// The way to it.
        template: Template,
        /// What it should be; any value when left out.
        wanted: Option<String>,
    },
}

const FORMS: &str =
    "it is condition=TYPE[=STATUS], phase=PHASE, deleted, or jsonpath={.a.b[0]}[=VALUE]";

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once('=').unwrap_or((text, ""));
        match (word, rest) {
            ("deleted" | "delete", "") => Ok(Self::Deleted),
            ("phase", phase) if !phase.is_empty() => Ok(Self::Phase(phase.to_owned())),
            ("condition", rest) if !rest.is_empty() => {
                let (kind, status) = rest.split_once('=').unwrap_or((rest, "True"));
                Ok(Self::Condition {
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                })
            }
            ("jsonpath", rest) if !rest.is_empty() => path(rest),
            _ => Err(FORMS.to_owned()),
        }
    }
}

/// `{.status.phase}=Running`, also without braces or value.
fn path(text: &str) -> Result<Goal, String> {
    let (inner, rest) = match text.strip_prefix('{') {
        Some(open) => open.split_once('}').ok_or("} is missing")?,
        None => text.find('=').map_or((text, ""), |at| text.split_at(at)),
    };
    let wanted = match rest.strip_prefix('=') {
        Some(wanted) => Some(wanted.trim_matches('"').to_owned()),
        None if rest.is_empty() => None,
        None => return Err(format!("expected =, found {rest:?}")),
    };
    Ok(Goal::Path {
        text: inner.to_owned(),
        template: Template::parse(&format!("{{{inner}}}"))?,
        wanted,
    })
}

impl Goal {
    /// What an object lacks; none when it is as it should be.
    pub fn missing(&self, object: &Value) -> Option<String> {
        match self {
            Self::Deleted => Some("it is still there".to_owned()),
            Self::Phase(wanted) => {
                let found = ["/status/phase", "/status/state"];
                let found = found.iter().find_map(|at| object.pointer(at)?.as_str());
                let found = found.unwrap_or("without a phase");
                (found != wanted).then(|| format!("it is {found}"))
            }
            Self::Condition { kind, status } => of_condition(object, kind, status),
            Self::Path {
                template, wanted, ..
            } => of_path(&template.render(object), wanted.as_deref()),
        }
    }
}

fn of_condition(object: &Value, kind: &str, status: &str) -> Option<String> {
    let all = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let all = all.map(Vec::as_slice).unwrap_or_default();
    let is_named = |c: &&Value| {
        c["type"]
            .as_str()
            .is_some_and(|t| t.eq_ignore_ascii_case(kind))
    };
    let Some(found) = all.iter().find(is_named) else {
        let names: Vec<&str> = all.iter().filter_map(|c| c["type"].as_str()).collect();
        return Some(match names.is_empty() {
            true => "it has no conditions".to_owned(),
            false => format!("it has no such condition, only {}", names.join(", ")),
        });
    };
    let is = found["status"].as_str().unwrap_or_default();
    if is.eq_ignore_ascii_case(status) {
        return None;
    }
    let message = found["message"].as_str().filter(|m| !m.is_empty());
    let message = message.map(|m| format!(": {m}")).unwrap_or_default();
    Some(format!("{kind} is {is}{message}"))
}

/// Of what was found there, with a newline at its end.
fn of_path(found: &str, wanted: Option<&str>) -> Option<String> {
    let found = found.trim_end_matches('\n');
    match wanted {
        _ if found.is_empty() => Some("there is no such value".to_owned()),
        None => None,
        Some(wanted) => (found != wanted).then(|| format!("it is {found}")),
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition { kind, status } => write!(f, "condition={kind}={status}"),
            Self::Phase(phase) => write!(f, "phase={phase}"),
            Self::Deleted => f.write_str("deleted"),
            Self::Path { text, wanted, .. } => {
                write!(f, "jsonpath={{{text}}}")?;
                wanted
                    .as_ref()
                    .map_or(Ok(()), |wanted| write!(f, "={wanted}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals_are_met_or_say_what_is_missing() {
        let object = json!({"metadata": {"labels": {"a.b": "c"}}, "spec": {"services": [{"name": "web", "n": 2}]},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "False", "message": "one is down"}]}});
        for (goal, expected) in [
            ("phase=Running", None),
            ("phase=Failed", Some("it is Running")),
            ("deleted", Some("it is still there")),
            ("condition=Ready", Some("Ready is False: one is down")),
            ("condition=ready=false", None),
            (
                "condition=Placed",
                Some("it has no such condition, only Ready"),
            ),
            ("jsonpath={.status.phase}=Running", None),
            ("jsonpath=.status.phase=Running", None),
            ("jsonpath={.spec.services[0].n}=2", None),
            (
                "jsonpath={.spec.services[1].n}",
                Some("there is no such value"),
            ),
            ("jsonpath={.metadata.labels['a.b']}=c", None),
            (
                "jsonpath={$.status.phase}=\"Failed\"",
                Some("it is Running"),
            ),
            ("jsonpath={.status}", None),
            (
                "jsonpath={.status.conditions[?@.type=='Ready'].status}=False",
                None,
            ),
        ] {
            let parsed: Goal = goal.parse().expect(goal);
            assert_eq!(parsed.missing(&object).as_deref(), expected, "{goal}");
        }
        let node = json!({"status": {"state": "Ready"}});
        let goal: Goal = "phase=Ready".parse().expect("a goal");
        assert_eq!(goal.missing(&node), None);
    }

    #[test]
    fn what_is_no_goal_is_refused_with_what_is_one() {
        for text in ["", "phase", "phase=", "condition=", "deleted=1", "ready"] {
            assert_eq!(text.parse::<Goal>(), Err(FORMS.to_owned()), "{text}");
        }
        for text in [
            "jsonpath={.a",
            "jsonpath={.a[0}",
            "jsonpath={..}",
            "jsonpath={.a}b",
        ] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_goal_is_shown_as_it_can_be_given() {
        for text in [
            "condition=Ready=True",
            "phase=Running",
            "deleted",
            "jsonpath={.a[0]}=b",
        ] {
            let goal: Goal = text.parse().expect(text);
            assert_eq!(goal.to_string(), text);
        }
    }
}
