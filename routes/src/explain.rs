//! Why a URL goes where it goes, by the same rules that requests go by, in their order.

mod policy;

use std::borrow::Cow;
use std::sync::Arc;

use cara_api::explanation::{ConsideredRule, Explanation, RuleVerdict};
use cara_api::gateway::{
    Action, Backend, Forward, HeaderMatch, Host, PathMatch, Protocol, Rewrite, Route,
};
use cara_api::hostname::Hostname;
use imbl::OrdMap;

use crate::{host, path, rank, redirect};

const AMBIGUOUS: &str = "a path that leads to another rule when '%2F', '\\' or ';' is read in \
                         another way is refused: answered with 400";

/// A request that somebody might send.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its URL; `http` when it has no scheme.
    pub url: &'a str,
    /// Its method, in upper case.
    pub method: &'a str,
    /// Its headers, by name in any case.
    pub headers: &'a [(String, String)],
}

/// The text is no URL of a web page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAUrl;

impl std::fmt::Display for NotAUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a URL: give one such as https://shop.example.com/cart")
    }
}

impl std::error::Error for NotAUrl {}

/// Explains where a request goes.
///
/// # Errors
/// The URL is none.
pub fn explain(
    hosts: &OrdMap<Hostname, Arc<Host>>,
    asked: Asked<'_>,
) -> Result<Explanation, NotAUrl> {
    let url = split(asked.url).ok_or(NotAUrl)?;
    let name = host::normalize(url.authority).ok_or(NotAUrl)?;
    let mut told = Explanation {
        host: name.to_string(),
        path: url.path.to_owned(),
        ..Explanation::default()
    };
    if matches!(asked.method, "CONNECT" | "TRACE") {
        let method = asked.method;
        told.steps
            .push(format!("{method} is not taken: answered with 405"));
        return Ok(told);
    }
    let Some((matched, found)) = find(hosts, &name) else {
        told.steps
            .push(format!("no project serves {name}: answered with 404"));
        return Ok(told);
    };
    told.matched = matched.to_string();
    told.project.clone_from(&found.project);
    if let Some(stream) = found.tls.passthrough.as_ref().filter(|_| url.is_tls) {
        told.steps.push(format!(
            "TLS is forwarded as it is, by ingress {}, to {}",
            stream.ingress,
            service(&stream.service, &stream.backend)
        ));
        return Ok(told);
    }
    let Some(path) = path::normalize(url.path) else {
        told.steps
            .push("a path with '.' or '..' is refused: answered with 400".to_owned());
        return Ok(told);
    };
    let mut rules = found.routes.clone();
    rank::sort(&mut rules);
    if is_ambiguous(&rules, &path, asked.headers) {
        told.steps.push(AMBIGUOUS.to_owned());
        return Ok(told);
    }
    let mut winner = None;
    for route in &rules {
        let reason = match winner {
            Some(_) => None,
            None => mismatch(route, &path, asked.headers),
        };
        let verdict = match (winner, &reason) {
            (Some(_), _) => RuleVerdict::NotAsked,
            (None, Some(_)) => RuleVerdict::Refused,
            (None, None) => {
                winner = Some(route);
                RuleVerdict::Taken
            }
        };
        told.rules.push(ConsideredRule {
            ingress: route.ingress.clone(),
            takes: takes(route),
            verdict,
            reason: reason.unwrap_or_default(),
        });
    }
    match winner {
        Some(route) => steps(route, &url, asked, &mut told.steps),
        None => told
            .steps
            .push("no rule of the host takes it: answered with 404".to_owned()),
    }
    Ok(told)
}

struct Url<'a> {
    is_tls: bool,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

fn split(text: &str) -> Option<Url<'_>> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => true,
        "http" | "ws" => false,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let tail = tail.split('#').next().unwrap_or_default();
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let path = if path.is_empty() { "/" } else { path };
    Some(Url {
        is_tls,
        authority,
        path,
        query,
    })
}

fn find<'a>(
    hosts: &'a OrdMap<Hostname, Arc<Host>>,
    name: &str,
) -> Option<(&'a Hostname, &'a Arc<Host>)> {
    hosts.get_key_value(name).or_else(|| {
        let (label, parent) = name.split_once('.')?;
        if label.is_empty() {
            return None;
        }
        hosts.get_key_value(format!("*.{parent}").as_str())
    })
}

