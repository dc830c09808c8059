//! From projects to routes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use cara_api::gateway::{Backend, Route};
use cara_api::hostname::{Domain, Hostname};
use cara_api::project::{Ingress, ProjectPhase};
use cara_api::{Project, ProjectName, Timestamp, condition};

/// The routes of one project, in the order of its ingress rules.
pub fn of_project(project: &Project, domain: &Domain) -> Vec<Route> {
    let routes = project.spec.ingress.iter().filter_map(|ingress| {
        let hostname = domain.resolve(&ingress.host, &project.metadata.name).ok()?;
        Some(Route {
            hostname,
            project: project.metadata.name.clone(),
            service: ingress.target.service.clone(),
            backend: backend(project, ingress),
        })
    });
    routes.collect()
}

fn backend(project: &Project, ingress: &Ingress) -> Backend {
    let phase = project.status.phase;
    let services = project
        .status
        .services
        .iter()
        .filter(|s| s.name == ingress.target.service);
    let endpoints: Vec<SocketAddr> = services
        .flat_map(|service| &service.endpoints)
        .filter(|endpoint| endpoint.ready && i64::from(endpoint.port) == ingress.target.port)
        .map(|endpoint| endpoint.address)
        .collect();
    let is_served = match phase {
        ProjectPhase::Scheduled | ProjectPhase::Running | ProjectPhase::Failed => {
            !endpoints.is_empty()
        }
        ProjectPhase::Pending | ProjectPhase::Terminating | ProjectPhase::Terminated => false,
    };
    if is_served {
        return Backend::Ready { endpoints };
    }
    Backend::Unavailable {
        phase,
        reason: reason(project),
    }
}

fn reason(project: &Project) -> String {
    let conditions = &project.status.conditions;
    let phase = project.status.phase;
    // A bound project may have one too, while it can move nowhere.
    let placed = condition::find(conditions, condition::PLACED);
    let found = placed
        .filter(|_| phase == ProjectPhase::Pending)
        .or_else(|| condition::find(conditions, condition::PHASE));
    match (phase, found) {
        (ProjectPhase::Running, _) => "ServiceNotReady".to_owned(),
        (_, Some(condition)) => condition.reason.clone(),
        (_, None) => "Waiting".to_owned(),
    }
}

/// The published routes: for each hostname the route of the project that is entitled to it.
///
/// The store lets a hostname be claimed once, so two projects compete only after the
/// environment or base domain changed; then the older project wins.
#[derive(Debug, Default)]
pub struct RouteSet {
    by_project: BTreeMap<ProjectName, (Age, Vec<Arc<Route>>)>,
    /// All who ask for a hostname, oldest first.
    by_host: BTreeMap<Hostname, BTreeMap<Age, Arc<Route>>>,
    published: BTreeMap<Hostname, Arc<Route>>,
}

/// Orders projects by creation, then by name.
type Age = (Option<Timestamp>, ProjectName);

impl RouteSet {
    /// Takes in the new state of a project (`None`: it is gone) and says whether any of its
    /// routes changed.
    pub fn update(
        &mut self,
        name: &ProjectName,
        project: Option<&Project>,
        domain: &Domain,
    ) -> bool {
        let fresh = project.map(|p| of_project(p, domain)).unwrap_or_default();
        let age: Age = (project.and_then(|p| p.metadata.created_at), name.clone());
        if let Some((_, old)) = self.by_project.get(name)
            && old.len() == fresh.len()
            && old.iter().zip(&fresh).all(|(a, b)| **a == *b)
        {
            return false;
        }
        let mut touched = Vec::new();
        if let Some((age, old)) = self.by_project.remove(name) {
            for route in old {
                if let Some(claims) = self.by_host.get_mut(&route.hostname) {
                    claims.remove(&age);
                }
                touched.push(route.hostname.clone());
            }
        }
        let routes: Vec<Arc<Route>> = fresh.into_iter().map(Arc::new).collect();
        for route in &routes {
            let claims = self.by_host.entry(route.hostname.clone()).or_default();
            claims.insert(age.clone(), Arc::clone(route));
            touched.push(route.hostname.clone());
        }
        if !routes.is_empty() {
            self.by_project.insert(name.clone(), (age, routes));
        }
        touched.iter().for_each(|host| self.publish(host));
        !touched.is_empty()
    }

