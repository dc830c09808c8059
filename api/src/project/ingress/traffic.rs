//! What applies to requests on their way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// HTTP Strict Transport Security, RFC 6797.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hsts {
    /// How long browsers remember it, such as `8760h`, which applies when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_age: String,
    /// Also for all names below.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_subdomains: bool,
    /// Agrees to be in the lists that browsers ship.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preload: bool,
}

/// What clients may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Largest body of a request, such as `10Mi`; no limit when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Requests of one client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_client: Option<RateLimit>,
    /// Requests of all clients together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<RateLimit>,
    /// Requests that may be under way at once; more wait.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub in_flight: i64,
    /// Requests that may wait; more are refused (503). 100 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub queue: i64,
    /// How long a request may wait, such as `5s`, which applies when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub queue_timeout: String,
}

/// A rate with room for bursts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// Requests in a period.
    #[schema(required = true, minimum = 1)]
    pub requests: i64,
    /// The period, such as `1m`; `1s` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub per: String,
    /// Requests that may come at once; as many as `requests` when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub burst: i64,
}

/// How long things may take; what the gateway's operator set when left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// For the service to accept a connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connect: String,
    /// For the service to be silent during a request, before its answer and within it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// For WebSockets and event streams to be silent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub idle: String,
}

/// When a request is tried again. Trying again is safe when the service did not get the request,
/// or when the method is idempotent and no body was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retries {
    /// Tries in all, 1 to 5; 2 when left out. Up to two more follow on kept connections that the
    /// service had closed.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1, maximum = 5)]
    pub attempts: i64,
    /// Retries may be at most this share of the requests of the last ten seconds, in percent; 20
    /// when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1, maximum = 100)]
    pub budget_percent: i64,
    /// Answers that are tried again, out of 502, 503 and 504; none when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_status: Vec<i64>,
}

/// Which endpoint a request goes to: of two at random the one with fewer requests under way,
/// unless said otherwise here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Balance {
    /// Requests of a client go to the same endpoint and service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Leaves out endpoints that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// Asks endpoints how they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthProbe>,
    /// A new endpoint gets its full share only after this time, such as `30s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub slow_start: String,
}

/// Keeps a client with an endpoint by a cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sticky {
    /// Name of the cookie; `cara_sticky` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cookie: String,
    /// Life of the cookie, such as `1h`; until the browser closes when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_age: String,
}

/// Leaves out an endpoint that fails, for a time that grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Outlier {
    /// Failures in a row; 5 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub failures: i64,
    /// How long it is left out the first time; `10s` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ejection: String,
}

/// A request by which the gateway asks an endpoint how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthProbe {
    /// Path of the request; any status below 400 is well.
    #[schema(required = true)]
    pub path: String,
    /// `10s` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// `2s` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timeout: String,
    /// Failures in a row after which it is left out; 3 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub failures: i64,
    /// Successes in a row after which it is back; 1 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub successes: i64,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// Origins such as `https://app.example.com`, or `*`.
    #[schema(required = true)]
    pub origins: Vec<String>,
    /// `GET`, `HEAD` and `POST` when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Headers that pages may send.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Headers of the answer that pages may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Pages may send cookies; not together with the origin `*`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub credentials: bool,
    /// How long browsers remember the answer, such as `10m`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_age: String,
}

/// Changes to headers: first `remove`, then `set`, then `add`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderRules {
    /// Headers to take away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Headers to put in the place of what there is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers to put beside what there is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

/// A page instead of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Maintenance {
    /// A sentence for the page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Clients from these networks pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// Holds requests, up to a limit, while something is switched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pause {
    /// How long a request is held before it is refused (503); `30s` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_wait: String,
    /// Requests that are held at once; 1000 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1)]
    pub max_requests: i64,
}
