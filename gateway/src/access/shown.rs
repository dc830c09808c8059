//! What a request shows: read, and the gateway's own signatures checked. Pure.

use std::net::IpAddr;

use cara_api::gateway::Route;
use cara_api::share::{self, Scope};
use http::{HeaderMap, Method, Uri, header};
use jiff::Timestamp;
use pingora_http::RequestHeader;

use super::cookies::{self, Name};
use super::decide::{Link, Presented, Proof};
use super::place::Place;
use super::session::Signers;
use crate::pages::Format;
use crate::request::format;

/// Carries the token that lets automated checks pass.
pub(super) const BYPASS: &str = "x-cara-bypass";

/// Reads all that counts for access.
pub(super) fn read<'a>(
    head: &RequestHeader,
    place: &'a Place,
    route: &'a Route,
    signers: Option<&Signers>,
    client: Option<IpAddr>,
    now: Timestamp,
) -> Presented<'a> {
    let headers = &head.headers;
    let given = |is_given: bool| {
        if is_given {
            Proof::Given
        } else {
            Proof::Absent
        }
    };
    let is_scheme = |name: &str| authorization(head).is_some_and(|value| has_scheme(value, name));
    let is_safe = matches!(head.method, Method::GET | Method::HEAD);
    Presented {
        client,
        host: &place.host,
        project: &route.project,
        ingress: &route.ingress,
        is_navigation: is_navigation(headers),
        is_safe,
        bypass: given(headers.contains_key(BYPASS)),
        login: signers.and_then(|signers| {
            let mut found = cookies::values(headers, Name::Session, place.is_tls);
            found.find_map(|value| signers.login.open(value))
        }),
        opened: signers.and_then(|signers| {
            let mut found = cookies::values(headers, Name::Share, place.is_tls);
            found.find_map(|value| signers.opened.open(value))
        }),
        link: link(&head.uri, route, signers, now),
        bearer: given(is_scheme("bearer")),
        basic: given(is_scheme("basic")),
    }
}

/// A page that the browser's address bar follows; not a script's call, which a redirect to an
/// issuer would only confuse.
fn is_navigation(headers: &HeaderMap) -> bool {
    let mode = headers.get("sec-fetch-mode");
    format(headers) == Format::Html && mode.is_none_or(|mode| mode == "navigate")
}

/// The value of `Authorization`; none when there are several, of which a service might take
/// another one than the gateway.
pub(super) fn authorization(head: &RequestHeader) -> Option<&[u8]> {
    let mut all = head.headers.get_all(header::AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only.as_bytes()),
        _ => None,
    }
}

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(head: &RequestHeader) -> Option<&str> {
    let value = std::str::from_utf8(authorization(head)?).ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

pub(super) fn has_scheme(value: &[u8], name: &str) -> bool {
    let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(name.as_bytes())
}

fn link(uri: &Uri, route: &Route, signers: Option<&Signers>, now: Timestamp) -> Link {
    let Some(settings) = &route.policy.access.share else {
        return Link::Absent;
    };
    let query = uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, token)) = pairs.find(|(name, _)| name == share::PARAMETER) else {
        return Link::Absent;
    };
    let scope = Scope {
        project: &route.project,
        ingress: &route.ingress,
        epoch: &settings.epoch,
    };
    let end = signers.and_then(|signers| signers.links.verify(scope, &token, now));
    // A rule whose longest life was shortened shortens the links that are out.
    let longest = i64::try_from(settings.max_age.as_secs()).unwrap_or(i64::MAX);
    let longest = now.as_second().saturating_add(longest);
    end.map_or(Link::Wrong, |end| Link::Right(end.min(longest)))
}

/// Path and query without a link's token.
pub(super) fn without_link(uri: &Uri) -> String {
    let is_link = |pair: &&str| {
        let mut parsed = url::form_urlencoded::parse(pair.as_bytes());
        parsed
            .next()
            .is_some_and(|(name, _)| name == share::PARAMETER)
    };
    let query = uri.query().unwrap_or_default();
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_link(pair)).collect();
    match kept.join("&") {
        query if query.is_empty() => uri.path().to_owned(),
        query => format!("{}?{query}", uri.path()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leaves_the_rest_of_the_url_as_it_is() {
        for (uri, expected) in [
            ("/a?cara_share=x", "/a"),
            ("/a?b=1&cara_share=x&c=%20", "/a?b=1&c=%20"),
            ("/a?cara%5Fshare=x", "/a"),
            ("/a?my_cara_share=x", "/a?my_cara_share=x"),
            ("//evil.example/?cara_share=x", "//evil.example/"),
            ("/a", "/a"),
        ] {
            let uri: Uri = uri.parse().expect("a URI");
            assert_eq!(without_link(&uri), expected, "{uri}");
        }
    }

    #[test]
    fn of_two_credentials_none_counts() {
        let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
        let set = |head: &mut RequestHeader, value: &str| {
            head.append_header("authorization", value)
                .expect("a header");
        };
        set(&mut head, "bearer  abc ");
        assert_eq!(bearer(&head), Some("abc"));
        set(&mut head, "Basic YTpi");
        assert_eq!(bearer(&head), None);
    }
}
