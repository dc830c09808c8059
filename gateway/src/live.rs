//! The hosts that requests see, swapped as a whole.

mod plain;
mod registry;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cara_api::ResourceVersion;
use cara_api::gateway::{ClientAuthorities, GatewayState, Host, HostTls, Route};
use cara_routes::{RouteTable, rank};
use imbl::ordmap::DiffItem;
use tokio::sync::watch;

use crate::filter::rules::Filters;
use crate::leaving::Departures;
use crate::metrics::Metrics;
use crate::upstream::{Probes, Rule, Shared, Upstream};

pub(crate) use registry::Registry;

/// The current table. A request loads it once and keeps the rule that it found, so a change
/// never disturbs what is under way.
#[derive(Default)]
pub(crate) struct Live {
    table: ArcSwap<RouteTable<LiveHost>>,
    shared: Shared,
    departures: Arc<Departures>,
}

/// A host with its rules, the most specific first. Names that share a host share this.
pub(crate) struct LiveHost {
    host: Arc<Host>,
    rules: Box<[Arc<LiveRule>]>,
    /// It asks nothing of clients, and paths alone decide between its rules.
    is_plain: bool,
    departures: Arc<Departures>,
}

/// Only tables hold hosts: when one goes, the last table that had it is gone.
impl Drop for LiveHost {
    fn drop(&mut self) {
        for rule in &self.rules {
            rule.upstream.leave(&self.departures);
        }
    }
}

/// A rule, and what the gateway remembers about it from request to request. All hosts of a rule
/// share it; what is remembered goes over to the rule that takes its place.
pub(crate) struct LiveRule {
    pub(crate) route: Arc<Route>,
    /// Tells what is counted for this rule from that of others; the same for all its hosts.
    pub(crate) key: u64,
    /// Its policy, ready to use. Most rules share it with others.
    pub(crate) filters: Arc<Filters>,
    pub(crate) upstream: Upstream,
    /// It only forwards.
    is_plain: bool,
}

impl LiveRule {
    /// The rule of `route`; goes on from the one that was there `before`.
    fn new(
        route: &Arc<Route>,
        filters: Arc<Filters>,
        before: Option<&Self>,
        shared: &Shared,
    ) -> Self {
        #[cfg(test)]
        crate::panic_tests::panic_at(&route.project);
        let old = before.map(|rule| (&*rule.route, &rule.upstream));
        Self {
            route: Arc::clone(route),
            key: shared.hash((&route.project, &route.ingress)),
            filters,
            upstream: Upstream::new(route, old, shared),
            is_plain: plain::is_plain(route),
        }
    }

    /// The rule, as far as the way to its services goes.
    pub(crate) fn to_services(&self) -> Rule<'_> {
        Rule {
            route: &self.route,
            upstream: &self.upstream,
        }
    }

    /// Something goes on beside its requests, or they wait for its change.
    fn is_watched(&self) -> bool {
        self.route.policy.health.is_some() || self.route.policy.pause.is_some()
    }
}

impl LiveHost {
    fn new(
        host: &Arc<Host>,
        departures: &Arc<Departures>,
        mut rule: impl FnMut(&Arc<Route>) -> Arc<LiveRule>,
    ) -> Self {
        let mut routes = host.routes.clone();
        rank::sort(&mut routes);
        // Named one by one, so that nothing new is overlooked.
        let HostTls {
            passthrough: _,
            certificate: _,
            clients,
        } = &host.tls;
        let rules: Box<[_]> = routes.iter().map(&mut rule).collect();
        for rule in &rules {
            rule.upstream.list();
        }
        Self {
            is_plain: clients.is_none() && routes.iter().all(|r| r.headers.is_empty()),
            host: Arc::clone(host),
            rules,
            departures: Arc::clone(departures),
        }
    }

    /// Who must vouch for clients of the host.
    pub(crate) fn clients(&self) -> Option<&ClientAuthorities> {
        self.host.tls.clients.as_ref()
    }

