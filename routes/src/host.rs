//! The host of a request in the form in which routes are kept.

use std::borrow::Cow;

/// Longest hostname in presentation form, RFC 1035 section 2.3.4.
const HOST_MAX: usize = 253;

/// Takes port and one trailing dot off a `Host` header or authority and lowers its case. None when
/// what is left cannot be a hostname, such as one with an empty label. Borrows when nothing had to
/// change.
pub fn normalize(authority: &str) -> Option<Cow<'_, str>> {
    let host = without_port(authority)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    let has_empty_label = host.split('.').any(str::is_empty);
    if has_empty_label || host.len() > HOST_MAX || !host.bytes().all(is_plain) {
        return None;
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

fn without_port(authority: &str) -> Option<&str> {
    if authority.starts_with('[') {
        let end = authority.find(']')?;
        let (host, rest) = authority.split_at(end + 1);
        return (rest.is_empty() || is_port(rest)).then_some(host);
    }
    match authority.find(':') {
        None => Some(authority),
        Some(colon) => {
            let (host, rest) = authority.split_at(colon);
            is_port(rest).then_some(host)
        }
    }
}

/// `:` and up to five digits; an empty port is allowed by RFC 3986 section 3.2.3.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|digits| digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_trailing_dot_and_port_are_ignored() {
        for (authority, expected) in [
            ("web.dev.localhost", Some("web.dev.localhost")),
            ("WEB.Dev.localhost:8000", Some("web.dev.localhost")),
            ("web.dev.localhost.", Some("web.dev.localhost")),
            ("web.dev.localhost.:80", Some("web.dev.localhost")),
            ("web:", Some("web")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("", None),
            (".", None),
            (".web.test", None),
            ("a..b", None),
            ("web.test..", None),
            ("[::ffff:192.0.2.1]:80", Some("[::ffff:192.0.2.1]")),
            (":80", None),
            ("a b", None),
            ("a:80:90", None),
            ("a:port", None),
            ("[::1", None),
            ("user@host", None),
            ("a/b", None),
        ] {
            assert_eq!(normalize(authority).as_deref(), expected, "{authority}");
        }
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing(authority in "[a-zA-Z0-9.:-]{0,40}") {
            if let Some(once) = normalize(&authority) {
                let again = normalize(&once).map(Cow::into_owned);
                prop_assert_eq!(again.as_deref(), Some(&*once));
                prop_assert!(once.split('.').all(|label| !label.is_empty()));
            }
        }
    }
}
