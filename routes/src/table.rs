//! The immutable table that requests are looked up in.

use std::sync::Arc;

use cara_api::ResourceVersion;
use cara_api::gateway::{GatewayState, Host};
use cara_api::hostname::Hostname;
use imbl::ordmap::DiffItem;

use crate::hosts::Hosts;

/// All hosts at one revision, each in the form `H` that its user wants for it. Readers share the
/// table; a change makes a new one, which shares with the old what did not change: a change costs
/// as much as it changes, not as much as there is.
#[derive(Debug, Clone)]
pub struct RouteTable<H> {
    by_host: Hosts<H>,
    state: Arc<GatewayState>,
}

impl<H> Default for RouteTable<H> {
    fn default() -> Self {
        Self {
            by_host: Hosts::default(),
            state: Arc::default(),
        }
    }
}

impl<H> RouteTable<H> {
    /// The table of `next`; `build` is asked for each host that is new or differs. A state that is
    /// older than this table changes nothing.
    #[must_use]
    pub fn apply(
        &self,
        next: &Arc<GatewayState>,
        mut build: impl FnMut(&Arc<Host>) -> Arc<H>,
    ) -> Self {
        let mut by_host = self.by_host.clone();
        if next.revision < self.state.revision {
            return Self {
                by_host,
                state: Arc::clone(&self.state),
            };
        }
        for change in self.state.hosts.diff(&next.hosts) {
            match change {
                DiffItem::Add(name, host)
                | DiffItem::Update {
                    new: (name, host), ..
                } => {
                    by_host.insert(name, build(host));
                }
                DiffItem::Remove(name, _) => {
                    by_host.remove(name.as_str());
                }
            }
        }
        Self {
            by_host,
            state: Arc::clone(next),
        }
    }

    /// The entry for a normalised host (see [`crate::host::normalize`]): its own before that of a
    /// wildcard, which stands for one label.
    pub fn find(&self, host: &str) -> Option<&Arc<H>> {
        self.by_host.get(host).or_else(|| {
            let (label, parent) = host.split_once('.')?;
            if label.is_empty() {
                return None;
            }
            self.by_host.get(&format!("*.{parent}"))
        })
    }

    /// The entry under exactly this name.
    pub fn get(&self, name: &Hostname) -> Option<&Arc<H>> {
        self.by_host.get(name.as_str())
    }

    /// The state that the table follows from.
    pub fn state(&self) -> &Arc<GatewayState> {
        &self.state
    }

    /// The revision that the table follows from.
    pub fn revision(&self) -> ResourceVersion {
        self.state.revision
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.by_host.len()
    }

    /// True when there is no host.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn host(name: &str, project: &str) -> (Hostname, Arc<Host>) {
        let hostname = Hostname::parse(name).expect("a hostname");
        let host = Host {
            project: project.to_owned(),
            tls: Default::default(),
            routes: Vec::new(),
        };
        (hostname, Arc::new(host))
    }

    fn state(
        revision: u64,
        hosts: impl IntoIterator<Item = (Hostname, Arc<Host>)>,
    ) -> Arc<GatewayState> {
        Arc::new(GatewayState {
            revision: ResourceVersion(revision),
            hosts: hosts.into_iter().collect(),
            ..GatewayState::default()
        })
    }

    #[test]
    fn an_older_state_changes_nothing() {
        let table = RouteTable::default().apply(&state(5, [host("a.x", "new")]), Arc::clone);
        let after = table.apply(&state(4, []), Arc::clone);
        assert_eq!(after.len(), 1);
        assert_eq!(after.revision(), ResourceVersion(5));
    }

    #[test]
    fn a_wildcard_stands_for_one_label_and_comes_after_the_name_itself() {
        let hosts = [host("*.dev.x", "all"), host("web.dev.x", "web")];
        let table = RouteTable::default().apply(&state(1, hosts), Arc::clone);
        let project = |name: &str| table.find(name).map(|h| h.project.as_str());
        assert_eq!(project("web.dev.x"), Some("web"));
        assert_eq!(project("api.dev.x"), Some("all"));
        assert_eq!(project("a.api.dev.x"), None);
        assert_eq!(project("dev.x"), None);
        assert_eq!(project(".dev.x"), None);
    }

    #[test]
    fn one_change_among_many_hosts_is_one_entry() {
        for size in [1_000, 20_000] {
            let all: Vec<_> = (0..size).map(|n| host(&format!("h{n}.x"), "p")).collect();
            let before = state(1, all);
            let table = RouteTable::default().apply(&before, Arc::clone);
            let (name, changed) = host("h500.x", "other");
            let mut after = (*before).clone();
            after.revision = ResourceVersion(2);
            after.hosts.insert(name, changed);
            let mut asked = 0;
            let next = table.apply(&Arc::new(after), |host| {
                asked += 1;
                Arc::clone(host)
            });
            assert_eq!(asked, 1);
            let is_same = |n: usize| {
                let name = format!("h{n}.x");
                let pair = table.find(&name).zip(next.find(&name));
                pair.is_some_and(|(a, b)| Arc::ptr_eq(a, b))
            };
            assert_eq!((0..size).filter(|n| !is_same(*n)).count(), 1);
        }
    }

    proptest! {
        /// Any sequence of states leads to the table that the last state alone leads to, and
        /// hosts that did not change stay the same allocation.
        #[test]
        fn applying_changes_equals_rebuilding(
            steps in prop::collection::vec(prop::collection::btree_map(0_u8..20, 0_u8..3, 0..12), 1..8)
        ) {
            let mut table = RouteTable::default();
            let mut last: BTreeMap<Hostname, Arc<Host>> = BTreeMap::new();
            for (revision, step) in (1..).zip(&steps) {
                let mut hosts = BTreeMap::new();
                for (number, project) in step {
                    let (hostname, fresh) = host(&format!("h{number}.x"), &project.to_string());
                    let kept = last.get(&hostname).filter(|old| ***old == *fresh);
                    hosts.insert(hostname, kept.cloned().unwrap_or(fresh));
                }
                let next = state(revision, hosts.clone());
                table = table.apply(&next, Arc::clone);
                prop_assert_eq!(table.len(), hosts.len());
                for (name, host) in &hosts {
                    let found = table.find(name.as_str());
                    prop_assert!(found.is_some_and(|f| Arc::ptr_eq(f, host)));
                }
                last = hosts;
            }
        }
    }
}
