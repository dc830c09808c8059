//! Where objects of a kind are in the API, and which are selected.

use cara_api::client::Error;
use cara_api::paths;
use serde_json::Value;

use super::Context;
use super::args::{Kind, Selectors};

/// The path of all objects of a kind.
pub fn all(kind: Kind) -> &'static str {
    match kind {
        Kind::Projects => paths::PROJECTS,
        Kind::Nodes => paths::NODES,
        Kind::Secrets => paths::SECRETS,
        Kind::Certificates => paths::CERTIFICATES,
        Kind::Users => paths::USERS,
        Kind::Federations => paths::FEDERATIONS,
    }
}

/// The path of one object.
pub fn one(kind: Kind, name: &str) -> String {
    let pattern = match kind {
        Kind::Projects => paths::PROJECT,
        Kind::Nodes => paths::NODE,
        Kind::Secrets => paths::SECRET,
        Kind::Certificates => paths::CERTIFICATE,
        Kind::Users => paths::USER,
        Kind::Federations => paths::FEDERATION,
    };
    paths::fill(pattern, &[name])
}

/// The names of the objects that are selected, sorted.
///
/// # Errors
/// The server does not answer, or refuses a selector.
pub async fn selected(
    context: &Context,
    kind: Kind,
    selectors: &Selectors,
) -> Result<Vec<String>, Error> {
    let found: Value = context.client.query(all(kind), &selectors.query()).await?;
    Ok(names(&found))
}

/// The names of the objects in a list.
pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let names = items.filter_map(|item| item.pointer("/metadata/name")?.as_str());
    names.map(ToOwned::to_owned).collect()
}
