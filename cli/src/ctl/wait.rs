//! `wait`: until objects are as they should be.

mod goal;

use std::time::{Duration, Instant};

use cara_api::{Certificate, Federation, Node, Project, Resource, Secret, User};

use super::args::{Kind, Wait};
use super::failure::Failure;
use super::follow::{Change, Follow};
use super::{Context, address, codes, out};
pub use goal::Goal;

/// Waits for one after the other; the time is for all of them.
pub async fn run(context: &Context, options: Wait) -> Result<(), Failure> {
    match options.kind {
        Kind::Projects => all::<Project>(context, options).await,
        Kind::Nodes => all::<Node>(context, options).await,
        Kind::Secrets => all::<Secret>(context, options).await,
        Kind::Certificates => all::<Certificate>(context, options).await,
        Kind::Users => all::<User>(context, options).await,
        Kind::Federations => all::<Federation>(context, options).await,
    }
}

async fn all<T: Resource>(context: &Context, options: Wait) -> Result<(), Failure> {
    let ends_at = Instant::now() + options.timeout;
    let names = match options.selectors.is_empty() {
        true if !options.names.is_empty() => options.names.clone(),
        true if options.kind == Kind::Projects => vec![context.project_or(None)?],
        true => {
            let what = format!("wait for {}s: which ones?", T::NOUN);
            return Err(Failure::usage(what).with("give names, or labels such as -l app=shop"));
        }
        false => {
            let selectors = &options.selectors;
            let names = address::selected(context, options.kind, selectors).await;
            names.map_err(|error| Failure::of(&format!("wait for {}s", T::NOUN), &error))?
        }
    };
    if names.is_empty() && options.goal != Goal::Deleted {
        return Err(Failure::other(format!("wait: no {} is selected", T::NOUN)));
    }
    for name in &names {
        let object = format!("{}/{name}", T::NOUN);
        let mut last = None;
        let left = ends_at.saturating_duration_since(Instant::now());
        let reached = until::<T>(context, (options.kind, name), &options.goal, &mut last);
        match tokio::time::timeout(left, reached).await {
            Ok(reached) => reached?,
            Err(_) => return Err(late(&object, &options.goal, last, options.timeout)),
        }
        out(&format!("{object} met {}\n", options.goal))?;
    }
    Ok(())
}

/// Ends when the object is as it should be; `last` is what was missing.
async fn until<T: Resource>(
    context: &Context,
    (kind, name): (Kind, &str),
    goal: &Goal,
    last: &mut Option<String>,
) -> Result<(), Failure> {
    let object = format!("{}/{name}", T::NOUN);
    let action = format!("wait for {object}");
    let path = address::one(kind, name);
    let mut watch = Follow::<T>::new(&context.client, &action, path, Vec::new());
    let mut is_there = false;
    loop {
        match watch.next().await? {
            Change::Begin => is_there = false,
            Change::Seen(object) => {
                is_there = true;
                let value = serde_json::to_value(&*object);
                let value = value.map_err(|error| Failure::other(error.to_string()))?;
                match goal.missing(&value) {
                    None => return Ok(()),
                    missing => *last = missing,
                }
            }
            Change::Complete if is_there => {}
            Change::Complete | Change::Gone(_) if *goal == Goal::Deleted => return Ok(()),
            Change::Complete => {
                let message = format!("{action}: there is none");
                return Err(Failure::other(message).coded(&codes::NOT_FOUND));
            }
            Change::Gone(_) => {
                return Err(Failure::other(format!("{object} was deleted meanwhile")));
            }
        }
    }
}

fn late(object: &str, goal: &Goal, last: Option<String>, timeout: Duration) -> Failure {
    let seconds = timeout.as_secs_f64().round();
    let found = last.unwrap_or_else(|| "nothing is known of it".to_owned());
    Failure::timed_out(format!(
        "{object} did not meet {goal} within {seconds} s: {found}"
    ))
    .with(format!(
        "more: caractrl describe {}",
        object.replace('/', " ")
    ))
}
