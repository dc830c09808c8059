//! From the `host` of an ingress to the hostname that a client types.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::project::{Ingress, IngressProtocol};

/// A full hostname in lower case, without trailing dot and without port; or a wildcard, `*.`
/// before a hostname, which stands for every name one label below it. Copies share the text: a
/// hostname is a key in many maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hostname(Arc<str>);

/// Why a text is not a hostname.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host \"{text}\" is invalid: {reason}")]
pub struct HostnameError {
    text: String,
    reason: &'static str,
}

impl Hostname {
    /// Reads a hostname; upper case and one trailing dot are accepted and normalised.
    ///
    /// # Errors
    /// Names the rule of RFC 1123 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match fault(&name) {
            None => Ok(Self(name.into())),
            Some(reason) => Err(HostnameError {
                text: text.chars().take(80).collect(),
                reason,
            }),
        }
    }

    /// The hostname as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `*.` and a hostname.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn fault(name: &str) -> Option<&'static str> {
    match name.strip_prefix("*.") {
        // Whole top-level domains belong to nobody here.
        Some(parent) if !parent.contains('.') => {
            Some("a wildcard needs a domain below it, such as *.example.com")
        }
        Some(parent) => plain_fault(parent),
        None => plain_fault(name),
    }
}

fn plain_fault(name: &str) -> Option<&'static str> {
    if !name.is_ascii() {
        return Some(
            "write letters beyond ASCII in their xn-- form, such as xn--bcher-kva.example",
        );
    }
    if name.contains(':') || name.contains('/') {
        return Some("give the hostname alone, without scheme, port or path");
    }
    if name.contains('*') {
        return Some("a wildcard stands only at the beginning, as in *.example.com");
    }
    if name.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Some("each part between dots must have 1 to 63 characters");
        }
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !label.bytes().all(inner) || label.starts_with('-') || label.ends_with('-') {
            return Some(
                "each part between dots must consist of letters, digits and inner hyphens",
            );
        }
    }
    None
}

/// The two settings that complete a short host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Middle part, such as `dev` or `pr-42`.
    pub environment: String,
    /// Last part, such as `example.com`.
    pub base: String,
}

impl Domain {
    /// The hostname of an ingress: a host with a dot stands for itself, one without becomes
    /// `{host}.{environment}.{base}`, and a missing one takes the project's name.
    ///
    /// # Errors
    /// The resulting name breaks a rule of RFC 1123.
    pub fn resolve(&self, host: &str, project: &str) -> Result<Hostname, HostnameError> {
        if host.contains('.') {
            return Hostname::parse(host);
        }
        let label = if host.is_empty() { project } else { host };
        if let Some(reason) = fault(&label.to_ascii_lowercase()) {
            return Err(HostnameError {
                text: label.chars().take(80).collect(),
                reason,
            });
        }
        Hostname::parse(&format!("{label}.{}.{}", self.environment, self.base))
    }

    /// All hostnames of an ingress, in the order of the document, those left out that are none.
    /// A TCP ingress has none: it is known by its port.
    pub fn hostnames(&self, ingress: &Ingress, project: &str) -> Vec<Hostname> {
        if ingress.protocol() == Some(IngressProtocol::Tcp) {
            return Vec::new();
        }
        let hosts = ingress.all_hosts();
        hosts
            .filter_map(|host| self.resolve(host, project).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(host: &str) -> String {
        let domain = Domain {
            environment: "pr-42".into(),
            base: "example.com".into(),
        };
        domain
            .resolve(host, "shop")
            .map_or_else(|e| e.to_string(), |h| h.to_string())
    }

    #[test]
    fn a_dot_means_verbatim_and_no_dot_means_environment_and_base_domain() {
        for (host, expected) in [
            ("web", "web.pr-42.example.com"),
            ("WEB", "web.pr-42.example.com"),
            ("blog.example.org", "blog.example.org"),
            ("Blog.Example.org.", "blog.example.org"),
            ("", "shop.pr-42.example.com"),
            ("*.Shop.example.org", "*.shop.example.org"),
        ] {
            assert_eq!(resolved(host), expected, "{host}");
        }
    }

    #[test]
    fn a_bad_host_is_refused_with_the_rule() {
        for (host, reason) in [
            (
                "UP per_!",
                "each part between dots must consist of letters, digits and inner hyphens",
            ),
            (
                "a.com:80",
                "give the hostname alone, without scheme, port or path",
            ),
            (
                "http://a.com",
                "give the hostname alone, without scheme, port or path",
            ),
            (
                "*.com",
                "a wildcard needs a domain below it, such as *.example.com",
            ),
            (
                "a.*.com",
                "a wildcard stands only at the beginning, as in *.example.com",
            ),
            (
                "bücher.example",
                "write letters beyond ASCII in their xn-- form, such as xn--bcher-kva.example",
            ),
            (
                "a..com",
                "each part between dots must have 1 to 63 characters",
            ),
            (
                "-a.com",
                "each part between dots must consist of letters, digits and inner hyphens",
            ),
        ] {
            assert_eq!(
                resolved(host),
                format!("host \"{host}\" is invalid: {reason}")
            );
        }
        assert!(resolved(&"a.".repeat(130)).contains("253"));
    }
}