    /// All rules.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<LiveRule>> {
        self.rules.iter()
    }

    /// The most specific rule that takes a request.
    pub(crate) fn rule(&self, path: &str, headers: &http::HeaderMap) -> Option<&Arc<LiveRule>> {
        let values = |name: &str| values(headers, name);
        self.rules
            .iter()
            .find(|rule| rank::matches(&rule.route, path, values))
    }

    /// The rule that takes a request with this path whatever its headers say, if it only forwards.
    pub(crate) fn plain_rule(&self, path: &str) -> Option<&Arc<LiveRule>> {
        if !self.is_plain {
            return None;
        }
        let headers = http::HeaderMap::new();
        let rule = self.rule(path, &headers)?;
        (rule.is_plain && !self.is_ambiguous(rule, path, &headers)).then_some(rule)
    }

    /// Whether a service may read the path of a request, which `found` takes, in a way in which
    /// another rule takes it.
    pub(crate) fn is_ambiguous(
        &self,
        found: &Arc<LiveRule>,
        path: &str,
        headers: &http::HeaderMap,
    ) -> bool {
        if self.rules.len() < 2 {
            return false;
        }
        let Cow::Owned(wide) = cara_routes::path::widen(path) else {
            return false;
        };
        let values = |name: &str| values(headers, name);
        let mut rules = self.rules.iter();
        let other = rules.find(|rule| rank::matches_widely(&rule.route, &wide, values));
        other.is_none_or(|other| !Arc::ptr_eq(other, found))
    }
}

fn values<'h>(
    headers: &'h http::HeaderMap,
    name: &str,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    let values = headers.get_all(name).iter();
    values.map(http::HeaderValue::as_bytes)
}

impl Live {
    /// Without hosts. What lasts at endpoints that leave gets so long to end.
    pub(crate) fn new(drain: Duration) -> Self {
        Self {
            departures: Arc::new(Departures::new(drain)),
            ..Self::default()
        }
    }

    /// The current table.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<RouteTable<LiveHost>>> {
        self.table.load()
    }

    /// What leaves, and has to end some time later.
    pub(crate) fn departures(&self) -> &Arc<Departures> {
        &self.departures
    }

    /// Time on the gateway's own clock, which never goes back.
    pub(crate) fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Takes in every state that is published, and checks endpoints, until it is dropped; when
    /// the publisher is gone, what is known stays. `first` takes in each state before any of its
    /// routes is served: a host must not be reached before it is known what it asks of clients.
    /// `served` is told afterwards.
    pub(crate) async fn follow(
        &self,
        mut state: watch::Receiver<Arc<GatewayState>>,
        (metrics, served): (&Metrics, &watch::Sender<ResourceVersion>),
        mut first: impl FnMut(&Arc<GatewayState>),
    ) {
        let mut rules = Registry::default();
        let mut probes = Probes::default();
        let mut is_published = true;
        loop {
            let next = Arc::clone(&state.borrow_and_update());
            let take_in = || {
                first(&next);
                self.take_in(&next, &mut rules, &mut probes);
            };
            // Whatever of a state does that: what is known is served, and the next state is tried.
            // Tables are swapped as a whole, so none is left half-made.
            let is_taken_in = catch_unwind(AssertUnwindSafe(take_in)).is_ok();
            if !is_taken_in {
                tracing::error!(revision = %next.revision, "a state could not be taken in; the last one is served on");
            }
            let table = self.table.load();
            metrics
                .routes
                .set(i64::try_from(table.len()).unwrap_or(i64::MAX));
            tracing::debug!(revision = %table.revision(), hosts = table.len(), "routes");
            drop(table);
            if is_taken_in {
                served.send_replace(next.revision);
            }
            loop {
                tokio::select! {
                    changed = state.changed(), if is_published => match changed {
                        Ok(()) => break,
                        Err(_) => is_published = false,
                    },
                    () = probes.ended() => {}
                    never = self.departures.follow() => match never {},
                }
            }
        }
    }

    pub(crate) fn take_in(
        &self,
        next: &Arc<GatewayState>,
        rules: &mut Registry,
        probes: &mut Probes,
    ) {
        let before = self.table.load_full();
        self.shared.follow(&next.keys);
        // Names that share a host follow each other.
        let mut last: Option<Arc<LiveHost>> = None;
        let table = before.apply(next, |host| {
            let known = last.as_ref().filter(|last| Arc::ptr_eq(&last.host, host));
            let known = known.cloned().unwrap_or_else(|| {
                let rule = |route: &Arc<Route>| rules.get(route, &self.shared);
                Arc::new(LiveHost::new(host, &self.departures, rule))
            });
            last = Some(Arc::clone(&known));
            known
        });
        let table = Arc::new(table);
        self.table.store(Arc::clone(&table));
        rules.sweep();
        if !rules.are_watched {
            return;
        }
        let touched = before.state().hosts.diff(&table.state().hosts);
        let names = touched.map(|change| match change {
            DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name,
            DiffItem::Update { new: (name, _), .. } => name,
        });
        let mut is_probed = false;
        for name in names {
            for host in [before.get(name), table.get(name)].into_iter().flatten() {
                for rule in &host.rules {
                    rule.upstream.wake();
                    is_probed |= rule.route.policy.health.is_some();
                }
                rules.note(name, host);
            }
        }
        if is_probed {
            rules.probe(&table, probes);
        }
    }
}

