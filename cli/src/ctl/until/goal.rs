//! What is waited for, and whether an object is that far. Pure.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        steps: Vec<Step>,
        /// What it should be; any value when left out.
        wanted: Option<String>,
    },
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into a member.
    Key(String),
    /// Into an entry.
    Index(usize),
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
        steps: steps(inner)?,
        wanted,
    })
}

/// `.a.b[0]['c.d']`.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']').ok_or("] is missing")?;
            let quoted = index.trim_matches(['\'', '"']);
            steps.push(match index.parse() {
                Ok(index) => Step::Index(index),
                Err(_) if quoted.len() + 2 == index.len() => Step::Key(quoted.to_owned()),
                Err(_) => return Err(format!("{index:?} is neither a number nor in quotes")),
            });
            rest = after;
            continue;
        }
        let word = rest.strip_prefix('.').unwrap_or(rest);
        let end = word.find(['.', '[']).unwrap_or(word.len());
        let (key, after) = word.split_at(end);
        if key.is_empty() {
            return Err(format!("a name is missing before {after:?}"));
        }
        steps.push(Step::Key(key.to_owned()));
        rest = after;
    }
    match steps.is_empty() {
        true => Err("the path is empty".to_owned()),
        false => Ok(steps),
    }
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
            Self::Path { steps, wanted, .. } => of_path(object, steps, wanted.as_deref()),
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

fn of_path(object: &Value, steps: &[Step], wanted: Option<&str>) -> Option<String> {
    let found = steps.iter().try_fold(object, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    });
    let Some(found) = found else {
        return Some("there is no such value".to_owned());
    };
    let text = found
        .as_str()
        .map_or_else(|| found.to_string(), ToOwned::to_owned);
    match wanted {
        None if found.is_null() => Some("it is null".to_owned()),
        None => None,
        Some(wanted) => (text != wanted).then(|| format!("it is {text}")),
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
        for (text, expected) in [
            ("jsonpath={.a", "} is missing"),
            ("jsonpath={.a[0}", "] is missing"),
            (
                "jsonpath={.a[x]}",
                "\"x\" is neither a number nor in quotes",
            ),
            ("jsonpath={..a}", "a name is missing before \".a\""),
            ("jsonpath={.a}b", "expected =, found \"b\""),
            ("jsonpath={}", "the path is empty"),
        ] {
            assert_eq!(text.parse::<Goal>(), Err(expected.to_owned()), "{text}");
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
