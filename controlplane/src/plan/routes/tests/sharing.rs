//! What a change leaves as it is: receivers compare pointers, so that work follows from changes.

use std::cell::Cell;

use cara_api::ProjectName;
use cara_api::secret::Hidden;
use imbl::ordmap::DiffItem;

use super::super::material::{Identity, Material, Missing, Reference};
use super::*;

fn shop(number: usize) -> Project {
    let mut project = project(&format!("p{number:05}"), ProjectPhase::Running, true, 1);
    project.spec.ingress[0].host = format!("h{number:05}");
    project
}

/// How many hosts of two states are not the same allocation.
fn differing(before: &OrdMap<Hostname, Arc<Host>>, after: &OrdMap<Hostname, Arc<Host>>) -> usize {
    let before: Vec<_> = before.iter().collect();
    let after: Vec<_> = after.iter().collect();
    assert_eq!(before.len(), after.len());
    let pairs = before.iter().zip(&after);
    pairs.filter(|(a, b)| !Arc::ptr_eq(a.1, b.1)).count()
}

#[test]
fn a_change_of_one_project_of_many_changes_one_host() {
    let domain = domain();
    let ground = bare(&domain);
    let mut set = RouteSet::default();
    for number in 0..10_000 {
        let project = shop(number);
        set.update(&project.name(), Some((&project, None)), &ground);
    }
    let before = set.hosts().clone();
    let mut changed = shop(5_000);
    changed.status.services[0].endpoints[0].ready = false;
    assert!(set.update(&changed.name(), Some((&changed, None)), &ground));
    assert_eq!(differing(&before, set.hosts()), 1);
    let changes: Vec<_> = before.diff(set.hosts()).collect();
    assert!(matches!(changes[..], [DiffItem::Update { .. }]));
    let policy = |host: &str| Arc::clone(&set.hosts()[host].routes[0].policy);
    let (one, other) = (
        policy("h00001.dev.localhost"),
        policy("h09999.dev.localhost"),
    );
    assert!(
        Arc::ptr_eq(&one, &other),
        "rules that say the same share a policy"
    );
}

#[test]
fn the_hosts_of_a_rule_have_it_in_common() {
    let domain = domain();
    let ground = bare(&domain);
    let mut set = RouteSet::default();
    let mut project = shop(1);
    project.spec.ingress[0].hosts = vec!["b".into(), "c".into()];
    for is_ready in [true, false, true] {
        project.status.services[0].endpoints[0].ready = is_ready;
        set.update(&project.name(), Some((&project, None)), &ground);
        let hosts: Vec<_> = set.hosts().values().collect();
        assert_eq!(hosts.len(), 3);
        assert!(hosts.iter().all(|host| Arc::ptr_eq(host, hosts[0])));
    }
}

/// A key that counts how often it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted(u32);

thread_local! {
    static COMPARED: Cell<usize> = const { Cell::new(0) };
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        COMPARED.set(COMPARED.get() + 1);
        self.0.cmp(&other.0)
    }
}

/// What the maps of hosts and ports are chosen for.
#[test]
fn to_find_what_changed_among_ten_times_as_many_costs_hardly_more() {
    let compared = |size: u32| {
        let before: OrdMap<Counted, u32> = (0..size).map(|key| (Counted(key), key)).collect();
        COMPARED.set(0);
        let mut after = before.clone();
        after.insert(Counted(size / 2), 0);
        assert_eq!(before.diff(&after).count(), 1);
        COMPARED.get()
    };
    let (few, many) = (compared(10_000), compared(100_000));
    assert!(many < 2 * few && many < 1_000, "{few}, then {many}");
}

