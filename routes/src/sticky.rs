//! The cookie that keeps a client with an endpoint.

use std::time::Duration;

use cara_api::gateway::PathMatch;

/// The values of a cookie in a `Cookie` header (RFC 6265 section 4.2); there are several when
/// rules of several paths set it.
pub fn values<'a>(header: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    header.split(';').filter_map(move |pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
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
        ] {
            assert_eq!(
                values(header, "a").collect::<Vec<_>>(),
                expected,
                "{header}"
            );
        }
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
