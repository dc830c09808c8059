//! Writes that come again with the same key are done once: where that holds, for server and
//! client.

use crate::paths;

/// The header with the key.
pub const HEADER: &str = "Idempotency-Key";

/// Where keys are taken; elsewhere the header says nothing.
pub const TAKEN: [&str; 9] = [
    paths::PROJECTS,
    paths::PROJECT_ROLLBACK,
    paths::PROJECT_SHARE,
    paths::SECRETS,
    paths::CERTIFICATES,
    paths::NODES,
    paths::NODE_CORDON,
    paths::NODE_UNCORDON,
    paths::NODE_DRAIN,
];

/// How the refusal of a request begins whose first sending is still under way.
pub const UNDER_WAY: &str = "the first request with this Idempotency-Key is not answered yet";

/// Whether a `POST` to this path, with its segments filled, may be sent again with its key.
pub fn takes_key(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    TAKEN.iter().any(|pattern| {
        let wanted: Vec<&str> = pattern.split('/').collect();
        let fits = |(wanted, is): (&&str, &&str)| wanted.starts_with('{') || wanted == is;
        wanted.len() == segments.len() && wanted.iter().zip(&segments).all(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_a_key_by_its_pattern() {
        for (path, expected) in [
            ("/api/v1/projects", true),
            ("/api/v1/projects/shop/rollback", true),
            ("/api/v1/nodes/a/drain", true),
            ("/api/v1/projects/shop", false),
            ("/api/v1/tokens", false),
            ("/api/v1/backup", false),
        ] {
            assert_eq!(takes_key(path), expected, "{path}");
        }
    }
}