    fn publish(&mut self, host: &Hostname) {
        let oldest = self
            .by_host
            .get(host)
            .and_then(|claims| claims.values().next())
            .cloned();
        if let Some(route) = oldest {
            self.published.insert(host.clone(), route);
        } else {
            self.published.remove(host);
            self.by_host.remove(host);
        }
    }

    /// Names of all projects that have routes.
    pub fn projects(&self) -> impl Iterator<Item = &ProjectName> {
        self.by_project.keys()
    }

    /// The published routes.
    pub fn published(&self) -> &BTreeMap<Hostname, Arc<Route>> {
        &self.published
    }
}

#[cfg(test)]
mod tests {
    use cara_api::project::{Endpoint, IngressTarget, ServiceState, ServiceStatus};

    use super::*;

    fn domain() -> Domain {
        Domain {
            environment: "dev".into(),
            base: "localhost".into(),
        }
    }

    fn project(name: &str, phase: ProjectPhase, ready: bool, created: i64) -> Project {
        let mut project = Project::default();
        project.metadata.name = name.into();
        project.metadata.created_at = Timestamp::from_second(created).ok();
        project.status.phase = phase;
        project.spec.ingress = vec![Ingress {
            name: "web".into(),
            host: "shop".into(),
            target: IngressTarget {
                service: "app".into(),
                port: 80,
            },
            ..Ingress::default()
        }];
        let address = |text: &str| text.parse().expect("an address");
        project.status.services = vec![ServiceStatus {
            name: "app".into(),
            state: ServiceState::Running,
            ready,
            endpoints: vec![
                Endpoint {
                    port: 80,
                    address: address("10.0.0.1:80"),
                    ready,
                },
                Endpoint {
                    port: 81,
                    address: address("10.0.0.1:81"),
                    ready: true,
                },
            ],
            ..ServiceStatus::default()
        }];
        project
    }

    fn shown(routes: &BTreeMap<Hostname, Arc<Route>>) -> Vec<String> {
        let backend = |route: &Route| match &route.backend {
            Backend::Ready { endpoints } => format!("{endpoints:?}"),
            Backend::Unavailable { phase, reason } => format!("{phase} {reason}"),
        };
        routes
            .iter()
            .map(|(host, route)| format!("{host} {} {}", route.project, backend(route)))
            .collect()
    }

    #[test]
    fn a_route_leads_to_the_ready_endpoints_of_its_port() {
        for (phase, ready, expected) in [
            (ProjectPhase::Running, true, "[10.0.0.1:80]"),
            (ProjectPhase::Failed, true, "[10.0.0.1:80]"),
            (ProjectPhase::Running, false, "Running ServiceNotReady"),
            (ProjectPhase::Scheduled, false, "Scheduled Waiting"),
            (ProjectPhase::Terminating, true, "Terminating Waiting"),
        ] {
            let mut set = RouteSet::default();
            let project = project("p", phase, ready, 1);
            assert!(set.update(&project.name(), Some(&project), &domain()));
            assert_eq!(
                shown(set.published()),
                [format!("shop.dev.localhost p {expected}")]
            );
            assert!(
                !set.update(&project.name(), Some(&project), &domain()),
                "the same again changes nothing"
            );
            assert!(set.update(&project.name(), None, &domain()));
            assert_eq!(shown(set.published()), [""; 0]);
        }
    }

    #[test]
    fn the_older_of_two_projects_keeps_the_hostname_and_the_other_inherits_it() {
        let mut set = RouteSet::default();
        let (old, new) = (
            project("z", ProjectPhase::Running, true, 1),
            project("a", ProjectPhase::Running, true, 2),
        );
        set.update(&new.name(), Some(&new), &domain());
        set.update(&old.name(), Some(&old), &domain());
        assert_eq!(
            shown(set.published()),
            ["shop.dev.localhost z [10.0.0.1:80]"]
        );
        set.update(&old.name(), None, &domain());
        assert_eq!(
            shown(set.published()),
            ["shop.dev.localhost a [10.0.0.1:80]"]
        );
    }
}
