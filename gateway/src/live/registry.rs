//! The rules that there are, over all hosts: finds what was before a rule, so that what is remembered
//! goes on. Refuses to know tables.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use cara_api::gateway::{Policy, Route};
use cara_api::hostname::Hostname;
use cara_routes::RouteTable;

use super::{LiveHost, LiveRule};
use crate::filter::rules::Filters;
use crate::upstream::{Probes, Shared};

/// The registry of rules is swept when it has grown by this much.
pub(super) const SWEEP_AFTER: usize = 1_024;
/// Policies that are looked through for one that was made ready already.
pub(super) const RECENT: usize = 8;

/// The rules that there are, by what they are called: what is remembered about a rule is found
/// here when it changes, whichever host it comes with.
#[derive(Default)]
pub(crate) struct Registry {
    /// Hosts may have the same rule with another policy. What is remembered is common to all of
    /// them, so each is listed while it lives, the newest last.
    pub(super) by_name: HashMap<u64, Vec<Weak<LiveRule>>>,
    filters: Ready,
    /// Entries after the last sweep.
    kept: usize,
    /// There was a rule that is watched.
    pub(super) are_watched: bool,
    /// Hosts with rules that ask for checks.
    probed: HashMap<Hostname, ()>,
}

impl Registry {
    pub(super) fn get(&mut self, route: &Arc<Route>, shared: &Shared) -> Arc<LiveRule> {
        let name = shared.hash((&route.project, &route.ingress));
        let known = self.by_name.entry(name).or_default();
        // Other names may have the same hash.
        let is_same = |old: &Arc<LiveRule>| {
            old.route.project == route.project && old.route.ingress == route.ingress
        };
        // Only the newest can be taken as it is: the others may be kept by old requests, and what
        // they share has been fitted to the newest since. An old request may also keep the newest
        // after the time of its endpoints is over, which cannot be served again.
        let newest = known.last().and_then(Weak::upgrade).filter(is_same);
        if let Some(old) = newest
            && !old.upstream.has_ended()
            && (Arc::ptr_eq(&old.route, route) || old.route == *route)
        {
            return old;
        }
        let before = known.iter().rev().filter_map(Weak::upgrade).find(is_same);
        let filters = self.filters.get(&route.policy, before.as_deref());
        let rule = Arc::new(LiveRule::new(route, filters, before.as_deref(), shared));
        self.are_watched |= rule.is_watched();
        known.retain(|rule| rule.strong_count() > 0);
        known.push(Arc::downgrade(&rule));
        rule
    }

    /// Forgets rules that are gone, now and then.
    pub(super) fn sweep(&mut self) {
        if self.by_name.len() < 2 * self.kept + SWEEP_AFTER {
            return;
        }
        self.by_name
            .retain(|_, rules| rules.iter().any(|rule| rule.strong_count() > 0));
        self.kept = self.by_name.len();
    }

    pub(super) fn note(&mut self, name: &Hostname, host: &LiveHost) {
        let asks = |rule: &Arc<LiveRule>| rule.route.policy.health.is_some();
        if host.rules.iter().any(asks) {
            self.probed.insert(name.clone(), ());
        }
    }

    /// Asks all endpoints of all rules that want it.
    pub(super) fn probe(&mut self, table: &RouteTable<LiveHost>, probes: &mut Probes) {
        self.probed.retain(|name, ()| {
            let host = table.get(name);
            host.is_some_and(|h| h.rules.iter().any(|r| r.route.policy.health.is_some()))
        });
        let hosts = self.probed.keys();
        let hosts = hosts.filter_map(|name| Some((name, table.get(name)?)));
        let asking = hosts.flat_map(|(name, host)| {
            let rules = host.rules.iter();
            let asking = rules.filter(|rule| rule.route.policy.health.is_some());
            asking.flat_map(|rule| rule.upstream.wanted(&rule.route, name.as_str()))
        });
        probes.follow(asking);
    }
}

/// Policies that were made ready lately: most rules share one.
#[derive(Default)]
struct Ready {
    recent: VecDeque<(Weak<Policy>, Arc<Filters>)>,
}

impl Ready {
    /// The policy, ready to use; out of the rule `before` if it has the same.
    fn get(&mut self, policy: &Arc<Policy>, before: Option<&LiveRule>) -> Arc<Filters> {
        if let Some(before) = before
            && Arc::ptr_eq(&before.route.policy, policy)
        {
            return Arc::clone(&before.filters);
        }
        // As long as there is a weak pointer, no other policy gets its address.
        let is_same = |known: &Weak<Policy>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(policy));
        if let Some((_, known)) = self.recent.iter().find(|(known, _)| is_same(known)) {
            return Arc::clone(known);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        let filters = Arc::new(Filters::of(policy));
        self.recent
            .push_back((Arc::downgrade(policy), Arc::clone(&filters)));
        filters
    }
}
