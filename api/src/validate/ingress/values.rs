//! Values that many fields have: durations, counts, names, URLs.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Faults;
use crate::hostname::Hostname;
use crate::names::check_subdomain;
use crate::network;
use crate::quantity::{duration, milli};

/// One millisecond, the shortest time that anything may take.
pub(super) const MS: Duration = Duration::from_millis(1);
/// The shortest period of anything that is repeated.
pub(super) const TENTH: Duration = Duration::from_millis(100);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3_600);
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Networks that a list may name.
const NETS_MAX: usize = 256;

/// A duration within bounds, if it is given.
pub(super) fn span(
    text: &str,
    field: &str,
    allowed: RangeInclusive<Duration>,
    faults: &mut Faults<'_>,
) {
    if text.is_empty() {
        return;
    }
    match duration(text) {
        None => {
            let message = format!("{text:?} is not a duration such as \"30s\" or \"1m30s\"");
            faults.add(field, message);
        }
        Some(length) if !allowed.contains(&length) => {
            let (from, to) = (allowed.start(), allowed.end());
            faults.add(
                field,
                format_args!("{text:?} must be from {from:?} to {to:?}"),
            );
        }
        Some(_) => {}
    }
}

/// A count from 1 to `max`; 0 means that it was left out.
pub(super) fn count(given: i64, field: &str, max: i64, faults: &mut Faults<'_>) {
    if !(0..=max).contains(&given) {
        faults.add(field, format_args!("{given} must be from 1 to {max}"));
    }
}

/// A size in whole bytes, if it is given.
pub(super) fn bytes(text: &str, field: &str, faults: &mut Faults<'_>) {
    let is_whole = |amount: u128| amount >= 1_000 && amount.is_multiple_of(1_000);
    let fits = |amount: u128| u64::try_from(amount / 1_000).is_ok();
    if !text.is_empty() && !milli(text).is_some_and(|amount| is_whole(amount) && fits(amount)) {
        let message =
            format!("{text:?} is not a size such as \"512Ki\" or \"10Mi\", at least one byte");
        faults.add(field, message);
    }
}

/// The name of an object that must be given.
pub(super) fn required_name(kind: &str, text: &str, field: &str, faults: &mut Faults<'_>) {
    if text.is_empty() {
        faults.add(field, format_args!("the name of a {kind} is required"));
    } else {
        name(kind, text, field, faults);
    }
}

/// The name of an object, if it is given.
pub(super) fn name(kind: &str, text: &str, field: &str, faults: &mut Faults<'_>) {
    if text.is_empty() {
        return;
    }
    if let Err(error) = check_subdomain(text) {
        faults.add(field, format_args!("{kind} {error}"));
    }
}

/// Networks.
pub(super) fn nets(texts: &[String], field: &str, faults: &mut Faults<'_>) {
    if texts.len() > NETS_MAX {
        faults.add(
            field,
            format_args!("must name no more than {NETS_MAX} networks"),
        );
    }
    for (index, text) in texts.iter().enumerate() {
        if network::parse(text).is_none() {
            let message =
                format!("{text:?} is not a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"");
            faults.add(&format!("{field}[{index}]"), message);
        }
    }
}

/// At most `max` entries.
pub(super) fn at_most(length: usize, max: usize, field: &str, faults: &mut Faults<'_>) {
    if length > max {
        faults.add(field, format_args!("must have no more than {max} entries"));
    }
}

/// A token of RFC 9110 section 5.6.2: names of headers, methods and cookies are such.
pub(super) fn is_token(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(inner)
}

/// A field value of RFC 9110 section 5.5 in ASCII: no control characters, no blanks at its ends.
pub(super) fn is_header_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\t');
    text.len() <= 4096 && text.bytes().all(inner) && text.trim() == text
}

/// Text for people: no control characters.
pub(super) fn is_line(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(char::is_control)
}

/// A path as requests have it: begins with `/`, visible ASCII, without query and fragment.
pub(super) fn is_path(text: &str) -> bool {
    let inner =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\');
    text.starts_with('/') && text.len() <= 1024 && text.bytes().all(inner)
}

/// True when a part of a path means "here" or "up".
pub(super) fn has_dots(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "." | ".."))
}

/// The parts of `scheme://authority` and what follows; none when the text is no such URL.
pub(super) fn split_url(text: &str) -> Option<Url<'_>> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.len() > 2048 {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |p: &str| p.parse::<u16>().is_ok_and(|port| port > 0);
    let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let is_address = host.parse::<IpAddr>().is_ok();
    let is_host = is_address || Hostname::parse(host).is_ok_and(|h| !h.is_wildcard());
    (has_port && is_host).then_some(Url { scheme, host, tail })
}

/// A URL in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    pub(super) host: &'a str,
    /// Path, query and fragment.
    pub(super) tail: &'a str,
}

impl Url<'_> {
    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || address.is_ok_and(|a| a.is_loopback())
    }
}

/// The URL of a server that must be trusted: HTTPS, or HTTP on this machine.
pub(super) fn trusted_url(text: &str, field: &str, faults: &mut Faults<'_>) {
    if text.is_empty() {
        faults.add(
            field,
            "a URL is required, such as \"https://id.example.com\"",
        );
        return;
    }
    let url = split_url(text);
    let is_safe = |url: Url<'_>| match url.scheme {
        "https" => true,
        "http" => url.is_loopback(),
        _ => false,
    };
    if !url.is_some_and(|url| is_safe(url) && !url.tail.contains(['?', '#'])) {
        let message = format!(
            "{text:?} must be a URL that begins with https://, without query and fragment (http:// for an address of the gateway's own machine)"
        );
        faults.add(field, message);
    }
}
