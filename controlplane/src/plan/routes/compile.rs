//! From an ingress as it was written to the rule that gateways follow.
//!
//! Documents were checked before they were stored, so what cannot be read here counts as left
//! out. What a rule refers to and does not find leaves the rule in place, and closes it.

mod access;
mod policy;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use cara_api::Project;
use cara_api::gateway::{
    Action, Backend, ClientAuthorities, Forward, HeaderMatch, PathMatch, Protocol, Redirect,
    Respond, Rewrite, Route, StreamRoute, Target, UpstreamTls,
};
use cara_api::hostname::Hostname;
use cara_api::project::{Ingress, IngressTarget, PathType, TargetProtocol, TargetTls};

use super::Ground;
use super::material::{self, Missing};
use value::nets;

/// Weight of a target that names none.
const WEIGHT: i64 = 1;
/// Status of a redirect that names none.
const REDIRECT: u16 = 308;
/// Status of a fixed answer that names none.
const RESPOND: u16 = 200;
/// Type of a fixed answer that names none.
const TEXT: &str = "text/plain; charset=utf-8";

/// What a rule refers to and does not find, in words for the project's owner.
#[derive(Debug, Default)]
struct Gaps(Vec<String>);

impl Gaps {
    fn note(&mut self, kind: &str, name: &str, why: Missing) {
        self.0.push(format!("{kind} {name:?} {why}"));
    }

    fn note_key(&mut self, secret: &str, key: &str) {
        self.0.push(format!("secret {secret:?} has no key {key:?}"));
    }
}

/// The rule of an ingress under one of its hosts.
pub fn route(project: &Project, ingress: &Ingress, host: &Hostname, ground: &Ground<'_>) -> Route {
    let mut gaps = Gaps::default();
    let action = action(project, ingress, ground, &mut gaps);
    let mut policy = policy::of(ingress, host, ground, &mut gaps);
    if !gaps.0.is_empty() {
        policy.access.broken = Some(gaps.0.join("; "));
    }
    Route {
        project: project.metadata.name.clone(),
        ingress: ingress.name.clone(),
        path: path(ingress),
        headers: headers(ingress),
        action,
        policy: Arc::new(policy),
    }
}

/// The connections of an ingress that are not looked into; none without a target.
pub fn stream(project: &Project, ingress: &Ingress) -> Option<StreamRoute> {
    let target = ingress.all_targets().next()?;
    Some(StreamRoute {
        project: project.metadata.name.clone(),
        ingress: ingress.name.clone(),
        service: target.service.clone(),
        allow: nets(&ingress.access.allow),
        backend: super::backend(project, target),
    })
}

/// Who signs certificates of clients; none when none are asked for, or the authorities are
/// missing: see [`unknown_clients`].
pub fn clients(ingress: &Ingress, ground: &Ground<'_>) -> Option<ClientAuthorities> {
    let wanted = ingress.client_certificate.as_ref()?;
    let authorities = access::authorities(wanted, ground, &mut Gaps::default())?;
    Some(ClientAuthorities {
        ca_pem: authorities.reveal().into(),
        is_optional: wanted.optional,
    })
}

/// Why clients cannot be known by their certificates although they are asked for them; none when
/// they can be, or are not asked.
pub fn unknown_clients(ingress: &Ingress, ground: &Ground<'_>) -> Option<String> {
    let wanted = ingress.client_certificate.as_ref()?;
    let mut gaps = Gaps::default();
    let found = access::authorities(wanted, ground, &mut gaps);
    found.is_none().then(|| gaps.0.join("; "))
}

/// Closes a rule to everybody, unless it is closed already.
pub fn close(route: &mut Route, why: &str) {
    if route.policy.access.broken.is_none() {
        Arc::make_mut(&mut route.policy).access.broken = Some(why.to_owned());
    }
}

/// The certificate that a rule asks for by name.
pub fn certificate(ingress: &Ingress) -> Option<String> {
    let name = ingress.tls.as_str();
    (!matches!(name, "" | "auto" | "off")).then(|| name.to_owned())
}

fn path(ingress: &Ingress) -> PathMatch {
    let path = if ingress.path.is_empty() {
        "/"
    } else {
        ingress.path.as_str()
    };
    match PathType::parse(&ingress.path_type) {
        Some(PathType::Exact) => PathMatch::Exact(path.to_owned()),
        Some(PathType::Prefix | PathType::Unset) | None => {
            let path = path.trim_end_matches('/');
            PathMatch::Prefix(if path.is_empty() { "/" } else { path }.to_owned())
        }
    }
}

fn headers(ingress: &Ingress) -> Vec<HeaderMatch> {
    let headers = ingress.match_headers.iter().map(|wanted| HeaderMatch {
        name: wanted.name.to_ascii_lowercase(),
        value: (!wanted.value.is_empty()).then(|| wanted.value.clone()),
    });
    headers.collect()
}

