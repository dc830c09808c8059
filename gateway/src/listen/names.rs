//! What a server name leads to: a certificate, who must vouch for clients, or a service that
//! speaks TLS itself. Readers share one table; a change makes a new one, which shares with the old
//! what did not change. Hosts are in lower case, `*.x` stands for one label.

use std::sync::Arc;

use cara_api::gateway::{ClientAuthorities, Host};
use cara_api::hostname::Hostname;
use cara_certs::{Bundle, CertTable};
use imbl::{HashMap, OrdMap};

use super::client::TlsInfo;
use super::client_auth::ClientAuth;
use super::passed::{Passed, PassedTo};

/// Values for hosts of the kinds `a.b` and `*.b`.
#[derive(Debug, Clone)]
struct HostMap<T> {
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

impl<T: Clone> HostMap<T> {
    /// Puts a value, or none, in the place of the one for a host, which it gives back.
    fn replace(&mut self, host: &str, value: Option<T>) -> Option<T> {
        let (map, key) = match host.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, host),
        };
        match value {
            Some(value) => map.insert(key.into(), value),
            None => map.remove(key),
        }
    }

    /// The value of exactly this host.
    fn exact(&self, host: &str) -> Option<&T> {
        self.exact.get(host)
    }

    /// The value of the wildcard above a host. Allocates nothing.
    fn above(&self, host: &str) -> Option<&T> {
        if self.wildcard.is_empty() {
            return None;
        }
        let (label, parent) = host.split_once('.')?;
        self.wildcard.get(parent).filter(|_| !label.is_empty())
    }
}

/// What is special about a host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Special {
    /// The name of its certificate, if it is a certain one.
    pub(crate) certificate: Option<String>,
    /// Clients are asked for a certificate.
    pub(crate) client_auth: Option<Arc<ClientAuth>>,
    /// The service speaks TLS itself.
    pub(crate) passthrough: Option<Arc<PassedTo>>,
}

/// What every server name leads to. A copy costs nothing, and a change of it what it changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    certificates: Certificates,
    special: HostMap<Arc<Special>>,
    /// How many of [`Self::special`] ask clients for a certificate.
    asking: usize,
    /// All hosts: one that is there itself does not fall under a wildcard.
    hosts: OrdMap<Hostname, Arc<Host>>,
}

/// The certificates that there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Certificates {
    /// By the names that they cover.
    pub(crate) covering: Arc<CertTable>,
    /// By the names under which they are published.
    pub(crate) named: HashMap<String, Arc<Bundle>>,
    /// What clients get that ask for no name, or for one without a certificate.
    pub(crate) default: Option<Arc<Bundle>>,
}

/// What to do with a TLS connection, by its server name.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Hand its bytes to a service.
    Passthrough(Passed),
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
    /// Puts other certificates in the place of those that there are.
    pub(crate) fn set_certificates(&mut self, certificates: Certificates) {
        self.certificates = certificates;
    }

    /// Notes which hosts there are.
    pub(crate) fn set_hosts(&mut self, hosts: OrdMap<Hostname, Arc<Host>>) {
        self.hosts = hosts;
    }

    /// Notes what is special about a host: nothing, if there is no such host any more.
    pub(crate) fn set(&mut self, host: &str, special: Option<Special>) {
        let asks = |special: &Arc<Special>| special.client_auth.is_some();
        let new = special.map(Arc::new);
        let is_asking = new.as_ref().is_some_and(asks);
        let old = self.special.replace(host, new);
        let was_asking = old.as_ref().is_some_and(asks);
        self.asking = self.asking + usize::from(is_asking) - usize::from(was_asking);
    }

    fn special(&self, host: &str) -> Option<&Special> {
        if let Some(special) = self.special.exact(host) {
            return Some(special);
        }
        let above = self.special.above(host)?;
        (!self.hosts.contains_key(host)).then_some(above)
    }

    /// The certificate for a server name, or for clients that name none.
    pub(crate) fn certificate(&self, sni: Option<&str>) -> Option<&Arc<Bundle>> {
        self.certificate_of(sni, sni.and_then(|name| self.special(name)))
    }

    fn certificate_of(&self, sni: Option<&str>, special: Option<&Special>) -> Option<&Arc<Bundle>> {
        let all = &self.certificates;
        let chosen = special.and_then(|host| host.certificate.as_deref());
        let chosen = chosen.and_then(|name| all.named.get(name));
        chosen
            .or_else(|| all.covering.find(sni?))
            .or(all.default.as_ref())
    }

    /// What to do with a connection that asks for a server name.
    pub(crate) fn decide(&self, sni: Option<&str>) -> Decision {
        let special = sni.and_then(|name| self.special(name));
        if let Some(route) = special.and_then(|host| host.passthrough.as_ref()) {
            return Decision::Passthrough(route.passed());
        }
        match self.certificate_of(sni, special) {
            Some(certificate) => Decision::Terminate {
                certificate: Arc::clone(certificate),
                client_auth: special.and_then(|host| host.client_auth.clone()),
            },
            None => Decision::Unrecognized,
        }
    }

    /// Whether any host asks clients for a certificate. Nobody pays for what nobody uses.
    pub(crate) fn asks_clients(&self) -> bool {
        self.asking > 0
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
        if !self.asks_clients() {
            return None;
        }
        self.special(host)?.client_auth.as_ref()
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
