//! The gateway's cookies: their names, how they are set, found, and kept from services. Pure.

use http::{HeaderMap, HeaderValue, header};

/// A cookie of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Who is logged in.
    Session,
    /// What a link opened.
    Share,
    /// The browser that began a login.
    Login,
}

impl Name {
    const ALL: [Self; 3] = [Self::Session, Self::Share, Self::Login];

    /// Without TLS, browsers refuse the prefix that keeps other hosts from setting it.
    fn text(self, is_tls: bool) -> &'static str {
        match (self, is_tls) {
            (Self::Session, true) => "__Host-cara_session",
            (Self::Session, false) => "cara_session",
            (Self::Share, true) => "__Host-cara_share",
            (Self::Share, false) => "cara_share",
            (Self::Login, true) => "__Host-cara_login",
            (Self::Login, false) => "cara_login",
        }
    }
}

/// The values of a cookie, all of them: a foreign one of the same name may come first.
pub(super) fn values(headers: &HeaderMap, name: Name, is_tls: bool) -> impl Iterator<Item = &str> {
    let wanted = name.text(is_tls);
    pairs(headers).filter_map(move |pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim() == wanted).then(|| value.trim())
    })
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
}

/// Value of `Set-Cookie`; `max_age_s` of 0 removes it. None when the value cannot stand there.
pub(super) fn set(name: Name, value: &str, max_age_s: i64, is_tls: bool) -> Option<HeaderValue> {
    let secure = if is_tls { "; Secure" } else { "" };
    let name = name.text(is_tls);
    let text =
        format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}

/// The `Cookie` headers without the gateway's own; none when there is nothing to take out.
pub(super) fn without_own(headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
    let all = headers.get_all(header::COOKIE);
    if !all.iter().any(|value| has_own(value.as_bytes())) {
        return None;
    }
    let kept = all.iter().filter_map(|value| {
        let pairs = value.as_bytes().split(|byte| *byte == b';');
        let kept: Vec<&[u8]> = pairs
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty() && !is_own(pair))
            .collect();
        if kept.is_empty() {
            return None;
        }
        HeaderValue::from_bytes(&kept.join(b"; ".as_slice())).ok()
    });
    Some(kept.collect())
}

/// Whether a `Cookie` header carries one of the gateway's own.
pub(crate) fn has_own(value: &[u8]) -> bool {
    value.split(|byte| *byte == b';').any(is_own)
}

fn is_own(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    let name = name.trim_ascii();
    Name::ALL
        .iter()
        .any(|own| name == own.text(true).as_bytes() || name == own.text(false).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn own_cookies_never_pass_and_others_always_do() {
        for (given, expected) in [
            (&["a=1; b=2"][..], None),
            (&["a=1; cara_session=x; b=2"], Some(&["a=1; b=2"][..])),
            (&["__Host-cara_session=x"], Some(&[])),
            (&["cara_session=x", "a=1"], Some(&["a=1"])),
            (&["a=1;cara_login=2;  __Host-cara_share=3"], Some(&["a=1"])),
            (&["cara_session =x; a=b=c"], Some(&["a=b=c"])),
            (&["my_cara_session=x"], None),
            (&["a=cara_session=x"], None),
            (&[], None),
        ] {
            let kept = without_own(&headers(given));
            let kept: Option<Vec<&str>> = kept
                .as_ref()
                .map(|all| all.iter().map(|v| v.to_str().expect("text")).collect());
            assert_eq!(kept.as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_of_its_name() {
        let headers = headers(&[
            "cara_session=1; x=2",
            "cara_session=3; __Host-cara_session=4",
        ]);
        let found: Vec<&str> = values(&headers, Name::Session, false).collect();
        assert_eq!(found, ["1", "3"]);
        let found: Vec<&str> = values(&headers, Name::Session, true).collect();
        assert_eq!(found, ["4"]);
    }

    #[test]
    fn cookies_are_for_one_host_and_no_script() {
        let set = |is_tls| set(Name::Session, "v", 60, is_tls).expect("a value");
        assert_eq!(
            set(true),
            "__Host-cara_session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            set(false),
            "cara_session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }
}
