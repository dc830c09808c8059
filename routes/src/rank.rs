//! Which rule of a host takes a request: the most specific one that matches.
//!
//! Rules are sorted once, when a host changes; the first that matches is then the right one.
//! Paths and values of headers compare byte for byte; paths of requests are put into normal form
//! before ([`crate::path::normalize`]).

use std::cmp::{Ordering, Reverse};

use cara_api::gateway::{HeaderMatch, PathMatch, Route};

use crate::path;

/// How specific a rule is. Totally ordered, greater is more specific: an exact path before a
/// prefix, a longer path before a shorter one, more headers before fewer, a header with a value
/// before one without; names decide between rules that are alike, so that the order never depends
/// on how rules arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchRank<'a> {
    is_exact: bool,
    path_length: usize,
    headers: usize,
    values: usize,
    name: Reverse<(&'a str, &'a str)>,
}

impl<'a> MatchRank<'a> {
    /// The rank of a rule.
    pub fn of(route: &'a Route) -> Self {
        let (is_exact, path) = match &route.path {
            PathMatch::Exact(path) => (true, path),
            PathMatch::Prefix(path) => (false, path),
        };
        Self {
            is_exact,
            path_length: path.len(),
            headers: route.headers.len(),
            values: route.headers.iter().filter(|h| h.value.is_some()).count(),
            name: Reverse((&route.project, &route.ingress)),
        }
    }

    fn key(&self) -> (bool, usize, usize, usize, Reverse<(&'a str, &'a str)>) {
        (
            self.is_exact,
            self.path_length,
            self.headers,
            self.values,
            self.name,
        )
    }
}

impl Ord for MatchRank<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for MatchRank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Puts the most specific rule first.
pub fn sort<R: AsRef<Route>>(rules: &mut [R]) {
    rules.sort_by(|a, b| MatchRank::of(b.as_ref()).cmp(&MatchRank::of(a.as_ref())));
}

/// Whether a rule takes a request with a path in normal form. `header` gives the values of a header
/// by its name in lower case; of several, one that fits is enough.
pub fn matches<'v, I>(route: &Route, path: &str, header: impl Fn(&str) -> I) -> bool
where
    I: Iterator<Item = &'v [u8]>,
{
    path_matches(&route.path, path) && headers_match(route, header)
}

/// The same for a path in its widest form ([`crate::path::widen`]), with which that of the rule is
/// compared in the same form.
pub fn matches_widely<'v, I>(route: &Route, path: &str, header: impl Fn(&str) -> I) -> bool
where
    I: Iterator<Item = &'v [u8]>,
{
    let takes_path = match &route.path {
        PathMatch::Exact(exact) => path == path::widen(exact),
        PathMatch::Prefix(prefix) => {
            let wide = path::widen(prefix);
            let prefix = wide.trim_end_matches('/');
            prefix.is_empty() || is_at_or_below(prefix, path)
        }
    };
    takes_path && headers_match(route, header)
}

fn headers_match<'v, I>(route: &Route, header: impl Fn(&str) -> I) -> bool
where
    I: Iterator<Item = &'v [u8]>,
{
    let mut wanted = route.headers.iter();
    wanted.all(|wanted| header_matches(wanted, header(&wanted.name)))
}

pub(crate) fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => path == exact,
        PathMatch::Prefix(prefix) if prefix == "/" => true,
        PathMatch::Prefix(prefix) => is_at_or_below(prefix, path),
    }
}

fn is_at_or_below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(crate) fn header_matches<'v>(
    wanted: &HeaderMatch,
    mut values: impl Iterator<Item = &'v [u8]>,
) -> bool {
    match &wanted.value {
        Some(value) => values.any(|found| found == value.as_bytes()),
        None => values.next().is_some(),
    }
}

#[cfg(test)]
mod tests;
