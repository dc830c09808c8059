//! `delete`.

use std::time::Duration;

use cara_api::client::{Backoff, Deletion};
use cara_api::{Project, paths};

use super::args::{Delete, Kind};
use super::failure::Failure;
use super::{Context, out};

/// Deletes an object, and waits until it is gone if asked to.
pub async fn run(context: &Context, options: Delete) -> Result<(), Failure> {
    let (noun, name) = (options.target.kind.noun(), &options.target.name);
    let action = format!("delete {noun} {name:?}");
    let failed = |error| Failure::of(&action, &error);
    let (pattern, force) = match options.target.kind {
        Kind::Projects => (paths::PROJECT, options.force),
        Kind::Nodes if options.force => return Err(Failure::usage("--force is for projects only")),
        Kind::Nodes => (paths::NODE, false),
    };
    let path = paths::fill(pattern, &[name]);
    let deletion = context.client.delete(&path, force).await.map_err(failed)?;
    if deletion == Deletion::Done {
        return out(&format!("{noun} {name:?} deleted\n"));
    }
    out(&format!("{noun} {name:?} is being deleted\n"))?;
    if !options.wait {
        return Ok(());
    }
    let gone = tokio::time::timeout(options.timeout, until_gone(context, &path)).await;
    match gone {
        Ok(()) => out(&format!("{noun} {name:?} deleted\n")),
        Err(_) => Err(Failure::timed_out(format!(
            "{noun} {name:?} is still there after {} s",
            options.timeout.as_secs()
        ))
        .with(format!("caractrl describe {noun} {name}"))),
    }
}

async fn until_gone(context: &Context, path: &str) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
    loop {
        let read = context.client.get::<Project>(path).await;
        if read.is_err_and(|error| error.status() == Some(404)) {
            return;
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}
