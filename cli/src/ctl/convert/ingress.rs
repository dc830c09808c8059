//! From published ports and routes of a reverse proxy to ingress rules.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::project::{Ingress, IngressTarget, TargetTls};

use super::fault::Note;
use super::ports::Port;
use super::scope::Sink;
use super::traefik::Rule;

/// What a service shows to the outside.
#[derive(Debug)]
pub struct Shown {
    pub service: String,
    pub image: String,
    pub ports: Vec<Port>,
    /// Ports that are named without being published.
    pub expose: Vec<u16>,
    pub rules: Vec<Rule>,
}

/// Ports on which something else than HTTP is spoken.
const NOT_HTTP: [u16; 50] = [
    21, 22, 23, 25, 53, 110, 111, 123, 139, 143, 161, 389, 445, 465, 514, 587, 636, 873, 993, 995,
    1025, 1433, 1521, 1883, 2049, 2181, 2222, 3306, 3389, 4190, 4222, 5044, 5222, 5269, 5432, 5671,
    5672, 5900, 6379, 6432, 6667, 7687, 8883, 9042, 9092, 11211, 25565, 26257, 27017, 29092,
];
/// Ports on which HTTP/2 without TLS is spoken.
const H2C: [u16; 3] = [4317, 7233, 50051];
/// Ports on which TLS is spoken.
const TLS: [u16; 4] = [443, 4443, 8443, 9443];
/// Ports of the host that a main page is usually at.
const MAIN: [u16; 2] = [80, 443];

/// The rules of all services.
pub fn rules(
    sink: &mut Sink,
    shown: &[Shown],
    project: &str,
    hosts: &BTreeMap<String, String>,
) -> Vec<Ingress> {
    let mut builder = Builder {
        project,
        hosts,
        found: Vec::new(),
        names: BTreeSet::new(),
        used: BTreeSet::new(),
    };
    for service in shown {
        builder.routed(sink, service);
    }
    let mut http: Vec<(&Shown, &Port)> = Vec::new();
    for service in shown {
        for port in &service.ports {
            match kind(service, port) {
                _ if port.protocol != "tcp" => lost(
                    sink,
                    (service, port),
                    format!("the gateway does not forward {}", port.protocol),
                    "run it on a machine of its own",
                ),
                _ if is_local(&port.host_ip) && !hosts.contains_key(&service.service) => lost(
                    sink,
                    (service, port),
                    format!("it is for this machine only ({})", port.host_ip),
                    &format!(
                        "caractrl port-forward reaches it; --host-for {}=HOST opens it under a hostname",
                        service.service
                    ),
                ),
                Spoken::Tcp => builder.tcp(sink, service, port),
                Spoken::Http | Spoken::Http2 | Spoken::Tls => http.push((service, port)),
            }
        }
    }
    let is_main = |(_, port): &&(&Shown, &Port)| port.published.is_some_and(|p| MAIN.contains(&p));
    let main = http
        .iter()
        .find(is_main)
        .or_else(|| http.first())
        .map(|(service, port)| (service.service.clone(), port.target));
    let has_main = !builder.used.contains(project);
    for (service, port) in http {
        let is_main = has_main
            && main
                .as_ref()
                .is_some_and(|(name, target)| *name == service.service && *target == port.target);
        builder.http(sink, service, port, is_main);
    }
    builder.found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http,
    Http2,
    Tls,
    Tcp,
}

fn kind(service: &Shown, port: &Port) -> Spoken {
    match port.app_protocol.as_str() {
        "tcp" => return Spoken::Tcp,
        "http" | "http1" | "ws" => return Spoken::Http,
        "https" => return Spoken::Tls,
        "h2c" | "grpc" | "http2" => return Spoken::Http2,
        _ => {}
    }
    let is_broker = ["kafka", "redpanda"]
        .iter()
        .any(|name| service.image.contains(name))
        && (9_092..=9_099).contains(&port.target);
    match port.target {
        target if is_broker || NOT_HTTP.contains(&target) => Spoken::Tcp,
        target if H2C.contains(&target) => Spoken::Http2,
        target if TLS.contains(&target) => Spoken::Tls,
        _ => Spoken::Http,
    }
}

fn is_local(ip: &str) -> bool {
    ip == "localhost"
        || ip
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn lost(sink: &mut Sink, (service, port): (&Shown, &Port), why: String, way_out: &str) {
    sink.notes.push(Note {
        place: port.at.clone(),
        service: Some(service.service.clone()),
        field: format!("ports {}", port.target),
        why,
        way_out: way_out.to_owned(),
    });
}

struct Builder<'a> {
    project: &'a str,
    hosts: &'a BTreeMap<String, String>,
    found: Vec<Ingress>,
    names: BTreeSet<String>,
    /// Hosts with their paths.
    used: BTreeSet<String>,
}

