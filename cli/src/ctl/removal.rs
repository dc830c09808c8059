//! Objects that are to go: what that does, whether it is agreed to, and doing it.
//!
//! | how they were chosen | what goes | somebody to ask | nobody to ask |
//! |---|---|---|---|
//! | by name, or by a file | anything but data that lasts | asks | goes on |
//! | by name, or by a file | Persistent volumes | asks | refuses |
//! | by a selector | projects with services or volumes | asks | refuses |
//! | by a selector | anything else | asks | goes on |

use cara_api::client::{Deletion, Terms};
use cara_api::plan::{Plan, Weight};
use cara_api::{Node, Project, condition};
use serde_json::Value;

use super::args::{Consent, DryRun, Kind};
use super::consent::{self, Intent};
use super::failure::{self, Failure};
use super::live::{self, Since};
use super::screen::Tone;
use super::{Context, address, out};

/// An object that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Target {
    /// Where it is in the API.
    pub fn path(&self) -> String {
        address::one(self.kind, &self.name)
    }

    /// What is attempted, for messages.
    pub fn action(&self) -> String {
        format!("delete {} {:?}", self.kind.noun(), self.name)
    }
}

/// How objects were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// Each by its name: whoever wrote that knows what goes.
    ByName,
    /// By what they have in common: nobody named them.
    BySelector,
}

/// An object that is to go, as it was seen.
#[derive(Debug)]
pub struct Removal {
    /// Which one.
    pub target: Target,
    /// As it was; none when there is none.
    seen: Option<Value>,
    /// What its going does.
    pub intent: Intent,
}

/// Looks at what is to go.
///
/// # Errors
/// The server does not answer, or refuses to show it.
pub async fn review(
    context: &Context,
    targets: Vec<Target>,
    chosen: Chosen,
) -> Result<Vec<Removal>, Failure> {
    let mut removals = Vec::new();
    for target in targets {
        let seen = live::read(context, &target.path()).await;
        let seen = seen.map_err(|error| Failure::of(&target.action(), &error))?;
        let intent = intent(context, &target, seen.as_ref(), chosen);
        removals.push(Removal {
            target,
            seen,
            intent,
        });
    }
    Ok(removals)
}

fn intent(context: &Context, target: &Target, seen: Option<&Value>, chosen: Chosen) -> Intent {
    let Some(seen) = seen else {
        // It is said in its turn that it is not there; nothing is done to it.
        return Intent::new(Weight::Harmless, Vec::new());
    };
    let object = format!("{}/{}", target.kind.noun(), target.name);
    let project = (target.kind == Kind::Projects)
        .then(|| serde_json::from_value::<Project>(seen.clone()).ok())
        .flatten();
    let plan = project.map(|project| Plan::deletion(&project.spec));
    let weight = match (chosen, &plan) {
        (Chosen::BySelector, Some(plan)) => plan.weight().max(Weight::Replaces),
        (Chosen::ByName, Some(plan)) if plan.loses_data() => Weight::Destroys,
        (Chosen::ByName | Chosen::BySelector, _) => Weight::Replaces,
    };
    // A script that was told to delete something knows what goes.
    let is_quiet = weight < Weight::Destroys && !context.screen.asks;
    let paint = context.screen.colours;
    let lines = match plan {
        _ if is_quiet => Vec::new(),
        Some(plan) if plan.weight() > Weight::Harmless => Intent::of(&object, &plan, paint).lines,
        Some(_) | None => vec![paint.text(Tone::Bad, &format!("- delete  {object}"))],
    };
    Intent::new(weight, lines)
}

/// Asks about what goes, if that has to be asked.
///
/// # Errors
/// The user says no, or cannot be asked.
pub fn agree(context: &Context, consent: Consent, removals: &[Removal]) -> Result<(), Failure> {
    let question = match removals {
        [only] => format!("Delete {}/{}?", only.target.kind.noun(), only.target.name),
        _ => format!("Delete these {}?", removals.len()),
    };
    let intents: Vec<Intent> = removals.iter().map(|r| r.intent.clone()).collect();
    consent::obtain(context, consent, &intents, &question)
}