fn action(project: &Project, ingress: &Ingress, ground: &Ground<'_>, gaps: &mut Gaps) -> Action {
    if let Some(redirect) = &ingress.redirect {
        return Action::Redirect(Redirect {
            to: redirect.to.clone(),
            status: status(redirect.status, REDIRECT),
        });
    }
    if let Some(respond) = &ingress.respond {
        let content_type = match respond.content_type.as_str() {
            "" => TEXT,
            given => given,
        };
        return Action::Respond(Respond {
            status: status(respond.status, RESPOND),
            content_type: content_type.to_owned(),
            body: respond.body.clone(),
        });
    }
    let targets = ingress.all_targets().map(|target| Target {
        service: target.service.clone(),
        weight: u32::try_from(target.weight.unwrap_or(WEIGHT)).unwrap_or_default(),
        protocol: protocol(target, ground, gaps),
        backend: super::backend(project, target),
    });
    Action::Forward(Forward {
        targets: targets.collect(),
        rewrite: rewrite(ingress),
    })
}

fn status(given: i64, otherwise: u16) -> u16 {
    match u16::try_from(given) {
        Ok(status) if status != 0 => status,
        Ok(_) | Err(_) => otherwise,
    }
}

fn rewrite(ingress: &Ingress) -> Rewrite {
    if !ingress.rewrite.is_empty() {
        return Rewrite::Replace(ingress.rewrite.clone());
    }
    match ingress.strip_prefix.trim_end_matches('/') {
        "" => Rewrite::Keep,
        prefix => Rewrite::StripPrefix(prefix.to_owned()),
    }
}

fn protocol(target: &IngressTarget, ground: &Ground<'_>, gaps: &mut Gaps) -> Protocol {
    match TargetProtocol::parse(&target.protocol) {
        Some(TargetProtocol::Http | TargetProtocol::Unset) | None => Protocol::Http1,
        Some(TargetProtocol::H2C) => Protocol::H2c,
        Some(TargetProtocol::Https) => {
            let tls = target.tls.as_ref();
            let tls = tls.map(|tls| upstream_tls(tls, ground, gaps));
            Protocol::Tls(Arc::new(tls.unwrap_or_default()))
        }
    }
}

fn upstream_tls(tls: &TargetTls, ground: &Ground<'_>, gaps: &mut Gaps) -> UpstreamTls {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let identity =
        given(&tls.certificate).and_then(|name| match ground.material.certificate(&name) {
            Ok(found) => Some((found.chain_pem.clone(), found.key_pem.clone())),
            Err(why) => {
                gaps.note("certificate", &name, why);
                None
            }
        });
    UpstreamTls {
        server_name: given(&tls.server_name),
        ca_pem: given(&tls.ca).and_then(|name| authorities(&name, ground, gaps)),
        identity,
        is_insecure: tls.insecure,
    }
}

/// The authorities of a Secret, or else of a Certificate of that name.
fn authorities(name: &str, ground: &Ground<'_>, gaps: &mut Gaps) -> Option<String> {
    let why = match ground.material.secret(name) {
        Ok(values) => match values.get(material::CA) {
            Some(found) => return Some(found.reveal().to_owned()),
            None => None,
        },
        Err(why) => Some(why),
    };
    let certificate = ground.material.certificate(name);
    if let Some(found) = certificate.ok().and_then(|found| found.ca_pem.clone()) {
        return Some(found);
    }
    match why {
        None => gaps.note_key(name, material::CA),
        Some(why) => gaps.note("secret or certificate", name, why),
    }
    None
}

/// A rule of the generation that runs, under the name of the newest one and with what that one
/// applies to requests.
pub fn with_policy_of(mut running: Route, newest: &Route) -> Route {
    running.policy = Arc::clone(&newest.policy);
    running.ingress.clone_from(&newest.ingress);
    running
}

/// The first target of a rule that forwards.
pub fn backend_of(route: &Route) -> Option<&Backend> {
    match &route.action {
        Action::Forward(forward) => forward.targets.first().map(|t| &t.backend),
        Action::Redirect(_) | Action::Respond(_) => None,
    }
}

/// True when requests get something else than "not ready".
pub fn is_served(route: &Route) -> bool {
    match &route.action {
        Action::Forward(forward) => forward.targets.iter().any(|t| is_ready(&t.backend)),
        Action::Redirect(_) | Action::Respond(_) => true,
    }
}

/// True when there is somewhere to connect to.
pub fn is_ready(backend: &Backend) -> bool {
    match backend {
        Backend::Ready { .. } => true,
        Backend::Unavailable { .. } => false,
    }
}
