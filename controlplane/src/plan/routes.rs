//! From projects to routes.

mod compile;
pub mod listed;
pub mod material;
mod set;
pub mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use cara_api::gateway::{Backend, Host, HostTls, Route, StreamRoute};
use cara_api::hostname::{Domain, Hostname};
use cara_api::project::{
    Ingress, IngressProtocol, IngressTarget, ProjectPhase, ProjectRevision, ProjectSpec,
};
use cara_api::{Project, condition};

use material::Material;
pub use set::RouteSet;

/// What routes are made from besides projects.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Completes short hosts.
    pub domain: &'a Domain,
    /// What rules refer to.
    pub material: &'a dyn Material,
}

/// What a project asks gateways for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// Its hosts, by name.
    pub hosts: Vec<Host>,
    /// Its ports of the gateway.
    pub ports: BTreeMap<u16, StreamRoute>,
}

/// The hosts of one project with their rules, and its ports.
///
/// While a changed project does not run yet, or was taken back, requests go where the generation
/// that runs wants them: `stable` is its stored spec, if there is one. What applies to requests
/// (access, limits, headers, maintenance) is that of the newest spec from the moment it is
/// stored, as are the hostnames: who closes a door need not wait for a container.
pub fn of_project(
    project: &Project,
    stable: Option<&ProjectRevision>,
    ground: &Ground<'_>,
) -> Routing {
    let is_older = |r: &&ProjectRevision| {
        project.status.observed_generation < project.metadata.generation
            && r.generation == project.status.stable_generation
    };
    let earlier = stable.filter(is_older).map(|revision| &*revision.spec);
    let name = &project.metadata.name;
    let kept = earlier.map(|spec| by_host(spec, name, ground.domain));
    let hosts = by_host(&project.spec, name, ground.domain).into_iter();
    let hosts = hosts.map(|(hostname, newest)| {
        let kept = kept.as_ref().and_then(|kept| kept.get(&hostname));
        host(project, hostname, &newest, kept, ground)
    });
    Routing {
        hosts: hosts.collect(),
        ports: ports(project, earlier),
    }
}

/// The rules of a host by what they take.
#[derive(Default)]
struct Rules<'a> {
    http: Vec<&'a Ingress>,
    passthrough: Option<&'a Ingress>,
}

/// The rules of a spec by the hostnames that they name.
fn by_host<'a>(
    spec: &'a ProjectSpec,
    name: &str,
    domain: &Domain,
) -> BTreeMap<Hostname, Rules<'a>> {
    let mut hosts: BTreeMap<Hostname, Rules<'_>> = BTreeMap::new();
    for ingress in &spec.ingress {
        let Some(protocol) = ingress.protocol() else {
            continue;
        };
        for hostname in domain.hostnames(ingress, name) {
            let rules = hosts.entry(hostname).or_default();
            match protocol {
                IngressProtocol::Http | IngressProtocol::Unset => rules.http.push(ingress),
                IngressProtocol::TlsPassthrough => rules.passthrough = Some(ingress),
                IngressProtocol::Tcp => {}
            }
        }
    }
    hosts
}

fn host(
    project: &Project,
    hostname: Hostname,
    newest: &Rules<'_>,
    kept: Option<&Rules<'_>>,
    ground: &Ground<'_>,
) -> Host {
    let compile = |rules: &[&Ingress]| -> Vec<Route> {
        let routes = rules
            .iter()
            .map(|rule| compile::route(project, rule, &hostname, ground));
        routes.collect()
    };
    let running = kept.map(|rules| compile(&rules.http)).unwrap_or_default();
    let mut routes = settle(compile(&newest.http), running);
    let passthrough = newest
        .passthrough
        .and_then(|rule| stream(project, rule, kept.and_then(|rules| rules.passthrough)));
    let mut clients = newest.http.iter();
    let clients = clients.find_map(|r| compile::clients(r, ground));
    if clients.is_none() {
        // Nobody is asked for a certificate then, under any path: all rules of the host share it.
        let mut unknown = newest.http.iter();
        if let Some(why) = unknown.find_map(|r| compile::unknown_clients(r, ground)) {
            for route in &mut routes {
                compile::close(route, &why);
            }
        }
    }
    let certificates = newest.http.iter();
    let tls = HostTls {
        passthrough: passthrough.map(Arc::new),
        certificate: certificates.filter_map(|r| compile::certificate(r)).next(),
        clients,
    };
    Host {
        project: project.metadata.name.clone(),
        tls,
        routes: routes.into_iter().map(Arc::new).collect(),
        hostname,
    }
}

/// The rules of a host out of those that are newest and those of the generation that runs.
fn settle(newest: Vec<Route>, mut running: Vec<Route>) -> Vec<Route> {
    running.retain(compile::is_served);
    if running.is_empty() {
        return newest;
    }
    // First by what they take, so that what guards a path guards it from now on.
    let takes_same = |a: &Route, b: &Route| a.path == b.path && a.headers == b.headers;
    let is_same = |a: &Route, b: &Route| a.ingress == b.ingress;
    let mut kept: Vec<Option<Route>> = newest.iter().map(|_| None).collect();
    for is_pair in [takes_same, is_same] {
        for (slot, rule) in kept.iter_mut().zip(&newest) {
            let found = running.iter().position(|r| is_pair(r, rule));
            if let (None, Some(at)) = (&slot, found) {
                *slot = Some(compile::with_policy_of(running.remove(at), rule));
            }
        }
    }
    let pairs = kept.into_iter().zip(newest);
    // A new rule whose service is not ready waits: what runs answers in its place until then.
    let settled =
        pairs.filter_map(|(kept, rule)| kept.or_else(|| compile::is_served(&rule).then_some(rule)));
    // Rules that the newest spec does not have any more go together with what they lead to.
    settled.chain(running).collect()
}

fn ports(project: &Project, earlier: Option<&ProjectSpec>) -> BTreeMap<u16, StreamRoute> {
    let mut found = BTreeMap::new();
    for rule in &project.spec.ingress {
        let (Some(IngressProtocol::Tcp), Ok(port)) = (rule.protocol(), u16::try_from(rule.port))
        else {
            continue;
        };
        let kept = earlier.into_iter().flat_map(|spec| &spec.ingress);
        let mut kept = kept.filter(|r| r.protocol() == rule.protocol());
        if let Some(route) = stream(project, rule, kept.find(|r| r.name == rule.name)) {
            found.insert(port, route);
        }
    }
    found
}

fn stream(project: &Project, newest: &Ingress, kept: Option<&Ingress>) -> Option<StreamRoute> {
    let newest = compile::stream(project, newest)?;
    let kept = kept.and_then(|rule| compile::stream(project, rule));
    match kept.filter(|route| compile::is_ready(&route.backend)) {
        Some(kept) => Some(StreamRoute {
            allow: newest.allow,
            ..kept
        }),
        None => Some(newest),
    }
}

/// Why nothing under a host is served; none when something is.
pub fn unserved(host: &Host) -> Option<&str> {
    let passed = host.tls.passthrough.iter().map(|stream| &stream.backend);
    if host.routes.iter().any(|route| compile::is_served(route))
        || passed.clone().any(compile::is_ready)
    {
        return None;
    }
    let backends = host.routes.iter().filter_map(|r| compile::backend_of(r));
    let mut reasons = backends.chain(passed).filter_map(|backend| match backend {
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
