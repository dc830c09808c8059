//! What a container runs: program, arguments, variables, user, directory, and when it ends.

use std::rc::Rc;
use std::time::Duration;

use cara_api::project::{EnvVar, Service};

use super::envfile::{self, Form};
use super::fault::Place;
use super::files::Kind;
use super::interpolate::Variables;
use super::load::Loader;
use super::scope::{Scope, duration, flag, show_duration};
use super::yaml::{Node, Value};

/// Why a container is not what follows from its file alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Others wait until it is through.
    Job,
    /// It has ports, or something that says how it is.
    Server,
    Unknown,
}

/// Program and arguments.
pub fn command(scope: &mut Scope<'_>, service: &mut Service) {
    let entrypoint = words(scope, "entrypoint");
    let command = words(scope, "command");
    match (entrypoint, command) {
        (Some((at, words)), command) if words.is_empty() => {
            // Nothing in the place of the image's: then the command is the program.
            match command {
                Some((_, command)) if !command.is_empty() => service.command = command,
                Some(_) | None => scope.lost(
                    &at,
                    "entrypoint",
                    "an empty one cannot take the place of the image's",
                    "name the program to run",
                ),
            }
        }
        (entrypoint, command) => {
            service.command = entrypoint.map(|(_, words)| words).unwrap_or_default();
            if let Some((at, words)) = command {
                if words.is_empty() && service.command.is_empty() {
                    scope.lost(
                        &at,
                        "command",
                        "an empty one cannot take the place of the image's",
                        "name the program in entrypoint",
                    );
                }
                service.args = words;
            }
        }
    }
}

/// A list of words, or a text that is split as a shell does; none when it is not given.
fn words(scope: &mut Scope<'_>, field: &str) -> Option<(Place, Vec<String>)> {
    let node = scope.take(field)?;
    if let Value::List(items) = &node.value {
        let mut words = Vec::new();
        for item in items {
            match item.scalar() {
                Some(word) => words.push(word),
                None => scope.wrong(item, field, "a text"),
            }
        }
        return Some((node.at, words));
    }
    let Some(text) = node.scalar() else {
        scope.wrong(&node, field, "a text or a list");
        return None;
    };
    let Some(words) = shlex::split(&text) else {
        scope.fault(&node.at, format!("{field}: a quote is not closed"));
        return None;
    };
    Some((node.at, words))
}

/// Variables: those of files first, then those that stand in the service.
pub fn environment(
    scope: &mut Scope<'_>,
    service: &mut Service,
    loader: &mut Loader<'_>,
    variables: &Variables,
) {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut put =
        |name: String, value: String| match found.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => found.push((name, value)),
        };
    for file in scope.list("env_file") {
        for (name, value) in env_file(scope, &file, loader, variables) {
            put(name, value);
        }
    }
    let given = scope
        .map("environment")
        .map(|(_, map)| map)
        .unwrap_or_default();
    for (key, node) in given.0 {
        match (node.scalar(), variables.get(&key.text)) {
            (Some(value), _) => put(key.text, value),
            (None, _) if !node.is_null() => scope.wrong(&node, "environment", "a text"),
            (None, Some(value)) => put(key.text, value.clone()),
            (None, None) => scope.lost(
                &key.at,
                format!("environment.{}", key.text),
                "its value comes from the shell, where it is not set",
                "set it before converting, or give it a value",
            ),
        }
    }
    service.env = found
        .into_iter()
        .map(|(name, value)| EnvVar {
            name,
            value,
            value_from: None,
        })
        .collect();
}

