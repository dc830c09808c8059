//! A service as its document has it. What is left out of the document is left out here.

use std::collections::BTreeMap;

use cara_api::project::{Dependency, EnvVar, HealthCheck, Probe, SecretFile, Service};

use super::{Page, pairs};

/// Adds the service to a page.
pub(super) fn describe(page: &mut Page, service: &Service) {
    page.line(&format!("    - Name:    {}", service.name));
    for (key, value) in fields(service) {
        page.line(&format!("      {:<8} {value}", format!("{key}:")));
    }
}

fn fields(service: &Service) -> Vec<(&'static str, String)> {
    let mut all = vec![("Image", service.image.clone())];
    let mut add = |key, value: String| {
        if !value.is_empty() {
            all.push((key, value));
        }
    };
    add("Command", words(&service.command));
    add("Args", words(&service.args));
    add("Dir", service.working_dir.clone());
    add("User", service.user.clone());
    add("Env", joined(service.env.iter().map(variable)));
    for config in &service.configs {
        add("Config", config.path.clone());
    }
    for file in &service.secrets {
        add("Secret", secret_file(file));
    }
    for mount in &service.volume_mounts {
        let mode = if mount.read_only { " (read only)" } else { "" };
        add(
            "Mount",
            format!("{} -> {}{mode}", mount.name, mount.mount_path),
        );
    }
    add("After", joined(service.depends_on.iter().map(dependency)));
    add("Restart", service.restart_policy.clone());
    add("Grace", service.stop_grace_period.clone());
    for (key, probe) in service.health_check.iter().flat_map(probes) {
        add(key, check(probe));
    }
    add("Request", amounts(&service.resources.requests));
    add("Limit", amounts(&service.resources.limits));
    if !service.labels.is_empty() {
        add("Labels", pairs(&service.labels));
    }
    add("CapAdd", service.cap_add.join(", "));
    if service.allow_privilege_escalation {
        add("Gains", "may gain privileges".to_owned());
    }
    all
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// Words as a shell would need them.
fn words(words: &[String]) -> String {
    let quoted = |word: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("{word:?}")
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The name only: values may be secrets; `get -o yaml` shows them to those who ask for them.
fn variable(variable: &EnvVar) -> String {
    let from = variable.value_from.as_ref();
    match from.and_then(|from| from.secret_key_ref.as_ref()) {
        Some(key) => format!("{} (secret {}/{})", variable.name, key.name, key.key),
        None => variable.name.clone(),
    }
}

fn secret_file(file: &SecretFile) -> String {
    match file.key.as_str() {
        "" => format!("{} -> {}/", file.secret, file.path.trim_end_matches('/')),
        key => format!("{}/{key} -> {}", file.secret, file.path),
    }
}

fn dependency(dependency: &Dependency) -> String {
    format!("{} ({:?})", dependency.service, dependency.until())
}

fn probes(check: &HealthCheck) -> impl Iterator<Item = (&'static str, &Probe)> {
    let all = [
        ("Startup", &check.startup),
        ("Ready", &check.readiness),
        ("Alive", &check.liveness),
    ];
    all.into_iter()
        .filter_map(|(key, probe)| Some((key, probe.as_ref()?)))
}

fn check(probe: &Probe) -> String {
    let what = match (&probe.http, &probe.tcp, &probe.exec) {
        (Some(http), _, _) => {
            let path = if http.path.is_empty() {
                "/"
            } else {
                &http.path
            };
            format!("GET :{}{path}", http.port)
        }
        (None, Some(tcp), _) => format!("connect :{}", tcp.port),
        (None, None, Some(exec)) => format!("run {}", words(&exec.command)),
        (None, None, None) => "nothing".to_owned(),
    };
    let failures = probe.failure_threshold.map(|n| format!(", {n} failures"));
    format!(
        "{what} every {:#}, within {:#}{}",
        span(probe.interval()),
        span(probe.timeout()),
        failures.unwrap_or_default()
    )
}

/// A duration as documents write it.
fn span(time: std::time::Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}s{millis}ms"),
    }
}

fn amounts(amounts: &BTreeMap<String, String>) -> String {
    joined(
        amounts
            .iter()
            .map(|(name, amount)| format!("{name} {amount}")),
    )
}
