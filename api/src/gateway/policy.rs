//! What applies to the requests of a rule, parsed. None always means: not asked for.

use std::time::Duration;

use ipnet::IpNet;

use crate::secret::Hidden;

/// What applies to the requests of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Plain HTTP is answered with a redirect (308) to HTTPS.
    pub redirect_https: bool,
    /// Value of `Strict-Transport-Security`.
    pub hsts: Option<Hsts>,
    /// `X-Robots-Tag: noindex` is set.
    pub no_index: bool,
    /// Answers are compressed.
    pub compression: bool,
    /// Who may come in.
    pub access: Access,
    /// Bodies of requests.
    pub body: Option<BodyLimit>,
    /// Requests of one client.
    pub per_client: Option<RateLimit>,
    /// Requests of all clients.
    pub total: Option<RateLimit>,
    /// Requests under way at once.
    pub in_flight: Option<InFlight>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a request is tried again.
    pub retries: Retries,
    /// Keeps clients with an endpoint.
    pub sticky: Option<Sticky>,
    /// Leaves out endpoints that fail.
    pub outlier: Option<Outlier>,
    /// Asks endpoints how they are.
    pub health: Option<HealthProbe>,
    /// A new endpoint's way to its full share.
    pub slow_start: Option<Duration>,
    /// Pages of other origins.
    pub cors: Option<Cors>,
    /// Changes to requests.
    pub request_headers: HeaderRules,
    /// Changes to answers.
    pub response_headers: HeaderRules,
    /// A page instead.
    pub maintenance: Option<Maintenance>,
    /// Requests are held.
    pub pause: Option<Pause>,
}

/// HTTP Strict Transport Security, RFC 6797.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsts {
    /// The header's whole value.
    pub value: String,
}

/// Who may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Only clients from these networks; empty: all.
    pub allow: Vec<IpNet>,
    /// A name and a password.
    pub basic: Option<BasicAuth>,
    /// A signed token.
    pub bearer: Option<Bearer>,
    /// A login.
    pub oidc: Option<Oidc>,
    /// Links with an end.
    pub share: Option<ShareLinks>,
    /// Lets automated checks pass.
    pub bypass: Option<Hidden>,
    /// Why nobody may come in: something that the rule refers to is missing, in words for the
    /// project's owner.
    pub broken: Option<String>,
}

impl Access {
    /// True when a client must show who it is.
    pub fn asks_who(&self) -> bool {
        self.basic.is_some()
            || self.bearer.is_some()
            || self.oidc.is_some()
            || self.share.is_some()
            || self.bypass.is_some()
    }
}

/// HTTP basic authentication, RFC 7617.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// Names with passwords or bcrypt hashes of them.
    pub users: Vec<(String, Hidden)>,
    /// What the browser shows.
    pub realm: String,
}

/// Signed tokens, RFC 6750 and RFC 7519.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Issuer, as tokens name it.
    pub issuer: String,
    /// Where its keys are; none: where discovery says.
    pub jwks_url: Option<String>,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Claims with their values.
    pub claims: Vec<(String, String)>,
}

/// Login by OpenID Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Issuer.
    pub issuer: String,
    /// Client that the issuer knows.
    pub client_id: String,
    /// What only the issuer and the gateway know; none for a public client.
    pub client_secret: Option<Hidden>,
    /// What to ask for, `openid` included.
    pub scopes: Vec<String>,
    /// Addresses, or domains with their `@`; empty: all.
    pub emails: Vec<String>,
    /// Groups; empty: all.
    pub groups: Vec<String>,
    /// How long a login lasts.
    pub session: Duration,
}

/// Links with a signature and an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLinks {
    /// Longest life.
    pub max_age: Duration,
    /// Part of what is signed.
    pub epoch: String,
}

/// Largest body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// In bytes.
    pub bytes: u64,
}

/// A rate with room for bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in a period.
    pub requests: u32,
    /// The period.
    pub per: Duration,
    /// Requests that may come at once.
    pub burst: u32,
}

/// Requests under way at once, and a queue before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Under way.
    pub max: u32,
    /// Waiting.
    pub queue: u32,
    /// How long one waits.
    pub timeout: Duration,
}

/// How long things may take; none: what the operator set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Option<Duration>,
    /// For silence during a request.
    pub response: Option<Duration>,
    /// For silence within a stream.
    pub idle: Option<Duration>,
}

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Tries in all.
    pub attempts: u32,
    /// Share of the requests of the last ten seconds, in percent.
    pub budget_percent: u32,
    /// Answers that are tried again.
    pub on_status: Vec<u16>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 2,
            budget_percent: 20,
            on_status: Vec::new(),
        }
    }
}

/// Keeps clients with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// Name of the cookie.
    pub cookie: String,
    /// Its life; none: until the browser closes.
    pub max_age: Option<Duration>,
}

/// Leaves out endpoints that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlier {
    /// Failures in a row.
    pub failures: u32,
    /// How long at first.
    pub ejection: Duration,
}

/// A request that asks an endpoint how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthProbe {
    /// Path of the request.
    pub path: String,
    /// Time between two.
    pub interval: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// Failures in a row that put it out.
    pub failures: u32,
    /// Successes in a row that bring it back.
    pub successes: u32,
}

/// Cross-origin resource sharing, as the Fetch standard has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Origins in lower case, or `*` alone.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Headers that may be sent.
    pub headers: Vec<String>,
    /// Headers that may be read.
    pub expose: Vec<String>,
    /// Cookies may be sent.
    pub credentials: bool,
    /// How long browsers remember the answer.
    pub max_age: Option<Duration>,
}

/// Changes to headers: first `remove`, then `set`, then `add`. Names are in lower case and valid,
/// as are values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Names to take away.
    pub remove: Vec<String>,
    /// To put in the place of what there is.
    pub set: Vec<(String, String)>,
    /// To put beside what there is.
    pub add: Vec<(String, String)>,
}

impl HeaderRules {
    /// True when nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// A page instead of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// A sentence for the page; may be empty.
    pub message: String,
    /// Clients from these networks pass.
    pub allow: Vec<IpNet>,
}

/// Requests are held until the rule has no pause any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long one is held.
    pub max_wait: Duration,
    /// How many are held at once.
    pub max_requests: u32,
}
