//! Settings of the control plane, parsed and checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cara_api::NodeName;
use cara_api::hostname::{Domain, Hostname};
use cara_api::secret::Hidden;
use cara_api::validate::{ReservedBy, ReservedHost};
use jiff::SignedDuration;
use ring::rand::{SecureRandom, SystemRandom};
use url::Url;
use zeroize::Zeroizing;

use crate::plan::Patience;
use crate::plan::access::mapping::RoleRule;
use crate::plan::admission::Auth;
use crate::plan::events::Site;
use crate::vault::{KeySource, NoRandomness};

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Completes short hosts.
    pub domain: Domain,
    /// Hosts that are the server's own: no project gets them.
    pub reserved: Vec<ReservedHost>,
    /// Port of the gateway, for the URLs that are shown; 80 is left out of them.
    pub http_port: u16,
    /// Port of the gateway for HTTPS, if it serves that: URLs then begin with `https`.
    pub https_port: Option<u16>,
    /// How long a sign of life of an agent counts.
    pub node_timeout: Duration,
    /// The same for a node that only sends plain heartbeats, as agents of the older system do
    /// every 30 s.
    pub plain_node_timeout: Duration,
    /// How long to wait for a node that is not ready.
    pub patience: Patience,
    /// Pause after which an idle stream carries a bookmark or keepalive.
    pub keepalive: Duration,
    /// Where the store keeps its files, if it does; only looked at.
    pub data_dir: Option<PathBuf>,
    /// Where accepted writes are recorded, if they are.
    pub audit_log: Option<PathBuf>,
    /// Where the key that opens secrets comes from.
    pub secret_key: KeySource,
    /// Where certificates are ordered, if they are.
    pub acme: Option<AcmeConfig>,
    /// How the API is served.
    pub api: ApiConfig,
    /// Who may use it.
    pub access: AccessConfig,
}

/// How the API is served.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where it listens; tells nodes where to come.
    pub address: SocketAddr,
    /// How it is protected on its way.
    pub tls: ApiTls,
    /// Hostnames and addresses by which clients reach it, besides the one that it listens on.
    pub names: Vec<String>,
    /// Whether callers must show who they are.
    pub auth: Auth,
    /// How long certificates live that the server issues to nodes and to itself.
    pub certificate_life: SignedDuration,
    /// The agent in this process, and what it shows.
    pub inside: Option<Inside>,
}

impl Default for ApiConfig {
    /// On loopback, open to whoever is on this machine.
    fn default() -> Self {
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            tls: ApiTls::Off,
            names: Vec::new(),
            auth: Auth::Off,
            certificate_life: SignedDuration::from_hours(24),
            inside: None,
        }
    }
}

/// How the API is protected on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ApiTls {
    /// Not at all.
    #[default]
    Off,
    /// By a certificate of the server's own authority.
    Internal,
    /// By a certificate of the operator; nodes go by the server's own all the same.
    Files {
        /// PEM, leaf first.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
    },
}

/// The agent in the server's process.
#[derive(Debug, Clone)]
pub struct Inside {
    /// Its node.
    pub node: NodeName,
    /// What it shows; nobody else knows it.
    pub secret: Hidden,
}

impl Inside {
    /// The agent of a node with a secret that ends with this process.
    ///
    /// # Errors
    /// See [`NoRandomness`].
    pub fn with_new_secret(node: NodeName) -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *bytes)
            .map_err(|_| NoRandomness)?;
        let secret = Hidden::new(BASE64_STANDARD.encode(*bytes));
        Ok(Self { node, secret })
    }
}

/// Who may use the API, where callers must show who they are.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// The longest life of a token.
    pub longest_life: Duration,
    /// Where the first token is written to, while there is none that may do everything.
    pub bootstrap_file: Option<PathBuf>,
    /// Where people log in, if they do.
    pub login: Option<LoginConfig>,
    /// Authorities (PEM) of issuers beside those of the system.
    pub issuer_authorities: Option<String>,
}

/// An issuer of OpenID Connect by which people log in.
#[derive(Debug, Clone)]
pub struct LoginConfig {
    /// Its URL, as its tokens name it.
    pub issuer: String,
    /// The client that it knows.
    pub client_id: String,
    /// What only the issuer and the server know; none for a public client.
    pub client_secret: Option<Hidden>,
    /// What is asked for, separated by spaces.
    pub scopes: String,
    /// What claims are good for.
    pub roles: Vec<RoleRule>,
    /// How long a login is good.
    pub life: Duration,
    /// URL of the API for browsers, without a slash at its end; empty when they do not log in.
    pub url: String,
}

