//! Changes to headers, and cross-origin resource sharing.

use std::collections::{BTreeMap, BTreeSet};

use super::Faults;
use super::values::{DAY, at_most, is_header_value, is_token, span, split_url};
use crate::project::{Cors, HeaderRules};

/// Entries that any list here may have.
const ENTRIES_MAX: usize = 64;

/// Headers of the connection and of the message's frame (RFC 9110 section 7.6.1, RFC 9112):
/// changing them would desynchronise the two sides.
const FRAME: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of requests that services believe since the gateway sets them.
const TOLD: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Request,
    Response,
}

pub(super) fn rules(rules: &HeaderRules, field: &str, way: Way, faults: &mut Faults<'_>) {
    let field_of = |part: &str| format!("{field}.{part}");
    at_most(rules.remove.len(), ENTRIES_MAX, &field_of("remove"), faults);
    for (index, name) in rules.remove.iter().enumerate() {
        check_name(name, way, &format!("{field}.remove[{index}]"), faults);
    }
    for (part, pairs) in [("set", &rules.set), ("add", &rules.add)] {
        at_most(pairs.len(), ENTRIES_MAX, &field_of(part), faults);
        values(pairs, way, &field_of(part), faults);
    }
}

fn values(pairs: &BTreeMap<String, String>, way: Way, field: &str, faults: &mut Faults<'_>) {
    let mut seen = BTreeSet::new();
    for (name, value) in pairs {
        let field = format!("{field}[{name:?}]");
        check_name(name, way, &field, faults);
        if !seen.insert(name.to_ascii_lowercase()) {
            let message = format!("header {name:?} is named twice: case does not matter");
            faults.add(&field, message);
        }
        if !is_header_value(value) {
            let message = "a header's value must be ASCII without control characters and without blanks at its ends";
            faults.add(&field, message);
        }
    }
}

fn check_name(name: &str, way: Way, field: &str, faults: &mut Faults<'_>) {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        let message = format!("header name {name:?} is invalid: such as \"X-Team\"");
        faults.add(field, message);
    } else if FRAME.contains(&lower.as_str()) {
        let message = format!("header {name:?} belongs to the connection and cannot be changed");
        faults.add(field, message);
    } else if way == Way::Request
        && (TOLD.contains(&lower.as_str()) || lower.starts_with("x-cara-"))
    {
        let message = format!("header {name:?} is set by the gateway and cannot be changed");
        faults.add(field, message);
    }
}

pub(super) fn cors(cors: &Cors, faults: &mut Faults<'_>) {
    if cors.origins.is_empty() {
        let message = "at least one origin is required, such as \"https://app.example.com\"";
        faults.add("cors.origins", message);
    }
    at_most(cors.origins.len(), ENTRIES_MAX, "cors.origins", faults);
    let is_any = cors.origins.iter().any(|origin| origin == "*");
    if is_any && cors.origins.len() > 1 {
        faults.add(
            "cors.origins",
            "\"*\" stands for all origins: leave out the others",
        );
    }
    if is_any && cors.credentials {
        let message =
            "browsers refuse credentials together with the origin \"*\": name the origins";
        faults.add("cors.credentials", message);
    }
    for (index, origin) in cors.origins.iter().enumerate() {
        let is_origin = |text: &str| split_url(text).is_some_and(|url| url.tail.is_empty());
        if origin != "*" && !is_origin(origin) {
            let message = format!(
                "origin {origin:?} must be like \"https://app.example.com\", without path, or \"*\""
            );
            faults.add(&format!("cors.origins[{index}]"), message);
        }
    }
    let lists = [
        ("methods", "method", &cors.methods),
        ("headers", "header name", &cors.headers),
        ("expose", "header name", &cors.expose),
    ];
    for (field, noun, texts) in lists {
        at_most(texts.len(), ENTRIES_MAX, &format!("cors.{field}"), faults);
        for (index, text) in texts.iter().enumerate() {
            if !is_token(text) {
                let message = format!("{noun} {text:?} is invalid");
                faults.add(&format!("cors.{field}[{index}]"), message);
            }
        }
    }
    span(
        &cors.max_age,
        "cors.maxAge",
        std::time::Duration::ZERO..=DAY,
        faults,
    );
}
