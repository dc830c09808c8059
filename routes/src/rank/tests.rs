//! The rules against a matcher that is slow and plain.

use std::cmp::Ordering;
use std::sync::Arc;

use cara_api::gateway::{Action, Respond};
use proptest::prelude::*;

use super::*;

fn rule(name: &str, path: PathMatch, headers: Vec<HeaderMatch>) -> Arc<Route> {
    Arc::new(Route {
        project: "p".into(),
        ingress: name.into(),
        path,
        headers,
        action: Action::Respond(Respond {
            status: 200,
            content_type: String::new(),
            body: String::new(),
        }),
        policy: Arc::default(),
    })
}

type Headers = Vec<(String, String)>;

fn takes(route: &Route, path: &str, headers: &Headers) -> bool {
    matches(route, path, |name| {
        let found = headers.iter().filter(move |(n, _)| n == name);
        let values: Vec<&[u8]> = found.map(|(_, v)| v.as_bytes()).collect();
        values.into_iter()
    })
}

/// By parts instead of by bytes.
fn naive_takes(route: &Route, path: &str, headers: &Headers) -> bool {
    let parts = |path: &str| -> Vec<String> { path.split('/').map(str::to_owned).collect() };
    let by_path = match &route.path {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(root) if root == "/" => true,
        PathMatch::Prefix(prefix) => parts(path).starts_with(&parts(prefix)),
    };
    by_path
        && route.headers.iter().all(|wanted| {
            let mut found = headers.iter().filter(|(name, _)| *name == wanted.name);
            found.any(|(_, value)| wanted.value.as_ref().is_none_or(|w| w == value))
        })
}

/// The order in words, one after the other.
fn naive_order(a: &Route, b: &Route) -> Ordering {
    let path = |r: &Route| match &r.path {
        PathMatch::Exact(path) => (1, path.len()),
        PathMatch::Prefix(path) => (0, path.len()),
    };
    let valued = |r: &Route| r.headers.iter().filter(|h| h.value.is_some()).count();
    let by_path = path(a).cmp(&path(b));
    let by_headers = a.headers.len().cmp(&b.headers.len());
    let by_values = valued(a).cmp(&valued(b));
    let by_name = b.ingress.cmp(&a.ingress);
    by_path.then(by_headers).then(by_values).then(by_name)
}

const PATHS: [&str; 10] = [
    "/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "/A", "/a%2Fb", "//a", "/a/./b",
];

fn some_rules() -> impl Strategy<Value = Vec<Arc<Route>>> {
    let value = prop::option::of(prop::sample::select(vec!["1", "2"]));
    let headers =
        prop::collection::btree_map(prop::sample::select(vec!["x-a", "x-b"]), value, 0..3);
    let path = (prop::sample::select(PATHS.to_vec()), any::<bool>());
    prop::collection::vec((path, headers), 0..8).prop_map(|rules| {
        let built = rules.into_iter().enumerate();
        let built = built.map(|(number, ((path, is_exact), headers))| {
            let path = if is_exact {
                PathMatch::Exact(path.into())
            } else {
                let path = path.trim_end_matches('/');
                PathMatch::Prefix(if path.is_empty() { "/" } else { path }.into())
            };
            let headers = headers.into_iter().map(|(name, value)| HeaderMatch {
                name: name.into(),
                value: value.map(Into::into),
            });
            rule(&format!("r{number}"), path, headers.collect())
        });
        built.collect()
    })
}

fn some_headers() -> impl Strategy<Value = Headers> {
    let name = prop::sample::select(vec!["x-a", "x-b"]);
    let value = prop::sample::select(vec!["1", "2", "1, 2", ""]);
    let pair = (name, value).prop_map(|(n, v)| (n.to_owned(), v.to_owned()));
    prop::collection::vec(pair, 0..4)
}

