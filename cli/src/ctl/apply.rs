//! `apply`: create or change what files describe.

use std::time::Instant;

use cara_api::client::{Error, Method, Terms, Written};
use cara_api::plan::Plan;
use cara_api::schema::Schema;
use cara_api::{Certificate, Node, Project, Secret, decode, paths, schema};

use serde::de::DeserializeOwned;

use super::args::{Apply, Consent, Kind, Output};
use super::consent::{self, Intent};
use super::failure::Failure;
use super::get::Rows;
use super::manifest::{Document, read_all};
use super::{Context, delete, out, prune, wait};

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Created,
    Configured,
    Unchanged,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Applies every document; those after one that is refused are applied all the same.
pub async fn run(context: &Context, options: Apply) -> Result<(), Failure> {
    let documents = read_all(&options.files)?;
    for warning in documents.iter().flat_map(oddities) {
        context.warn(format_args!("{warning}"));
    }
    let is_dry = options.dry_run.is_some();
    let surplus = match (&options.selector, options.prune) {
        (Some(selector), true) => prune::surplus(context, selector, &documents).await?,
        _ => Vec::new(),
    };
    if !is_dry {
        agree(context, options.consent, &documents).await?;
        if !surplus.is_empty() {
            delete::agree(context, options.consent, &surplus).await?;
        }
    }
    let terms = Terms {
        is_dry,
        ..Terms::default()
    };
    let mut first_failure = None;
    let mut projects = Vec::new();
    for document in &documents {
        let applied = match document.kind {
            Kind::Projects => {
                apply::<Project>(context, terms, document, (paths::PROJECTS, paths::PROJECT))
                    .await
                    .map(|project| {
                        projects.push(project);
                    })
            }
            Kind::Nodes => apply::<Node>(context, terms, document, (paths::NODES, paths::NODE))
                .await
                .map(drop),
            Kind::Secrets => {
                apply::<Secret>(context, terms, document, (paths::SECRETS, paths::SECRET))
                    .await
                    .map(drop)
            }
            Kind::Certificates => {
                let paths = (paths::CERTIFICATES, paths::CERTIFICATE);
                apply::<Certificate>(context, terms, document, paths)
                    .await
                    .map(drop)
            }
        };
        if let Err(failure) = applied {
            keep_first(context, &mut first_failure, failure);
        }
    }
    if first_failure.is_none() {
        first_failure = prune::run(context, terms, &surplus).await.err();
    }
    if options.wait && !is_dry {
        let ends_at = Instant::now() + options.timeout;
        for project in &projects {
            let left = ends_at.saturating_duration_since(Instant::now());
            if let Err(failure) = wait::until_running(context, project, left).await {
                keep_first(context, &mut first_failure, failure);
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

/// What is odd about the form of a document, with the places in its file.
fn oddities(document: &Document) -> Vec<String> {
    let object = format!("{}/{}", document.kind.noun(), document.name);
    let line = |warning: &String| match document.places.locate(warning) {
        located if located != *warning => located,
        _ => format!("{object}: {warning}"),
    };
    form(document).iter().map(line).collect()
}

/// What is odd about the form of a document, in the words of the server, which reads it in the
/// same way.
fn form(document: &Document) -> Vec<String> {
    fn read<T: DeserializeOwned + Default>(document: &Document, schema: &Schema) -> Vec<String> {
        let body = document.body.to_string();
        let decoded = decode::document::<T>(body.as_bytes(), schema);
        decoded.map(|d| d.warnings).unwrap_or_default()
    }
    match document.kind {
        Kind::Projects => read::<Project>(document, &schema::PROJECT),
        Kind::Nodes => read::<Node>(document, &schema::NODE),
        Kind::Secrets => read::<Secret>(document, &schema::SECRET),
        Kind::Certificates => read::<Certificate>(document, &schema::CERTIFICATE),
    }
}

/// Shows what becomes of projects that are there, and asks before it replaces or deletes. A
/// document that the server will refuse is told about when it is applied.
async fn agree(context: &Context, consent: Consent, documents: &[Document]) -> Result<(), Failure> {
    let mut intents = Vec::new();
    for document in documents.iter().filter(|d| d.kind == Kind::Projects) {
        let path = paths::fill(paths::PROJECT, &[&document.name]);
        let before = match context.client.get::<Project>(&path).await {
            Ok(before) => before,
            // A new one replaces nothing.
            Err(error) if error.status() == Some(404) => continue,
            Err(error) => {
                return Err(Failure::of(
                    &format!("apply project {:?}", document.name),
                    &error,
                ));
            }
        };
        let body = document.body.to_string();
        let Ok(decoded) = decode::document::<Project>(body.as_bytes(), &schema::PROJECT) else {
            continue;
        };
        if decoded.faults.is_empty() {
            let plan = Plan::between(Some(&before.spec), &decoded.value.spec);
            let object = format!("project/{}", document.name);
            intents.push(Intent::of(&object, &plan, context.screen.colours));
        }
    }
    consent::obtain(context, consent, &intents, "Apply it?")
}

/// The first failure decides the exit code and is told last; the others are told at once.
pub(super) fn keep_first(context: &Context, first: &mut Option<Failure>, failure: Failure) {
    match first {
        None => *first = Some(failure),
        Some(_) => failure.print(context.screen.colours),
    }
}

async fn apply<T: Rows>(
    context: &Context,
    terms: Terms,
    document: &Document,
    (collection, item): (&str, &str),
) -> Result<T, Failure> {
    let client = &context.client;
    let action = format!("apply {}/{}", document.kind.noun(), document.name);
    let failed = |error: Error| {
        let failure = Failure::of(&action, &error);
        let told = form(document);
        let failure = failure.map_details(|detail| {
            let is_told = detail.strip_prefix("Warning: ");
            let is_told = is_told.is_some_and(|warning| told.iter().any(|t| t == warning));
            (!is_told).then(|| document.places.locate(detail))
        });
        match error {
            // The message says it, but not where.
            Error::Problem(problem) => match problem.errors.as_slice() {
                [fault] if document.places.locate(fault) != *fault => {
                    failure.with(document.places.locate(fault))
                }
                _ => failure,
            },
            _ => failure,
        }
    };
    let path = paths::fill(item, &[&document.name]);
    let before: Option<T> = match client.get(&path).await {
        Ok(object) => Some(object),
        Err(error) if error.status() == Some(404) => None,
        Err(error) => return Err(failed(error)),
    };
    let mut written: Written<T> = match &before {
        None => client
            .write_on((Method::POST, collection), terms, &document.body)
            .await
            .map_err(failed)?,
        Some(_) => client
            .write_on((Method::PUT, &path), terms, &document.body)
            .await
            .map_err(failed)?,
    };
    let told = form(document);
    for warning in written.warnings.iter().filter(|w| !told.contains(w)) {
        context.warn(format_args!(
            "{}/{}: {warning}",
            document.kind.noun(),
            document.name
        ));
    }
    // A version that was only tried is no other one, but its time is.
    let version = |object: &T| (object.meta().resource_version, object.meta().updated_at);
    let verb = match &before {
        None => Verb::Created,
        Some(old) if version(old) == version(&written.object) => Verb::Unchanged,
        Some(_) => Verb::Configured,
    };
    written.object.conceal();
    let name = format!("{}/{}", document.kind.noun(), document.name);
    out(&match context.output.next_document(&written.object)? {
        Some(text) => text,
        None if context.output == Output::Name => format!("{name}\n"),
        None if terms.is_dry => format!("{name} {} (dry run)\n", verb.as_str()),
        None => format!("{name} {}\n", verb.as_str()),
    })?;
    Ok(written.object)
}
