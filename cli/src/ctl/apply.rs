//! `apply`: create or change what files describe.

mod form;
mod review;
mod write;

use std::time::Instant;

use cara_api::Project;
use cara_api::client::Deletion;

use super::args::{Apply, Consent, DryRun, Kind};
use super::consent::{self, Intent};
use super::failure::Failure;
use super::failures::Failures;
use super::manifest::{Document, read_all};
use super::removal::{self, Chosen, Manner};
use super::{Context, prune, rollout};

/// Applies every document; those after one that is refused are applied all the same.
pub async fn run(context: &Context, options: Apply) -> Result<(), Failure> {
    let documents = read_all(&options.files)?;
    for warning in documents.iter().flat_map(form::oddities) {
        context.warn(format_args!("{warning}"));
    }
    let dry_run = options.trial.dry_run;
    let surplus = match (&options.selector, options.prune) {
        (Some(selector), true) => prune::surplus(context, selector, &documents).await?,
        _ => Vec::new(),
    };
    let surplus = removal::review(context, surplus, Chosen::BySelector).await?;
    let changes = review::all(context, documents).await?;
    let intents = changes.iter().map(|change| &change.intent);
    let intents: Vec<Intent> = intents
        .chain(surplus.iter().map(|removal| &removal.intent))
        .cloned()
        .collect();
    match dry_run.is_dry() {
        true => consent::show(&intents.iter().collect::<Vec<_>>()),
        false => consent::obtain(context, options.consent, &intents, "Apply it?")?,
    }
    let mut failures = Failures::new(context.screen.colours);
    let mut projects = Vec::new();
    for change in &changes {
        match write::one(context, dry_run, change).await {
            Ok(object) if change.document.kind == Kind::Projects => projects.push(object),
            Ok(_) => {}
            Err(failure) => failures.keep(failure),
        }
    }
    if failures.is_empty() {
        let manner = Manner {
            dry_run,
            force: false,
        };
        for removal in &surplus {
            match removal::start(context, manner, removal).await {
                Ok(Deletion::Done | Deletion::Accepted) => {}
                Err(failure) => {
                    failures.keep(failure);
                    break;
                }
            }
        }
    }
    if options.wait && !dry_run.is_dry() {
        let ends_at = Instant::now() + options.timeout;
        for project in projects {
            let left = ends_at.saturating_duration_since(Instant::now());
            let project: Project = serde_json::from_value(project)
                .map_err(|error| Failure::other(error.to_string()))?;
            if let Err(failure) = rollout::until_running(context, &project, left).await {
                failures.keep(failure);
            }
        }
    }
    failures.end()
}

/// Applies one document that was made here, after the same question.
///
/// # Errors
/// It is refused, or not agreed to; or the object changed meanwhile.
pub async fn one(
    context: &Context,
    document: Document,
    consent: Consent,
    dry_run: DryRun,
) -> Result<(), Failure> {
    let changes = review::all(context, vec![document]).await?;
    let intents: Vec<Intent> = changes.iter().map(|change| change.intent.clone()).collect();
    match dry_run.is_dry() {
        true => consent::show(&intents.iter().collect::<Vec<_>>()),
        false => consent::obtain(context, consent, &intents, "Apply it?")?,
    }
    for change in &changes {
        write::one(context, dry_run, change).await?;
    }
    Ok(())
}
