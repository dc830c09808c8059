//! The immutable table that requests are looked up in.

use std::collections::HashMap;
use std::sync::Arc;

use cara_api::ResourceVersion;
use cara_api::gateway::{GatewayState, Route};

/// All routes at one revision. Readers share it; a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    by_host: HashMap<Box<str>, Arc<Route>>,
    state: Arc<GatewayState>,
}

impl RouteTable {
    /// The table of `next`, made from this one by touching only what differs. A state that is
    /// older than this table changes nothing.
    #[must_use]
    pub fn apply(&self, next: &Arc<GatewayState>) -> Self {
        if next.revision < self.state.revision {
            return self.clone();
        }
        let mut by_host = self.by_host.clone();
        for host in self
            .state
            .routes
            .keys()
            .filter(|host| !next.routes.contains_key(host))
        {
            by_host.remove(host.as_str());
        }
        for (host, route) in &next.routes {
            let is_known = self
                .state
                .routes
                .get(host)
                .is_some_and(|old| Arc::ptr_eq(old, route));
            if !is_known {
                by_host.insert(host.as_str().into(), Arc::clone(route));
            }
        }
        Self {
            by_host,
            state: Arc::clone(next),
        }
    }

    /// The route of a normalised host (see [`crate::host::normalize`]).
    pub fn find(&self, host: &str) -> Option<&Arc<Route>> {
        self.by_host.get(host)
    }

    /// The revision that the table follows from.
    pub fn revision(&self) -> ResourceVersion {
        self.state.revision
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.by_host.len()
    }

    /// True when there is no route.
    pub fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cara_api::gateway::Backend;
    use cara_api::hostname::Hostname;
    use cara_api::project::ProjectPhase;
    use proptest::prelude::*;

    use super::*;

    fn route(host: &str, reason: &str) -> (Hostname, Arc<Route>) {
        let hostname = Hostname::parse(host).expect("a hostname");
        let backend = Backend::Unavailable {
            phase: ProjectPhase::Pending,
            reason: reason.to_owned(),
        };
        let route = Route {
            hostname: hostname.clone(),
            project: "p".into(),
            service: "s".into(),
            backend,
        };
        (hostname, Arc::new(route))
    }

    fn state(
        revision: u64,
        routes: impl IntoIterator<Item = (Hostname, Arc<Route>)>,
    ) -> Arc<GatewayState> {
        Arc::new(GatewayState {
            revision: ResourceVersion(revision),
            routes: routes.into_iter().collect(),
        })
    }

    #[test]
    fn an_older_state_changes_nothing() {
        let table = RouteTable::default().apply(&state(5, [route("a.x", "new")]));
        let after = table.apply(&state(4, []));
        assert_eq!(after.len(), 1);
        assert_eq!(after.revision(), ResourceVersion(5));
    }

    proptest! {
        /// Any sequence of states leads to the table that the last state alone leads to, and
        /// routes that did not change stay the same allocation.
        #[test]
        fn applying_changes_equals_rebuilding(
            steps in prop::collection::vec(prop::collection::btree_map(0_u8..20, 0_u8..3, 0..12), 1..8)
        ) {
            let mut table = RouteTable::default();
            let mut last: BTreeMap<Hostname, Arc<Route>> = BTreeMap::new();
            for (revision, step) in (1..).zip(&steps) {
                let mut routes = BTreeMap::new();
                for (host, reason) in step {
                    let (hostname, fresh) = route(&format!("h{host}.x"), &reason.to_string());
                    let kept = last.get(&hostname).filter(|old| ***old == *fresh);
                    routes.insert(hostname, kept.cloned().unwrap_or(fresh));
                }
                let next = state(revision, routes.clone());
                table = table.apply(&next);
                prop_assert_eq!(table.len(), routes.len());
                for (host, route) in &routes {
                    let found = table.find(host.as_str());
                    prop_assert!(found.is_some_and(|f| Arc::ptr_eq(f, route)));
                }
                last = routes;
            }
        }
    }
}
