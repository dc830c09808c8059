//! The Secret: values that services need and nobody may read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::{ObjectMeta, Resource};
use crate::names::SecretName;

/// Named values that are kept encrypted and never leave the server but to the nodes whose
/// services use them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `Secret`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// The values by key. Write-only: no answer carries them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = true, write_only, value_type = BTreeMap<String, String>)]
    pub data: BTreeMap<String, Hidden>,
    /// The keys, without their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(read_only)]
    pub keys: Vec<String>,
}

impl Resource for Secret {
    const KIND: &'static str = "Secret";
    const NOUN: &'static str = "secret";

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Secret {
    /// The name as a key.
    pub fn name(&self) -> SecretName {
        SecretName::trusted(&self.metadata.name)
    }
}

/// A text that no log shows: it has no `Display`, and `Debug` hides it. Serializing gives the
/// text, since it must travel to where it is used.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Whoever calls this answers for where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_text_shows_nowhere_but_on_the_wire() {
        let secret = Secret {
            data: BTreeMap::from([("password".to_owned(), Hidden::new("swordfish"))]),
            ..Secret::default()
        };
        assert!(!format!("{secret:?}").contains("swordfish"));
        let wire = serde_json::to_value(&secret).expect("serializable");
        assert_eq!(wire["data"]["password"], "swordfish");
    }
}
