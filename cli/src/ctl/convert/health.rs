//! Health checks become readiness probes: both say whether a service can be used, and neither
//! starts a container again.

use std::time::Duration;

use cara_api::project::{ExecCheck, HealthCheck, Probe, Service};

use super::scope::{Scope, duration, flag, show_duration};
use super::yaml::{Key, Node, Value};

/// How long an answer may take when the file does not say, and the most that is allowed.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// After this a service that is not ready has failed, unless the agent is told otherwise.
const PROGRESS: Duration = Duration::from_secs(120);

/// Takes `healthcheck`. True when there is a check.
pub fn check(scope: &mut Scope<'_>, service: &mut Service) -> bool {
    let Some((at, mut given)) = scope.map("healthcheck") else {
        return false;
    };
    let is_disabled = given
        .take("disable")
        .and_then(|node| flag(&node))
        .unwrap_or(false);
    let test = given.take("test").filter(|node| !node.is_null());
    if is_disabled {
        return false;
    }
    let Some(test) = test else {
        scope.lost(
            &at,
            "healthcheck",
            "the test of the image is not known here",
            "write the test down",
        );
        return false;
    };
    let Some(command) = command(scope, &test) else {
        return false;
    };
    let mut probe = Probe {
        exec: Some(ExecCheck { command }),
        timeout: show_duration(TIMEOUT),
        ..Probe::default()
    };
    for (key, node) in given.0.iter().filter(|(_, node)| !node.is_null()) {
        field(scope, key, node, &mut probe);
    }
    service.health_check = Some(HealthCheck {
        readiness: Some(probe),
        ..HealthCheck::default()
    });
    true
}

/// Takes a field beside the test.
fn field(scope: &mut Scope<'_>, key: &Key, node: &Node, probe: &mut Probe) {
    let text = node.scalar().unwrap_or_default();
    let span = duration(&text);
    match key.text.as_str() {
        "retries" => match text.parse::<i64>() {
            Ok(0) => {}
            Ok(count) if count > 0 => probe.failure_threshold = Some(count.min(1_000)),
            Ok(_) | Err(_) => scope.fault(
                &node.at,
                format!("healthcheck.retries: {text:?} is not a count"),
            ),
        },
        "interval" | "timeout" | "start_period" | "start_interval" if span.is_none() => {
            let message = format!(
                "healthcheck.{}: {text:?} is not a duration such as 30s",
                key.text
            );
            scope.fault(&node.at, message);
        }
        "interval" => {
            let allowed = Duration::from_millis(100)..=Duration::from_secs(3_600);
            let span = span.unwrap_or_default();
            if !span.is_zero() {
                probe.interval = show_duration(span.clamp(*allowed.start(), *allowed.end()));
            }
        }
        "timeout" => {
            let span = span.unwrap_or_default();
            if !span.is_zero() {
                probe.timeout = show_duration(span.min(TIMEOUT_MAX));
            }
            if span > TIMEOUT_MAX {
                scope.remark(
                    "/healthCheck",
                    format!("{text} for an answer: 1m is the most."),
                );
            }
        }
        // A service that is not ready yet is waited for anyway.
        "start_period" if span.is_some_and(|span| span > PROGRESS) => scope.lost(
            &key.at,
            "healthcheck.start_period",
            "a service that is not ready after 2m has failed",
            "start the agent with a longer --progress-deadline",
        ),
        "start_period" | "start_interval" => {}
        other => scope.lost(
            &key.at,
            format!("healthcheck.{other}"),
            "it is not known",
            "",
        ),
    }
}

/// The command, or none when there is nothing to run.
fn command(scope: &mut Scope<'_>, test: &Node) -> Option<Vec<String>> {
    let shell = |text: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), text];
    let Value::List(items) = &test.value else {
        let text = test.scalar();
        if text.is_none() {
            scope.wrong(test, "healthcheck.test", "a text or a list");
        }
        return text.filter(|text| !text.is_empty()).map(shell);
    };
    let mut words: Vec<String> = items.iter().filter_map(Node::scalar).collect();
    let form = if words.is_empty() {
        String::new()
    } else {
        words.remove(0)
    };
    match form.as_str() {
        "NONE" => None,
        "CMD" if !words.is_empty() => Some(words),
        "CMD-SHELL" if words.len() == 1 => words.pop().map(shell),
        _ => {
            let message =
                "healthcheck.test: a list begins with NONE, CMD and words, or CMD-SHELL and a text";
            scope.fault(&test.at, message);
            None
        }
    }
}
