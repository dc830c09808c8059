//! What operations have in common is added to the document here, rather than said at each handler:
//! selectors and pages of lists, dry runs and keys of writes, and examples of documents.

use cara_api::paths;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use super::examples;
use crate::http::{once, rehearse};

/// Lists that selectors narrow down, in pages.
const LISTS: [&str; 4] = [
    paths::PROJECTS,
    paths::SECRETS,
    paths::CERTIFICATES,
    paths::NODES,
];

const OF_LISTS: [(&str, &str); 4] = [
    (
        "labelSelector",
        "Only objects with these labels, such as tier=web,env in (a,b),!old",
    ),
    (
        "fieldSelector",
        "Only objects with these values, such as metadata.name=shop or status.phase!=Running",
    ),
    (
        "limit",
        "At most so many; metadata.continue says where the next page begins",
    ),
    (
        "continue",
        "The next page, from metadata.continue; all pages show the objects as they were at the first. 410 when that is too long ago",
    ),
];

/// Adds it.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let path = path.as_str();
        if let Some(operation) = &mut item.get
            && LISTS.contains(&path)
        {
            for (name, about) in OF_LISTS {
                add(operation, ParameterIn::Query, name, about);
            }
        }
        let writes = [&mut item.post, &mut item.put, &mut item.delete];
        for operation in writes.into_iter().flatten() {
            if rehearse::POSSIBLE.contains(&path) {
                let about = "All: check everything and answer what would be, and write nothing";
                add(operation, ParameterIn::Query, "dryRun", about);
            }
        }
        if let Some(operation) = &mut item.post
            && once::TAKEN.contains(&path)
        {
            let about =
                "The same key again within a day gets the same answer, and nothing is done twice";
            add(operation, ParameterIn::Header, "Idempotency-Key", about);
        }
        for operation in [&mut item.post, &mut item.put].into_iter().flatten() {
            show(operation, path);
        }
    }
}

fn add(operation: &mut Operation, place: ParameterIn, name: &str, about: &str) {
    let parameters = operation.parameters.get_or_insert_default();
    let is_known = |known: &RefOr<Parameter>| match known {
        RefOr::T(known) => known.name == name,
        RefOr::Ref(_) => false,
    };
    if parameters.iter().any(is_known) {
        return;
    }
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(text));
    parameters.push(RefOr::T(parameter.build()));
}

/// Gives the body of an operation its example.
fn show(operation: &mut Operation, path: &str) {
    let Some(example) = examples::of(path) else {
        return;
    };
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content {
            content.example = serde_json::from_str::<Value>(example).ok();
        }
    }
}
