//! Which requests a rule takes: hosts, path, headers; and that no two take the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Faults;
use super::ReservedHost;
use super::values::{at_most, has_dots, is_header_value, is_path, is_token};
use crate::hostname::{Domain, Hostname};
use crate::project::{ClientCertificate, Ingress, IngressProtocol, PathType};

/// Hosts that one rule may name.
const HOSTS_MAX: usize = 64;
/// Headers that one rule may look at.
const HEADERS_MAX: usize = 16;

/// What earlier rules of the document take.
#[derive(Default)]
pub(super) struct Seen {
    taken: BTreeSet<Taken>,
    ports: BTreeSet<i64>,
    tls: BTreeMap<Hostname, Tls>,
}

/// Rules that are alike take the same requests.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    host: Hostname,
    is_passthrough: bool,
    is_exact: bool,
    path: String,
    headers: BTreeSet<(String, String)>,
}

/// What the rules of a host say of TLS: that is settled before the path is known.
#[derive(Default)]
struct Tls {
    certificate: Option<String>,
    clients: Option<ClientCertificate>,
}

pub(super) fn check(
    ingress: &Ingress,
    place: (&str, &Domain),
    seen: &mut Seen,
    faults: &mut Faults<'_>,
) {
    if ingress.protocol() == Some(IngressProtocol::Tcp) {
        return port(ingress, seen, faults);
    }
    if ingress.port != 0 {
        faults.add("port", "port belongs to protocol \"TCP\" only");
    }
    path(ingress, faults);
    headers(ingress, faults);
    at_most(ingress.hosts.len(), HOSTS_MAX, "hosts", faults);
    let (name, domain) = place;
    let mut own = BTreeSet::new();
    let fields = field_names(ingress);
    for (field, host) in fields.into_iter().zip(ingress.all_hosts()) {
        if host.is_empty() && field.starts_with("hosts") {
            faults.add(&field, "a host must not be empty");
            continue;
        }
        match domain.resolve(host, name) {
            Err(error) => faults.add(&field, error),
            Ok(hostname) if !own.insert(hostname.clone()) => {
                faults.add(
                    &field,
                    format_args!("host {hostname} is named twice in this entry"),
                );
            }
            Ok(hostname) => {
                agree_on_tls(ingress, &hostname, seen, faults);
                unique(ingress, hostname, &field, seen, faults);
            }
        }
    }
}

/// Refuses a host that is the server's own. A wildcard above it is none: all other names below
/// belong to the project.
pub(super) fn reserved(
    ingress: &Ingress,
    (name, domain): (&str, &Domain),
    reserved: &ReservedHost,
    faults: &mut Faults<'_>,
) {
    let fields = field_names(ingress);
    for (field, given) in fields.into_iter().zip(ingress.all_hosts()) {
        if domain.resolve(given, name).as_ref() == Ok(&reserved.host) {
            faults.add(&field, format!("host {reserved}: choose another"));
        }
    }
}

/// Where each host of [`Ingress::all_hosts`] stands in the document.
fn field_names(ingress: &Ingress) -> Vec<String> {
    let first = !ingress.host.is_empty() || ingress.hosts.is_empty();
    let rest = (0..ingress.hosts.len()).map(|index| format!("hosts[{index}]"));
    first
        .then(|| "host".to_owned())
        .into_iter()
        .chain(rest)
        .collect()
}

fn port(ingress: &Ingress, seen: &mut Seen, faults: &mut Faults<'_>) {
    if !matches!(u16::try_from(ingress.port), Ok(1..)) {
        let message = "protocol \"TCP\" needs a port of the gateway, from 1 to 65535";
        faults.add("port", message);
    } else if !seen.ports.insert(ingress.port) {
        let message = format!("port {} is used twice in this project", ingress.port);
        faults.add("port", message);
    }
    let hosts = [
        ("host", !ingress.host.is_empty()),
        ("hosts", !ingress.hosts.is_empty()),
    ];
    for (field, is_given) in hosts {
        if is_given {
            faults.add(
                field,
                "protocol \"TCP\" is known by its port: leave out its hosts",
            );
        }
    }
}

