//! Follows the published state for what listeners need of it: certificates, server names, ports.
//!
//! Work follows from what changed. What is left (certificates are sorted again when one of them
//! changed) is nothing for a thread that serves.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use cara_api::gateway::{Certificate, ClientAuthorities, GatewayState, Host, HostTls};
use cara_api::hostname::Hostname;
use cara_certs::{Bundle, CertTable};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::watch;

use super::client_auth::ClientAuth;
use super::metrics::ListenMetrics;
use super::names::{Certificates, Names, Special};
use super::passed::Endpoints;
use super::streams::StreamTable;
use super::tls::Configs;
use crate::leaving::Departures;

/// The registry of authorities is swept when it has grown by this much.
const SWEEP_AFTER: usize = 64;

/// Puts what follows from a state where listeners look.
pub(crate) struct Follower {
    names: Arc<ArcSwap<Names>>,
    ports: watch::Sender<StreamTable>,
    last: Arc<GatewayState>,
    bundles: Bundles,
    authorities: Authorities,
    passed: Endpoints,
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
            names,
            ports,
            last: Arc::default(),
            bundles: Bundles::default(),
            authorities: Authorities::new(configs),
            passed: Endpoints::default(),
            metrics,
        }
    }

    /// Says what leaves there.
    #[must_use]
    pub(crate) fn with_departures(self, departures: &Arc<Departures>) -> Self {
        Self {
            passed: Endpoints::new(Arc::clone(departures)),
            ..self
        }
    }

    /// Takes in a state, unless it is older than the last one. To be called before its routes are
    /// served, so that nobody gets to a host by the names of before.
    pub(crate) fn catch_up(&mut self, next: &Arc<GatewayState>) {
        let last = Arc::clone(&self.last);
        if next.revision < last.revision || Arc::ptr_eq(next, &last) {
            return;
        }
        let certificates = self.bundles.apply(&last.certificates, &next.certificates);
        if certificates.is_some() {
            self.metrics.certificates(self.bundles.all());
        }
        if certificates.is_some() || !last.hosts.ptr_eq(&next.hosts) {
            let mut names = Names::clone(&self.names.load());
            if let Some(certificates) = certificates {
                names.set_certificates(certificates);
            }
            self.apply(&mut names, &last.hosts, &next.hosts);
            self.names.store(Arc::new(names));
        }
        if last.ports.diff(&next.ports).next().is_some() {
            self.ports.send_replace(next.ports.clone());
        }
        self.last = Arc::clone(next);
    }

    fn apply(
        &mut self,
        names: &mut Names,
        last: &OrdMap<Hostname, Arc<Host>>,
        next: &OrdMap<Hostname, Arc<Host>>,
    ) {
        for change in last.diff(next) {
            match change {
                DiffItem::Add(name, host) => names.set(name.as_str(), self.special(name, host)),
                DiffItem::Update { old, new } if old.1.tls == new.1.tls => {}
                DiffItem::Update {
                    new: (name, host), ..
                } => {
                    names.set(name.as_str(), self.special(name, host));
                }
                DiffItem::Remove(name, _) => names.set(name.as_str(), None),
            }
        }
        names.set_hosts(next.clone());
    }

    /// What is special about a host; none when it does TLS as all do.
    fn special(&mut self, name: &Hostname, host: &Host) -> Option<Special> {
        let tls = &host.tls;
        if *tls == HostTls::default() {
            return None;
        }
        let clients = tls.clients.as_ref();
        Some(Special {
            certificate: tls.certificate.clone(),
            client_auth: clients.map(|clients| self.authorities.get(clients, name.as_str())),
            passthrough: tls
                .passthrough
                .as_ref()
                .map(|route| self.passed.list(route)),
        })
    }
}

/// The authorities that vouch for clients. Hosts that name the same share what is made of them, and
/// it outlives changes, so that sessions can still be resumed.
struct Authorities {
    configs: Arc<Configs>,
    known: HashMap<ClientAuthorities, Weak<ClientAuth>>,
    /// Entries after the last sweep.
    kept: usize,
}

impl Authorities {
    fn new(configs: Arc<Configs>) -> Self {
        Self {
            configs,
            known: HashMap::new(),
            kept: 0,
        }
    }

    fn get(&mut self, wanted: &ClientAuthorities, host: &str) -> Arc<ClientAuth> {
        if let Some(known) = self.known.get(wanted).and_then(Weak::upgrade) {
            return known;
        }
        let auth = Arc::new(ClientAuth::new(wanted.clone(), host, &self.configs));
        self.known.insert(wanted.clone(), Arc::downgrade(&auth));
        if self.known.len() > 2 * self.kept + SWEEP_AFTER {
            self.known.retain(|_, auth| auth.strong_count() > 0);
            self.kept = self.known.len();
        }
        auth
    }
}

/// Certificates as they were read, by the name under which they are published.
#[derive(Default)]
struct Bundles {
    /// None for those that cannot be used.
    by_name: imbl::HashMap<String, Option<Arc<Bundle>>>,
    usable: imbl::HashMap<String, Arc<Bundle>>,
}

