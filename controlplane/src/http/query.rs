//! The parameters of a request, as the query of its URL has them.

/// The parameters of a request.
pub(super) type Parameters = [(String, String)];

/// The first value of a parameter.
pub(super) fn value<'q>(query: &'q Parameters, key: &str) -> Option<&'q str> {
    let found = query.iter().find(|(k, _)| k == key);
    found.map(|(_, value)| value.as_str())
}

/// Whether something is asked for although something speaks against it.
pub(super) fn is_forced(query: &Parameters) -> bool {
    let mut pairs = query.iter();
    pairs.any(|(key, value)| key == "force" && value == "true")
}
