//! Follows the published state for what listeners need of it: certificates, server names, ports.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cara_api::gateway::{Certificate, GatewayState, Host, HostTls};
use cara_api::hostname::Hostname;
use cara_certs::{Bundle, CertTable};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::watch;

use super::metrics::ListenMetrics;
use super::names::{HostSource, NameSources, Names};
use super::streams::StreamTable;
use super::tls::Configs;

/// Puts what follows from a state where listeners look.
pub(crate) struct Follower {
    configs: Arc<Configs>,
    names: Arc<ArcSwap<Names>>,
    ports: watch::Sender<StreamTable>,
    last: Arc<GatewayState>,
    certificates: Certificates,
    metrics: ListenMetrics,
}

impl Follower {
    pub(crate) fn new(
        configs: Arc<Configs>,
        names: Arc<ArcSwap<Names>>,
        ports: watch::Sender<StreamTable>,
        metrics: ListenMetrics,
    ) -> Self {
        Self {
            configs,
            names,
            ports,
            last: Arc::default(),
            certificates: Certificates::default(),
            metrics,
        }
    }

    /// Takes in a state, unless it is older than the last one. To be called before its routes are
    /// served, so that nobody gets to a host by the names of before.
    pub(crate) fn catch_up(&mut self, next: &Arc<GatewayState>) {
        let last = Arc::clone(&self.last);
        if next.revision < last.revision || Arc::ptr_eq(next, &last) {
            return;
        }
        let are_new = self.certificates.apply(&next.certificates);
        if are_new {
            let all = self.certificates.by_name.values();
            self.metrics
                .certificates(all.map(|(_, bundle)| bundle.as_deref()));
        }
        if are_new || is_special(&last.hosts, &next.hosts) {
            let sources = self.certificates.sources(&next.hosts);
            let names = Names::build(sources, &self.names.load(), &self.configs);
            self.names.store(Arc::new(names));
        }
        if last.ports != next.ports {
            self.ports.send_replace(next.ports.clone());
        }
        self.last = Arc::clone(next);
    }
}

/// Whether a host came, went or changed that does TLS in a way of its own, or that lies under a
/// wildcard which does.
fn is_special(last: &OrdMap<Hostname, Arc<Host>>, next: &OrdMap<Hostname, Arc<Host>>) -> bool {
    last.diff(next).any(|change| match change {
        DiffItem::Add(name, host) | DiffItem::Remove(name, host) => {
            !is_plain(host) || is_under_special(name, next)
        }
        DiffItem::Update { old, new } => old.1.tls != new.1.tls,
    })
}

fn is_plain(host: &Host) -> bool {
    host.tls == HostTls::default()
}

fn is_under_special(name: &Hostname, hosts: &OrdMap<Hostname, Arc<Host>>) -> bool {
    let parent = name.as_str().split_once('.').map(|(_, parent)| parent);
    let wildcard = parent.and_then(|parent| hosts.get(format!("*.{parent}").as_str()));
    wildcard.is_some_and(|host| !is_plain(host))
}

/// Certificates as they were read, by the name under which they are published.
#[derive(Default)]
struct Certificates {
    /// None for those that cannot be used.
    by_name: HashMap<String, (Arc<Certificate>, Option<Arc<Bundle>>)>,
    table: Arc<CertTable>,
    default: Option<Arc<Bundle>>,
}

impl Certificates {
    /// Reads those that are new; true when any differs.
    fn apply(&mut self, published: &OrdMap<String, Arc<Certificate>>) -> bool {
        let before = self.by_name.len();
        self.by_name.retain(|name, _| published.contains_key(name));
        let mut is_changed = self.by_name.len() != before;
        for (name, certificate) in published {
            let known = self.by_name.get(name);
            if known.is_some_and(|(known, _)| Arc::ptr_eq(known, certificate)) {
                continue;
            }
            let bundle = read(name, certificate).map(Arc::new);
            self.by_name
                .insert(name.clone(), (Arc::clone(certificate), bundle));
            is_changed = true;
        }
        if is_changed {
            let bundles = self
                .by_name
                .values()
                .filter_map(|(_, bundle)| bundle.clone());
            self.table = Arc::new(CertTable::new(bundles));
            let defaults = self.by_name.values().filter(|(c, _)| c.is_default);
            let usable = defaults.filter_map(|(_, bundle)| bundle.as_ref());
            self.default = usable.max_by_key(|bundle| bundle.not_after()).cloned();
        }
        is_changed
    }

    /// What server names lead to, with the hosts that do TLS in a way of their own.
    fn sources(&self, hosts: &OrdMap<Hostname, Arc<Host>>) -> NameSources {
        let mut sources = NameSources {
            certificates: Arc::clone(&self.table),
            default: self.default.clone(),
            ..NameSources::default()
        };
        let has_wildcards = hosts
            .iter()
            .any(|(name, host)| name.as_str().starts_with("*.") && !is_plain(host));
        for (name, host) in hosts {
            if is_plain(host) && !(has_wildcards && is_under_special(name, hosts)) {
                continue;
            }
            let tls = &host.tls;
            let chosen = tls.certificate.as_ref().and_then(|n| self.by_name.get(n));
            let source = HostSource {
                certificate: chosen.and_then(|(_, bundle)| bundle.clone()),
                clients: tls.clients.clone(),
                passthrough: tls.passthrough.clone(),
            };
            sources.hosts.push((name.to_string(), source));
        }
        sources
    }
}

/// Reads a certificate; one that cannot be used disturbs no other.
fn read(name: &str, certificate: &Certificate) -> Option<Bundle> {
    let key = certificate.key_pem.reveal();
    match Bundle::from_pem(&certificate.chain_pem, key) {
        Ok(bundle) => Some(bundle),
        Err(error) => {
            tracing::warn!(certificate = name, error = %error, "a certificate cannot be used");
            None
        }
    }
}