fn env_file(
    scope: &mut Scope<'_>,
    node: &Node,
    loader: &mut Loader<'_>,
    variables: &Variables,
) -> Vec<(String, String)> {
    let map = node.as_map();
    let field = |name: &str| map.and_then(|map| map.get(name));
    let Some(path) = field("path").and_then(Node::scalar) else {
        scope.fault(&node.at, "env_file needs a path");
        return Vec::new();
    };
    let is_required = field("required").and_then(flag).unwrap_or(true);
    if loader.files.kind(&path) == Kind::Missing && !is_required {
        return Vec::new();
    }
    let form = match field("format").and_then(Node::scalar).as_deref() {
        Some("raw") => Form::Raw,
        Some(_) | None => Form::Quoted,
    };
    let text = match loader.text(&path) {
        Ok(text) => text,
        Err(message) => {
            let message = format!("env_file: {message}; required: false lets it be missing");
            scope.fault(&node.at, message);
            return Vec::new();
        }
    };
    let file: Rc<str> = Rc::from(path.as_str());
    match envfile::parse(&text, form, variables) {
        Err(fault) => {
            let place = Place::new(&file, fault.line, 1);
            scope.fault(&place, fault.message);
            Vec::new()
        }
        Ok(entries) => {
            let mut pairs = Vec::new();
            for entry in entries {
                for name in &entry.unset {
                    loader.unset(name, &Place::new(&file, 1, 1));
                }
                let value = entry.value.or_else(|| variables.get(&entry.name).cloned());
                pairs.extend(value.map(|value| (entry.name, value)));
            }
            pairs
        }
    }
}

/// User, directory, and the time to stop.
pub fn settings(scope: &mut Scope<'_>, service: &mut Service) {
    if let Some((_, user)) = scope.text("user") {
        service.user = user;
    }
    if let Some((at, directory)) = scope.text("working_dir") {
        if directory.starts_with('/') {
            service.working_dir = directory;
        } else {
            scope.lost(
                &at,
                "working_dir",
                "it is relative to the image's directory",
                "write it from / on",
            );
        }
    }
    if let Some((at, text)) = scope.text("stop_grace_period") {
        match duration(&text) {
            Some(grace) => {
                let most = Duration::from_secs(3_600);
                service.stop_grace_period = show_duration(grace.min(most));
                if grace > most {
                    scope.remark("/stopGracePeriod", "An hour is the most.");
                }
            }
            None => scope.fault(
                &at,
                format!("stop_grace_period: {text:?} is not a duration such as 30s"),
            ),
        }
    }
}

/// When to start it again.
pub fn restart(scope: &mut Scope<'_>, service: &mut Service, deploy: Option<String>, role: Role) {
    let (at, given) = match scope.text("restart") {
        Some((at, text)) => (at, Some(text)),
        None => (scope.at.clone(), None),
    };
    let policy = match deploy.as_deref() {
        Some("none") => Some("no".to_owned()),
        Some("any") => Some("always".to_owned()),
        Some(other) => Some(other.to_owned()),
        None => given,
    };
    let Some(policy) = policy else {
        service.restart_policy = match role {
            Role::Job => {
                scope.remark("/restartPolicy", "Others wait until it is through.");
                "Never".to_owned()
            }
            // What serves is kept running.
            Role::Server => String::new(),
            Role::Unknown => {
                let text = "No restart was given: it is started again when it fails. Always keeps it running.";
                scope.remark("/restartPolicy", text);
                "OnFailure".to_owned()
            }
        };
        return;
    };
    let (word, tries) = policy.split_once(':').unwrap_or((&policy, ""));
    service.restart_policy = match word {
        "always" | "unless-stopped" if role == Role::Job => {
            scope.remark(
                "/restartPolicy",
                format!("It was {word}, but others wait until it is through."),
            );
            "OnFailure".to_owned()
        }
        "always" | "unless-stopped" => String::new(),
        "on-failure" => {
            if !tries.is_empty() {
                let text =
                    format!("Without a limit of {tries} tries: pauses between tries grow to 60 s.");
                scope.remark("/restartPolicy", text);
            }
            "OnFailure".to_owned()
        }
        "no" | "false" => "Never".to_owned(),
        other => {
            let message =
                format!("restart: {other:?} is none of no, always, on-failure, unless-stopped");
            scope.fault(&at, message);
            String::new()
        }
    };
}
