//! `delete`.

use std::time::Instant;

use cara_api::client::{Deletion, Terms};
use cara_api::plan::{Plan, Weight};
use cara_api::{Certificate, Node, Project, Resource, Secret, condition};

use super::apply::keep_first;
use super::args::{Consent, Delete, Kind};
use super::consent::{self, Intent};
use super::failure::{self, Failure};
use super::follow::{Change, Follow};
use super::{Context, address, manifest, out};

/// An object that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Target {
    fn path(&self) -> String {
        address::one(self.kind, &self.name)
    }

    fn action(&self) -> String {
        format!("delete {} {:?}", self.kind.noun(), self.name)
    }
}

/// Deletes objects, and waits until they are gone if asked to. One that cannot be deleted keeps no
/// other one.
pub async fn run(context: &Context, options: Delete) -> Result<(), Failure> {
    let targets = targets(context, &options).await?;
    if targets.is_empty() {
        super::tell(format_args!("nothing is selected"));
        return Ok(());
    }
    agree(context, options.consent, &targets).await?;
    let terms = Terms {
        force: options.force,
        ..Terms::default()
    };
    let mut first_failure = None;
    let mut going = Vec::new();
    for target in &targets {
        match start(context, terms, target).await {
            Ok(Deletion::Done) => {}
            Ok(Deletion::Accepted) => going.push(target),
            Err(failure) => keep_first(context, &mut first_failure, failure),
        }
    }
    if options.wait {
        let ends_at = Instant::now() + options.timeout;
        for target in going {
            if let Err(failure) = until_gone_or_late(context, &options, target, ends_at).await {
                keep_first(context, &mut first_failure, failure);
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
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

/// Deletes an object, or lets it begin to go, and says so.
///
/// # Errors
/// It is refused.
pub(super) async fn start(
    context: &Context,
    terms: Terms,
    target: &Target,
) -> Result<Deletion, Failure> {
    let (noun, name) = (target.kind.noun(), &target.name);
    let path = target.path();
    let comes_back = match target.kind {
        Kind::Nodes => has_agent(context, &path).await,
        Kind::Projects | Kind::Secrets | Kind::Certificates => false,
    };
    let deleted = context.client.delete_on(&path, terms).await;
    let deletion = deleted.map_err(|error| {
        let failure = Failure::of(&target.action(), &error);
        refused(target, terms, failure)
    })?;
    if terms.is_dry {
        out(&format!("{noun} {name:?} deleted (dry run)\n"))?;
        return Ok(Deletion::Done);
    }
    match deletion {
        Deletion::Done => out(&format!("{noun} {name:?} deleted\n"))?,
        Deletion::Accepted => out(&format!("{noun} {name:?} is being deleted\n"))?,
    }
    if deletion == Deletion::Done && comes_back {
        super::tell(format_args!(
            "its agent runs and makes it again: stop the agent, then delete it once more"
        ));
    }
    Ok(deletion)
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

/// Shows what goes, and asks. What is named on the command line is agreed to where nobody can be
/// asked, unless data that lasts is lost with it.
///
/// # Errors
/// The user says no, or cannot be asked.
pub(super) async fn agree(
    context: &Context,
    consent: Consent,
    targets: &[Target],
) -> Result<(), Failure> {
    let mut intents = Vec::new();
    for target in targets {
        intents.extend(intent(context, target).await?);
    }
    let question = match targets {
        [target] => format!("Delete {}/{}?", target.kind.noun(), target.name),
        _ => format!("Delete these {}?", targets.len()),
    };
    if targets.len() > 1 && context.screen.asks {
        for target in targets {
            super::tell(format_args!("- {}/{}", target.kind.noun(), target.name));
        }
    }
    consent::obtain(context, consent, &intents, &question)
}

async fn intent(context: &Context, target: &Target) -> Result<Option<Intent>, Failure> {
    let object = format!("{}/{}", target.kind.noun(), target.name);
    let mut intent = Intent {
        lines: Vec::new(),
        weight: Weight::Replaces,
    };
    if target.kind == Kind::Projects {
        let project = match context.client.get::<Project>(&target.path()).await {
            Ok(project) => project,
            // Deleting says that it is not there.
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(Failure::of(&target.action(), &error)),
        };
        let plan = Plan::deletion(&project.spec);
        intent.lines = Intent::of(&object, &plan, context.screen.colours).lines;
        if plan.loses_data() {
            intent.weight = Weight::Destroys;
        }
    }
    // A script that was told to delete something knows what goes.
    if intent.weight < Weight::Destroys && !context.screen.asks {
        intent.lines.clear();
    }
    Ok(Some(intent))
}

/// Whether a node's agent shows signs of life, and makes the node's record by itself; unknown
/// counts as none. One that joined by a token is out when its record is gone.
async fn has_agent(context: &Context, path: &str) -> bool {
    let node = context.client.get::<Node>(path).await;
    let is_up = |node: Node| {
        let ready = condition::find(&node.status.conditions, condition::READY);
        let is_ready = ready.is_some_and(|ready| ready.status == "True");
        is_ready && node.status.admission.is_none()
    };
    node.is_ok_and(is_up)
}

/// A refusal, with the way out.
fn refused(target: &Target, terms: Terms, failure: Failure) -> Failure {
    if failure.code() != failure::CONFLICT || terms.force {
        return failure;
    }
    let name = &target.name;
    let failure = failure
        .in_words(", or delete it with force=true", "")
        .in_words("force=true", "--force");
    match target.kind {
        Kind::Projects => failure,
        Kind::Nodes => failure
            .with(format!("caractrl drain {name} moves its projects first"))
            .with("--force places them elsewhere and loses the data of their volumes there"),
        Kind::Secrets => failure
            .with(format!("caractrl describe secret {name} shows who uses it"))
            .with("--force deletes it all the same; services that need it cannot start any more, and rules let nobody in"),
        Kind::Certificates => failure
            .with(format!(
                "caractrl describe certificate {name} shows what it is used for"
            ))
            .with("--force deletes it all the same; what it served gets another one, and the server makes its own again"),
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
