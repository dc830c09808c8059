//! The user: writes, and tries again until somebody answers.

use std::time::{Duration, Instant};

use cara_api::paths;
use serde_json::{Value, json};

use crate::model::{Entry, Wish};
use crate::plan::Action;
use crate::world::World;

/// How long a user goes on trying: longer than any fault, and than a deletion that waits for one.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Does what the plan says and notes what was answered.
///
/// # Errors
/// No final answer came in time.
pub async fn act(world: &World, entries: &mut [Entry], action: Action) -> Result<(), String> {
    let ends_at = Instant::now() + PATIENCE;
    match action {
        Action::Apply { project, version } => {
            apply(world, &mut entries[project], version, ends_at).await
        }
        Action::Delete { project } => delete(world, &mut entries[project], ends_at).await,
        Action::Recreate { project, version } => {
            delete(world, &mut entries[project], ends_at).await?;
            apply(world, &mut entries[project], version, ends_at).await
        }
    }
}

/// Creates or changes a project.
pub async fn apply(
    world: &World,
    entry: &mut Entry,
    version: u32,
    ends_at: Instant,
) -> Result<(), String> {
    let wish = Wish::Present(version);
    let one = paths::fill(paths::PROJECT, &[&entry.name]);
    let spec = entry.spec(version);
    let must_exist = matches!(entry.certain(), Some(Wish::Present(_)));
    let mut is_new = entry.certain() == Some(Wish::Gone);
    let mut last = String::new();
    while Instant::now() < ends_at {
        entry.attempt(wish);
        let answer = if is_new {
            let body = json!({"metadata": {"name": entry.name}, "spec": spec});
            world.call("POST", paths::PROJECTS, &body).await
        } else {
            world.call("PUT", &one, &json!({"spec": spec})).await
        };
        match answer {
            Some((200 | 201, _)) => {
                entry.acknowledge(wish);
                return Ok(());
            }
            // Is there: our own first try, or one that is still on its way out.
            Some((409, answer)) => {
                last = answer.to_string();
                is_new = matches!(world.call("GET", &one, &Value::Null).await, Some((404, _)))
                    || is_ending(world, &one).await;
            }
            Some((404, _)) if must_exist => return Err(lost(entry)),
            Some((404, _)) => is_new = true,
            Some((status, answer)) if status < 500 => {
                return Err(format!("{}: {status} {answer}", entry.name));
            }
            Some((status, answer)) => last = format!("{status} {answer}"),
            None => "no answer".clone_into(&mut last),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!(
        "{} was not taken within {PATIENCE:?}: {last}",
        entry.name
    ))
}

fn lost(entry: &Entry) -> String {
    format!("{} was acknowledged, and is lost", entry.name)
}

async fn is_ending(world: &World, path: &str) -> bool {
    let answer = world.call("GET", path, &Value::Null).await;
    answer.is_some_and(|(_, project)| {
        let phase = project["status"]["phase"].as_str().unwrap_or_default();
        ["Terminating", "Terminated"].contains(&phase)
    })
}

/// Deletes a project.
pub async fn delete(world: &World, entry: &mut Entry, ends_at: Instant) -> Result<(), String> {
    let one = paths::fill(paths::PROJECT, &[&entry.name]);
    let mut may_be_gone = entry.may_be(Wish::Gone);
    let mut last = String::new();
    while Instant::now() < ends_at {
        entry.attempt(Wish::Gone);
        match world.call("DELETE", &one, &Value::Null).await {
            Some((202 | 204, _)) => {
                entry.acknowledge(Wish::Gone);
                return Ok(());
            }
            Some((404, _)) if !may_be_gone => return Err(lost(entry)),
            // By an earlier try, whose answer got lost.
            Some((404, _)) => {
                entry.acknowledge(Wish::Gone);
                return Ok(());
            }
            Some((status, answer)) if status < 500 && status != 409 => {
                return Err(format!("{}: {status} {answer}", entry.name));
            }
            Some((status, answer)) => last = format!("{status} {answer}"),
            None => "no answer".clone_into(&mut last),
        }
        may_be_gone = true;
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!(
        "{} was not deleted within {PATIENCE:?}: {last}",
        entry.name
    ))
}
