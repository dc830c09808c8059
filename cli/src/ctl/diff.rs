//! `diff`: what applying files would change.
//!
//! Both sides come from the server: what is there, and by a dry run what would be. So nothing that
//! the server adds or leaves out shows as a difference.

mod compare;

use cara_api::client::{Method, Terms, Written};
use serde_json::Value;

use super::args::Diff;
use super::failure::Failure;
use super::manifest::{Document, read_all};
use super::{Context, address, out};
pub(super) use compare::{own_part, unified};

/// Compares every document; fails silently when something differs.
pub async fn run(context: &Context, options: Diff) -> Result<(), Failure> {
    let documents = read_all(&options.files).map_err(Failure::apart_from_difference)?;
    let mut is_different = false;
    for document in &documents {
        let text = compared(context, document).await;
        let text = text.map_err(Failure::apart_from_difference)?;
        is_different |= !text.is_empty();
        out(&text)?;
    }
    match is_different {
        true => Err(Failure::different()),
        false => Ok(()),
    }
}

async fn compared(context: &Context, document: &Document) -> Result<String, Failure> {
    let object = format!("{}/{}", document.kind.noun(), document.name);
    let action = format!("diff {object}");
    let failed = |error: cara_api::client::Error| Failure::of(&action, &error);
    let client = &context.client;
    let path = address::one(document.kind, &document.name);
    let live: Option<Value> = match client.get(&path).await {
        Ok(live) => Some(live),
        Err(error) if error.status() == Some(404) => None,
        Err(error) => return Err(failed(error)),
    };
    let target = match &live {
        Some(_) => (Method::PUT, path.as_str()),
        None => (Method::POST, address::all(document.kind)),
    };
    let wanted = client.write_on(target, Terms::DRY, &document.body).await;
    let wanted: Written<Value> = wanted.map_err(failed)?;
    for warning in &wanted.warnings {
        context.warn(format_args!("{object}: {warning}"));
    }
    let (old, new) = compare::sides(live.as_ref(), &wanted.object);
    unified(&object, old.as_ref(), new.as_ref())
}
