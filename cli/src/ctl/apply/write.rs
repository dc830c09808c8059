//! Writing an object as it was agreed to, or not at all.

use cara_api::client::{Error, Method, Terms, Written};
use serde_json::Value;

use super::form;
use super::review::Change;
use crate::ctl::args::{DryRun, Kind, Output};
use crate::ctl::failure::Failure;
use crate::ctl::live::{self, Since};
use crate::ctl::manifest::Document;
use crate::ctl::{Context, address, out};

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

/// Creates or changes an object, and says so. Nothing is written when the object is not the one
/// that was looked at any more.
///
/// # Errors
/// The server refuses it, or does not answer; or the object changed meanwhile.
pub async fn one(context: &Context, dry_run: DryRun, change: &Change) -> Result<Value, Failure> {
    let document = &change.document;
    if dry_run == DryRun::Client {
        form::check(document)?;
        let verb = match &change.seen {
            None => Verb::Created,
            Some(_) => Verb::Configured,
        };
        say(context, dry_run, document, (verb, &document.body))?;
        return Ok(document.body.clone());
    }
    let done = match &change.seen {
        None => create(context, dry_run, document).await?,
        Some(seen) => replace(context, dry_run, document, seen).await?,
    };
    let told = form::warnings(document);
    for warning in done.warnings.iter().filter(|w| !told.contains(w)) {
        context.warn(format_args!("{}: {warning}", form::object(document)));
    }
    // A version that was only tried is no other one, but its time is.
    let verb = match &done.before {
        None => Verb::Created,
        Some(before) if *before == moment(&done.object) => Verb::Unchanged,
        Some(_) => Verb::Configured,
    };
    say(context, dry_run, document, (verb, &done.object))?;
    Ok(done.object)
}

/// An object as it was written, and the version and time at which it was before.
struct Done {
    before: Option<(cara_api::ResourceVersion, Option<Value>)>,
    object: Value,
    warnings: Vec<String>,
}

fn action(document: &Document) -> String {
    format!("apply {}", form::object(document))
}

async fn create(context: &Context, dry_run: DryRun, document: &Document) -> Result<Done, Failure> {
    let terms = Terms::tried(dry_run.is_dry());
    let target = (Method::POST, address::all(document.kind));
    let made: Result<Written<Value>, Error> =
        context.client.write_on(target, terms, &document.body).await;
    match made {
        Ok(written) => Ok(Done {
            before: None,
            object: written.object,
            warnings: written.warnings,
        }),
        Err(error) if error.status() == Some(409) => {
            let path = address::one(document.kind, &document.name);
            match live::read(context, &path).await {
                Ok(Some(_)) => Err(live::changed(&action(document))),
                Ok(None) | Err(_) => Err(refused(document, error)),
            }
        }
        Err(error) => Err(refused(document, error)),
    }
}

async fn replace(
    context: &Context,
    dry_run: DryRun,
    document: &Document,
    seen: &Value,
) -> Result<Done, Failure> {
    let path = address::one(document.kind, &document.name);
    // A document that names a version is meant for that one. An empty one, or zero, names none: the
    // server would take that for any version.
    let is_tied = !live::version_of(&document.body).is_zero();
    let mut base = seen.clone();
    for _ in 0..live::TRIES {
        let tried = live::version_of(&base);
        let terms = Terms {
            if_match: (!is_tied).then_some(tried),
            ..Terms::tried(dry_run.is_dry())
        };
        let target = (Method::PUT, path.as_str());
        let put: Result<Written<Value>, Error> =
            context.client.write_on(target, terms, &document.body).await;
        let error = match put {
            Ok(written) => {
                return Ok(Done {
                    before: Some(moment(&base)),
                    object: written.object,
                    warnings: written.warnings,
                });
            }
            Err(error) => error,
        };
        if is_tied || !matches!(error.status(), Some(404 | 409)) {
            return Err(refused(document, error));
        }
        let found = live::read(context, &path).await;
        let found = found.map_err(|error| refused(document, error))?;
        match (live::since(seen, tried, found.as_ref()), found) {
            (Since::MovedOn(_), Some(found)) => base = found,
            (Since::Same, _) => return Err(refused(document, error)),
            (Since::MovedOn(_) | Since::Changed, _) => {
                return Err(live::changed(&action(document)));
            }
        }
    }
    Err(live::changed(&action(document)))
}

/// The version of an object, and when it was written.
fn moment(object: &Value) -> (cara_api::ResourceVersion, Option<Value>) {
    let updated_at = object.pointer("/metadata/updatedAt").cloned();
    (live::version_of(object), updated_at)
}

/// What the server says of a document, with the places in its file.
fn refused(document: &Document, error: Error) -> Failure {
    let failure = Failure::of(&action(document), &error);
    let told = form::warnings(document);
    let failure = failure.map_details(|detail| {
        let is_told = detail.strip_prefix("Warning: ");
        let is_told = is_told.is_some_and(|warning| told.iter().any(|t| t == warning));
        (!is_told).then(|| document.places.locate(detail))
    });
    let Error::Problem(problem) = error else {
        return failure;
    };
    match problem.errors.as_slice() {
        // The message says it, but not where.
        [fault] if document.places.locate(fault) != *fault => {
            failure.with(document.places.locate(fault))
        }
        _ => failure,
    }
}

/// Takes out what must not be shown, should it be there.
fn conceal(kind: Kind, object: &mut Value) {
    let hidden = match kind {
        Kind::Secrets => object.as_object_mut().map(|map| (map, "data")),
        Kind::Certificates => object
            .get_mut("spec")
            .and_then(Value::as_object_mut)
            .map(|map| (map, "privateKey")),
        Kind::Projects | Kind::Nodes | Kind::Users | Kind::Federations => None,
    };
    if let Some((map, key)) = hidden {
        map.remove(key);
    }
}

fn say(
    context: &Context,
    dry_run: DryRun,
    document: &Document,
    (verb, object): (Verb, &Value),
) -> Result<(), Failure> {
    let mut shown = object.clone();
    conceal(document.kind, &mut shown);
    let name = form::object(document);
    out(&match context.output.next_document(&shown)? {
        Some(text) => text,
        None if context.output == Output::Name => format!("{name}\n"),
        None => format!("{name} {}{}\n", verb.as_str(), dry_run.mark()),
    })
}
