//! What a server name leads to: a certificate, who must vouch for clients, or a service that
//! speaks TLS itself. Readers share one table; a change makes a new one. Hosts are in lower case,
//! `*.x` stands for one label.

use std::collections::HashMap;
use std::sync::Arc;

use cara_api::gateway::{ClientAuthorities, StreamRoute};
use cara_certs::{Bundle, CertTable};
use rustls::ServerConfig;

use super::client::TlsInfo;
use super::tls::Configs;

/// Values for hosts of the kinds `a.b` and `*.b`; the exact one goes before the wildcard.
#[derive(Debug, Clone)]
pub(crate) struct HostMap<T> {
    exact: HashMap<Box<str>, T>,
    /// Under what follows `*.`.
    wildcard: HashMap<Box<str>, T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }
}

impl<T> HostMap<T> {
    /// Keeps a value for a host.
    pub(crate) fn insert(&mut self, host: &str, value: T) {
        match host.strip_prefix("*.") {
            Some(parent) => self.wildcard.insert(parent.into(), value),
            None => self.exact.insert(host.into(), value),
        };
    }

    /// The value for a host. Allocates nothing.
    pub(crate) fn find(&self, host: &str) -> Option<&T> {
        let wildcard = || {
            let (label, parent) = host.split_once('.')?;
            self.wildcard.get(parent).filter(|_| !label.is_empty())
        };
        self.exact.get(host).or_else(wildcard)
    }

    fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values())
    }
}

/// Who must vouch for the clients of a host.
pub(crate) struct ClientAuth {
    authorities: ClientAuthorities,
    /// How such clients are spoken to; none when the authorities cannot be read, and then nobody
    /// gets in.
    config: Option<Arc<ServerConfig>>,
}

impl std::fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientAuth")
            .field("is_usable", &self.config.is_some())
            .finish_non_exhaustive()
    }
}

impl ClientAuth {
    fn new(authorities: ClientAuthorities, host: &str, configs: &Configs) -> Self {
        let config = configs.with_client_authorities(&authorities);
        if let Err(error) = &config {
            tracing::warn!(host, error = %error, "no client of this host gets in");
        }
        Self {
            authorities,
            config: config.ok(),
        }
    }

    /// How to speak to clients that are asked for a certificate.
    pub(crate) fn config(&self) -> Option<&Arc<ServerConfig>> {
        self.config.as_ref()
    }
}

/// What the control plane says about server names, before anything is built from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameSources {
    /// All certificates.
    pub(crate) certificates: Arc<CertTable>,
    /// What clients get that ask for no name, or for one without a certificate.
    pub(crate) default: Option<Arc<Bundle>>,
    /// Hosts that do TLS in a way of their own; and those that do not, but would fall under a
    /// wildcard that does.
    pub(crate) hosts: Vec<(String, HostSource)>,
}

/// What is special about a host.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostSource {
    /// The certificate, if it is a certain one.
    pub(crate) certificate: Option<Arc<Bundle>>,
    /// Clients are asked for a certificate of these.
    pub(crate) clients: Option<ClientAuthorities>,
    /// The service speaks TLS itself.
    pub(crate) passthrough: Option<Arc<StreamRoute>>,
}

#[derive(Debug)]
struct Special {
    certificate: Option<Arc<Bundle>>,
    client_auth: Option<Arc<ClientAuth>>,
    passthrough: Option<Arc<StreamRoute>>,
}

/// What every server name leads to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    certificates: Arc<CertTable>,
    default: Option<Arc<Bundle>>,
    special: HostMap<Special>,
    asks_clients: bool,
}

/// What to do with a TLS connection, by its server name.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Hand its bytes to a service.
    Passthrough(Arc<StreamRoute>),
    /// Answer with this certificate.
    Terminate {
        /// The certificate.
        certificate: Arc<Bundle>,
        /// Who must vouch for the client.
        client_auth: Option<Arc<ClientAuth>>,
    },
    /// Nothing here has that name.
    Unrecognized,
}

