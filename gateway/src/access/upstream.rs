//! What a service gets to know: who came in, and none of the gateway's secrets.

use cara_api::gateway::Access;
use cara_api::share;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri, header};
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::cookies::Passed;
use super::shown::BYPASS;
use super::who::{Admitted, Who};
use super::{cookies, shown};
use crate::request::begins_like;

/// Begins the names of headers that say who came in.
const WHO: &str = "x-auth-request-";
/// The certificate that a client showed to the gateway (RFC 9440).
const CLIENT_CERT: &str = "client-cert";
/// The certificates above it; not told.
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";
/// Begin the names by which other proxies tell of certificates of clients.
const CERTIFICATES: [&str; 6] = [
    "x-client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-ssl-client-",
    "x-ssl-cert",
    "ssl-client-",
];

/// Takes the gateway's cookies and credentials off a request on its way to a service, and tells
/// the service who it is. `access` are the settings of its rule.
///
/// # Errors
/// None in practice: names are valid, and values that are not are left out.
pub(crate) fn clean(
    request: &mut RequestHeader,
    client_certificate: Option<&HeaderValue>,
    access: Option<&Access>,
    admitted: Option<&Admitted>,
) -> Result<()> {
    // Cookies count for the whole host, so that they also come to rules that ask nobody.
    match cookies::passed(&request.headers) {
        Passed::Unchanged => {}
        Passed::Instead(line) => request.insert_header(header::COOKIE, line)?,
        Passed::Nothing => {
            request.remove_header(&header::COOKIE);
        }
    }
    // Also for rules that ask nobody: a service behind several rules believes what it reads.
    strip(request);
    if let Some(certificate) = client_certificate {
        request.insert_header(CLIENT_CERT, certificate.clone())?;
    }
    let Some(access) = access else {
        return Ok(());
    };
    let authorization = request.headers.get_all(header::AUTHORIZATION);
    let is_ours = |value: &HeaderValue| shown::has_scheme(value.as_bytes(), "basic");
    if access.basic.is_some() && authorization.iter().any(is_ours) {
        request.remove_header(&header::AUTHORIZATION);
    }
    admitted.map_or(Ok(()), |admitted| tell(request, &admitted.who))
}

/// Takes off what a client says of who it is and what it showed, and the token that lets checks pass.
fn strip(request: &mut RequestHeader) {
    // Most requests have none of them: one look at the names there are is all that they cost.
    let is_own = |name: &&HeaderName| is_own_header(name.as_str());
    if !request.headers.keys().any(|name| is_own(&name)) {
        return;
    }
    let names = request.headers.keys().filter(is_own);
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in &names {
        request.remove_header(name);
    }
}

/// Whether only the gateway may say what a header of this name says, in whatever case.
pub(crate) fn is_own_header(name: &str) -> bool {
    let is = |wanted: &str| name.len() == wanted.len() && begins_like(name, wanted);
    match name.as_bytes().first() {
        Some(b'c' | b'C') => is(CLIENT_CERT) || is(CLIENT_CERT_CHAIN),
        Some(b's' | b'S' | b'x' | b'X') => {
            let mut prefixes = CERTIFICATES.iter();
            is(BYPASS) || begins_like(name, WHO) || prefixes.any(|p| begins_like(name, p))
        }
        Some(_) | None => false,
    }
}

/// Whether a query carries a link's token.
pub(crate) fn has_link(query: &str) -> bool {
    let mut names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    names.any(|name| name == share::PARAMETER)
}

/// Takes a link's token off the query: for the gateway alone, it opens a rule for whoever reads it
/// in a log. Scheme and authority stay, which HTTP/2 names beside the path.
pub(crate) fn cut_link(request: &mut RequestHeader) {
    if !has_link(request.uri.query().unwrap_or_default()) {
        return;
    }
    let rest = shown::without_link(&request.uri);
    let mut parts = request.uri.clone().into_parts();
    // What is left of a path and a query is one; were it none, nothing may be left of the query.
    let rest = PathAndQuery::try_from(rest).unwrap_or_else(|_| PathAndQuery::from_static("/"));
    parts.path_and_query = Some(rest);
    request.set_uri(Uri::from_parts(parts).unwrap_or_default());
}

