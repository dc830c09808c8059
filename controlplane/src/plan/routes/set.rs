//! The published routes of all projects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cara_api::gateway::{Host, Policy, Route, StreamRoute};
use cara_api::hostname::Hostname;
use cara_api::project::ProjectRevision;
use cara_api::{Project, ProjectName, Timestamp};
use imbl::OrdMap;

use super::material::{Reference, references};
use super::{Ground, of_project};

/// Policies that are looked through for one that says the same: most rules of an installation
/// say nothing special, and share one.
const COMMON: usize = 8;

/// The published routes: for each hostname and port those of the project that is entitled to it.
/// A change costs what it changes, not what there is; what stays the same stays the same `Arc`.
///
/// The store lets a hostname or port be claimed once, so two projects compete only after the
/// environment or base domain changed; then the older project wins.
#[derive(Debug, Default)]
pub struct RouteSet {
    by_project: BTreeMap<ProjectName, Entry>,
    hosts: Claims<Hostname, Host>,
    ports: Claims<u16, StreamRoute>,
    by_reference: BTreeMap<Reference, BTreeSet<ProjectName>>,
    common: VecDeque<Arc<Policy>>,
}

/// Orders projects by creation, then by name.
type Age = (Option<Timestamp>, ProjectName);

#[derive(Debug)]
struct Entry {
    age: Age,
    hosts: BTreeMap<Hostname, Arc<Host>>,
    ports: BTreeMap<u16, Arc<StreamRoute>>,
    references: BTreeSet<Reference>,
}

impl RouteSet {
    /// Takes in the new state of a project (`None`: it is gone) and of the stored spec of its
    /// stable generation, and says whether any of its routes changed.
    pub fn update(
        &mut self,
        name: &ProjectName,
        project: Option<(&Project, Option<&ProjectRevision>)>,
        ground: &Ground<'_>,
    ) -> bool {
        let old = self.by_project.remove(name);
        if let Some(old) = &old {
            self.forget(name, &old.references);
        }
        let fresh =
            project.map(|(project, stable)| self.entry(project, stable, old.as_ref(), ground));
        let is_changed = self.hosts.change(
            old.as_ref().map(|old| (&old.age, &old.hosts)),
            fresh.as_ref().map(|new| (&new.age, &new.hosts)),
        ) | self.ports.change(
            old.as_ref().map(|old| (&old.age, &old.ports)),
            fresh.as_ref().map(|new| (&new.age, &new.ports)),
        );
        if let Some(fresh) = fresh {
            for reference in &fresh.references {
                let names = self.by_reference.entry(reference.clone()).or_default();
                names.insert(name.clone());
            }
            self.by_project.insert(name.clone(), fresh);
        }
        is_changed
    }

    fn entry(
        &mut self,
        project: &Project,
        stable: Option<&ProjectRevision>,
        old: Option<&Entry>,
        ground: &Ground<'_>,
    ) -> Entry {
        let routing = of_project(project, stable, ground);
        let hosts = routing.hosts.into_iter().map(|host| {
            let old = old.and_then(|old| old.hosts.get(&host.hostname));
            (host.hostname.clone(), self.host(host, old))
        });
        let ports = routing.ports.into_iter().map(|(port, stream)| {
            let old = old.and_then(|old| old.ports.get(&port));
            let kept = old.filter(|old| ***old == stream).cloned();
            (port, kept.unwrap_or_else(|| Arc::new(stream)))
        });
        let mut references = references(&project.spec);
        if let Some(stable) = stable {
            references.extend(super::material::references(&stable.spec));
        }
        Entry {
            age: (project.metadata.created_at, project.name()),
            hosts: hosts.collect(),
            ports: ports.collect(),
            references,
        }
    }

    /// The host, with what stands there already in the place of what says the same.
    fn host(&mut self, mut fresh: Host, old: Option<&Arc<Host>>) -> Arc<Host> {
        if let Some(old) = old
            && **old == fresh
        {
            return Arc::clone(old);
        }
        let stands = old.map(|old| old.routes.as_slice()).unwrap_or_default();
        for route in &mut fresh.routes {
            let same = stands.iter().find(|old| old.ingress == route.ingress);
            match same {
                Some(old) if **old == **route => *route = Arc::clone(old),
                Some(old) if *old.policy == *route.policy => {
                    share(route, Arc::clone(&old.policy));
                }
                Some(_) | None => {
                    let policy = self.common(&route.policy);
                    share(route, policy);
                }
            }
        }
        Arc::new(fresh)
    }