proptest! {
    #[test]
    fn the_rule_that_is_chosen_is_the_most_specific_that_matches(
        mut rules in some_rules(),
        path in prop::sample::select(PATHS.to_vec()),
        headers in some_headers(),
    ) {
        let matching = rules.iter().filter(|r| naive_takes(r, path, &headers));
        let expected = matching.max_by(|a, b| naive_order(a, b)).cloned();
        sort(&mut rules);
        let chosen = rules.iter().find(|r| takes(r, path, &headers)).cloned();
        prop_assert_eq!(chosen, expected);
    }

    #[test]
    fn the_order_is_total_and_does_not_depend_on_how_rules_came(
        rules in some_rules(),
        seed in any::<prop::sample::Index>(),
    ) {
        for a in &rules {
            for b in &rules {
                let (ab, ba) = (MatchRank::of(a).cmp(&MatchRank::of(b)), MatchRank::of(b).cmp(&MatchRank::of(a)));
                prop_assert_eq!(ab, ba.reverse());
                prop_assert_eq!(ab == Ordering::Equal, a.ingress == b.ingress);
                for c in &rules {
                    if ab.is_lt() && MatchRank::of(b) < MatchRank::of(c) {
                        prop_assert!(MatchRank::of(a) < MatchRank::of(c));
                    }
                }
            }
        }
        let mut sorted = rules.clone();
        sort(&mut sorted);
        let mut other = rules.clone();
        if !other.is_empty() {
            let at = seed.index(other.len());
            other.rotate_left(at);
            other.reverse();
        }
        sort(&mut other);
        prop_assert_eq!(sorted, other);
    }
}

#[test]
fn a_prefix_ends_between_parts_and_bytes_are_bytes() {
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let exact = |path: &str| PathMatch::Exact(path.into());
    for (wanted, path, expected) in [
        (prefix("/api"), "/api", true),
        (prefix("/api"), "/api/", true),
        (prefix("/api"), "/api/users", true),
        (prefix("/api"), "/api//users", true),
        (prefix("/api"), "/apis", false),
        (prefix("/api"), "/API", false),
        (prefix("/api"), "/%61pi", false),
        (prefix("/api"), "//api", false),
        (prefix("/api"), "/./api", false),
        (prefix("/api"), "/x/../api", false),
        (prefix("/a b"), "/a%20b", false),
        (prefix("/a%20b"), "/a%20b/c", true),
        (prefix("/"), "/", true),
        (prefix("/"), "", true),
        (prefix("/"), "*", true),
        (exact("/api"), "/api", true),
        (exact("/api"), "/api/", false),
        (exact("/api/"), "/api/", true),
        (exact("/"), "/", true),
        (exact("/"), "//", false),
    ] {
        assert_eq!(path_matches(&wanted, path), expected, "{wanted:?} {path}");
    }
}

#[test]
fn of_several_values_of_a_header_one_that_fits_is_enough() {
    let wanted = |value: Option<&str>| {
        let header = HeaderMatch {
            name: "x-a".into(),
            value: value.map(Into::into),
        };
        rule("r", PathMatch::Prefix("/".into()), vec![header])
    };
    let sent = |values: &[&str]| -> Headers {
        values.iter().map(|v| ("x-a".into(), (*v).into())).collect()
    };
    for (value, values, expected) in [
        (Some("1"), vec!["1"], true),
        (Some("1"), vec!["2", "1"], true),
        (Some("1"), vec!["1, 2"], false),
        (Some("1"), vec!["2"], false),
        (Some("1"), vec![], false),
        (None, vec![""], true),
        (None, vec![], false),
    ] {
        let found = takes(&wanted(value), "/", &sent(&values));
        assert_eq!(found, expected, "{value:?} {values:?}");
    }
}

#[test]
fn widest_forms_are_compared_with_each_other() {
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let exact = |path: &str| PathMatch::Exact(path.into());
    for (wanted, path, expected) in [
        (prefix("/"), "/a/b", true),
        (prefix("/"), "*", true),
        (prefix("/a"), "/a/b", true),
        (prefix("/a"), "/ab", false),
        (prefix("/a%2Fb"), "/a/b/c", true),
        (prefix("/a%2F"), "/a/b", true),
        (prefix("/a;v=1"), "/a/b", true),
        (exact("/a;v=1"), "/a", true),
        (exact("/a%2Fb"), "/a/b", true),
        (exact("/a"), "/a/", false),
    ] {
        let shown = format!("{wanted:?} {path}");
        let found = matches_widely(&rule("r", wanted, Vec::new()), path, |_| std::iter::empty());
        assert_eq!(found, expected, "{shown}");
    }
}
