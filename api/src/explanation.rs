//! Why a URL goes where it goes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a URL goes where it goes: which host, which rule of it, and what that rule does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// The host of the URL as routes are looked up by.
    pub host: String,
    /// The path of the URL.
    pub path: String,
    /// The hostname or wildcard that takes the host; empty when none does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub matched: String,
    /// The project that it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// The rules of the host in the order in which they are asked: the most specific one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ConsideredRule>,
    /// What becomes of the request, one sentence each, in the order in which it happens.
    pub steps: Vec<String>,
}

/// A rule, and whether it takes the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsideredRule {
    /// The ingress rule's name.
    pub ingress: String,
    /// What it takes.
    pub takes: String,
    /// Whether it takes the request.
    pub verdict: RuleVerdict,
    /// Why it does not; empty if it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Whether a rule takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum RuleVerdict {
    /// It takes the request.
    Taken,
    /// It does not match.
    Refused,
    /// A more specific one took it already.
    NotAsked,
}