#[cfg(test)]
mod tests {
    use cara_api::gateway::{Action, Backend, Forward, PathMatch, Policy, Rewrite, Target};
    use cara_api::hostname::Hostname;

    use super::registry::{RECENT, SWEEP_AFTER};
    use super::*;

    fn route(project: &str, ports: &[u16], policy: Policy) -> Arc<Route> {
        let endpoints = ports.iter().map(|port| ([127, 0, 0, 1], *port).into());
        Arc::new(Route {
            project: project.into(),
            ingress: "web".into(),
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            action: Action::Forward(Forward {
                targets: vec![Target {
                    service: "web".into(),
                    weight: 1,
                    protocol: Default::default(),
                    backend: Backend::Ready {
                        endpoints: endpoints.collect(),
                    },
                }],
                rewrite: Rewrite::Keep,
            }),
            policy: Arc::new(policy),
        })
    }

    struct Follower {
        live: Live,
        rules: Registry,
        probes: Probes,
        revision: u64,
    }

    impl Follower {
        fn new() -> Self {
            Self {
                live: Live::default(),
                rules: Registry::default(),
                probes: Probes::default(),
                revision: 0,
            }
        }

        fn take_in(&mut self, hosts: &[(&str, &Arc<Route>)]) {
            self.revision += 1;
            let hosts = hosts.iter().map(|(name, route)| {
                let hostname = Hostname::parse(name).expect("a hostname");
                let host = Host {
                    project: route.project.clone(),
                    tls: Default::default(),
                    routes: vec![Arc::clone(route)],
                };
                (hostname, Arc::new(host))
            });
            let state = Arc::new(GatewayState {
                revision: ResourceVersion(self.revision),
                hosts: hosts.collect(),
                ..GatewayState::default()
            });
            self.live.take_in(&state, &mut self.rules, &mut self.probes);
        }

        fn rule(&self, host: &str) -> Arc<LiveRule> {
            let table = self.live.table();
            let host = table.find(host).expect("a host");
            let rule = host.rule("/", &http::HeaderMap::new());
            Arc::clone(rule.expect("a rule"))
        }
    }

    #[test]
    fn the_hosts_of_a_rule_share_it_and_its_state_outlives_changes() {
        let mut follower = Follower::new();
        let first = route("p", &[1, 2], Policy::default());
        follower.take_in(&[("a.x", &first), ("b.x", &first)]);
        let old = follower.rule("a.x");
        assert!(Arc::ptr_eq(&old, &follower.rule("b.x")));
        let second = route("p", &[2, 3], Policy::default());
        follower.take_in(&[("a.x", &second), ("c.x", &second)]);
        let new = follower.rule("a.x");
        assert!(Arc::ptr_eq(&new, &follower.rule("c.x")));
        assert!(!Arc::ptr_eq(&new, &old));
        assert!(new.upstream.goes_on_from(&old.upstream));
        assert_eq!(new.upstream.kept_endpoints(&old.upstream), 1);
        // Another project's rule of the same name is another rule.
        let other = route("q", &[2], Policy::default());
        follower.take_in(&[("a.x", &other)]);
        let other = follower.rule("a.x");
        assert!(!other.upstream.goes_on_from(&new.upstream));
        assert_eq!(other.upstream.kept_endpoints(&new.upstream), 0);
    }

    #[test]
    fn rules_with_one_policy_share_what_is_made_of_it() {
        let first = route("p", &[1], Policy::default());
        let with = |project: &str, policy: &Arc<Policy>| {
            let mut route = route(project, &[1], Policy::default());
            Arc::make_mut(&mut route).policy = Arc::clone(policy);
            route
        };
        let second = with("q", &first.policy);
        let mut follower = Follower::new();
        follower.take_in(&[("a.x", &first), ("b.x", &second)]);
        let [a, b] = ["a.x", "b.x"].map(|host| follower.rule(host));
        assert!(Arc::ptr_eq(&a.filters, &b.filters));
        assert_ne!(a.key, b.key, "but not what is counted");
        let others = (0..2 * RECENT).map(|n| with(&n.to_string(), &Arc::default()));
        let others: Vec<_> = others.collect();
        let moved = with("p", &first.policy);
        let others = others.iter().map(|route| ("b.x", route));
        for other in others {
            follower.take_in(&[("a.x", &first), other]);
        }
        follower.take_in(&[("a.x", &moved)]);
        assert!(Arc::ptr_eq(&a.filters, &follower.rule("a.x").filters));
    }

