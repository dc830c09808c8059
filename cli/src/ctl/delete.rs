//! `delete`.

use cara_api::client::Deletion;
use cara_api::plan::{Plan, Weight};
use cara_api::{Certificate, Node, Project, Resource, Secret, condition, paths};

use super::args::{Delete, Kind};
use super::consent::{self, Intent};
use super::failure::{self, Failure};
use super::follow::{Change, Follow};
use super::{Context, out};

/// Deletes an object, and waits until it is gone if asked to.
pub async fn run(context: &Context, options: Delete) -> Result<(), Failure> {
    let (noun, name) = (options.target.kind.noun(), &options.target.name);
    let action = format!("delete {noun} {name:?}");
    let failed = |error| Failure::of(&action, &error);
    let pattern = match options.target.kind {
        Kind::Projects => paths::PROJECT,
        Kind::Nodes => paths::NODE,
        Kind::Secrets => paths::SECRET,
        Kind::Certificates => paths::CERTIFICATE,
    };
    let path = paths::fill(pattern, &[name]);
    agree(context, &options, &path).await?;
    let comes_back = match options.target.kind {
        Kind::Nodes => has_agent(context, &path).await,
        Kind::Projects | Kind::Secrets | Kind::Certificates => false,
    };
    let deleted = context.client.delete(&path, options.force).await;
    let deletion = deleted.map_err(|error| refused(&options, failed(error)))?;
    if deletion == Deletion::Done {
        out(&format!("{noun} {name:?} deleted\n"))?;
        if comes_back {
            super::tell(format_args!(
                "its agent runs and makes it again: stop the agent, then delete it once more"
            ));
        }
        return Ok(());
    }
    out(&format!("{noun} {name:?} is being deleted\n"))?;
    if !options.wait {
        return Ok(());
    }
    let gone = async {
        match options.target.kind {
            Kind::Projects => until_gone::<Project>(context, &action, path).await,
            Kind::Nodes => until_gone::<Node>(context, &action, path).await,
            Kind::Secrets => until_gone::<Secret>(context, &action, path).await,
            Kind::Certificates => until_gone::<Certificate>(context, &action, path).await,
        }
    };
    let gone = tokio::time::timeout(options.timeout, gone).await;
    match gone {
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
async fn agree(context: &Context, options: &Delete, path: &str) -> Result<(), Failure> {
    let object = format!("{}/{}", options.target.kind.noun(), options.target.name);
    let mut intent = Intent {
        lines: Vec::new(),
        weight: Weight::Replaces,
    };
    if options.target.kind == Kind::Projects {
        // Deleting says why it cannot be read.
        let Ok(project) = context.client.get::<Project>(path).await else {
            return Ok(());
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
    let question = format!("Delete {object}?");
    consent::obtain(context, options.consent, &[intent], &question)
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
fn refused(options: &Delete, failure: Failure) -> Failure {
    if failure.code() != failure::CONFLICT || options.force {
        return failure;
    }
    let name = &options.target.name;
    let failure = failure
        .in_words(", or delete it with force=true", "")
        .in_words("force=true", "--force");
    match options.target.kind {
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
