//! Files and variables that a service is given: configuration and secrets. Pure.

use std::collections::BTreeMap;

use cara_api::agent::SecretValues;
use cara_api::project::Service;
use cara_api::secret::Hidden;
use cara_api::{ResourceVersion, SecretName};

use super::definition::hex;

/// A file with a given content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFile {
    /// Absolute path in the container.
    pub path: String,
    /// What is in it.
    pub content: Hidden,
}

/// Secrets of an assignment.
pub(super) type Secrets = BTreeMap<SecretName, SecretValues>;

/// Variables whose values come from secrets.
pub(super) fn secret_env(
    service: &Service,
    secrets: &Secrets,
    missing: &mut Vec<String>,
) -> BTreeMap<String, Hidden> {
    let mut variables = BTreeMap::new();
    for variable in &service.env {
        let Some(key) = variable
            .value_from
            .as_ref()
            .and_then(|f| f.secret_key_ref.as_ref())
        else {
            continue;
        };
        if let Some(value) = value(secrets, &key.name, &key.key, missing) {
            variables.insert(variable.name.clone(), value.clone());
        }
    }
    variables
}

/// Files of a service: its configuration, then its secrets.
pub(super) fn files(
    service: &Service,
    secrets: &Secrets,
    missing: &mut Vec<String>,
) -> Vec<WantedFile> {
    let configs = service.configs.iter().map(|config| WantedFile {
        path: config.path.clone(),
        content: Hidden::new(config.content.clone()),
    });
    let mut files: Vec<WantedFile> = configs.collect();
    for file in &service.secrets {
        if !file.key.is_empty() {
            let content = value(secrets, &file.secret, &file.key, missing).cloned();
            files.extend(content.map(|content| WantedFile {
                path: file.path.clone(),
                content,
            }));
            continue;
        }
        match secrets.get(file.secret.as_str()) {
            Some(secret) => files.extend(secret.data.iter().map(|(key, content)| WantedFile {
                path: format!("{}/{key}", file.path.trim_end_matches('/')),
                content: content.clone(),
            })),
            None => missing.push(format!("secret {:?} does not exist", file.secret)),
        }
    }
    files
}

fn value<'a>(
    secrets: &'a Secrets,
    name: &str,
    key: &str,
    missing: &mut Vec<String>,
) -> Option<&'a Hidden> {
    let Some(secret) = secrets.get(name) else {
        missing.push(format!("secret {name:?} does not exist"));
        return None;
    };
    let value = secret.data.get(key);
    if value.is_none() {
        missing.push(format!("secret {name:?} has no key {key:?}"));
    }
    value
}

/// What stands for the content in a fingerprint: configuration by hash; secrets by name and
/// version, since labels are public and a hash of a short secret can be guessed.
pub(super) fn content_key(
    service: &Service,
    files: &[WantedFile],
    secrets: &Secrets,
) -> Vec<String> {
    let configs = service.configs.iter();
    let configs = configs.map(|c| format!("{}={}", c.path, hex(c.content.as_bytes())));
    let version = |name: &str| secrets.get(name).map_or(ResourceVersion(0), |s| s.version);
    let paths = files.iter().skip(service.configs.len());
    let paths = paths.map(|file| file.path.clone());
    let mounted = service.secrets.iter();
    let mounted = mounted.map(|f| format!("{}@{}:{}", f.secret, version(&f.secret), f.key));
    let variables = service.env.iter().filter_map(|variable| {
        let key = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
        let version = version(&key.name);
        Some(format!(
            "{}={}@{version}:{}",
            variable.name, key.name, key.key
        ))
    });
    configs
        .chain(paths)
        .chain(mounted)
        .chain(variables)
        .collect()
}
