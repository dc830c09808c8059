//! An ingress: which requests it takes, where they go, and what applies to them on the way.
//!
//! Values are kept as they were written; [`crate::validate`] checks them, and the control plane
//! turns them into the parsed form of [`crate::gateway`].

mod access;
mod traffic;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use access::{
    AccessScope, BasicAuth, Bearer, ClientCertificate, IngressAccess, Oidc, ShareLinks,
};
pub use traffic::{
    Balance, Cors, HeaderRules, HealthProbe, Hsts, Limits, Maintenance, Outlier, Pause, RateLimit,
    Retries, Sticky, Timeouts,
};

/// Hostnames, and what becomes of requests for them.
///
/// Several entries of a project may name the same host if they differ in path or headers; the
/// most specific one that matches a request takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Unique within the project.
    #[schema(required = true)]
    pub name: String,
    /// With a dot: the hostname itself, `*.` before it for every name one label below. Without:
    /// `{host}.{environment}.{baseDomain}`. Left out: the project's name takes its place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// More hosts, in the same form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// `HTTP` when left out. `TLSPassthrough` forwards TLS by its server name without ending it,
    /// `TCP` forwards everything that arrives at `port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = IngressProtocol)]
    pub protocol: String,
    /// For `TCP`: the port of the gateway, within the range that its operator allows.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: i64,
    /// Only requests with this path; `/` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `Prefix` when left out: the path itself and everything below it. Or `Exact`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = PathType)]
    pub path_type: String,
    /// Only requests with all of these headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_headers: Vec<HeaderMatch>,
    /// Where requests go. One of `target`, `targets`, `redirect` and `respond` is needed.
    #[serde(skip_serializing_if = "IngressTarget::is_unset")]
    pub target: IngressTarget,
    /// Several services that share the requests by weight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<IngressTarget>,
    /// Sends clients elsewhere instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Gives a fixed answer instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<Box<Respond>>,
    /// Takes this prefix off the path before the request goes on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub strip_prefix: String,
    /// Takes the place of the part of the path that matched.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rewrite: String,
    /// `auto` when left out: a certificate is obtained by ACME where the server is set to, else
    /// made by the server's own authority. `off`: none is, and URLs begin with `http`. Else the
    /// name of a Certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls: String,
    /// Answers plain HTTP with a redirect (308) to HTTPS. Left out: if the certificate is one
    /// that browsers trust.
    #[serde(rename = "redirectHTTP", skip_serializing_if = "Option::is_none")]
    pub redirect_http: Option<bool>,
    /// Tells browsers to use HTTPS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// Clients must show a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Who may reach it.
    pub access: IngressAccess,
    /// What clients may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<Limits>>,
    /// How long things may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Box<Timeouts>>,
    /// When a request is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Box<Retries>>,
    /// Which endpoint a request goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Box<Balance>>,
    /// Compresses answers that are not: on unless `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// Lets pages of other origins call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Box<Cors>>,
    /// Changes to the headers of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Box<HeaderRules>>,
    /// Changes to the headers of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<Box<HeaderRules>>,
    /// Asks search engines to stay away. Left out: in all environments but `prod` and
    /// `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_index: Option<bool>,
    /// Answers everybody with a page that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Box<Maintenance>>,
    /// Holds requests until it is taken away again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Ingress {
    /// All hosts as they were written. The first is what `host` says, also when that is left out,
    /// unless there are only `hosts`.
    pub fn all_hosts(&self) -> impl Iterator<Item = &str> {
        let first = (!self.host.is_empty() || self.hosts.is_empty()).then_some(self.host.as_str());
        first
            .into_iter()
            .chain(self.hosts.iter().map(String::as_str))
    }

    /// All services that it leads to.
    pub fn all_targets(&self) -> impl Iterator<Item = &IngressTarget> {
        let single = (!self.target.is_unset()).then_some(&self.target);
        single.into_iter().chain(&self.targets)
    }

    /// The protocol; none when the text is none.
    pub fn protocol(&self) -> Option<IngressProtocol> {
        IngressProtocol::parse(&self.protocol)
    }
}

/// What an ingress takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum IngressProtocol {
    /// The same as `HTTP`.
    #[serde(rename = "")]
    Unset,
    /// HTTP/1.1 and HTTP/2, with and without TLS.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// TLS that the service ends itself.
    #[serde(rename = "TLSPassthrough")]
    TlsPassthrough,
    /// Any connection to a port of the gateway.
    #[serde(rename = "TCP")]
    Tcp,
}

impl IngressProtocol {
    /// Reads a protocol.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "HTTP" => Some(Self::Http),
            "TLSPassthrough" => Some(Self::TlsPassthrough),
            "TCP" => Some(Self::Tcp),
            _ => None,
        }
    }
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum PathType {
    /// The same as `Prefix`.
    #[serde(rename = "")]
    Unset,
    /// The path itself and everything below it: `/api` takes `/api/users`, not `/apis`.
    #[default]
    Prefix,
    /// The path itself only.
    Exact,
}

impl PathType {
    /// Reads a type.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Prefix" => Some(Self::Prefix),
            "Exact" => Some(Self::Exact),
            _ => None,
        }
    }
}

/// A header that a request must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HeaderMatch {
    /// Its name; case does not matter.
    #[schema(required = true)]
    pub name: String,
    /// Its whole value. Left out: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct IngressTarget {
    /// A name out of `spec.services`.
    #[schema(required = true)]
    pub service: String,
    /// The port that the container listens on, 1 to 65535.
    #[schema(required = true, minimum = 1, maximum = 65535)]
    pub port: i64,
    /// What the service speaks: `HTTP` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = TargetProtocol)]
    pub protocol: String,
    /// For `HTTPS`: how the service is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TargetTls>>,
    /// Within `targets`: its share of the requests against the sum of all weights, 0 to 1000000;
    /// 0 takes none, 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub weight: Option<i64>,
}

impl IngressTarget {
    /// True when nothing was given.
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum TargetProtocol {
    /// The same as `HTTP`.
    #[serde(rename = "")]
    Unset,
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP/2 without TLS, as gRPC services speak it.
    H2C,
    /// HTTP/1.1 or HTTP/2 over TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

impl TargetProtocol {
    /// Reads a protocol.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "HTTP" => Some(Self::Http),
            "H2C" => Some(Self::H2C),
            "HTTPS" => Some(Self::Https),
            _ => None,
        }
    }
}

/// How the gateway and a service that speaks TLS know each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetTls {
    /// The name that its certificate must have; the hostname of the request when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// A Certificate or Secret whose `ca.crt` holds the authorities to trust; those of the host when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// A Certificate that the gateway shows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Accepts any certificate. For tests only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// Sends clients elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// Where to: a URL, or a path of the same host. `{path}` and `{query}` stand for those of
    /// the request.
    #[schema(required = true)]
    pub to: String,
    /// 301, 302, 303, 307 or 308; 308 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: i64,
}

/// A fixed answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Respond {
    /// 200 when left out.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 200, maximum = 599)]
    pub status: i64,
    /// `text/plain; charset=utf-8` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    /// At most 64 KiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
}