/// A secret that comes and goes.
struct Late(Option<&'static str>);

impl Material for Late {
    fn secret(&self, _: &str) -> Result<Arc<BTreeMap<String, Hidden>>, Missing> {
        let value = Hidden::new(self.0.ok_or(Missing::Absent)?);
        Ok(Arc::new(BTreeMap::from([("token".to_owned(), value)])))
    }

    fn certificate(&self, _: &str) -> Result<Arc<Identity>, Missing> {
        Err(Missing::Absent)
    }

    fn is_trusted(&self, _: &Hostname) -> bool {
        false
    }
}

#[test]
fn a_rule_follows_the_secret_that_it_names() {
    let domain = domain();
    let mut project = shop(1);
    project.spec.ingress[0].access.bypass_token = "ci".into();
    let mut set = RouteSet::default();
    let mut update = |project: Option<&Project>, value| {
        let material = Late(value);
        let ground = Ground {
            domain: &domain,
            material: &material,
        };
        let project = project.map(|project| (project, None));
        let is_changed = set.update(&ProjectName::trusted("p00001"), project, &ground);
        let depending = set.depending_on(&Reference::Secret("ci".into())).count();
        let hosts = set.hosts().values();
        let mut access = hosts.map(|host| host.routes[0].policy.access.clone());
        (is_changed, depending, access.next())
    };
    let (is_changed, depending, access) = update(Some(&project), None);
    assert!(is_changed && depending == 1);
    assert!(access.is_some_and(|a| a.broken.is_some()));
    let (is_changed, _, access) = update(Some(&project), Some("one"));
    let bypass = access.and_then(|a| a.bypass);
    assert!(is_changed);
    assert_eq!(bypass.as_ref().map(Hidden::reveal), Some("one"));
    assert!(!update(Some(&project), Some("one")).0, "nothing changed");
    assert!(update(Some(&project), Some("two")).0);
    assert_eq!(update(None, None), (true, 0, None));
}

#[test]
fn a_port_goes_to_the_older_project() {
    let domain = domain();
    let ground = bare(&domain);
    let mut set = RouteSet::default();
    let tcp = |name: &str, created| {
        let mut project = project(name, ProjectPhase::Running, true, created);
        project.spec.ingress[0].protocol = "TCP".into();
        project.spec.ingress[0].port = 5432;
        project
    };
    let (new, old) = (tcp("a", 2), tcp("z", 1));
    let owner = |set: &RouteSet| set.ports().get(&5432).map(|s| s.project.clone());
    set.update(&new.name(), Some((&new, None)), &ground);
    assert!(set.hosts().is_empty(), "a port has no hostname");
    assert_eq!(owner(&set).as_deref(), Some("a"));
    set.update(&old.name(), Some((&old, None)), &ground);
    assert_eq!(owner(&set).as_deref(), Some("z"));
    set.update(&old.name(), None, &ground);
    assert_eq!(owner(&set).as_deref(), Some("a"));
}

/// A project that asks for a host and a port, both of which others may ask for.
fn asking(name: u8, (host, port, created): (u8, u16, i64)) -> Project {
    let mut project = project(&format!("p{name}"), ProjectPhase::Running, true, created);
    project.spec.ingress[0].host = format!("h{host}");
    let mut tcp = project.spec.ingress[0].clone();
    tcp.protocol = "TCP".into();
    tcp.port = port.into();
    project.spec.ingress.push(tcp);
    project
}

proptest::proptest! {
    /// However projects came, changed and went: what is published follows from those there are.
    #[test]
    fn taking_in_changes_equals_taking_in_the_last_state(
        steps in proptest::collection::vec((0_u8..5, proptest::option::of((0_u8..3, 1_u16..4, 0_i64..3))), 0..30)
    ) {
        let domain = domain();
        let ground = bare(&domain);
        let mut set = RouteSet::default();
        let mut last = BTreeMap::new();
        for (name, wanted) in steps {
            let project = wanted.map(|wanted| asking(name, wanted));
            let before = (set.hosts().clone(), set.ports().clone());
            let key = ProjectName::trusted(&format!("p{name}"));
            let is_changed = set.update(&key, project.as_ref().map(|p| (p, None)), &ground);
            let after = (set.hosts().clone(), set.ports().clone());
            proptest::prop_assert!(is_changed || before == after);
            last.insert(key, project);
        }
        let mut fresh = RouteSet::default();
        for (key, project) in last.iter().rev() {
            fresh.update(key, project.as_ref().map(|p| (p, None)), &ground);
        }
        proptest::prop_assert_eq!(set.hosts(), fresh.hosts());
        proptest::prop_assert_eq!(set.ports(), fresh.ports());
    }
}
