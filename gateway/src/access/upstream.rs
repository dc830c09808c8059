//! What a service gets to know: who came in, and none of the gateway's secrets.

use http::{HeaderValue, header};
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::decide::Who;
use super::{cookies, shown};
use crate::ctx::Ctx;

/// Carries the token that lets automated checks pass.
pub(super) const BYPASS: &str = "x-cara-bypass";
/// Begins the names of headers that say who came in.
const WHO: &str = "x-auth-request-";

/// Takes the gateway's cookies and credentials off a request on its way to a service, and tells
/// the service who it is.
///
/// # Errors
/// None in practice: names are valid, and values that are not are left out.
pub(crate) fn clean(request: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    // Cookies count for the whole host, so that they also come to rules that ask nobody.
    if let Some(kept) = cookies::without_own(&request.headers) {
        request.remove_header(&header::COOKIE);
        for cookie in kept {
            request.append_header(header::COOKIE, cookie)?;
        }
    }
    let Some(rule) = &ctx.rule else {
        return Ok(());
    };
    let access = &rule.route.policy.access;
    if !access.asks_who() {
        return Ok(());
    }
    request.remove_header(BYPASS);
    let authorization = request.headers.get_all(header::AUTHORIZATION);
    let is_ours = |value: &HeaderValue| shown::has_scheme(value.as_bytes(), "basic");
    if access.basic.is_some() && authorization.iter().any(is_ours) {
        request.remove_header(&header::AUTHORIZATION);
    }
    let claimed: Vec<String> = request
        .headers
        .keys()
        .filter(|name| is_claim(name.as_str()))
        .map(|name| name.as_str().to_owned())
        .collect();
    for name in &claimed {
        request.remove_header(name.as_str());
    }
    ctx.admitted
        .as_ref()
        .map_or(Ok(()), |admitted| tell(request, &admitted.who))
}

/// Many servers take `_` and `-` for the same.
fn is_claim(name: &str) -> bool {
    name.len() >= WHO.len() && name.replace('_', "-").starts_with(WHO)
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
            ("x-auth-request-anything", true),
            ("x-auth-requestor", false),
            ("authorization", false),
        ] {
            assert_eq!(is_claim(name), expected, "{name}");
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
