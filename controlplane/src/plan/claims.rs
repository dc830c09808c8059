//! Which project may use a hostname.
//!
//! Every hostname of a project is a key of its own in the store, written in the same batch as
//! the project and only if absent: two projects cannot get one hostname, however their
//! requests race.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::hostname::{Domain, Hostname};
use cara_api::project::ProjectSpec;
use cara_api::{Project, ProjectName};

/// All hostnames that a spec asks for.
pub fn hostnames(spec: &ProjectSpec, name: &str, domain: &Domain) -> BTreeSet<Hostname> {
    spec.ingress
        .iter()
        .flat_map(|ingress| domain.hostnames(ingress, name))
        .collect()
}

/// Changes that bring the claims in line with the projects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// Claims to write, with their owner.
    pub add: BTreeMap<Hostname, ProjectName>,
    /// Claims to remove.
    pub remove: BTreeSet<Hostname>,
}

/// What to change when claims and projects may differ: after environment or base domain changed.
/// Where two projects ask for a hostname, the older one gets it.
pub fn repair<'a>(
    projects: impl Iterator<Item = &'a Project>,
    claims: &BTreeMap<Hostname, ProjectName>,
    domain: &Domain,
) -> Repair {
    let mut by_age: Vec<&Project> = projects.collect();
    by_age.sort_by_key(|p| (p.metadata.created_at, p.metadata.name.as_str()));
    let mut wanted: BTreeMap<Hostname, ProjectName> = BTreeMap::new();
    for project in by_age {
        for host in hostnames(&project.spec, &project.metadata.name, domain) {
            wanted.entry(host).or_insert_with(|| project.name());
        }
    }
    let remove = claims
        .keys()
        .filter(|host| !wanted.contains_key::<Hostname>(host))
        .cloned()
        .collect();
    wanted.retain(|host, owner| claims.get(host) != Some(owner));
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
        let host = |text| Hostname::parse(text).expect("a hostname");
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