/// The hosts that are the server's own: that of the gateway for logins, and those of the API.
pub fn reserved_hosts(
    auth_host: Option<&Hostname>,
    api: &ApiConfig,
    access: &AccessConfig,
) -> Vec<ReservedHost> {
    let named = |by| move |host| ReservedHost { host, by };
    let auth = auth_host.cloned().map(named(ReservedBy::AuthHost));
    let names = api
        .names
        .iter()
        .filter(|name| name.parse::<IpAddr>().is_err());
    let names = names.filter_map(|name| Hostname::parse(name).ok());
    let login = access.login.as_ref().and_then(|login| {
        let url = Url::parse(&login.url).ok()?;
        Hostname::parse(url.domain()?).ok()
    });
    let login = login.map(named(ReservedBy::LoginUrl));
    let all = auth
        .into_iter()
        .chain(names.map(named(ReservedBy::ApiNames)));
    let mut hosts: Vec<ReservedHost> = Vec::new();
    for reserved in all.chain(login) {
        if !hosts.iter().any(|known| known.host == reserved.host) {
            hosts.push(reserved);
        }
    }
    hosts
}

impl LoginConfig {
    /// Whether browsers reach the API by HTTPS, so that cookies can be bound to it.
    pub(crate) fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// Where the issuer sends browsers back to.
    pub(crate) fn callback(&self) -> String {
        format!("{}{}", self.url, cara_api::paths::LOGIN_CALLBACK)
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            longest_life: Duration::from_secs(366 * 86_400),
            bootstrap_file: None,
            login: None,
            issuer_authorities: None,
        }
    }
}

/// An ACME server (RFC 8555), and the means to prove names to it.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// URL of its directory.
    pub directory_url: String,
    /// Roots (PEM) to trust for it besides the system's; with any, it counts as a private
    /// authority, which may issue for all names.
    pub extra_roots_pem: Option<String>,
    /// Whom it may write to: `mailto:` and an address.
    pub contacts: Vec<String>,
    /// An account to bind to: identifier and HMAC key in base64url.
    pub external_account: Option<(String, Hidden)>,
    /// How the DNS is changed; none: only HTTP-01, and no wildcards.
    pub dns: Option<DnsConfig>,
}

/// How the DNS is changed.
#[derive(Debug, Clone)]
pub enum DnsConfig {
    /// Dynamic updates (RFC 2136), signed by TSIG.
    Rfc2136 {
        /// `HOST:PORT` of the primary server.
        server: String,
        /// `HOST:PORT` of further servers, which must have a record before it counts as there.
        secondaries: Vec<String>,
        /// Name of the key.
        key_name: String,
        /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
        key_algorithm: String,
        /// The key in base64.
        key: Hidden,
        /// How long all servers may take to have a record.
        timeout: Duration,
    },
    /// A program.
    Exec {
        /// Absolute path.
        program: PathBuf,
        /// What it gets in its environment.
        variables: Vec<(String, Hidden)>,
        /// How long a call may take.
        timeout: Duration,
    },
    /// A web service.
    Webhook {
        /// Where it is.
        url: String,
        /// Shown to it as a bearer token.
        token: Option<Hidden>,
        /// Roots (PEM) to trust for it besides the system's.
        extra_roots_pem: Option<String>,
        /// How long a call may take.
        timeout: Duration,
    },
}

impl Config {
    /// Where the gateway serves.
    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            domain: &self.domain,
            http_port: self.http_port,
            https_port: self.https_port,
            reserved: &self.reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_api_and_of_logins_are_the_servers_own() {
        let host = |text: &str| Hostname::parse(text).expect("a hostname");
        let api = ApiConfig {
            names: ["10.0.0.1", "cara.lan", "::1"].map(str::to_owned).into(),
            ..ApiConfig::default()
        };
        let check = |url: &str, expected: &[(&str, ReservedBy)]| {
            let login = LoginConfig {
                issuer: String::new(),
                client_id: String::new(),
                client_secret: None,
                scopes: String::new(),
                roles: Vec::new(),
                life: Duration::ZERO,
                url: url.to_owned(),
            };
            let access = AccessConfig {
                login: Some(login),
                ..AccessConfig::default()
            };
            let found = reserved_hosts(Some(&host("auth.dev.x")), &api, &access);
            let found = found.iter().map(|found| (found.host.as_str(), found.by));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{url}");
        };
        let ours = [
            ("auth.dev.x", ReservedBy::AuthHost),
            ("cara.lan", ReservedBy::ApiNames),
        ];
        check("", &ours);
        check("http://127.0.0.1:8080", &ours);
        check("https://cara.lan:8443", &ours);
        let login = ("login.example.com", ReservedBy::LoginUrl);
        check("https://LOGIN.example.com", &[ours[0], ours[1], login]);
    }
}
