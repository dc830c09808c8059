//! The secrets in a node's assignments.
//!
//! Whether a set is new is told by the versions of the values alone; they are opened only when
//! the set is sent, and not kept.

use std::collections::BTreeMap;

use cara_api::agent::{Assignment, Goal, SecretValues};

use super::App;
use crate::cache::State;
use crate::vault;

/// Notes the secrets that the projects name, those of them that exist, without their values.
pub(super) fn name_secrets(assignments: &mut [Assignment], state: &State) {
    let running = assignments.iter_mut().filter(|a| a.goal == Goal::Run);
    for assignment in running {
        let names = assignment.spec.secrets();
        let found = names.iter().filter_map(|name| state.secret(name));
        let versions = found.map(|secret| {
            let values = SecretValues {
                version: secret.values_version(),
                data: BTreeMap::new(),
            };
            (secret.name(), values)
        });
        assignment.secrets = versions.collect();
    }
}

/// Fills in the values. One that changed since the secrets were named comes with its newer
/// version; the next pass then finds the set new and sends it again.
pub(super) fn fill_secrets(assignments: &mut [Assignment], app: &App) {
    for assignment in assignments {
        assignment.secrets.retain(|name, values| {
            let found = app
                .shared
                .cache
                .read(|state| state.secret(name.as_str()).cloned());
            let Some(secret) = found else { return false };
            match vault::open(&app.shared.key, secret.owner(), &secret.sealed) {
                Ok(data) => {
                    let version = secret.values_version();
                    *values = SecretValues { version, data };
                    true
                }
                Err(error) => {
                    tracing::error!(secret = %name, error = %error, "cannot open a secret");
                    false
                }
            }
        });
    }
}