/// Whether one rule takes a path and, when a service reads it in the widest way, another one.
fn is_ambiguous(rules: &[Arc<Route>], path: &str, headers: &[(String, String)]) -> bool {
    let Cow::Owned(wide) = path::widen(path) else {
        return false;
    };
    let values = |name: &str| values(headers, name);
    let found = rules
        .iter()
        .position(|route| rank::matches(route, path, values));
    let other = rules
        .iter()
        .position(|route| rank::matches_widely(route, &wide, values));
    found.is_some() && found != other
}

fn values<'h>(
    headers: &'h [(String, String)],
    name: &str,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    let found = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    let values: Vec<&[u8]> = found.map(|(_, value)| value.as_bytes()).collect();
    values.into_iter()
}

/// Why a rule does not take a request; none if it does.
fn mismatch(route: &Route, path: &str, headers: &[(String, String)]) -> Option<String> {
    if !rank::path_matches(&route.path, path) {
        return Some(match &route.path {
            PathMatch::Exact(wanted) => format!("the path is not {wanted}"),
            PathMatch::Prefix(wanted) => format!("the path is not {wanted} or below it"),
        });
    }
    let values = |name: &str| values(headers, name);
    let mut wanted = route.headers.iter();
    let missing = wanted.find(|wanted| !rank::header_matches(wanted, values(&wanted.name)))?;
    Some(match &missing.value {
        Some(value) if values(&missing.name).next().is_some() => {
            format!("header {} is not {value:?}", missing.name)
        }
        Some(_) | None => format!("there is no header {}", missing.name),
    })
}

fn takes(route: &Route) -> String {
    let path = match &route.path {
        PathMatch::Exact(path) => format!("{path} alone"),
        PathMatch::Prefix(path) if path == "/" => "all paths".to_owned(),
        PathMatch::Prefix(path) => format!("{path} and below"),
    };
    let header = |wanted: &HeaderMatch| match &wanted.value {
        Some(value) => format!(" with {}: {value}", wanted.name),
        None => format!(" with {}", wanted.name),
    };
    let headers: Vec<String> = route.headers.iter().map(header).collect();
    format!("{path}{}", headers.join(" and"))
}

fn steps(route: &Route, url: &Url<'_>, asked: Asked<'_>, told: &mut Vec<String>) {
    if policy::ends_before(&route.policy, url.is_tls, asked, told) {
        return;
    }
    match &route.action {
        Action::Redirect(redirect) => {
            let to = redirect::location(&redirect.to, url.path, url.query);
            told.push(format!("redirected to {to} with {}", redirect.status));
        }
        Action::Respond(respond) => {
            told.push(format!("answered with {} and a fixed body", respond.status));
        }
        Action::Forward(forward) => {
            forwarded(forward, told);
            policy::on_the_way(&route.policy, told);
        }
    }
    policy::afterwards(&route.policy, &route.action, url.is_tls, told);
}

fn forwarded(forward: &Forward, told: &mut Vec<String>) {
    match &forward.rewrite {
        Rewrite::Keep => {}
        Rewrite::StripPrefix(prefix) => told.push(format!("{prefix} is taken off the path")),
        Rewrite::Replace(with) => told.push(format!("the part that matched becomes {with}")),
    }
    let sum: u64 = forward.targets.iter().map(|t| u64::from(t.weight)).sum();
    for target in &forward.targets {
        let share = match forward.targets.len() {
            1 => String::new(),
            _ => format!("{} of {sum} requests are ", target.weight),
        };
        let protocol = match &target.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::H2c => "HTTP/2",
            Protocol::Tls(_) => "HTTPS",
        };
        let service = service(&target.service, &target.backend);
        told.push(format!("{share}forwarded over {protocol} to {service}"));
    }
}

fn service(name: &str, backend: &Backend) -> String {
    match backend {
        Backend::Ready { endpoints } => {
            let all: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            format!("service {name} at {}", all.join(", "))
        }
        Backend::Unavailable { phase, reason } => {
            format!("service {name}, which is not ready ({phase}, {reason})")
        }
    }
}

#[cfg(test)]
mod tests;