impl Names {
    /// The table of what is said now. What did not change is taken over from the table before, so
    /// that sessions can still be resumed.
    pub(crate) fn build(sources: NameSources, before: &Self, configs: &Configs) -> Self {
        let known = before.special.values();
        let mut known: Vec<_> = known.filter_map(|host| host.client_auth.clone()).collect();
        let mut special = HostMap::default();
        for (host, source) in sources.hosts {
            let client_auth = source.clients.map(|authorities| {
                let same = known.iter().find(|auth| auth.authorities == authorities);
                same.cloned().unwrap_or_else(|| {
                    let auth = Arc::new(ClientAuth::new(authorities, &host, configs));
                    known.push(Arc::clone(&auth));
                    auth
                })
            });
            let entry = Special {
                certificate: source.certificate,
                client_auth,
                passthrough: source.passthrough,
            };
            special.insert(&host, entry);
        }
        let asks_clients = special.values().any(|host| host.client_auth.is_some());
        Self {
            certificates: sources.certificates,
            default: sources.default,
            asks_clients,
            special,
        }
    }

    /// The certificate for a server name, or for clients that name none.
    pub(crate) fn certificate(&self, sni: Option<&str>) -> Option<&Arc<Bundle>> {
        let named = sni.and_then(|name| {
            let special = self.special.find(name);
            let chosen = special.and_then(|host| host.certificate.as_ref());
            chosen.or_else(|| self.certificates.find(name))
        });
        named.or(self.default.as_ref())
    }

    /// What to do with a connection that asks for a server name.
    pub(crate) fn decide(&self, sni: Option<&str>) -> Decision {
        let special = sni.and_then(|name| self.special.find(name));
        if let Some(route) = special.and_then(|host| host.passthrough.as_ref()) {
            return Decision::Passthrough(Arc::clone(route));
        }
        match self.certificate(sni) {
            Some(certificate) => Decision::Terminate {
                certificate: Arc::clone(certificate),
                client_auth: special.and_then(|host| host.client_auth.clone()),
            },
            None => Decision::Unrecognized,
        }
    }

    /// Whether any host asks clients for a certificate. Nobody pays for what nobody uses.
    pub(crate) fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Whether a host (normalised) serves only clients that show a certificate.
    pub(crate) fn requires_certificate(&self, host: &str) -> bool {
        let wanted = self.client_auth(host);
        wanted.is_some_and(|auth| !auth.authorities.is_optional)
    }

    /// Whether a request for `host` (normalised) may come over a TLS connection. It may when the
    /// connection's certificate covers the host, or the client asked for no name, and the host
    /// asks of clients just what the connection's name asked.
    pub(crate) fn allows(&self, tls: &TlsInfo, host: &str) -> bool {
        let is_same = match (self.client_auth(host), &tls.client_auth) {
            (None, None) => true,
            (Some(wanted), Some(given)) => wanted.authorities == given.authorities,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_covered = match tls.sni.as_deref() {
            None => true,
            Some(sni) => sni == host || tls.certificate.covers(host),
        };
        is_same && is_covered
    }

    fn client_auth(&self, host: &str) -> Option<&Arc<ClientAuth>> {
        if !self.asks_clients {
            return None;
        }
        self.special.find(host)?.client_auth.as_ref()
    }
}

/// Whether a connection may carry requests for a host that asks `wanted` of clients. It may when it
/// asked its own client just that; without TLS, when clients need not show anything.
///
/// Names change a moment before routes do; this is for what the host of a route asks itself.
pub(crate) fn has_asked(tls: Option<&TlsInfo>, wanted: &ClientAuthorities) -> bool {
    match tls {
        None => wanted.is_optional,
        Some(tls) => {
            let given = tls.client_auth.as_ref();
            given.is_some_and(|given| given.authorities == *wanted)
        }
    }
}

#[cfg(test)]
#[path = "names/tests.rs"]
mod tests;