fn tell(request: &mut RequestHeader, who: &Who) -> Result<()> {
    let mut set = |name: &'static str, value: &str| {
        let is_plain = !value.is_empty() && !value.chars().any(char::is_control);
        match HeaderValue::from_bytes(value.as_bytes()) {
            Ok(value) if is_plain => request.insert_header(name, value),
            _ => Ok(()),
        }
    };
    set("x-auth-request-user", &who.user)?;
    set(
        "x-auth-request-email",
        who.email.as_deref().unwrap_or_default(),
    )?;
    // A comma would make two groups of one.
    let groups: Vec<&str> = who
        .groups
        .iter()
        .map(String::as_str)
        .filter(|group| !group.contains(','))
        .collect();
    set("x-auth-request-groups", &groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_clients_are_known_in_all_spellings() {
        for (name, expected) in [
            ("x-auth-request-user", true),
            ("x_auth_request_user", true),
            ("X-Auth_Request-User", true),
            ("x-auth-request-anything", true),
            ("x-auth-requestor", false),
            ("x-cara-bypass", true),
            ("x_cara_bypass", true),
            ("x-cara-bypassed", false),
            ("client-cert", true),
            ("Client_Cert", true),
            ("client-cert-chain", true),
            ("client-certainty", false),
            ("x-client-cert", true),
            ("x-forwarded-client-cert", true),
            ("x-forwarded-tls-client-cert-info", true),
            ("ssl_client_s_dn", true),
            ("x-ssl-client-verify", true),
            ("x-ssl-cipher", false),
            ("sec-fetch-mode", false),
            ("authorization", false),
        ] {
            assert_eq!(is_own_header(name), expected, "{name}");
            let name = name.to_ascii_uppercase();
            assert_eq!(is_own_header(&name), expected, "{name}");
        }
    }

    #[test]
    fn nobody_forges_who_came_in_where_nobody_is_asked() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for name in ["x-auth-request-user", "x_auth_request_email", "accept"] {
            request.insert_header(name, "evil").expect("a header");
        }
        request
            .append_header("X-Cara-Bypass", "token")
            .expect("a header");
        clean(&mut request, None, None, None).expect("valid names");
        let names: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept"]);
    }

    #[test]
    fn a_service_is_told_what_the_client_showed_and_nothing_else() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for name in ["client-cert", "client_cert", "Client-Cert-Chain"] {
            request.append_header(name, ":ZXZpbA==:").expect("a header");
        }
        let certificate = crate::listen::client::header_value(&[0, 255, 254]);
        clean(&mut request, certificate.as_ref(), None, None).expect("valid names");
        let pairs = request.headers.iter();
        let pairs: Vec<_> = pairs.map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        assert_eq!(pairs, [("client-cert", b":AP/+:".as_slice())]);
    }

    #[test]
    fn a_link_is_cut_off_in_all_versions_of_http() {
        for (given, expected) in [
            ("/a?cara_share=x", "/a"),
            ("/a?b=1&cara%5Fshare=x&c=2", "/a?b=1&c=2"),
            ("https://a.x:8443/a?cara_share=x", "https://a.x:8443/a"),
            ("https://a.x/?cara_share=x&b", "https://a.x/?b"),
            ("/a?b=cara_share", "/a?b=cara_share"),
        ] {
            let mut request = RequestHeader::build("POST", b"/", None).expect("a request");
            request.set_uri(given.parse().expect("a URI"));
            cut_link(&mut request);
            assert_eq!(request.uri.to_string(), expected, "{given}");
        }
    }

    #[test]
    fn a_service_is_told_what_fits_in_a_header() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        let who = Who {
            user: "änn".into(),
            email: Some("a@x\r\nevil: 1".into()),
            groups: vec!["ops".into(), "a,b".into(), "dev".into()],
        };
        tell(&mut request, &who).expect("valid names");
        let value = |name: &str| request.headers.get(name).map(HeaderValue::as_bytes);
        assert_eq!(value("x-auth-request-user"), Some("änn".as_bytes()));
        assert_eq!(value("x-auth-request-email"), None);
        assert_eq!(value("x-auth-request-groups"), Some(b"ops,dev".as_slice()));
    }
}
