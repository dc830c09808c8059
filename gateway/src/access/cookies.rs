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
    // Others beside it may be in any encoding.
    pairs(headers).filter_map(move |pair| {
        let name = name_of(pair);
        let value = pair.get(name.len() + 1..)?;
        if name.trim_ascii() != wanted.as_bytes() || !value.is_ascii() {
            return None;
        }
        std::str::from_utf8(value.trim_ascii()).ok()
    })
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
}

/// What stands before the value, with its white space.
fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// Value of `Set-Cookie`; `max_age_s` of 0 removes it. None when the value cannot stand there.
pub(super) fn set(name: Name, value: &str, max_age_s: i64, is_tls: bool) -> Option<HeaderValue> {
    let secure = if is_tls { "; Secure" } else { "" };
    let name = name.text(is_tls);
    let text =
        format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}

/// What a service gets as cookies: without the gateway's own, and in one line where they came in
/// several, as HTTP/2 may cut them (RFC 9113 section 8.2.3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// They pass as they came.
    Unchanged,
    /// This line in their place.
    Instead(HeaderValue),
    /// Nothing is left.
    Nothing,
}

/// What a service gets of these cookies.
pub(super) fn passed(headers: &HeaderMap) -> Passed {
    let all = headers.get_all(header::COOKIE);
    let lines = all.iter().count();
    if lines <= 1 && !all.iter().any(|value| has_own(value.as_bytes())) {
        return Passed::Unchanged;
    }
    let kept: Vec<&[u8]> = pairs(headers)
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !is_own(pair))
        .collect();
    match HeaderValue::from_bytes(&kept.join(b"; ".as_slice())) {
        Ok(line) if !kept.is_empty() => Passed::Instead(line),
        Ok(_) | Err(_) => Passed::Nothing,
    }
}

/// Whether a `Cookie` header carries one of the gateway's own.
pub(crate) fn has_own(value: &[u8]) -> bool {
    value.split(|byte| *byte == b';').any(is_own)
}

fn is_own(pair: &[u8]) -> bool {
    let name = name_of(pair).trim_ascii();
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
        let unchanged = || Passed::Unchanged;
        let line = |text| Passed::Instead(HeaderValue::from_static(text));
        for (given, expected) in [
            (&["a=1; b=2"][..], unchanged()),
            (&["a=1; cara_session=x; b=2"], line("a=1; b=2")),
            (&["__Host-cara_session=x"], Passed::Nothing),
            (&["cara_session=x", "a=1"], line("a=1")),
            (&["a=1;cara_login=2;  __Host-cara_share=3"], line("a=1")),
            (&["cara_session =x; a=b=c"], line("a=b=c")),
            (&["my_cara_session=x"], unchanged()),
            (&["a=cara_session=x"], unchanged()),
            (&["a=1", "b=2; c=3"], line("a=1; b=2; c=3")),
            (&[], unchanged()),
        ] {
            assert_eq!(passed(&headers(given)), expected, "{given:?}");
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
    fn a_cookie_is_found_beside_one_beyond_ascii() {
        for (line, expected) in [
            (b"n=M\xc3\xbcller; cara_session=1".as_slice(), vec!["1"]),
            (b"cara_session=1; n=\xfc", vec!["1"]),
            (b"\xfc=\xfc;cara_session = 1 ;\xfc", vec!["1"]),
            // No value of ours; whoever reads them may count their bytes.
            (b"cara_session=\xfc; cara_session=\xc3\xbc", vec![]),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(line).expect("a value");
            headers.append(header::COOKIE, value);
            let found: Vec<&str> = values(&headers, Name::Session, false).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(line));
        }
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
