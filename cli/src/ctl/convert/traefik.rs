//! Routes that labels and variables ask a reverse proxy for: those of Traefik, and `VIRTUAL_HOST`.

use std::collections::BTreeMap;

use super::fault::Place;
use super::scope::Scope;
use super::yaml::Map;

const PREFIX: &str = "traefik.";

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Of the router.
    pub name: String,
    pub hosts: Vec<String>,
    pub path: String,
    pub is_exact: bool,
    pub strip_prefix: String,
    pub port: Option<u16>,
    /// `HTTP` when empty.
    pub protocol: String,
}

/// Takes the labels of Traefik out of the labels of a service.
pub fn rules(scope: &mut Scope<'_>, labels: &mut Map) -> Vec<Rule> {
    let mut ours: BTreeMap<String, (Place, String)> = BTreeMap::new();
    labels.0.retain(|(key, node)| {
        let name = key.text.to_ascii_lowercase();
        let is_ours = name.starts_with(PREFIX);
        if is_ours {
            ours.insert(name, (node.at.clone(), node.scalar().unwrap_or_default()));
        }
        !is_ours
    });
    let is_off = ours
        .get("traefik.enable")
        .is_some_and(|(_, text)| text == "false");
    if is_off {
        return Vec::new();
    }
    let services = services(&ours);
    let strips = middlewares(scope, &ours);
    let mut rules = Vec::new();
    for (label, (at, text)) in &ours {
        match label.split('.').collect::<Vec<_>>().as_slice() {
            ["traefik", "http", "routers", router, "rule"] => {
                let field = |name: &str| ours.get(&format!("traefik.http.routers.{router}.{name}"));
                let service = field("service").map(|(_, name)| name.to_ascii_lowercase());
                let backend = service
                    .and_then(|name| services.get(&name))
                    .or_else(|| services.values().next());
                let named = field("middlewares")
                    .map(|(_, text)| text.to_ascii_lowercase())
                    .unwrap_or_default();
                let strip = named
                    .split(',')
                    .find_map(|name| strips.get(name.trim().split('@').next()?));
                let Some(found) = alternatives(text) else {
                    let why = format!("the rule {text} is more than hosts and paths");
                    scope.lost(
                        at,
                        label.clone(),
                        why,
                        "write the ingress by hand: hosts, path, matchHeaders",
                    );
                    continue;
                };
                for mut rule in found {
                    rule.name = (*router).to_owned();
                    if let Some(strip) = strip {
                        rule.strip_prefix.clone_from(strip);
                    }
                    if let Some(backend) = backend {
                        rule.port = backend.port;
                        rule.protocol.clone_from(&backend.protocol);
                    }
                    let is_known =
                        |other: &Rule| other.hosts == rule.hosts && other.path == rule.path;
                    // One for HTTP and one for HTTPS: both are the gateway's.
                    if !rules.iter().any(is_known) {
                        rules.push(rule);
                    }
                }
            }
            ["traefik", "tcp" | "udp", ..]
                if label.ends_with(".rule") || label.ends_with(".port") =>
            {
                scope.lost(
                    at,
                    label.clone(),
                    "only routes of HTTP are taken from labels",
                    "write an ingress with protocol TCP or TLSPassthrough",
                );
            }
            _ => {}
        }
    }
    rules
}

#[derive(Default)]
struct Backend {
    port: Option<u16>,
    protocol: String,
}

fn services(labels: &BTreeMap<String, (Place, String)>) -> BTreeMap<String, Backend> {
    let mut found: BTreeMap<String, Backend> = BTreeMap::new();
    for (label, (_, text)) in labels {
        let Some(rest) = label.strip_prefix("traefik.http.services.") else {
            continue;
        };
        let Some((name, field)) = rest.split_once('.') else {
            continue;
        };
        let backend = found.entry(name.to_owned()).or_default();
        match field {
            "loadbalancer.server.port" => backend.port = text.parse().ok(),
            "loadbalancer.server.scheme" => {
                backend.protocol = match text.as_str() {
                    "https" => "HTTPS".to_owned(),
                    "h2c" => "H2C".to_owned(),
                    _ => String::new(),
                };
            }
            _ => {}
        }
    }
    found
}

/// Prefixes to strip, by middleware; the other kinds are named as missing.
fn middlewares(
    scope: &mut Scope<'_>,
    labels: &BTreeMap<String, (Place, String)>,
) -> BTreeMap<String, String> {
    let mut strips = BTreeMap::new();
    for (label, (at, text)) in labels {
        let Some(rest) = label.strip_prefix("traefik.http.middlewares.") else {
            continue;
        };
        let mut parts = rest.split('.');
        let (Some(name), Some(kind)) = (parts.next(), parts.next()) else {
            continue;
        };
        let way_out = match kind {
            "stripprefix" if parts.next() == Some("prefixes") => {
                let first = text.split(',').next().unwrap_or_default();
                strips.insert(name.to_owned(), first.to_owned());
                continue;
            }
            // The gateway does that by itself.
            "stripprefix" | "redirectscheme" | "compress" => continue,
            "basicauth" => "use access.basicAuth of the ingress, with a Secret",
            "forwardauth" => "use access.oidc or access.bearer of the ingress",
            "ratelimit" | "inflightreq" | "buffering" => "use limits of the ingress",
            "headers" => "use requestHeaders, responseHeaders, cors or hsts of the ingress",
            "ipallowlist" | "ipwhitelist" => "use access.allow of the ingress",
            "redirectregex" => "use an ingress with redirect",
            "retry" => "use retries of the ingress",
            _ => "see what an ingress can do in docs/routing.md",
        };
        scope.lost(
            at,
            label.clone(),
            "middlewares are not taken from labels",
            way_out,
        );
    }
    strips
}

