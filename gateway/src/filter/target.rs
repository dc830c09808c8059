//! What becomes of a request's target: redirects and rewritten paths. Pure.

use cara_api::gateway::{PathMatch, Redirect, Rewrite};
use http::Uri;

/// Where a client is sent by a rule.
pub(crate) fn location(redirect: &Redirect, uri: &Uri) -> String {
    let path = path_of(uri);
    let query = uri.query().unwrap_or_default();
    cara_routes::redirect::location(&redirect.to, path, query)
}

/// The same resource over HTTPS. `host` has no port.
pub(crate) fn https(host: &str, port: u16, uri: &Uri) -> String {
    let path = path_of(uri);
    let port = match port {
        443 => String::new(),
        other => format!(":{other}"),
    };
    match uri.query() {
        Some(query) => format!("https://{host}{port}{path}?{query}"),
        None => format!("https://{host}{port}{path}"),
    }
}

fn path_of(uri: &Uri) -> &str {
    Some(uri.path())
        .filter(|path| path.starts_with('/'))
        .unwrap_or("/")
}

/// A path that was rewritten.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewritten<'a> {
    /// The new path with the query.
    pub(crate) path_and_query: String,
    /// What was taken off, which links of the service need.
    pub(crate) prefix: Option<&'a str>,
}

/// Rewrites a path that `matched` took; none when it stays as it is. `path` is in the form in which
/// rules are compared.
pub(crate) fn rewrite<'a>(
    rewrite: &'a Rewrite,
    matched: &PathMatch,
    path: &str,
    query: Option<&str>,
) -> Option<Rewritten<'a>> {
    let (path, prefix) = match rewrite {
        Rewrite::Keep => return None,
        Rewrite::StripPrefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            let rest = below(path, prefix)?;
            let prefix = (!prefix.is_empty()).then_some(prefix);
            (join("", rest), prefix)
        }
        Rewrite::Replace(with) => match matched {
            PathMatch::Exact(_) => (with.clone(), None),
            PathMatch::Prefix(prefix) => {
                let rest = below(path, prefix.trim_end_matches('/'))?;
                let path = if rest.is_empty() {
                    with.clone()
                } else {
                    join(with, rest)
                };
                (path, None)
            }
        },
    };
    let path_and_query = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Some(Rewritten {
        path_and_query,
        prefix,
    })
}

/// What follows a prefix that ends where a segment ends.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// A path of two parts, of which the second is empty or begins with a slash.
fn join(first: &str, rest: &str) -> String {
    let first = first.trim_end_matches('/');
    match (first, rest) {
        ("", "") => "/".into(),
        (first, rest) => format!("{first}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_carry_path_and_query() {
        for (to, uri, expected) in [
            ("https://new.x{path}", "/a/b?c=d", "https://new.x/a/b"),
            ("https://new.x/{path}", "/a", "https://new.x/a"),
            (
                "https://new.x{path}?{query}",
                "/a?c=d",
                "https://new.x/a?c=d",
            ),
            ("https://new.x{path}?{query}", "/a", "https://new.x/a"),
            (
                "https://new.x/?from=1&{query}",
                "/a",
                "https://new.x/?from=1",
            ),
            ("/docs{path}", "/a", "/docs/a"),
            ("/docs", "http://h.x/a?b", "/docs"),
            ("{path}/", "//evil.x/a", "/evil.x/a/"),
            ("/{path}", "//evil.x", "/evil.x"),
            ("https://new.x{path}", "*", "https://new.x/"),
            ("/{other}{", "/a", "/{other}{"),
            // What the client sent is not a template.
            ("/x{path}", "/%7Bquery%7D?q", "/x/%7Bquery%7D"),
        ] {
            let redirect = Redirect {
                to: to.into(),
                status: 308,
            };
            let uri: Uri = uri.parse().expect("a target");
            assert_eq!(location(&redirect, &uri), expected, "{to} {uri}");
        }
    }

    #[test]
    fn https_is_the_same_resource_at_its_port() {
        let uri: Uri = "/a?b=c".parse().expect("a target");
        assert_eq!(https("h.x", 443, &uri), "https://h.x/a?b=c");
        assert_eq!(https("h.x", 8443, &uri), "https://h.x:8443/a?b=c");
        assert_eq!(https("h.x", 443, &Uri::from_static("*")), "https://h.x/");
    }

    #[test]
    fn paths_are_stripped_and_replaced_at_segments() {
        let strip = |prefix: &str| Rewrite::StripPrefix(prefix.into());
        let replace = |with: &str| Rewrite::Replace(with.into());
        let prefix = |path: &str| PathMatch::Prefix(path.into());
        let exact = |path: &str| PathMatch::Exact(path.into());
        for (rule, matched, path, expected) in [
            (Rewrite::Keep, prefix("/api"), "/api/x", None),
            (
                strip("/api"),
                prefix("/api"),
                "/api/x",
                Some(("/x?q", Some("/api"))),
            ),
            (
                strip("/api/"),
                prefix("/api"),
                "/api/x/",
                Some(("/x/?q", Some("/api"))),
            ),
            (
                strip("/api"),
                prefix("/api"),
                "/api",
                Some(("/?q", Some("/api"))),
            ),
            (
                strip("/api"),
                prefix("/api"),
                "/api/",
                Some(("/?q", Some("/api"))),
            ),
            (strip("/api"), prefix("/"), "/apis", None),
            (strip("/"), prefix("/"), "/a", Some(("/a?q", None))),
            (
                replace("/v1"),
                prefix("/api"),
                "/api/x",
                Some(("/v1/x?q", None)),
            ),
            (
                replace("/v1/"),
                prefix("/api"),
                "/api/x",
                Some(("/v1/x?q", None)),
            ),
            (
                replace("/v1"),
                prefix("/api"),
                "/api",
                Some(("/v1?q", None)),
            ),
            (replace("/"), prefix("/api"), "/api/x", Some(("/x?q", None))),
            (replace("/v1"), prefix("/"), "/x", Some(("/v1/x?q", None))),
            (replace("/v1"), exact("/api"), "/api", Some(("/v1?q", None))),
        ] {
            let expected = expected.map(|(path, prefix)| Rewritten {
                path_and_query: path.to_owned(),
                prefix,
            });
            assert_eq!(
                rewrite(&rule, &matched, path, Some("q")),
                expected,
                "{rule:?} {path}"
            );
        }
    }
}
