//! `apply --prune`: what has the labels and is in no file goes.
//!
//! It refuses to touch nodes, which nobody applies, and certificates that the server makes.

use std::collections::BTreeSet;

use super::args::{Kind, Selectors};
use super::failure::Failure;
use super::manifest::Document;
use super::removal::Target;
use super::{Context, address};

/// Projects first: they may need the others.
const KINDS: [Kind; 3] = [Kind::Projects, Kind::Secrets, Kind::Certificates];

/// What has the labels and is not described.
///
/// # Errors
/// The server does not answer, or refuses the selector.
pub async fn surplus(
    context: &Context,
    selector: &str,
    documents: &[Document],
) -> Result<Vec<Target>, Failure> {
    let mut surplus = Vec::new();
    for kind in KINDS {
        let of_users = (kind == Kind::Certificates).then(|| "status.managedBy=user".to_owned());
        let selectors = Selectors {
            selector: Some(selector.to_owned()),
            field_selector: of_users,
        };
        let found = address::selected(context, kind, &selectors).await;
        let found = found.map_err(|error| Failure::of("apply --prune", &error))?;
        surplus.extend(missing(kind, found, documents));
    }
    Ok(surplus)
}

/// Those that no document describes.
fn missing(kind: Kind, found: Vec<String>, documents: &[Document]) -> Vec<Target> {
    let described: BTreeSet<&str> = documents
        .iter()
        .filter(|document| document.kind == kind)
        .map(|document| document.name.as_str())
        .collect();
    found
        .into_iter()
        .filter(|name| !described.contains(name.as_str()))
        .map(|name| Target { kind, name })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::manifest;

    #[test]
    fn what_is_described_stays() {
        let text = "kind: Project\nmetadata: {name: a}\n---\nkind: Secret\nmetadata: {name: b}\n";
        let documents = manifest::parse("f", text).expect("documents");
        let found = || vec!["a".to_owned(), "b".to_owned()];
        let names = |kind| {
            let targets = missing(kind, found(), &documents);
            targets.into_iter().map(|t| t.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Kind::Projects), ["b"]);
        assert_eq!(names(Kind::Secrets), ["a"]);
        assert_eq!(names(Kind::Certificates), ["a", "b"]);
    }
}
