//! What a server finds when it looks at itself, and what can be done about it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::Timestamp;

/// How well something is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Pass,
    /// It works, and somebody should look.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at, in a word.
    pub name: String,
    /// How well it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do about it; empty when there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Check {
    /// Something that is as it should be.
    pub fn pass(name: &str, message: impl Into<String>) -> Self {
        Self::new(name, Level::Pass, message, "")
    }

    /// Something that somebody should look at.
    pub fn warn(name: &str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(name, Level::Warn, message, mend)
    }

    /// Something that does not work.
    pub fn fail(name: &str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(name, Level::Fail, message, mend)
    }

    fn new(name: &str, level: Level, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            level,
            message: message.into(),
            mend: mend.into(),
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// Always [`crate::API_VERSION`].
    pub api_version: String,
    /// Always `DoctorReport`.
    pub kind: String,
    /// The server's clock.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The server's version.
    pub version: String,
    /// Short hosts of projects are completed by this.
    pub domain: String,
    /// Port of the gateway for HTTP.
    pub http_port: u16,
    /// Port of the gateway for HTTPS, if it serves that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_port: Option<u16>,
    /// What was looked at.
    pub checks: Vec<Check>,
}
