//! What a gateway is told: the published routes, certificates and keys, parsed and ready to use.

mod policy;

use std::net::SocketAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::hostname::Hostname;
use crate::meta::ResourceVersion;
use crate::project::ProjectPhase;
use crate::secret::Hidden;

pub use policy::{
    Access, BasicAuth, Bearer, BodyLimit, Cors, HeaderRules, HealthProbe, Hsts, InFlight,
    Maintenance, Oidc, Outlier, Pause, Policy, RateLimit, Retries, ShareLinks, Sticky, Timeouts,
};

/// Everything that a gateway serves. A new state replaces the old one. What did not change is the
/// same `Arc`, and the maps share their structure, so that a copy costs nothing and a receiver
/// finds what changed by comparing pointers ([`OrdMap::diff`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// The store's revision that this state follows from; receivers refuse older ones.
    pub revision: ResourceVersion,
    /// One entry for each hostname that clients type, or wildcard for the names one label below.
    /// Those that have all in common share it.
    pub hosts: OrdMap<Hostname, Arc<Host>>,
    /// Plain TCP, by the port of the gateway.
    pub ports: OrdMap<u16, Arc<StreamRoute>>,
    /// Certificates by a name that identifies them over renewals.
    pub certificates: OrdMap<String, Arc<Certificate>>,
    /// Answers to HTTP-01 challenges (RFC 8555 section 8.3): key authorization by token.
    pub challenges: OrdMap<String, String>,
    /// Keys of this installation.
    pub keys: Arc<Keys>,
}

/// Keys that all gateways of an installation share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Signs sessions, login states and share links: 32 bytes in base64. None: none of them work.
    pub signing: Option<Hidden>,
}

/// A certificate chain with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// Private key, PEM.
    pub key_pem: Hidden,
    /// Answers clients that name no server, or one that no certificate covers.
    pub is_default: bool,
}

/// All that is served under a hostname, or under several that have it in common. It belongs to
/// one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The project that owns it.
    pub project: String,
    /// What of TLS is special.
    pub tls: HostTls,
    /// Rules; the most specific one that matches a request takes it.
    pub routes: Vec<Arc<Route>>,
}

/// How a host does TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTls {
    /// Not ended here but forwarded as it is.
    pub passthrough: Option<Arc<StreamRoute>>,
    /// Key into [`GatewayState::certificates`]; none: whichever covers the name.
    pub certificate: Option<String>,
    /// Clients must show a certificate of one of these authorities.
    pub clients: Option<ClientAuthorities>,
}

/// Who signs certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientAuthorities {
    /// One or more certificates, PEM.
    pub ca_pem: Arc<str>,
    /// Clients without a certificate pass.
    pub is_optional: bool,
}

/// Where connections go that are not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRoute {
    /// The project that owns it.
    pub project: String,
    /// The ingress rule.
    pub ingress: String,
    /// The service behind it.
    pub service: String,
    /// Only clients from these networks; empty: all.
    pub allow: Vec<ipnet::IpNet>,
    /// Whether it can be reached, and where.
    pub backend: Backend,
}

/// A rule: which requests, what happens to them, and what applies on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The project that owns it.
    pub project: String,
    /// Its ingress rule.
    pub ingress: String,
    /// Which paths.
    pub path: PathMatch,
    /// Headers that a request must have, by name in lower case.
    pub headers: Vec<HeaderMatch>,
    /// What happens.
    pub action: Action,
    /// What applies.
    pub policy: Arc<Policy>,
}

impl Route {
    /// The only service behind it, or the first of several; empty when it forwards nothing.
    pub fn service(&self) -> &str {
        match &self.action {
            Action::Forward(forward) => forward.targets.first().map_or("", |t| &t.service),
            Action::Redirect(_) | Action::Respond(_) => "",
        }
    }
}

/// Which paths a rule takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathMatch {
    /// This path and what is below it: begins with `/` and ends without, except `/` itself.
    Prefix(String),
    /// This path only.
    Exact(String),
}

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderMatch {
    /// Name in lower case.
    pub name: String,
    /// The whole value; none: any.
    pub value: Option<String>,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It goes to a service.
    Forward(Forward),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// A fixed answer.
    Respond(Respond),
}

/// Services that share requests by weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// At least one.
    pub targets: Vec<Target>,
    /// What becomes of the path.
    pub rewrite: Rewrite,
}

/// What becomes of a request's path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    #[default]
    Keep,
    /// This prefix is taken off.
    StripPrefix(String),
    /// The part that matched is replaced.
    Replace(String),
}

/// A service and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The service.
    pub service: String,
    /// Share against the sum of all; 0 takes none.
    pub weight: u32,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it can be reached, and where.
    pub backend: Backend,
}

/// What a service speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS.
    H2c,
    /// HTTP over TLS.
    Tls(Arc<UpstreamTls>),
}

/// How the gateway and a service know each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that the service's certificate must have; none: the request's host.
    pub server_name: Option<String>,
    /// Authorities, PEM; none: those of the host.
    pub ca_pem: Option<String>,
    /// The certificate that the gateway shows: chain and key, PEM.
    pub identity: Option<(String, Hidden)>,
    /// Any certificate is accepted.
    pub is_insecure: bool,
}

/// Sends a client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Where to, with `{path}` and `{query}` for those of the request.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Value of `content-type`.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// Whether a service can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// At least one endpoint accepts connections.
    Ready {
        /// Where to connect; never empty.
        endpoints: Vec<SocketAddr>,
    },
    /// Nothing to connect to yet, or any more.
    Unavailable {
        /// The project's phase.
        phase: ProjectPhase,
        /// Why, in one CamelCase word.
        reason: String,
    },
}

impl Backend {
    /// Where to connect; empty when it cannot be reached.
    pub fn endpoints(&self) -> &[SocketAddr] {
        match self {
            Self::Ready { endpoints } => endpoints,
            Self::Unavailable { .. } => &[],
        }
    }
}