    #[test]
    fn what_is_remembered_lasts_while_any_host_of_the_rule_does() {
        let plain = route("p", &[1], Policy::default());
        let policy = Policy {
            redirect_https: true,
            ..Policy::default()
        };
        let secure = route("p", &[1], policy);
        for (kept, kept_name, gone, gone_name) in [
            (&plain, "a.x", &secure, "b.x"),
            (&secure, "b.x", &plain, "a.x"),
        ] {
            let mut follower = Follower::new();
            follower.take_in(&[(kept_name, kept), (gone_name, gone)]);
            let old = follower.rule(kept_name);
            let other = follower.rule(gone_name);
            assert!(old.upstream.goes_on_from(&other.upstream));
            drop(other);
            follower.take_in(&[(kept_name, kept)]);
            let changed = route("p", &[1, 2], Policy::default());
            follower.take_in(&[(kept_name, &changed)]);
            let new = follower.rule(kept_name);
            assert!(new.upstream.goes_on_from(&old.upstream));
            assert_eq!(new.upstream.kept_endpoints(&old.upstream), 1);
        }
    }

    #[tokio::test]
    async fn no_route_is_served_before_listeners_know_of_its_state() {
        let state = |revision| {
            Arc::new(GatewayState {
                revision: ResourceVersion(revision),
                ..GatewayState::default()
            })
        };
        let live = Live::default();
        let served = || live.table().revision().0;
        let metrics = Metrics::register(&prometheus::Registry::new());
        let (sender, receiver) = watch::channel(state(1));
        let told = watch::Sender::default();
        let mut seen = Vec::new();
        let first = |next: &Arc<GatewayState>| seen.push((next.revision.0, served()));
        let publish = async {
            while served() < 1 {
                tokio::task::yield_now().await;
            }
            sender.send_replace(state(2));
            while served() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = live.follow(receiver, (&metrics, &told), first) => {}
            () = publish => {}
        }
        assert_eq!(seen, [(1, 0), (2, 1)]);
        assert_eq!(*told.borrow(), ResourceVersion(2));
    }

    #[test]
    fn what_did_not_change_is_the_same_rule() {
        let mut follower = Follower::new();
        follower.take_in(&[("a.x", &route("p", &[1], Policy::default()))]);
        let old = follower.rule("a.x");
        follower.take_in(&[("a.x", &route("p", &[1], Policy::default()))]);
        assert!(Arc::ptr_eq(&old, &follower.rule("a.x")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_that_comes_back_after_its_end_gets_new_endpoints() {
        let mut follower = Follower::new();
        let same = || route("p", &[1], Policy::default());
        // As a request does that is still under way.
        follower.take_in(&[("a.x", &same())]);
        let held = follower.rule("a.x");
        follower.take_in(&[]);
        follower.take_in(&[("a.x", &same())]);
        assert!(Arc::ptr_eq(&held, &follower.rule("a.x")), "back in time");
        follower.take_in(&[]);
        let ended = follower.live.departures().follow();
        let ended = tokio::time::timeout(Duration::from_secs(1), ended).await;
        assert!(ended.is_err() && held.upstream.has_ended());
        follower.take_in(&[("a.x", &same()), ("b.x", &same())]);
        let back = follower.rule("a.x");
        assert!(!back.upstream.has_ended());
        assert_eq!(back.upstream.kept_endpoints(&held.upstream), 0);
        assert!(back.upstream.goes_on_from(&held.upstream));
        assert!(Arc::ptr_eq(&back, &follower.rule("b.x")));
    }

    #[test]
    fn rules_that_are_gone_are_forgotten() {
        let mut follower = Follower::new();
        for number in 0..3 * SWEEP_AFTER {
            follower.take_in(&[(
                "a.x",
                &route(&format!("p{number}"), &[1], Policy::default()),
            )]);
        }
        assert!(follower.rules.by_name.len() <= SWEEP_AFTER + 2);
    }
}
