//! Requests that a page of somebody else made a browser send, and names that somebody else's DNS
//! leads here (DNS rebinding): told from headers alone.
//!
//! A listener that asks nobody who they are serves what runs on this host, and browsers run on it
//! too, with pages of anybody. What tells them apart is what pages cannot change: `Host`, `Origin`
//! and `Sec-Fetch-Site`, and that a form cannot send JSON.

use std::net::IpAddr;

/// What of a request is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// `Host`, or the authority of the request.
    pub host: &'a str,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Whether there is a body.
    pub has_body: bool,
    /// Whether any header is there that only browsers send: `Referer`, `Cookie`, a user agent of
    /// theirs.
    pub has_browser_headers: bool,
}

impl Asked<'_> {
    fn is_of_browser(&self) -> bool {
        self.has_browser_headers || self.origin.is_some() || self.fetch_site.is_some()
    }

    fn is_read(&self) -> bool {
        matches!(self.method, "GET" | "HEAD")
    }
}

/// Why a request is refused. The texts go to whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Intrusion {
    /// The name is not of this host.
    #[error(
        "host {0:?} is not a name of this API: use localhost or a loopback address, or add the name to api-names"
    )]
    Host(String),
    /// A page of another host sent it.
    #[error("a page of {0:?} may not call this API: Origin must be that of the API itself")]
    Origin(String),
    /// The body is nothing that the API reads.
    #[error("content type {0:?} is not taken: send application/json")]
    ContentType(String),
}

impl Intrusion {
    /// The HTTP status for it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Host(_) => 421,
            Self::Origin(_) => 403,
            Self::ContentType(_) => 415,
        }
    }
}

/// What a listener is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Names and addresses beside those of loopback.
    pub hosts: Vec<String>,
    /// Whether all addresses count: nobody's DNS leads to an address that is asked for as one.
    pub any_address: bool,
}

/// Looks at a request to a listener that asks nobody who they are.
///
/// # Errors
/// See [`Intrusion`].
pub fn check(asked: Asked<'_>, names: &Names) -> Result<(), Intrusion> {
    if !is_own_host(asked.host, names) {
        return Err(Intrusion::Host(shown(asked.host)));
    }
    check_origin(asked)?;
    check_content_type(asked)
}

/// The part of it that also holds where people are known: a cookie travels with whatever page
/// sends the request.
///
/// # Errors
/// See [`Intrusion::Origin`].
pub fn check_origin(asked: Asked<'_>) -> Result<(), Intrusion> {
    if let Some(origin) = asked.origin {
        // An origin is a scheme, `://` and what `Host` would be; or `null`.
        let host = origin.split_once("://").map(|(_, host)| host);
        let is_same = host.is_some_and(|host| host.eq_ignore_ascii_case(asked.host));
        return match is_same {
            true => Ok(()),
            false => Err(Intrusion::Origin(shown(origin))),
        };
    }
    match asked.fetch_site {
        None | Some("same-origin" | "none") => Ok(()),
        // Somebody follows a link.
        Some(_) if asked.is_read() => Ok(()),
        Some(_) => Err(Intrusion::Origin("another site".to_owned())),
    }
}

/// JSON, YAML and tar streams cannot be sent by forms. What `curl -d` says of a body that it does not look into
/// is let through, where nothing shows a browser.
fn check_content_type(asked: Asked<'_>) -> Result<(), Intrusion> {
    if asked.is_read() || !asked.has_body {
        return Ok(());
    }
    let given = asked.content_type.unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let is_document = matches!(
        kind.as_str(),
        "application/json"
            | "application/yaml"
            | "application/x-yaml"
            | "text/yaml"
            | "application/x-tar"
            | cara_api::backup::CONTENT_TYPE
    ) || kind.ends_with("+json")
        || kind.ends_with("+yaml");
    let is_of_curl = matches!(kind.as_str(), "" | "application/x-www-form-urlencoded");
    match is_document || (is_of_curl && !asked.is_of_browser()) {
        true => Ok(()),
        false => Err(Intrusion::ContentType(shown(given))),
    }
}

