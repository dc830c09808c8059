//! Services as a rule knows them: which one, which endpoint of it, how many requests at once, and what
//! a try that failed says.
//!
//! ```text
//! gate (pause, queue) -> attempt (target, endpoint, what came of it) -> peer (connection)
//!                           '-- sticky, endpoint <- health
//! ```
//!
//! Decisions are pure functions of `cara_routes`; this holds what they look at. Everything that a
//! request reads on its way is prepared when the rule is published. It refuses to know who the
//! client is and what may pass; a request is an [`Attempt`] here. Who walks it through is `phases`.

mod attempt;
mod endpoint;
mod gate;
mod health;
mod peer;
mod sticky;
mod tls;
mod upgrade;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cara_api::gateway::{self, Action, Policy, Protocol, Route};
use cara_routes::balance::{self, FULL_SHARE, Load};
use cara_routes::retry::Budget;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub(crate) use attempt::Attempt;
pub(crate) use gate::{Permit, Waiting};
pub(crate) use health::{Probes, Wanted};
pub(crate) use peer::Times;
pub(crate) use tls::roots_file;

use crate::leaving::{Departures, Stays};

use endpoint::Endpoint;
use gate::Gate;
use sticky::{Tokens, Values};
use tls::Material;

/// What all rules of a gateway are built with.
pub(crate) struct Shared {
    started: Instant,
    hashes: RandomState,
    tokens: Arc<Tokens>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            hashes: RandomState::new(),
            tokens: Arc::default(),
        }
    }
}

impl Shared {
    /// Time on the gateway's own clock.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Follows the keys of the installation.
    pub(crate) fn follow(&self, keys: &gateway::Keys) {
        self.tokens.follow(keys);
    }

    /// A number that stands for `value` in this process.
    pub(crate) fn hash(&self, value: impl std::hash::Hash) -> u64 {
        self.hashes.hash_one(value)
    }
}

/// What a rule forwards to, in the order of the rule's own targets; empty when it forwards
/// nothing.
pub(crate) struct Upstream {
    targets: Box<[Target]>,
    state: Arc<State>,
}

/// A rule, as far as the way to its services goes.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    pub(crate) route: &'a Route,
    pub(crate) upstream: &'a Upstream,
}

impl<'a> Rule<'a> {
    /// What it forwards to; none when it forwards nothing.
    pub(crate) fn targets(self) -> &'a [gateway::Target] {
        targets(self.route)
    }

    fn target(self, place: usize) -> Option<(&'a Target, &'a gateway::Target)> {
        let target = self.upstream.targets.get(place)?;
        let spec = self.targets().get(place)?;
        Some((target, spec))
    }
}

/// A service and its endpoints.
struct Target {
    endpoints: Box<[Arc<Endpoint>]>,
    /// What a client's cookie says for each endpoint; none when clients are not kept.
    sticky: Option<Box<Values>>,
    tls: Option<Arc<Material>>,
    /// Keeps connections apart: those of other projects, and those that know the service by
    /// other means, are never used for it.
    group: u64,
}

/// What lasts while a rule changes.
#[derive(Default)]
struct State {
    requests: AtomicU64,
    /// Made when it is needed: most rules need none of it, and there are many rules.
    rest: OnceLock<Box<Rest>>,
}

impl State {
    fn rest(&self) -> &Rest {
        self.rest.get_or_init(Box::default)
    }
}

/// What only few rules need.
#[derive(Default)]
struct Rest {
    budget: Mutex<Budget>,
    /// Requests that wait for the end of a pause.
    held: AtomicU32,
    /// Told when the rule has changed or is gone.
    changed: Notify,
    gate: Gate,
}

impl Upstream {
    /// The state of `route`; goes on from what was there `before`.
    pub(crate) fn new(route: &Route, before: Option<(&Route, &Self)>, shared: &Shared) -> Self {
        let state = before.map_or_else(Arc::default, |(_, old)| Arc::clone(&old.state));
        let limit = route.policy.in_flight.as_ref();
        if limit.is_some() || state.rest.get().is_some() {
            state.rest().gate.resize(limit);
        }
        let targets = targets(route).iter();
        Self {
            targets: targets
                .map(|target| Target::new(route, target, before, shared))
                .collect(),
            state,
        }
    }

    /// A host that is served has the rule.
    pub(crate) fn list(&self) {
        self.endpoints().for_each(|endpoint| endpoint.stay().list());
    }

    /// One host fewer has it. Endpoints that no rule leads to any more are leaving.
    pub(crate) fn leave(&self, departures: &Departures) {
        self.endpoints()
            .for_each(|endpoint| departures.leave(endpoint));
    }

    /// True when the time of one of its endpoints is over: it must not be listed again.
    pub(crate) fn has_ended(&self) -> bool {
        self.endpoints().any(|endpoint| endpoint.stay().has_ended())
    }

    fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.targets
            .iter()
            .flat_map(|target| target.endpoints.iter())
    }

    /// Wakes those who wait for a change of the rule.
    pub(crate) fn wake(&self) {
        if let Some(rest) = self.state.rest.get() {
            rest.changed.notify_waiters();
        }
    }

    /// The endpoints that checks are asked for.
    pub(crate) fn wanted<'a>(
        &'a self,
        route: &'a Arc<Route>,
        host: &'a str,
    ) -> impl Iterator<Item = Wanted> + 'a {
        let numbered = self.targets.iter().enumerate();
        numbered.flat_map(move |(place, target)| {
            let endpoints = target.endpoints.iter();
            endpoints.map(move |endpoint| Wanted {
                route: Arc::clone(route),
                place,
                // A wildcard stands for any label.
                host: host.replacen('*', "health", 1),
                endpoint: Arc::clone(endpoint),
                tls: target.tls.clone(),
                group: target.group,
            })
        })
    }

    #[cfg(test)]
    pub(crate) fn goes_on_from(&self, old: &Self) -> bool {
        Arc::ptr_eq(&self.state, &old.state)
    }

    #[cfg(test)]
    pub(crate) fn kept_endpoints(&self, old: &Self) -> usize {
        let endpoints = |upstream: &Self| -> Vec<Arc<Endpoint>> {
            let targets = upstream.targets.iter();
            targets.flat_map(|t| t.endpoints.to_vec()).collect()
        };
        let old = endpoints(old);
        let is_kept = |e: &&Arc<Endpoint>| old.iter().any(|o| Arc::ptr_eq(o, e));
        endpoints(self).iter().filter(is_kept).count()
    }

    /// Holds a request, unless `limit` are held already.
    pub(crate) fn hold(&self, limit: u32) -> Option<Waiting<'_>> {
        Waiting::begin(&self.state.rest().held, limit)
    }

    /// Ends when the rule has changed or is gone.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.state.rest().changed.notified()
    }

    /// Lets a request in at once, if nobody waits and there is room.
    pub(crate) fn try_enter(&self) -> Option<Permit> {
        let gate = &self.state.rest().gate;
        gate.try_enter().then(|| Permit(Arc::clone(&self.state)))
    }

    /// Waits for a request's turn; none when as many as `queue` wait, or when it takes too long.
    /// Cancel-safe.
    pub(crate) async fn enter(&self, queue: u32, patience: Duration) -> Option<Permit> {
        let entered = self.state.rest().gate.enter(queue, patience).await;
        entered.ok().map(|()| Permit(Arc::clone(&self.state)))
    }

    /// Takes a retry from the rule's budget.
    pub(crate) fn take_retry(&self, percent: u32, now: Duration) -> bool {
        let requests = self.state.requests.load(Ordering::Relaxed);
        let budget = &self.state.rest().budget;
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.take(percent, requests, now)
    }
}

/// The targets of a rule; none when it forwards nothing.
fn targets(route: &Route) -> &[gateway::Target] {
    match &route.action {
        Action::Forward(forward) => &forward.targets,
        Action::Redirect(_) | Action::Respond(_) => &[],
    }
}

impl Target {
    fn new(
        route: &Route,
        target: &gateway::Target,
        before: Option<(&Route, &Upstream)>,
        shared: &Shared,
    ) -> Self {
        let pairs = before.map(|(old_route, old)| targets(old_route).iter().zip(&old.targets));
        let same =
            |t: &gateway::Target| t.service == target.service && t.protocol == target.protocol;
        // The same service may be there twice, by different ports.
        let old: Vec<&Self> = pairs
            .into_iter()
            .flatten()
            .filter(|(spec, _)| same(spec))
            .map(|(_, old)| old)
            .collect();
        let known = || old.iter().flat_map(|old| old.endpoints.iter());
        let now = shared.now();
        let endpoints: Box<[Arc<Endpoint>]> = target
            .backend
            .endpoints()
            .iter()
            .map(|address| {
                let is_same = |e: &&Arc<Endpoint>| e.address == *address && !e.stay().has_ended();
                let kept = known().find(is_same);
                kept.map_or_else(|| Arc::new(Endpoint::new(*address, now)), Arc::clone)
            })
            .collect();
        // Those that were there from the start share the load evenly.
        if known().next().is_none() {
            endpoints.iter().for_each(|e| e.count_as_old());
        }
        let sticky = route.policy.sticky.is_some().then(|| {
            let addresses = endpoints.iter().map(|e| e.address);
            let values = Values::new(&shared.tokens, route, &target.service, addresses);
            Box::new(values)
        });
        let tls = match (&target.protocol, old.first()) {
            (Protocol::Tls(_), Some(old)) => old.tls.clone(),
            (Protocol::Tls(tls), None) => Some(Arc::new(Material::new(route, tls))),
            (Protocol::Http1 | Protocol::H2c, _) => None,
        };
        let group = match &target.protocol {
            Protocol::Tls(tls) => shared.hash((&route.project, tls::identity(tls))),
            Protocol::Http1 | Protocol::H2c => shared.hash(&route.project),
        };
        Self {
            endpoints,
            sticky,
            tls,
            group,
        }
    }

    /// The endpoint for a try. Those that this request failed at and those that are left out are
    /// chosen only when there is nothing else.
    fn choose(
        &self,
        policy: &Policy,
        failed: &[SocketAddr],
        now: impl Fn() -> Duration,
        draw: impl FnOnce() -> u64,
    ) -> Option<&Arc<Endpoint>> {
        if let [only] = &*self.endpoints {
            return Some(only);
        }
        let (now, draw) = (now(), draw());
        let is_new = |e: &Endpoint| !failed.contains(&e.address);
        let load = |e: &Arc<Endpoint>| Load {
            in_flight: e.in_flight(),
            share: policy
                .slow_start
                .map_or(FULL_SHARE, |window| balance::share(e.age(now), window)),
        };
        let all = &*self.endpoints;
        let place = balance::pick(all, |e| (is_new(e) && e.is_in(now)).then(|| load(e)), draw)
            .or_else(|| balance::pick(all, |e| is_new(e).then(|| load(e)), draw))
            .or_else(|| balance::pick(all, |e| Some(load(e)), draw));
        all.get(place?)
    }
}
