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

use cara_api::gateway::{Backend, ClientAuthorities, Host, HostTls, Route, StreamRoute};
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
    /// Its hosts, in the order of their names.
    pub hosts: Vec<(Hostname, Host)>,
    /// Its ports of the gateway.
    pub ports: BTreeMap<u16, StreamRoute>,
}

/// The hosts of one project with their rules, and its ports.
///
/// While a changed project does not run yet, or was taken back, requests go where the generation
/// that runs wants them: `stable` is its stored spec, if there is one. What applies to requests
/// (access, limits, headers, maintenance) is that of the newest spec from the moment it is
/// stored, as are the hostnames: who lets fewer clients in need not wait for a container.
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
        let host = host(project, &hostname, &newest, kept, ground);
        (hostname, host)
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
    hostname: &Hostname,
    newest: &Rules<'_>,
    kept: Option<&Rules<'_>>,
    ground: &Ground<'_>,
) -> Host {
    let compile = |rules: &[&Ingress]| -> Vec<Route> {
        let routes = rules
            .iter()
            .map(|rule| compile::route(project, rule, hostname, ground));
        routes.collect()
    };
    let running = kept.map(|rules| compile(&rules.http)).unwrap_or_default();
    let mut settled = settle(compile(&newest.http), running);
    let passthrough = newest
        .passthrough
        .and_then(|rule| stream(project, rule, kept.and_then(|rules| rules.passthrough)));
    let earlier = kept.map(|kept| kept.http.as_slice()).unwrap_or_default();
    let clients = clients(&newest.http, earlier, &mut settled, ground);
    let certificates = newest.http.iter();
    let tls = HostTls {
        passthrough: passthrough.map(Arc::new),
        certificate: certificates.filter_map(|r| compile::certificate(r)).next(),
        clients,
    };
    Host {
        project: project.metadata.name.clone(),
        tls,
        routes: exact(settled.rules.into_iter().chain(settled.leftover)),
    }
}

/// Shared rules in no more room than they need: there are many hosts.
fn exact(routes: impl Iterator<Item = Route>) -> Vec<Arc<Route>> {
    let mut shared: Vec<_> = routes.map(Arc::new).collect();
    // Collected at once, they would stay in the room of the rules themselves.
    shared.shrink_to_fit();
    shared
}

/// Who must vouch for clients of a host. A rule that was taken out and is still served stays as
/// guarded as it was: the host asks for its sake if the newest rules do not.
fn clients(
    newest: &[&Ingress],
    earlier: &[&Ingress],
    settled: &mut Settled,
    ground: &Ground<'_>,
) -> Option<ClientAuthorities> {
    let mut rules = newest.iter();
    let asked = rules.find_map(|rule| compile::clients(rule, ground));
    let mut unknown = newest.iter();
    let unknown = unknown.find_map(|rule| compile::unknown_clients(rule, ground));
    if let (None, Some(why)) = (&asked, unknown) {
        // Nobody is asked for a certificate then, under any path: all rules of the host share it.
        let all = settled.rules.iter_mut().chain(&mut settled.leftover);
        all.for_each(|route| compile::close(route, &why));
        return None;
    }
    let of = |route: &Route| earlier.iter().find(|rule| rule.name == route.ingress);
    let asks = |route: &Route| of(route).and_then(|rule| compile::clients(rule, ground));
    let asked = asked.or_else(|| settled.leftover.iter().find_map(asks));
    for route in &mut settled.leftover {
        let Some(rule) = of(route).filter(|rule| rule.client_certificate.is_some()) else {
            continue;
        };
        if let Some(why) = compile::unknown_clients(rule, ground) {
            compile::close(route, &why);
        } else if compile::clients(rule, ground) != asked {
            compile::close(route, "its clients are asked for another certificate");
        }
    }
    asked
}

/// The rules of a host.
struct Settled {
    /// Those of the newest spec.
    rules: Vec<Route>,
    /// Those that it does not have any more, and that are still served.
    leftover: Vec<Route>,
}

/// The rules of a host out of those that are newest and those of the generation that runs.
fn settle(newest: Vec<Route>, mut running: Vec<Route>) -> Settled {
    running.retain(compile::is_served);
    if running.is_empty() {
        return Settled {
            rules: newest,
            leftover: Vec::new(),
        };
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
    Settled {
        rules: settled.collect(),
        // They go together with what they lead to.
        leftover: running,
    }
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
