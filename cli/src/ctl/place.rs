//! Where objects of a kind are in the API.

use cara_api::paths;

use super::args::Kind;

/// The path of all objects of a kind.
pub fn all(kind: Kind) -> &'static str {
    match kind {
        Kind::Projects => paths::PROJECTS,
        Kind::Nodes => paths::NODES,
        Kind::Secrets => paths::SECRETS,
        Kind::Certificates => paths::CERTIFICATES,
    }
}

/// The path of one object.
pub fn one(kind: Kind, name: &str) -> String {
    let pattern = match kind {
        Kind::Projects => paths::PROJECT,
        Kind::Nodes => paths::NODE,
        Kind::Secrets => paths::SECRET,
        Kind::Certificates => paths::CERTIFICATE,
    };
    paths::fill(pattern, &[name])
}
