//! `delete`.

use cara_api::client::Deletion;
use cara_api::{Certificate, Node, Project, Resource, Secret, paths};

use super::args::{Delete, Kind};
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
    let deleted = context.client.delete(&path, options.force).await;
    let deletion = deleted.map_err(|error| refused(&options, failed(error)))?;
    if deletion == Deletion::Done {
        return out(&format!("{noun} {name:?} deleted\n"));
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

/// A refusal, with the way out.
fn refused(options: &Delete, failure: Failure) -> Failure {
    if failure.code() != failure::CONFLICT || options.force {
        return failure;
    }
    let name = &options.target.name;
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
