//! Who it is that asks.

use serde::{Deserialize, Serialize};

/// Who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Who {
    /// Name of a user, or subject at an issuer.
    pub(super) user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<String>,
}

/// Who came in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(super) who: Who,
}