/// The rule as alternatives of hosts with a path; none when it asks for anything else.
fn alternatives(text: &str) -> Option<Vec<Rule>> {
    let mut found: Vec<Rule> = Vec::new();
    for part in text.split("||") {
        let mut hosts = Vec::new();
        let mut paths = vec![(String::new(), false)];
        for condition in part.split("&&") {
            let condition = condition.trim().trim_start_matches('(').trim();
            let (name, rest) = condition.split_once('(')?;
            let (inside, after) = rest.split_once(')')?;
            if !after.trim().trim_matches(')').is_empty() {
                return None;
            }
            let texts = inside
                .split(',')
                .map(|text| text.trim().trim_matches(['`', '"', '\'']).to_owned());
            match name.trim() {
                "Host" => hosts.extend(texts),
                "PathPrefix" => paths = texts.map(|path| (path, false)).collect(),
                "Path" => paths = texts.map(|path| (path, true)).collect(),
                _ => return None,
            }
        }
        for (path, is_exact) in paths {
            let path = if path == "/" && !is_exact {
                String::new()
            } else {
                path
            };
            let is_like = |rule: &&mut Rule| rule.path == path && rule.is_exact == is_exact;
            match found.iter_mut().find(is_like) {
                Some(rule) => rule.hosts.extend(hosts.clone()),
                None => found.push(Rule {
                    hosts: hosts.clone(),
                    path,
                    is_exact,
                    ..Rule::default()
                }),
            }
        }
    }
    Some(found)
}

/// The route that `VIRTUAL_HOST` asks for.
pub fn virtual_host(service: &cara_api::project::Service) -> Option<Rule> {
    let variable = |name: &str| {
        let found = service.env.iter().find(|variable| variable.name == name);
        found
            .map(|variable| variable.value.as_str())
            .filter(|text| !text.is_empty())
    };
    let hosts = variable("VIRTUAL_HOST")?;
    Some(Rule {
        name: service.name.clone(),
        hosts: hosts
            .split(',')
            .map(|host| host.trim().to_owned())
            .collect(),
        path: variable("VIRTUAL_PATH")
            .filter(|path| *path != "/")
            .unwrap_or_default()
            .to_owned(),
        port: variable("VIRTUAL_PORT").and_then(|port| port.parse().ok()),
        protocol: match variable("VIRTUAL_PROTO") {
            Some("https") => "HTTPS".to_owned(),
            Some(_) | None => String::new(),
        },
        ..Rule::default()
    })
}

/// True for images whose work the gateway does.
pub fn is_replaced(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let name = name
        .trim_start_matches("docker.io/")
        .trim_start_matches("library/");
    matches!(
        name,
        "traefik"
            | "jwilder/nginx-proxy"
            | "nginxproxy/nginx-proxy"
            | "nginxproxy/acme-companion"
            | "jrcs/letsencrypt-nginx-proxy-companion"
            | "lucaslorentz/caddy-docker-proxy"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_hosts_and_paths() {
        let show = |text: &str| {
            let rules = alternatives(text)?;
            let show = |rule: &Rule| {
                format!(
                    "{}{}{}",
                    rule.hosts.join(","),
                    rule.path,
                    if rule.is_exact { "$" } else { "" }
                )
            };
            Some(rules.iter().map(show).collect::<Vec<_>>())
        };
        for (text, expected) in [
            ("Host(`a.example.com`)", Some(vec!["a.example.com"])),
            ("Host(`a.b`) || Host(`c.d`)", Some(vec!["a.b,c.d"])),
            ("Host(`a.b`, `c.d`)", Some(vec!["a.b,c.d"])),
            ("Host(`a.b`) && PathPrefix(`/api`)", Some(vec!["a.b/api"])),
            (
                "Host(`a.b`) && (PathPrefix(`/x`, `/y`))",
                Some(vec!["a.b/x", "a.b/y"]),
            ),
            ("Host(`a.b`) && Path(`/x`)", Some(vec!["a.b/x$"])),
            ("PathPrefix(`/`) && Host(`a.b`)", Some(vec!["a.b"])),
            ("HostRegexp(`.+`)", None),
            ("Host(`a.b`) && Header(`x`, `y`)", None),
            ("!Host(`a.b`)", None),
            ("nonsense", None),
            ("", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(ToOwned::to_owned).collect());
            assert_eq!(show(text), expected, "{text}");
        }
    }
}
