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
type Age = Arc<(Option<Timestamp>, ProjectName)>;

#[derive(Debug)]
struct Entry {
    age: Age,
    hosts: Sorted<Hostname, Host>,
    ports: Sorted<u16, StreamRoute>,
    references: BTreeSet<Reference>,
}

/// A map that is made once: most projects have few hosts, and there are many projects.
#[derive(Debug)]
struct Sorted<K, V>(Box<[(K, Arc<V>)]>);

impl<K: Ord, V> Sorted<K, V> {
    /// Of items in any order, no two with the same key.
    fn of(items: impl Iterator<Item = (K, Arc<V>)>) -> Self {
        let mut items: Box<[_]> = items.collect();
        items.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Self(items)
    }

    fn get(&self, key: &K) -> Option<&Arc<V>> {
        let at = self.0.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }
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
        // The hostnames of a rule have it in common.
        let mut last: Option<Arc<Host>> = None;
        let hosts = routing.hosts.into_iter().map(|(name, host)| {
            let old = old.and_then(|old| old.hosts.get(&name));
            let host = self.host(host, old, last.as_ref());
            last = Some(Arc::clone(&host));
            (name, host)
        });
        let hosts = Sorted::of(hosts);
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
            age: Arc::new((project.metadata.created_at, project.name())),
            hosts,
            ports: Sorted::of(ports),
            references,
        }
    }

    /// The host, or what stands there already and says the same: at the same name before, or at
    /// another one of the project. The same goes for its rules and their policies.
    fn host(
        &mut self,
        mut fresh: Host,
        old: Option<&Arc<Host>>,
        other: Option<&Arc<Host>>,
    ) -> Arc<Host> {
        let mut stands = other.into_iter().chain(old);
        if let Some(same) = stands.find(|known| ***known == fresh) {
            return Arc::clone(same);
        }
        let stands = other.into_iter().chain(old);
        let stands: Vec<&Arc<Route>> = stands.flat_map(|host| &host.routes).collect();
        for route in &mut fresh.routes {
            let mut same = stands.iter().filter(|old| old.ingress == route.ingress);
            if let Some(found) = same.clone().find(|old| ***old == *route) {
                *route = Arc::clone(found);
            } else {
                let known = same.find(|old| *old.policy == *route.policy);
                let known = known.map(|old| Arc::clone(&old.policy));
                let policy = known.unwrap_or_else(|| self.common(&route.policy));
                share(route, policy);
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
    by_key: BTreeMap<K, Asking<V>>,
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

/// All who ask for a key.
#[derive(Debug)]
enum Asking<V> {
    /// One, as a rule.
    One(Age, Arc<V>),
    /// Several, oldest first.
    Several(BTreeMap<Age, Arc<V>>),
}

impl<V> Asking<V> {
    /// With one more, or with something else that one asks for.
    fn with(self, age: &Age, value: &Arc<V>) -> Self {
        match self {
            Self::One(known, _) if known == *age => Self::One(known, Arc::clone(value)),
            Self::One(known, old) => {
                let both = [(known, old), (Arc::clone(age), Arc::clone(value))];
                Self::Several(both.into())
            }
            Self::Several(mut all) => {
                all.insert(Arc::clone(age), Arc::clone(value));
                Self::Several(all)
            }
        }
    }

    /// Without one; none when nobody is left.
    fn without(self, age: &Age) -> Option<Self> {
        match self {
            Self::One(known, _) if known == *age => None,
            Self::One(known, value) => Some(Self::One(known, value)),
            Self::Several(mut all) => {
                all.remove(age);
                (!all.is_empty()).then_some(Self::Several(all))
            }
        }
    }

    fn oldest(&self) -> Option<&Arc<V>> {
        match self {
            Self::One(_, value) => Some(value),
            Self::Several(all) => all.values().next(),
        }
    }
}

type Asked<'a, K, V> = Option<(&'a Age, &'a Sorted<K, V>)>;

impl<K: Ord + Clone, V> Claims<K, V> {
    /// Puts what a project asks for now in the place of what it asked for, and says whether
    /// anything differs.
    fn change(&mut self, old: Asked<'_, K, V>, new: Asked<'_, K, V>) -> bool {
        let is_same_age = old.map(|(age, _)| age) == new.map(|(age, _)| age);
        let mut is_changed = false;
        for (key, value) in old.into_iter().flat_map(|(_, values)| &values.0) {
            let stays = new.and_then(|(_, values)| values.get(key));
            if is_same_age && stays.is_some_and(|new| Arc::ptr_eq(new, value)) {
                continue;
            }
            if let (Some((age, _)), Some(asking)) = (old, self.by_key.remove(key))
                && let Some(left) = asking.without(age)
            {
                self.by_key.insert(key.clone(), left);
            }
            if stays.is_none() {
                self.publish(key);
                is_changed = true;
            }
        }
        for (key, value) in new.into_iter().flat_map(|(_, values)| &values.0) {
            let stood = old.and_then(|(_, values)| values.get(key));
            if is_same_age && stood.is_some_and(|old| Arc::ptr_eq(old, value)) {
                continue;
            }
            if let Some((age, _)) = new {
                let asking = match self.by_key.remove(key) {
                    Some(asking) => asking.with(age, value),
                    None => Asking::One(Arc::clone(age), Arc::clone(value)),
                };
                self.by_key.insert(key.clone(), asking);
            }
            self.publish(key);
            is_changed = true;
        }
        is_changed
    }

    fn publish(&mut self, key: &K) {
        let oldest = self.by_key.get(key).and_then(Asking::oldest);
        let Some(oldest) = oldest else {
            self.published.remove(key);
            return;
        };
        let published = self.published.get(key);
        if !published.is_some_and(|published| Arc::ptr_eq(published, oldest)) {
            self.published.insert(key.clone(), Arc::clone(oldest));
        }
    }
}