    /// A policy that says the same, or this one. Those with secrets are not kept.
    fn common(&mut self, policy: &Arc<Policy>) -> Arc<Policy> {
        if policy.access.asks_who() || policy.access.broken.is_some() {
            return Arc::clone(policy);
        }
        if let Some(found) = self.common.iter().find(|known| ***known == **policy) {
            return Arc::clone(found);
        }
        if self.common.len() == COMMON {
            self.common.pop_front();
        }
        self.common.push_back(Arc::clone(policy));
        Arc::clone(policy)
    }

    fn forget(&mut self, name: &ProjectName, references: &BTreeSet<Reference>) {
        for reference in references {
            if let Some(names) = self.by_reference.get_mut(reference) {
                names.remove(name);
                if names.is_empty() {
                    self.by_reference.remove(reference);
                }
            }
        }
    }

    /// Names of all projects that were taken in.
    pub fn projects(&self) -> impl Iterator<Item = &ProjectName> {
        self.by_project.keys()
    }

    /// Projects whose routes depend on something; to be taken in again when it changed.
    pub fn depending_on(&self, reference: &Reference) -> impl Iterator<Item = &ProjectName> {
        self.by_reference.get(reference).into_iter().flatten()
    }

    /// The published hosts.
    pub fn hosts(&self) -> &OrdMap<Hostname, Arc<Host>> {
        &self.hosts.published
    }

    /// The published ports.
    pub fn ports(&self) -> &OrdMap<u16, Arc<StreamRoute>> {
        &self.ports.published
    }
}

/// Gives a rule a policy that equals its own.
fn share(route: &mut Arc<Route>, policy: Arc<Policy>) {
    Arc::make_mut(route).policy = policy;
}

/// Who asks for a key, and what the oldest of them gets.
#[derive(Debug)]
struct Claims<K: Ord, V> {
    /// All who ask for a key, oldest first.
    by_key: BTreeMap<K, BTreeMap<Age, Arc<V>>>,
    published: OrdMap<K, Arc<V>>,
}

impl<K: Ord, V> Default for Claims<K, V> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            published: OrdMap::new(),
        }
    }
}

type Asked<'a, K, V> = Option<(&'a Age, &'a BTreeMap<K, Arc<V>>)>;

impl<K: Ord + Clone, V> Claims<K, V> {
    /// Puts what a project asks for now in the place of what it asked for, and says whether
    /// anything differs.
    fn change(&mut self, old: Asked<'_, K, V>, new: Asked<'_, K, V>) -> bool {
        let is_same_age = old.map(|(age, _)| age) == new.map(|(age, _)| age);
        let mut is_changed = false;
        for (key, value) in old.into_iter().flat_map(|(_, values)| values) {
            let stays = new.and_then(|(_, values)| values.get(key));
            if is_same_age && stays.is_some_and(|new| Arc::ptr_eq(new, value)) {
                continue;
            }
            if let (Some((age, _)), Some(asking)) = (old, self.by_key.get_mut(key)) {
                asking.remove(age);
            }
            if stays.is_none() {
                self.publish(key);
                is_changed = true;
            }
        }
        for (key, value) in new.into_iter().flat_map(|(_, values)| values) {
            let stood = old.and_then(|(_, values)| values.get(key));
            if is_same_age && stood.is_some_and(|old| Arc::ptr_eq(old, value)) {
                continue;
            }
            if let Some((age, _)) = new {
                let asking = self.by_key.entry(key.clone()).or_default();
                asking.insert(age.clone(), Arc::clone(value));
            }
            self.publish(key);
            is_changed = true;
        }
        is_changed
    }

    fn publish(&mut self, key: &K) {
        let asking = self.by_key.get(key);
        match asking.and_then(|asking| asking.values().next()) {
            Some(oldest) => {
                let is_same = self
                    .published
                    .get(key)
                    .is_some_and(|p| Arc::ptr_eq(p, oldest));
                if !is_same {
                    self.published.insert(key.clone(), Arc::clone(oldest));
                }
            }
            None => {
                self.published.remove(key);
                self.by_key.remove(key);
            }
        }
    }
}
