//! What becomes of a request: one of target, targets, redirect and respond.

use std::collections::BTreeSet;

use super::Faults;
use super::values::{at_most, has_dots, is_header_value, is_path, name, split_url};
use crate::hostname::Hostname;
use crate::project::{
    Ingress, IngressTarget, ProjectSpec, Redirect, Respond, TargetProtocol, TargetTls,
};

/// Services that may share requests.
const TARGETS_MAX: usize = 16;
/// The greatest weight.
const WEIGHT_MAX: i64 = 1_000_000;
/// The largest body of a fixed answer, in bytes.
const BODY_MAX: usize = 64 * 1024;

pub(super) fn check(spec: &ProjectSpec, ingress: &Ingress, faults: &mut Faults<'_>) {
    let given = [
        ("target", !ingress.target.is_unset()),
        ("targets", !ingress.targets.is_empty()),
        ("redirect", ingress.redirect.is_some()),
        ("respond", ingress.respond.is_some()),
    ];
    let mut given = given
        .into_iter()
        .filter_map(|(f, given)| given.then_some(f));
    match (given.next(), given.next()) {
        (None, _) => faults.add(
            "target",
            "one of target, targets, redirect and respond is required",
        ),
        (Some(first), Some(second)) => {
            let message = format!(
                "has {first} and {second}: must have exactly one of target, targets, redirect and respond"
            );
            faults.add(second, message);
        }
        (Some(_), None) => {}
    }
    if !ingress.target.is_unset() {
        one(spec, &ingress.target, "target", faults);
        if ingress.target.weight.is_some() {
            faults.add(
                "target.weight",
                "weight belongs to targets: one service gets all requests",
            );
        }
    }
    shared(spec, &ingress.targets, faults);
    if let Some(redirect) = &ingress.redirect {
        check_redirect(redirect, faults);
    }
    if let Some(respond) = &ingress.respond {
        check_respond(respond, faults);
    }
    rewriting(ingress, faults);
}

fn one(spec: &ProjectSpec, target: &IngressTarget, field: &str, faults: &mut Faults<'_>) {
    if !spec.services.iter().any(|s| s.name == target.service) {
        let message = format!(
            "target service {} does not exist in spec.services",
            target.service
        );
        faults.add(&format!("{field}.service"), message);
    }
    let port = format!("{field}.port");
    if target.port <= 0 {
        faults.add(&port, "target port must be greater than 0");
    } else if u16::try_from(target.port).is_err() {
        faults.add(&port, "target port must be no more than 65535");
    }
    let protocol = TargetProtocol::parse(&target.protocol);
    if protocol.is_none() {
        let message = format!(
            "protocol {:?} is not supported: must be \"HTTP\", \"H2C\" or \"HTTPS\"",
            target.protocol
        );
        faults.add(&format!("{field}.protocol"), message);
    }
    if let Some(tls) = &target.tls {
        let field = format!("{field}.tls");
        if protocol.is_some_and(|p| p != TargetProtocol::Https) {
            faults.add(&field, "tls belongs to protocol \"HTTPS\" only");
        }
        check_tls(tls, &field, faults);
    }
}

fn check_tls(tls: &TargetTls, field: &str, faults: &mut Faults<'_>) {
    let server = tls.server_name.as_str();
    if !server.is_empty() && !Hostname::parse(server).is_ok_and(|h| !h.is_wildcard()) {
        let message = format!("server name {server:?} is not a hostname");
        faults.add(&format!("{field}.serverName"), message);
    }
    name(
        "Certificate or Secret",
        &tls.ca,
        &format!("{field}.ca"),
        faults,
    );
    let certificate = format!("{field}.certificate");
    name("Certificate", &tls.certificate, &certificate, faults);
    if tls.insecure && !tls.ca.is_empty() {
        let message = "insecure accepts any certificate: leave out insecure or ca";
        faults.add(&format!("{field}.insecure"), message);
    }
}

