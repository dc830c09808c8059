//! What gateways serve, as the API lists it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Everything that gateways serve now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteList {
    /// The store's revision that they follow from; 0 when nothing was published yet.
    pub revision: String,
    /// By host, the most specific rule of each first; then ports.
    pub items: Vec<RouteView>,
}

/// A rule under one host, or a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteView {
    /// The hostname or wildcard; for a port, `tcp:` and its number.
    pub host: String,
    /// The path: with `*` at its end for what is below it; empty where paths are not seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Headers that a request must have, as `name` or `name: value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The project that it belongs to.
    pub project: String,
    /// Its ingress rule.
    pub ingress: String,
    /// What happens.
    pub action: RouteAction,
    /// Where a redirect leads to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// Status of a redirect or a fixed answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Services behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<RouteTarget>,
    /// What is special about it now: Maintenance, Paused, Closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum RouteAction {
    /// It goes to a service.
    #[default]
    Forward,
    /// The client is sent elsewhere.
    Redirect,
    /// A fixed answer.
    Respond,
    /// TLS is passed on as it is.
    Passthrough,
    /// Bytes of a port are passed on as they are.
    Stream,
}

/// A service behind a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteTarget {
    /// Its name.
    pub service: String,
    /// Its share against the sum of all.
    pub weight: u32,
    /// `Ready`, or why it cannot be reached.
    pub state: String,
    /// Where it is reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
}