/// `localhost`, a name below it, a loopback address, or one of `names`; any port.
fn is_own_host(host: &str, names: &Names) -> bool {
    let hosts = &names.hosts;
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        let is_named = || hosts.iter().any(|known| known == name);
        return names.any_address || address.to_canonical().is_loopback() || is_named();
    }
    name == "localhost"
        || name.ends_with(".localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            // Colons inside are those of an address of IPv6 without a port, unless in brackets.
            let is_name = !name.contains(':') || name.ends_with(']');
            if is_name { name } else { host }
        }
        Some(_) | None => host,
    }
}

/// The beginning of what somebody sent.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_answered() {
        let names = Names {
            hosts: vec!["cara.lan".to_owned(), "10.0.0.5".to_owned()],
            any_address: false,
        };
        for (host, expected) in [
            ("localhost", true),
            ("localhost:8080", true),
            ("LOCALHOST.:8080", true),
            ("api.localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.8.9.1", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("cara.lan:8080", true),
            ("CARA.lan", true),
            ("10.0.0.5:8080", true),
            ("10.0.0.6:8080", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("evil-localhost", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
            ("0.0.0.0:8080", false),
            ("[fe80::1]:80", false),
        ] {
            assert_eq!(is_own_host(host, &names), expected, "{host}");
        }
        let any = Names {
            any_address: true,
            ..Names::default()
        };
        assert!(is_own_host("10.1.2.3:8080", &any) && !is_own_host("cara.lan", &any));
    }

    fn verdict(asked: Asked<'_>) -> u16 {
        check(asked, &Names::default()).map_or_else(|intrusion| intrusion.status(), |()| 200)
    }

    #[test]
    fn pages_of_others_are_refused() {
        let from = |origin, fetch_site| Asked {
            method: "POST",
            host: "localhost:8080",
            origin,
            fetch_site,
            ..Asked::default()
        };
        for (asked, expected) in [
            (from(None, None), 200),
            (from(Some("http://localhost:8080"), None), 200),
            (
                from(Some("http://localhost:8080"), Some("same-origin")),
                200,
            ),
            (from(Some("http://localhost:3000"), Some("same-site")), 403),
            (from(Some("http://evil.example"), None), 403),
            (from(Some("null"), None), 403),
            (from(None, Some("cross-site")), 403),
            (from(None, Some("same-site")), 403),
            (from(None, Some("none")), 200),
        ] {
            assert_eq!(verdict(asked), expected, "{asked:?}");
            let read = Asked {
                method: "GET",
                ..asked
            };
            let of_read = if asked.origin.is_none() {
                200
            } else {
                expected
            };
            assert_eq!(verdict(read), of_read, "{read:?}");
        }
    }

    #[test]
    fn bodies_are_documents() {
        let with = |content_type, has_browser_headers| Asked {
            method: "PUT",
            host: "localhost",
            content_type,
            has_body: true,
            has_browser_headers,
            ..Asked::default()
        };
        for (asked, expected) in [
            (with(Some("application/json"), true), 200),
            (with(Some("Application/JSON; charset=utf-8"), false), 200),
            (with(Some("application/merge-patch+json"), false), 200),
            (with(Some("application/yaml"), false), 200),
            (with(Some("text/plain"), false), 415),
            (with(Some("multipart/form-data; boundary=x"), false), 415),
            (with(Some("application/x-www-form-urlencoded"), true), 415),
            (with(Some("application/x-www-form-urlencoded"), false), 200),
            (with(None, true), 415),
            (with(None, false), 200),
        ] {
            assert_eq!(verdict(asked), expected, "{asked:?}");
        }
        let empty = Asked {
            has_body: false,
            ..with(Some("text/plain"), true)
        };
        assert_eq!(verdict(empty), 200);
    }
}
