//! `delete`.

use std::time::Instant;

use cara_api::client::Deletion;
use cara_api::{Certificate, Federation, Node, Project, Resource, Secret, User};

use super::args::{Delete, Kind};
use super::failure::Failure;
use super::failures::Failures;
use super::follow::{Change, Follow};
use super::removal::{self, Chosen, Manner, Target};
use super::{Context, address, consent, manifest, out};

/// Deletes objects, and waits until they are gone if asked to. One that cannot be deleted keeps no
/// other one.
pub async fn run(context: &Context, options: Delete) -> Result<(), Failure> {
    let targets = targets(context, &options).await?;
    if targets.is_empty() {
        super::tell(format_args!("nothing is selected"));
        return Ok(());
    }
    let chosen = match options.selectors.is_empty() {
        true => Chosen::ByName,
        false => Chosen::BySelector,
    };
    let manner = Manner {
        dry_run: options.trial.dry_run,
        force: options.force,
    };
    let removals = removal::review(context, targets, chosen).await?;
    match manner.dry_run.is_dry() {
        true => removals.iter().for_each(|r| consent::show(&[&r.intent])),
        false => removal::agree(context, options.consent, &removals)?,
    }
    let mut failures = Failures::new(context.screen.colours);
    let mut going = Vec::new();
    for removal in &removals {
        match removal::start(context, manner, removal).await {
            Ok(Deletion::Done) => {}
            Ok(Deletion::Accepted) => going.push(&removal.target),
            Err(failure) => failures.keep(failure),
        }
    }
    if options.wait {
        let ends_at = Instant::now() + options.timeout;
        for target in going {
            if let Err(failure) = until_gone_or_late(context, &options, target, ends_at).await {
                failures.keep(failure);
            }
        }
    }
    failures.end()
}

/// What is meant: names, what selectors select, or what files describe. What was applied last goes
/// first, since it may need the others.
async fn targets(context: &Context, options: &Delete) -> Result<Vec<Target>, Failure> {
    let Some(kind) = options.kind else {
        let documents = manifest::read_all(&options.files)?;
        let targets = documents.into_iter().rev().map(|document| Target {
            kind: document.kind,
            name: document.name,
        });
        return Ok(targets.collect());
    };
    let names = match (options.names.is_empty(), options.selectors.is_empty()) {
        (false, _) => options.names.clone(),
        (true, false) => {
            let found = address::selected(context, kind, &options.selectors).await;
            found.map_err(|error| Failure::of(&format!("delete {}s", kind.noun()), &error))?
        }
        (true, true) => {
            let noun = kind.noun();
            return Err(Failure::usage(format!("delete {noun}: which one?"))
                .with("give names, or labels such as -l app=shop"));
        }
    };
    Ok(names
        .into_iter()
        .map(|name| Target { kind, name })
        .collect())
}

async fn until_gone_or_late(
    context: &Context,
    options: &Delete,
    target: &Target,
    ends_at: Instant,
) -> Result<(), Failure> {
    let (noun, name) = (target.kind.noun(), &target.name);
    let (action, path) = (target.action(), target.path());
    let gone = async {
        match target.kind {
            Kind::Projects => until_gone::<Project>(context, &action, path).await,
            Kind::Nodes => until_gone::<Node>(context, &action, path).await,
            Kind::Secrets => until_gone::<Secret>(context, &action, path).await,
            Kind::Certificates => until_gone::<Certificate>(context, &action, path).await,
            Kind::Users => until_gone::<User>(context, &action, path).await,
            Kind::Federations => until_gone::<Federation>(context, &action, path).await,
        }
    };
    let left = ends_at.saturating_duration_since(Instant::now());
    match tokio::time::timeout(left, gone).await {
        Ok(Ok(())) => out(&format!("{noun} {name:?} deleted\n")),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::timed_out(format!(
            "{noun} {name:?} is still there after {} s",
            options.timeout.as_secs()
        ))
        .with(format!("caractrl describe {noun} {name}"))),
    }
}

async fn until_gone<T: Resource>(
    context: &Context,
    action: &str,
    path: String,
) -> Result<(), Failure> {
    let mut watch = Follow::<T>::new(&context.client, action, path, Vec::new());
    let mut is_there = false;
    loop {
        match watch.next().await? {
            Change::Begin => is_there = false,
            Change::Seen(_) => is_there = true,
            Change::Complete if is_there => {}
            Change::Complete | Change::Gone(_) => return Ok(()),
        }
    }
}