/// How an object is deleted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Whether it is only tried.
    pub dry_run: DryRun,
    /// Although something speaks against it.
    pub force: bool,
}

/// Deletes an object, or lets it begin to go, and says so.
///
/// # Errors
/// It is refused, or the object changed since it was seen.
pub async fn start(
    context: &Context,
    manner: Manner,
    removal: &Removal,
) -> Result<Deletion, Failure> {
    let target = &removal.target;
    let (noun, name) = (target.kind.noun(), &target.name);
    let deletion = match manner.dry_run {
        DryRun::Client => Deletion::Done,
        DryRun::None | DryRun::Server => delete(context, manner, removal).await?,
    };
    let mark = manner.dry_run.mark();
    if manner.dry_run.is_dry() {
        out(&format!("{noun} {name:?} deleted{mark}\n"))?;
        return Ok(Deletion::Done);
    }
    match deletion {
        Deletion::Done => out(&format!("{noun} {name:?} deleted\n"))?,
        Deletion::Accepted => out(&format!("{noun} {name:?} is being deleted\n"))?,
    }
    if deletion == Deletion::Done && removal.comes_back() {
        super::tell(format_args!(
            "its agent runs and makes it again: stop the agent, then delete it once more"
        ));
    }
    Ok(deletion)
}

async fn delete(context: &Context, manner: Manner, removal: &Removal) -> Result<Deletion, Failure> {
    let target = &removal.target;
    let path = target.path();
    let Some(seen) = &removal.seen else {
        return Err(absent(context, target).await);
    };
    let mut terms = Terms {
        force: manner.force,
        if_match: Some(live::version_of(seen)),
        ..Terms::tried(manner.dry_run.is_dry())
    };
    for _ in 0..live::TRIES {
        let error = match context.client.delete_on(&path, terms).await {
            Ok(deletion) => return Ok(deletion),
            Err(error) => error,
        };
        let failure = refused(target, manner, Failure::of(&target.action(), &error));
        let (Some(tried), Some(409)) = (terms.if_match, error.status()) else {
            return Err(failure);
        };
        let found = live::read(context, &path).await;
        let found = found.map_err(|error| Failure::of(&target.action(), &error))?;
        match live::since(seen, tried, found.as_ref()) {
            Since::Same => return Err(failure),
            Since::MovedOn(version) => terms.if_match = Some(version),
            Since::Changed => return Err(live::changed(&target.action())),
        }
    }
    Err(live::changed(&target.action()))
}

/// Why what was not there is not deleted. Nobody saw what may be there by now, or agreed to its end.
async fn absent(context: &Context, target: &Target) -> Failure {
    match context.client.get::<Value>(&target.path()).await {
        Ok(_) => live::changed(&target.action()),
        Err(error) => Failure::of(&target.action(), &error),
    }
}

impl Removal {
    /// Whether it is a node whose agent shows signs of life, and makes the node's record by
    /// itself. One that joined by a token is out when its record is gone.
    fn comes_back(&self) -> bool {
        if self.target.kind != Kind::Nodes {
            return false;
        }
        let node = self.seen.clone().map(serde_json::from_value::<Node>);
        let is_up = |node: Node| {
            let ready = condition::find(&node.status.conditions, condition::READY);
            let is_ready = ready.is_some_and(|ready| ready.status == "True");
            is_ready && node.status.admission.is_none()
        };
        node.and_then(Result::ok).is_some_and(is_up)
    }
}

/// A refusal, with the way out.
fn refused(target: &Target, manner: Manner, failure: Failure) -> Failure {
    if failure.code() != failure::CONFLICT || manner.force {
        return failure;
    }
    let name = &target.name;
    let failure = failure
        .in_words(", or delete it with force=true", "")
        .in_words("force=true", "--force");
    match target.kind {
        Kind::Projects | Kind::Users | Kind::Federations => failure,
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
