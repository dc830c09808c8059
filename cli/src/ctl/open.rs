//! `open`: the URL of a project, in the browser if there is one.

use cara_api::{Project, paths};

use super::args::Open;
use super::failure::Failure;
use super::{Context, out};

/// Prints the URL and hands it to the desktop, if this is one.
pub async fn run(context: &Context, options: Open) -> Result<(), Failure> {
    let name = &context.project_or(options.project)?;
    let path = paths::fill(paths::PROJECT, &[name]);
    let project: Project = context
        .client
        .get(&path)
        .await
        .map_err(|error| Failure::of(&format!("open {name:?}"), &error))?;
    let rules = &project.status.ingress;
    let chosen = match &options.ingress {
        Some(wanted) => rules.iter().find(|rule| rule.name == *wanted),
        None => rules.iter().find(|rule| !rule.url.is_empty()),
    };
    let Some(rule) = chosen else {
        let all: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let known = if all.is_empty() {
            "it has no ingress".to_owned()
        } else {
            format!("it has {}", all.join(", "))
        };
        return Err(Failure::other(format!(
            "open {name:?}: no such ingress: {known}"
        )));
    };
    if rule.url.is_empty() {
        // A port for any protocol is nothing that a desktop could open.
        return out(&format!("{}\n", rule.address));
    }
    out(&format!("{}\n", rule.url))?;
    if context.screen.shows {
        // Without a desktop there is nothing to open it with, and the URL is printed.
        let _ = tokio::process::Command::new("xdg-open")
            .arg(&rule.url)
            .status()
            .await;
    }
    Ok(())
}