impl Builder<'_> {
    fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut count = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}-{count}");
            count += 1;
        }
        name
    }

    fn routed(&mut self, sink: &mut Sink, service: &Shown) {
        for rule in &service.rules {
            let target = rule
                .port
                .or(service.expose.first().copied())
                .or(service.ports.first().map(|p| p.target));
            let wanted = label(&rule.name);
            let name = self.name(&wanted);
            if target.is_none() {
                let text = "80 is a guess: say which port the container listens on.";
                sink.remark(format!("/spec/ingress/{name}"), text);
            }
            let mut hosts = rule.hosts.clone();
            if let Some(host) = self.hosts.get(&service.service) {
                hosts = vec![host.clone()];
            }
            let mut target = IngressTarget {
                service: service.service.clone(),
                port: i64::from(target.unwrap_or(80)),
                protocol: rule.protocol.clone(),
                ..IngressTarget::default()
            };
            if rule.protocol == "HTTPS" {
                target.tls = Some(Box::new(TargetTls {
                    insecure: true,
                    ..TargetTls::default()
                }));
            }
            let mut hosts = hosts.into_iter();
            let host = hosts.next().unwrap_or_default();
            if host.is_empty() {
                self.used.insert(self.project.to_owned());
            }
            let ingress = Ingress {
                host,
                hosts: hosts.collect(),
                path: rule.path.clone(),
                path_type: if rule.is_exact {
                    "Exact".to_owned()
                } else {
                    String::new()
                },
                strip_prefix: rule.strip_prefix.clone(),
                target,
                name,
                ..Ingress::default()
            };
            sink.remark(
                format!("/spec/ingress/{}", ingress.name),
                "From the routes of a reverse proxy.",
            );
            self.found.push(ingress);
        }
    }

    fn tcp(&mut self, sink: &mut Sink, service: &Shown, port: &Port) {
        let name = self.name(&format!("{}-{}", label(&service.service), port.target));
        let published = port.published.unwrap_or(port.target);
        let text = "Those of protocol TCP: the server must allow their ports with --tcp-ports. Services of the project reach each other without them.";
        sink.remark("/spec/ingress", text);
        self.found.push(Ingress {
            name,
            protocol: "TCP".to_owned(),
            port: i64::from(published),
            target: IngressTarget {
                service: service.service.clone(),
                port: i64::from(port.target),
                ..IngressTarget::default()
            },
            ..Ingress::default()
        });
    }

    fn http(&mut self, sink: &mut Sink, service: &Shown, port: &Port, is_main: bool) {
        let spoken = kind(service, port);
        let others = service
            .ports
            .iter()
            .filter(|other| other.target != port.target);
        let mut plain = others.filter(|other| kind(service, other) == Spoken::Http);
        let leads_here = |ingress: &Ingress| {
            ingress.target.service == service.service
                && ingress.target.port == i64::from(port.target)
        };
        if self.found.iter().any(leads_here) {
            return;
        }
        if spoken == Spoken::Tls && plain.next().is_some() {
            let text = format!(
                "Port {} of {} is left out: the gateway ends TLS.",
                port.target, service.service
            );
            sink.remark("/spec/ingress", text);
            return;
        }
        let slug = label(&service.service);
        let is_http = |ingress: &&Ingress| ingress.protocol.is_empty();
        let mut of_http = self.found.iter().filter(is_http);
        let has_one = of_http.any(|ingress| ingress.target.service == service.service);
        let wanted = if has_one {
            format!("{slug}-{}", port.target)
        } else {
            slug.clone()
        };
        let name = self.name(&wanted);
        let given = self.hosts.get(&service.service).filter(|_| !has_one);
        let host = match (given, is_main) {
            (Some(host), _) => host.clone(),
            (None, true) => self.project.to_owned(),
            (None, false) => format!("{}-{name}", self.project),
        };
        let mut target = IngressTarget {
            service: service.service.clone(),
            port: i64::from(port.target),
            ..IngressTarget::default()
        };
        match spoken {
            Spoken::Http2 => "H2C".clone_into(&mut target.protocol),
            Spoken::Tls => {
                "HTTPS".clone_into(&mut target.protocol);
                target.tls = Some(Box::new(TargetTls {
                    insecure: true,
                    ..TargetTls::default()
                }));
                let text = "The service speaks TLS, with a certificate that nobody checks.";
                sink.remark(format!("/spec/ingress/{name}"), text);
            }
            Spoken::Http | Spoken::Tcp => {}
        }
        if let Some(published) = port.published {
            sink.remark(
                format!("/spec/ingress/{name}"),
                format!("It was port {published} of the host."),
            );
        }
        self.used.insert(host.clone());
        self.found.push(Ingress {
            name,
            host,
            target,
            ..Ingress::default()
        });
    }
}

/// A text as part of a hostname.
pub fn label(text: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let label: String = text.chars().map(word).take(63).collect();
    label.trim_matches('-').to_owned()
}
