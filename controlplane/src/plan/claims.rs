//! Which project may use a hostname, or a port of the gateway.
//!
//! Every hostname and port of a project is a key of its own in the store, written in the same
//! batch as the project and only if absent: two projects cannot get the same one, however their
//! requests race.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cara_api::hostname::{Domain, Hostname};
use cara_api::project::{Ingress, IngressProtocol, ProjectSpec};
use cara_api::{Project, ProjectName};

/// What belongs to one project at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A hostname or wildcard.
    Host(Hostname),
    /// A port of the gateway.
    Port(u16),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host {host}"),
            Self::Port(port) => write!(f, "port {port}"),
        }
    }
}

/// All that a spec asks for.
pub fn of_spec(spec: &ProjectSpec, name: &str, domain: &Domain) -> BTreeSet<Claim> {
    let rules = spec.ingress.iter();
    rules.flat_map(|rule| of_rule(rule, name, domain)).collect()
}

/// All that a rule asks for, in the order of the document.
pub fn of_rule(ingress: &Ingress, name: &str, domain: &Domain) -> Vec<Claim> {
    if ingress.protocol() == Some(IngressProtocol::Tcp) {
        let port = u16::try_from(ingress.port).ok().filter(|port| *port > 0);
        return port.map(Claim::Port).into_iter().collect();
    }
    let hosts = domain.hostnames(ingress, name).into_iter();
    hosts.map(Claim::Host).collect()
}

/// Changes that bring the claims in line with the projects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// Claims to write, with their owner.
    pub add: BTreeMap<Claim, ProjectName>,
    /// Claims to remove.
    pub remove: BTreeSet<Claim>,
}

/// What to change when claims and projects may differ: after environment or base domain changed.
/// Where two projects ask for the same, the older one gets it.
pub fn repair<'a>(
    projects: impl Iterator<Item = &'a Project>,
    claims: &BTreeMap<Claim, ProjectName>,
    domain: &Domain,
) -> Repair {
    let mut by_age: Vec<&Project> = projects.collect();
    by_age.sort_by_key(|p| (p.metadata.created_at, p.metadata.name.as_str()));
    let mut wanted: BTreeMap<Claim, ProjectName> = BTreeMap::new();
    for project in by_age {
        for claim in of_spec(&project.spec, &project.metadata.name, domain) {
            wanted.entry(claim).or_insert_with(|| project.name());
        }
    }
    let remove = claims
        .keys()
        .filter(|claim| !wanted.contains_key(claim))
        .cloned()
        .collect();
    wanted.retain(|claim, owner| claims.get(claim) != Some(owner));
    Repair {
        add: wanted,
        remove,
    }
}

#[cfg(test)]
mod tests {
    use cara_api::Timestamp;
    use cara_api::project::Ingress;

    use super::*;

    #[test]
    fn a_rule_asks_for_its_hosts_or_for_its_port() {
        let domain = Domain {
            environment: "dev".into(),
            base: "x".into(),
        };
        for (document, expected) in [
            (serde_json::json!({}), vec!["host shop.dev.x"]),
            (
                serde_json::json!({"host": "b", "hosts": ["*.a.org", "c.a.org"]}),
                vec!["host b.dev.x", "host *.a.org", "host c.a.org"],
            ),
            (
                serde_json::json!({"protocol": "TLSPassthrough", "hosts": ["a.org"]}),
                vec!["host a.org"],
            ),
            (
                serde_json::json!({"protocol": "TCP", "port": 25}),
                vec!["port 25"],
            ),
            (
                serde_json::json!({"protocol": "TCP", "port": 70_000}),
                vec![],
            ),
        ] {
            let ingress: Ingress = serde_json::from_value(document.clone()).expect("a rule");
            let found = of_rule(&ingress, "shop", &domain);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{document}");
        }
    }

    #[test]
    fn claims_follow_the_domain_and_the_older_project_wins() {
        let project = |name: &str, host: &str, created| {
            let mut project = Project::default();
            project.metadata.name = name.into();
            project.metadata.created_at = Timestamp::from_second(created).ok();
            project.spec.ingress = vec![Ingress {
                host: host.into(),
                ..Ingress::default()
            }];
            project
        };
        let host = |text| Claim::Host(Hostname::parse(text).expect("a hostname"));
        let projects = [project("new", "web.prod.x", 2), project("old", "web", 1)];
        let claims = BTreeMap::from([
            (host("web.dev.x"), ProjectName::trusted("old")),
            (host("web.prod.x"), ProjectName::trusted("new")),
        ]);
        let domain = Domain {
            environment: "prod".into(),
            base: "x".into(),
        };
        let repair = repair(projects.iter(), &claims, &domain);
        assert_eq!(
            repair.add,
            BTreeMap::from([(host("web.prod.x"), ProjectName::trusted("old"))])
        );
        assert_eq!(repair.remove, BTreeSet::from([host("web.dev.x")]));
    }
}
