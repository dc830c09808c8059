//! From projects to routes.

mod compile;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use cara_api::gateway::{Backend, Host, HostTls, Route};
use cara_api::hostname::{Domain, Hostname};
use cara_api::project::{Ingress, IngressTarget, ProjectPhase, ProjectRevision, ProjectSpec};
use cara_api::{Project, ProjectName, Timestamp, condition};
use imbl::OrdMap;

/// The hosts of one project with their rules. While a changed project does not run yet, or was
/// taken back, requests go where the generation that runs wants them: `stable` is its stored
/// spec, if there is one. Hostnames are those of the newest spec alone.
pub fn of_project(
    project: &Project,
    stable: Option<&ProjectRevision>,
    domain: &Domain,
) -> Vec<Host> {
    let name = &project.metadata.name;
    let is_older = |r: &&ProjectRevision| {
        project.status.observed_generation < project.metadata.generation
            && r.generation == project.status.stable_generation
    };
    let earlier = stable
        .filter(is_older)
        .map(|revision| by_host(&revision.spec, name, domain))
        .unwrap_or_default();
    let hosts = by_host(&project.spec, name, domain).into_iter();
    let hosts = hosts.map(|(hostname, newest)| {
        let compile = |rules: &[&Ingress]| -> Vec<Arc<Route>> {
            let routes = rules.iter().map(|rule| compile::route(project, rule));
            routes.map(Arc::new).collect()
        };
        let kept = earlier.get(&hostname).map(|rules| compile(rules));
        let routes = match kept {
            Some(routes) if routes.iter().any(|r| compile::is_served(r)) => routes,
            Some(_) | None => compile(&newest),
        };
        Host {
            hostname,
            project: name.clone(),
            tls: HostTls::default(),
            routes,
        }
    });
    hosts.collect()
}

/// The rules of a spec by the hostnames that they name.
fn by_host<'a>(
    spec: &'a ProjectSpec,
    name: &str,
    domain: &Domain,
) -> BTreeMap<Hostname, Vec<&'a Ingress>> {
    let mut hosts: BTreeMap<Hostname, Vec<&Ingress>> = BTreeMap::new();
    for ingress in &spec.ingress {
        for host in ingress.all_hosts() {
            let Ok(hostname) = domain.resolve(host, name) else {
                continue;
            };
            hosts.entry(hostname).or_default().push(ingress);
        }
    }
    hosts
}

/// Why nothing under a host is served; none when something is.
pub fn unserved(host: &Host) -> Option<&str> {
    if host.routes.iter().any(|route| compile::is_served(route)) {
        return None;
    }
    let reasons = host.routes.iter().filter_map(|r| compile::backend_of(r));
    let mut reasons = reasons.filter_map(|backend| match backend {
        Backend::Ready { .. } => None,
        Backend::Unavailable { reason, .. } => Some(reason.as_str()),
    });
    Some(reasons.next().unwrap_or_default())
}

/// Whether a target can be reached, and where.
fn backend(project: &Project, target: &IngressTarget) -> Backend {
    match endpoints(project, target) {
        Some(endpoints) => Backend::Ready { endpoints },
        None => unavailable(project),
    }
}

/// Where a target takes requests; none while it takes none.
fn endpoints(project: &Project, target: &IngressTarget) -> Option<Vec<SocketAddr>> {
    match project.status.phase {
        ProjectPhase::Scheduled | ProjectPhase::Running | ProjectPhase::Failed => {}
        ProjectPhase::Pending | ProjectPhase::Terminating | ProjectPhase::Terminated => {
            return None;
        }
    }
    let services = project
        .status
        .services
        .iter()
        .filter(|s| s.name == target.service);
    let endpoints: Vec<SocketAddr> = services
        .flat_map(|service| &service.endpoints)
        .filter(|endpoint| endpoint.ready && i64::from(endpoint.port) == target.port)
        .map(|endpoint| endpoint.address)
        .collect();
    (!endpoints.is_empty()).then_some(endpoints)
}

fn unavailable(project: &Project) -> Backend {
    Backend::Unavailable {
        phase: project.status.phase,
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
    by_project: BTreeMap<ProjectName, (Age, Vec<Arc<Host>>)>,
    /// All who ask for a hostname, oldest first.
    by_host: BTreeMap<Hostname, BTreeMap<Age, Arc<Host>>>,
    published: OrdMap<Hostname, Arc<Host>>,
}

/// Orders projects by creation, then by name.
type Age = (Option<Timestamp>, ProjectName);

impl RouteSet {
    /// Takes in the new state of a project (`None`: it is gone) and of the stored spec of its
    /// stable generation, and says whether any of its routes changed.
    pub fn update(
        &mut self,
        name: &ProjectName,
        project: Option<(&Project, Option<&ProjectRevision>)>,
        domain: &Domain,
    ) -> bool {
        let fresh = project
            .map(|(project, stable)| of_project(project, stable, domain))
            .unwrap_or_default();
        let created_at = project.and_then(|(project, _)| project.metadata.created_at);
        let age: Age = (created_at, name.clone());
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
        let routes: Vec<Arc<Host>> = fresh.into_iter().map(Arc::new).collect();
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
    pub fn published(&self) -> &OrdMap<Hostname, Arc<Host>> {
        &self.published
    }
}

#[cfg(test)]
mod tests {
    use cara_api::project::{Endpoint, ServiceState, ServiceStatus};

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
                ..IngressTarget::default()
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

    fn shown(routes: &OrdMap<Hostname, Arc<Host>>) -> Vec<String> {
        let backend = |host: &Host| match compile::backend_of(&host.routes[0]).expect("a target") {
            Backend::Ready { endpoints } => format!("{endpoints:?}"),
            Backend::Unavailable { phase, reason } => format!("{phase} {reason}"),
        };
        routes
            .iter()
            .map(|(name, host)| format!("{name} {} {}", host.project, backend(host)))
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
            assert!(set.update(&project.name(), Some((&project, None)), &domain()));
            assert_eq!(
                shown(set.published()),
                [format!("shop.dev.localhost p {expected}")]
            );
            assert!(
                !set.update(&project.name(), Some((&project, None)), &domain()),
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
        set.update(&new.name(), Some((&new, None)), &domain());
        set.update(&old.name(), Some((&old, None)), &domain());
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

    #[test]
    fn requests_follow_the_generation_that_runs_until_the_newer_one_does() {
        let mut project = project("p", ProjectPhase::Running, true, 1);
        let stable = ProjectRevision {
            ran: false,
            project: "p".into(),
            generation: cara_api::Generation(1),
            spec: Arc::new(project.spec.clone()),
            replaced_at: Timestamp::UNIX_EPOCH,
        };
        project.metadata.generation = cara_api::Generation(2);
        project.status.observed_generation = cara_api::Generation(1);
        project.status.stable_generation = cara_api::Generation(1);
        project.spec.ingress[0].target.port = 90;
        let lead = |project: &Project, stable| {
            let mut set = RouteSet::default();
            set.update(&project.name(), Some((project, stable)), &domain());
            shown(set.published()).remove(0)
        };
        let ready = "shop.dev.localhost p [10.0.0.1:80]";
        assert_eq!(lead(&project, Some(&stable)), ready);
        project.status.rejected_generation = cara_api::Generation(2);
        assert_eq!(lead(&project, Some(&stable)), ready, "taken back");
        project.status.observed_generation = cara_api::Generation(2);
        assert_eq!(
            lead(&project, Some(&stable)),
            "shop.dev.localhost p Running ServiceNotReady"
        );
    }
}