fn unique(
    ingress: &Ingress,
    host: Hostname,
    field: &str,
    seen: &mut Seen,
    faults: &mut Faults<'_>,
) {
    let is_passthrough = ingress.protocol() == Some(IngressProtocol::TlsPassthrough);
    let is_exact = PathType::parse(&ingress.path_type) == Some(PathType::Exact);
    let path = match ingress.path.as_str() {
        "/" => "",
        path if is_exact => path,
        path => path.trim_end_matches('/'),
    };
    let headers = ingress.match_headers.iter();
    let message = if path.is_empty() && ingress.match_headers.is_empty() {
        format!("host {host} is used twice in this project")
    } else {
        format!("host {host} is used twice in this project with the same path and headers")
    };
    let taken = Taken {
        host,
        is_passthrough,
        is_exact,
        path: path.to_owned(),
        headers: headers
            .map(|h| (h.name.to_ascii_lowercase(), h.value.clone()))
            .collect(),
    };
    if !seen.taken.insert(taken) {
        faults.add(field, message);
    }
}

fn agree_on_tls(ingress: &Ingress, host: &Hostname, seen: &mut Seen, faults: &mut Faults<'_>) {
    let tls = seen.tls.entry(host.clone()).or_default();
    match (&tls.certificate, ingress.tls.as_str()) {
        (_, "") => {}
        (None, given) => tls.certificate = Some(given.to_owned()),
        (Some(known), given) if known != given => {
            let message = format!(
                "tls {given:?} differs from {known:?} of another entry for host {host}: all entries of a host share a certificate"
            );
            faults.add("tls", message);
        }
        (Some(_), _) => {}
    }
    match (&tls.clients, &ingress.client_certificate) {
        (_, None) => {}
        (None, Some(given)) => tls.clients = Some(given.clone()),
        (Some(known), Some(given)) if known != given => {
            let message = format!(
                "clientCertificate differs from that of another entry for host {host}: clients show it before they name a path"
            );
            faults.add("clientCertificate", message);
        }
        (Some(_), Some(_)) => {}
    }
}

fn path(ingress: &Ingress, faults: &mut Faults<'_>) {
    if PathType::parse(&ingress.path_type).is_none() {
        let message = format!(
            "path type {:?} is not supported: must be \"Prefix\" or \"Exact\"",
            ingress.path_type
        );
        faults.add("pathType", message);
    }
    let path = ingress.path.as_str();
    if path.is_empty() {
        return;
    }
    if !is_path(path) {
        let message = format!(
            "path {path:?} must begin with '/' and hold neither spaces nor a query; characters beyond ASCII are written as %XX"
        );
        faults.add("path", message);
    } else if has_dots(path) || path.contains("//") {
        faults.add(
            "path",
            format_args!("path {path:?} must hold no '.', '..' or empty parts"),
        );
    } else if !is_encoded_by_need(path) {
        let message = format!(
            "path {path:?} must have escapes of two digits in upper case, such as %C3, and only of what must be escaped: requests are compared in that form"
        );
        faults.add("path", message);
    }
}

/// True when every escape is one that cannot be undone (RFC 3986 section 6.2.2).
fn is_encoded_by_need(path: &str) -> bool {
    path.split('%').skip(1).all(|part| {
        let digits = part.get(..2).filter(|d| {
            let is_upper = |b: u8| b.is_ascii_digit() || matches!(b, b'A'..=b'F');
            d.bytes().all(is_upper)
        });
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        byte.is_some_and(|b| b != 0 && !is_unreserved(b))
    })
}

fn headers(ingress: &Ingress, faults: &mut Faults<'_>) {
    at_most(
        ingress.match_headers.len(),
        HEADERS_MAX,
        "matchHeaders",
        faults,
    );
    let mut names = BTreeSet::new();
    for (index, wanted) in ingress.match_headers.iter().enumerate() {
        let field = format!("matchHeaders[{index}]");
        let name = wanted.name.to_ascii_lowercase();
        if !is_token(&name) {
            let message = format!(
                "header name {:?} is invalid: such as \"X-Canary\"",
                wanted.name
            );
            faults.add(&format!("{field}.name"), message);
        } else if name == "host" {
            let message = "header Host is matched by host and hosts";
            faults.add(&format!("{field}.name"), message);
        } else if !names.insert(name) {
            let message = format!("header {:?} is named twice", wanted.name);
            faults.add(&format!("{field}.name"), message);
        }
        if !is_header_value(&wanted.value) {
            let message =
                "a header's value must hold no control characters and no blanks at its ends";
            faults.add(&format!("{field}.value"), message);
        }
    }
}
