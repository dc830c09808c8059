//! The cookie that keeps a client with an endpoint.

use std::time::Duration;

use cara_api::gateway::PathMatch;

/// The values of a cookie in a `Cookie` header (RFC 6265 section 4.2); there are several when
/// rules of several paths set it.
///
/// What browsers send need not be text: services may set other cookies in any encoding.
pub fn values<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    header.split(|byte| *byte == b';').filter_map(move |pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

/// The `Set-Cookie` header that gives a client a value for the paths of a rule.
pub fn set_cookie(
    name: &str,
    value: &str,
    path: &PathMatch,
    max_age: Option<Duration>,
    is_tls: bool,
) -> String {
    let (PathMatch::Prefix(path) | PathMatch::Exact(path)) = path;
    // A path with a semicolon would end the attribute early.
    let path = if path.contains(';') { "/" } else { path };
    let age = max_age.map_or(String::new(), |age| format!("; Max-Age={}", age.as_secs()));
    let secure = if is_tls { "; Secure" } else { "" };
    format!("{name}={value}; Path={path}{age}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_of_the_name_are_found() {
        for (header, expected) in [
            ("", vec![]),
            ("a=1", vec!["1"]),
            ("b=2; a=1", vec!["1"]),
            ("a=1; b=2;a=3", vec!["1", "3"]),
            ("aa=1; b=a=2", vec![]),
            ("a", vec![]),
            ("a=", vec![""]),
            ("b=M\u{fc}ller; a=1", vec!["1"]),
        ] {
            let expected: Vec<&[u8]> = expected.into_iter().map(str::as_bytes).collect();
            let found: Vec<&[u8]> = values(header.as_bytes(), "a").collect();
            assert_eq!(found, expected, "{header}");
        }
        let found: Vec<&[u8]> = values(b"b=\xfc; a=1", "a").collect();
        assert_eq!(found, [b"1"]);
    }

    #[test]
    fn the_cookie_belongs_to_the_rule_and_to_no_script() {
        let prefix = PathMatch::Prefix("/api".into());
        assert_eq!(
            set_cookie("s", "v", &prefix, Some(Duration::from_secs(60)), true),
            "s=v; Path=/api; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        let odd = PathMatch::Exact("/a;b".into());
        assert_eq!(
            set_cookie("s", "v", &odd, None, false),
            "s=v; Path=/; HttpOnly; SameSite=Lax"
        );
    }
}
