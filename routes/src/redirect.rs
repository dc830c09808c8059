//! Where a redirect leads. Pure, for those who send clients there and those who tell of it.

/// Where a client is sent: `to` with `{path}` and `{query}` filled in.
pub fn location(to: &str, path: &str, query: &str) -> String {
    let template = if query.is_empty() {
        // Nothing to introduce.
        to.replace("?{query}", "")
            .replace("&{query}", "")
            .replace("{query}", "")
    } else {
        to.to_owned()
    };
    let is_local = template.starts_with('/') || template.starts_with("{path}");
    let to = fill(&template, path, query);
    if !is_local {
        return to;
    }
    // `//evil.example` is a path to the gateway, and another host to a browser.
    format!("/{}", to.trim_start_matches(['/', '\\']))
}

fn fill(template: &str, path: &str, query: &str) -> String {
    let mut out = String::with_capacity(template.len() + path.len() + query.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        // Two slashes at the seam would be another path.
        let joined = if out.ends_with('/') {
            path.strip_prefix('/').unwrap_or(path)
        } else {
            path
        };
        rest = if let Some(tail) = tail.strip_prefix("{path}") {
            out.push_str(joined);
            tail
        } else if let Some(tail) = tail.strip_prefix("{query}") {
            out.push_str(query);
            tail
        } else {
            out.push('{');
            tail.strip_prefix('{').unwrap_or_default()
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_filled_in() {
        for (to, path, query, expected) in [
            ("/new{path}", "/a", "", "/new/a"),
            ("/new/{path}?{query}", "/a", "b=1", "/new/a?b=1"),
            ("/docs?{query}", "/old", "", "/docs"),
            (
                "https://x.org{path}?v=2&{query}",
                "/a",
                "",
                "https://x.org/a?v=2",
            ),
            ("{path}", "//evil.example", "", "/evil.example"),
        ] {
            assert_eq!(location(to, path, query), expected);
        }
    }
}