impl Bundles {
    /// Reads those that are new; none when there is no change.
    fn apply(
        &mut self,
        last: &OrdMap<String, Arc<Certificate>>,
        next: &OrdMap<String, Arc<Certificate>>,
    ) -> Option<Certificates> {
        let mut is_changed = false;
        for change in last.diff(next) {
            is_changed = true;
            match change {
                DiffItem::Add(name, certificate)
                | DiffItem::Update {
                    new: (name, certificate),
                    ..
                } => {
                    let bundle = read(name, certificate).map(Arc::new);
                    match &bundle {
                        Some(bundle) => self.usable.insert(name.clone(), Arc::clone(bundle)),
                        None => self.usable.remove(name),
                    };
                    self.by_name.insert(name.clone(), bundle);
                }
                DiffItem::Remove(name, _) => {
                    self.by_name.remove(name);
                    self.usable.remove(name);
                }
            }
        }
        is_changed.then(|| self.certificates(next))
    }

    fn certificates(&self, published: &OrdMap<String, Arc<Certificate>>) -> Certificates {
        let defaults = published.iter().filter(|(_, c)| c.is_default);
        let usable = defaults.filter_map(|(name, _)| self.usable.get(name));
        Certificates {
            covering: Arc::new(CertTable::new(self.usable.values().cloned())),
            named: self.usable.clone(),
            default: usable.max_by_key(|bundle| bundle.not_after()).cloned(),
        }
    }

    fn all(&self) -> impl Iterator<Item = Option<&Bundle>> {
        self.by_name.values().map(Option::as_deref)
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

#[cfg(test)]
mod tests {
    use cara_api::ResourceVersion;

    use super::*;
    use crate::listen::TlsVersion;
    use crate::listen::by_name::ByName;

    struct World {
        follower: Follower,
        names: Arc<ArcSwap<Names>>,
        revision: u64,
    }

    impl World {
        fn new() -> Self {
            let names = Arc::new(ArcSwap::from_pointee(Names::default()));
            let configs = Configs::new(TlsVersion::V1_2, Arc::new(ByName(Arc::clone(&names))));
            let metrics = ListenMetrics::register(&prometheus::Registry::new());
            let (ports, _) = watch::channel(StreamTable::default());
            Self {
                follower: Follower::new(Arc::new(configs), Arc::clone(&names), ports, metrics),
                names,
                revision: 0,
            }
        }

        /// Hosts, each with the authorities that vouch for its clients.
        fn publish(&mut self, hosts: &[(&str, Option<&str>)]) {
            let hosts = hosts.iter().map(|(name, ca)| {
                let hostname = Hostname::parse(name).expect("a hostname");
                let mut host = Host {
                    project: "p".into(),
                    tls: HostTls::default(),
                    routes: Vec::new(),
                };
                host.tls.clients = ca.map(|ca| ClientAuthorities {
                    ca_pem: ca.into(),
                    is_optional: false,
                });
                (hostname, Arc::new(host))
            });
            self.revision += 1;
            let state = GatewayState {
                revision: ResourceVersion(self.revision),
                hosts: hosts.collect(),
                ..GatewayState::default()
            };
            self.follower.catch_up(&Arc::new(state));
        }

        fn asks(&self, host: &str) -> bool {
            self.names.load().requires_certificate(host)
        }

        fn known(&self) -> Vec<Arc<ClientAuth>> {
            let known = self.follower.authorities.known.values();
            known.filter_map(Weak::upgrade).collect()
        }
    }

    #[test]
    fn hosts_ask_clients_as_long_as_they_say_so() {
        let mut world = World::new();
        world.publish(&[("*.x.test", Some("ca")), ("b.x.test", None)]);
        for (host, expected) in [("a.x.test", true), ("b.x.test", false), ("x.test", false)] {
            assert_eq!(world.asks(host), expected, "{host}");
        }
        // A host of its own does not fall under the wildcard, and does again when it is gone.
        world.publish(&[("*.x.test", Some("ca")), ("a.x.test", None)]);
        assert!(!world.asks("a.x.test") && world.asks("b.x.test"));
        world.publish(&[("a.x.test", Some("ca"))]);
        assert!(world.asks("a.x.test") && !world.asks("b.x.test"));
        world.publish(&[("a.x.test", None)]);
        assert!(!world.asks("a.x.test") && !world.names.load().asks_clients());
    }

    #[test]
    fn what_is_made_of_authorities_is_shared_and_outlives_changes() {
        let mut world = World::new();
        world.publish(&[("a.test", Some("ca")), ("b.test", Some("ca"))]);
        let first: Vec<_> = world.known().iter().map(Arc::downgrade).collect();
        assert_eq!(first.len(), 1, "one for both");
        // It goes to another host, in one step with the end of the first.
        world.publish(&[("c.test", Some("ca"))]);
        let kept: Vec<_> = world.known().iter().map(Arc::downgrade).collect();
        assert!(first[0].ptr_eq(&kept[0]) && kept.len() == 1);
        world.publish(&[("c.test", Some("other"))]);
        assert_eq!(world.known().len(), 1, "the first is gone");
        for n in 0..4 * SWEEP_AFTER {
            world.publish(&[("c.test", Some(&n.to_string()))]);
        }
        assert!(world.follower.authorities.known.len() <= SWEEP_AFTER + 3);
    }
}
