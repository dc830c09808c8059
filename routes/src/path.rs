//! The path of a request in the form in which rules are compared.
//!
//! A service may read `/%61dmin`, `//admin` and `/x/../admin` as `/admin`. Were the gateway to
//! compare what was sent, each of them would pass by a rule that guards `/admin`. So escapes of
//! plain characters are undone and slashes merged before rules are compared, and a path with dot
//! segments is refused: clients resolve those themselves (RFC 3986 section 5.2.4). What is
//! forwarded stays as it was sent, unless a rule rewrites it.
//!
//! Some services go further: they take `%2F` and backslashes for slashes, or cut what follows `;`.
//! Others need these as they are, so they stay in the normal form; but a request for which such a
//! reading ([`widen`]) leads to another rule is refused, since nobody knows which one guards it.

use std::borrow::Cow;

/// The path as rules see it; none when it has dot segments or an escaped NUL. Borrows when nothing
/// had to change.
pub fn normalize(path: &str) -> Option<Cow<'_, str>> {
    if is_plain(path.as_bytes()) {
        return Some(Cow::Borrowed(path));
    }
    let decoded = merge_slashes(&decode_unreserved(path)?);
    (!has_dot_segment(&decoded)).then_some(Cow::Owned(decoded))
}

/// What a service may make of a path in normal form at most: slashes and backslashes, escaped or
/// not, separate segments, parameters after `;` are cut, and empty segments merged. Borrows when
/// that is the path itself.
pub fn widen(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', '\\', ';']) {
        return Cow::Borrowed(path);
    }
    let unescaped = unescape_separators(path);
    let mut out = String::with_capacity(unescaped.len());
    let mut is_cut = false;
    for c in unescaped.chars() {
        match c {
            '/' | '\\' => {
                is_cut = false;
                if !out.ends_with('/') {
                    out.push('/');
                }
            }
            ';' => is_cut = true,
            other if !is_cut => out.push(other),
            _ => {}
        }
    }
    if out == path {
        return Cow::Borrowed(path);
    }
    Cow::Owned(out)
}

fn unescape_separators(path: &str) -> String {
    path.replace("%2F", "/")
        .replace("%5C", "\\")
        .replace("%3B", ";")
}

/// True when there is nothing to undo, merge or refuse.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let is_special = matches!(byte, b'%' | b'\\');
        if is_special || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    true
}

/// Undoes escapes of characters that mean the same without (RFC 3986 section 6.2.2.2).
fn decode_unreserved(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let digits = escaped.get(1..3);
        let byte = digits.and_then(|digits| {
            let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(digits, 16).ok())?
        });
        let length = match byte {
            Some(0) => return None,
            Some(byte) if is_unreserved(byte) => {
                out.push(char::from(byte));
                3
            }
            Some(_) => {
                out.push_str(&escaped.get(..3)?.to_ascii_uppercase());
                3
            }
            None => {
                out.push('%');
                1
            }
        };
        rest = escaped.get(length..)?;
    }
    out.push_str(rest);
    Some(out)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// Whether a segment is `.` or `..` for anybody: escaped slashes and backslashes count as
/// separators, and parameters after `;` do not count.
fn has_dot_segment(path: &str) -> bool {
    unescape_separators(path).split(['/', '\\']).any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        matches!(name, "." | "..")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ways_to_write_a_path_are_one() {
        for (path, expected) in [
            ("/", Some("/")),
            ("/a/b.c", Some("/a/b.c")),
            ("/a.", Some("/a.")),
            ("/.well-known/x", Some("/.well-known/x")),
            ("/%61dmin", Some("/admin")),
            ("//admin///x/", Some("/admin/x/")),
            ("/a%2fb", Some("/a%2Fb")),
            ("/a%20b%", Some("/a%20b%")),
            ("/a%zz%4", Some("/a%zz%4")),
            ("/...", Some("/...")),
            ("*", Some("*")),
            ("/x/../admin", None),
            ("/x/%2e%2E/admin", None),
            ("/x/.%2e", None),
            ("/x%2f..%2fadmin", None),
            ("/x%5c..%5cadmin", None),
            ("/x/..\\admin", None),
            ("/x/..;a=b/admin", None),
            ("/x/..%3Ba=b/admin", None),
            ("/./admin", None),
            ("/a%00", None),
            ("/ü%C3%BC", Some("/ü%C3%BC")),
        ] {
            assert_eq!(normalize(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_widest_reading_has_only_plain_segments() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b.c/", "/a/b.c/"),
            ("/a%20b", "/a%20b"),
            ("*", "*"),
            ("/%2Fadmin/users", "/admin/users"),
            ("/admin%2Fusers", "/admin/users"),
            ("/admin%5Cusers", "/admin/users"),
            ("/admin\\users", "/admin/users"),
            ("/admin;x/users", "/admin/users"),
            ("/admin%3Bx/users;y=/", "/admin/users/"),
            ("/;x/admin", "/admin"),
            ("/admin;", "/admin"),
            ("/%252Fadmin", "/%252Fadmin"),
        ] {
            let wide = widen(path);
            assert_eq!(wide, expected, "{path}");
            let is_borrowed = matches!(wide, Cow::Borrowed(_));
            assert_eq!(is_borrowed, path == expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_widest_reading_has_no_separator_but_slashes(path in "/[a%2F5C3B;/\\\\]{0,24}") {
            if let Some(normal) = normalize(&path) {
                let wide = widen(&normal);
                prop_assert!(!wide.contains(['\\', ';']) && !wide.contains("//"), "{wide}");
            }
        }

        #[test]
        fn what_is_normal_stays_as_it_is(path in "/[a-b/.%2eE;\\\\]{0,24}") {
            if let Some(once) = normalize(&path).map(Cow::into_owned) {
                // An escape can appear only by undoing another one, which services do not do.
                if !once.contains('%') {
                    let again = normalize(&once);
                    prop_assert_eq!(again.as_deref(), Some(once.as_str()));
                }
                prop_assert!(!once.contains("//"));
            }
        }
    }
}