fn shared(spec: &ProjectSpec, targets: &[IngressTarget], faults: &mut Faults<'_>) {
    at_most(targets.len(), TARGETS_MAX, "targets", faults);
    let mut seen = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        let field = format!("targets[{index}]");
        one(spec, target, &field, faults);
        if !seen.insert((target.service.as_str(), target.port)) {
            let message = format!("{}:{} is named twice", target.service, target.port);
            faults.add(&field, message);
        }
        if target
            .weight
            .is_some_and(|w| !(0..=WEIGHT_MAX).contains(&w))
        {
            let message = format!("weight must be from 0 to {WEIGHT_MAX}");
            faults.add(&format!("{field}.weight"), message);
        }
    }
    if !targets.is_empty() && targets.iter().all(|target| target.weight == Some(0)) {
        faults.add(
            "targets",
            "at least one target must have a weight greater than 0",
        );
    }
}

fn check_redirect(redirect: &Redirect, faults: &mut Faults<'_>) {
    let to = redirect.to.as_str();
    if !matches!(redirect.status, 0 | 301 | 302 | 303 | 307 | 308) {
        let message = format!(
            "status {} must be 301, 302, 303, 307 or 308",
            redirect.status
        );
        faults.add("redirect.status", message);
    }
    let message = if to.is_empty() {
        "a URL or path is required, such as \"https://www.example.com{path}\"".to_owned()
    } else if !to.bytes().all(|b| b.is_ascii_graphic()) || to.len() > 2048 {
        format!("{to:?} must hold no spaces and no characters beyond ASCII: write them as %XX")
    } else if to
        .replace("{path}", "")
        .replace("{query}", "")
        .contains(['{', '}'])
    {
        format!("{to:?} has a placeholder that is none: there are {{path}} and {{query}}")
    } else if to.starts_with("//") || to.starts_with("/{") || to.starts_with("/\\") {
        // The path of a request begins with `/`: two of them would name another host.
        format!(
            "{to:?} would lead to any host that a client names: begin with a part of the path, such as \"/new{{path}}\""
        )
    } else if !to.starts_with('/') && !is_url(to) {
        format!(
            "{to:?} must be a path that begins with '/', or a URL that begins with https:// or http://"
        )
    } else {
        return;
    };
    faults.add("redirect.to", message);
}

/// A URL whose host no placeholder can change.
fn is_url(to: &str) -> bool {
    let fixed = to.replace("{path}", "/").replace("{query}", "");
    let host_is_whole = |(_, rest): (&str, &str)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        !authority.trim_end_matches("{path}").contains('{')
    };
    to.split_once("://").is_some_and(host_is_whole)
        && split_url(&fixed).is_some_and(|url| matches!(url.scheme, "http" | "https"))
}

fn check_respond(respond: &Respond, faults: &mut Faults<'_>) {
    if !matches!(respond.status, 0 | 200..=599) {
        let message = format!("status {} must be from 200 to 599", respond.status);
        faults.add("respond.status", message);
    }
    if matches!(respond.status, 204 | 205 | 304) && !respond.body.is_empty() {
        let message = format!("an answer with status {} has no body", respond.status);
        faults.add("respond.body", message);
    }
    if !is_header_value(&respond.content_type) {
        let message = format!("content type {:?} is invalid", respond.content_type);
        faults.add("respond.contentType", message);
    }
    if respond.body.len() > BODY_MAX {
        let message = format!(
            "body has {} bytes: must be no more than {BODY_MAX}",
            respond.body.len()
        );
        faults.add("respond.body", message);
    }
}

fn rewriting(ingress: &Ingress, faults: &mut Faults<'_>) {
    let forwards = ingress.redirect.is_none() && ingress.respond.is_none();
    let fields = [
        ("stripPrefix", ingress.strip_prefix.as_str()),
        ("rewrite", ingress.rewrite.as_str()),
    ];
    for (field, path) in fields {
        if path.is_empty() {
            continue;
        }
        if !is_path(path) || has_dots(path) || path.contains("//") {
            let message = format!(
                "{path:?} must begin with '/' and hold no spaces, no query and no '.', '..' or empty parts"
            );
            faults.add(field, message);
        }
        if !forwards {
            let message =
                format!("{field} belongs to target and targets: nothing is forwarded here");
            faults.add(field, message);
        }
    }
    if !ingress.strip_prefix.is_empty() && !ingress.rewrite.is_empty() {
        faults.add(
            "rewrite",
            "stripPrefix and rewrite exclude each other: leave out one",
        );
    }
}
