//! `drain`: empties a node, and shows how it goes.
//!
//! The server does the work, and goes on with it whether somebody looks on or not.

mod plan;

use std::time::{Duration, Instant};

use cara_api::client::Terms;
use cara_api::{Node, Project, node, paths};

use super::args::{Drain, DryRun};
use super::failure::Failure;
use super::follow::{Change, Follow};
use super::progress::Progress;
use super::{Context, out};
use plan::{Picture, Verdict};

/// Asks for the drain, and looks on until the node is empty or nothing moves any more.
pub async fn run(context: &Context, options: Drain) -> Result<(), Failure> {
    let name = &options.node;
    let action = format!("drain node {name:?}");
    let wish = node::Drain {
        delete_ephemeral_data: options.delete_ephemeral_data,
    };
    let path = paths::fill(paths::NODE_DRAIN, &[name]);
    let dry_run = options.trial.dry_run;
    if dry_run != DryRun::Client {
        let terms = Terms::tried(dry_run.is_dry());
        let asked = context.client.post_on(&path, terms, &wish).await;
        asked.map_err(|error| Failure::of(&action, &error))?;
    }
    if options.no_wait || dry_run.is_dry() {
        return out(&format!("node/{name} draining{}\n", dry_run.mark()));
    }
    let mut progress = Progress::new(context.screen);
    let mut picture = Picture::default();
    let end = tokio::select! {
        end = look_on(context, name, &mut progress, &mut picture) => End::Of(end),
        () = tokio::time::sleep(options.timeout) => End::TimedOut,
        // Where signals cannot be heard, the default ends the process.
        Ok(()) = tokio::signal::ctrl_c() => End::Interrupted,
    };
    progress.finish();
    let goes_on = format!("drain goes on; caractrl uncordon {name} stops it");
    match end {
        End::Of(Ok(Verdict::Drained)) => out(&format!("node/{name} drained\n")),
        End::Of(Ok(Verdict::Blocked(blocked))) => Err(blocked_by(name, &blocked)),
        End::Of(Ok(Verdict::Going | Verdict::Stuck(_) | Verdict::Stopped)) => Err(Failure::other(
            format!("{action}: somebody stopped it: the node is not being emptied any more"),
        )),
        End::Of(Err(failure)) => Err(failure),
        End::TimedOut => {
            let (left, seconds) = (picture.projects.len(), options.timeout.as_secs());
            let what =
                format!("node/{name} is not empty after {seconds} s: {left} project(s) left");
            Err(Failure::timed_out(what).with(goes_on))
        }
        End::Interrupted => {
            super::tell(format_args!("{goes_on}"));
            Err(Failure::interrupted())
        }
    }
}

/// How long the last moves are waited for, once the node is said to be empty.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why looking on ended.
enum End {
    Of(Result<Verdict, Failure>),
    TimedOut,
    Interrupted,
}

fn blocked_by(node: &str, blocked: &[(String, plan::Block)]) -> Failure {
    let what = format!(
        "node/{node} is not empty: {} project(s) cannot leave",
        blocked.len()
    );
    let mut failure = Failure::blocked(what);
    for (project, block) in blocked {
        failure = failure
            .with(format!("project/{project} stays: {}", block.text()))
            .with(format!("  {}", block.way_out(project, node)));
    }
    failure.with(format!(
        "node/{node} stays closed; caractrl uncordon {node} opens it again"
    ))
}

/// Follows the node and its projects until there is a verdict.
async fn look_on(
    context: &Context,
    name: &str,
    progress: &mut Progress,
    picture: &mut Picture,
) -> Result<Verdict, Failure> {
    let action = format!("drain node {name:?}");
    let of_node = vec![("nodeRef", name.to_owned())];
    let path = paths::fill(paths::NODE, &[name]);
    let client = &context.client;
    let mut node = Follow::<Node>::new(client, &action, path, Vec::new());
    let mut projects = Follow::<Project>::new(client, &action, paths::PROJECTS.into(), of_node);
    // Since when nothing moves, and for how long that may be.
    let mut stuck: Option<(Instant, Duration)> = None;
    loop {
        tokio::select! {
            // Projects first, so that the last move is shown before the end is.
            biased;
            change = projects.next() => take_project(change?, picture, progress),
            change = node.next() => take_node(change?, picture, &action)?,
            () = patience(stuck) => {}
        }
        show(name, picture, progress);
        match plan::verdict(picture, stuck.map(|(since, _)| since.elapsed())) {
            Verdict::Going => stuck = None,
            Verdict::Stuck(patience) => {
                let since = stuck.map_or_else(Instant::now, |(since, _)| since);
                stuck = Some((since, patience));
            }
            Verdict::Drained => {
                see_off(&mut projects, picture, progress).await?;
                return Ok(Verdict::Drained);
            }
            end @ (Verdict::Stopped | Verdict::Blocked(_)) => return Ok(end),
        }
    }
}

/// Tells of the last moves, of which the node's own stream may have known first.
async fn see_off(
    projects: &mut Follow<Project>,
    picture: &mut Picture,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let last = async {
        while !picture.projects.is_empty() {
            take_project(projects.next().await?, picture, progress);
        }
        Ok(())
    };
    // The node is empty, whether or not everything about it was heard.
    tokio::time::timeout(FAREWELL, last).await.unwrap_or(Ok(()))
}

/// Ends when blocked projects have had their time to come free; never when none is blocked.
async fn patience(stuck: Option<(Instant, Duration)>) {
    match stuck {
        Some((since, patience)) => {
            tokio::time::sleep(patience.saturating_sub(since.elapsed())).await;
        }
        None => std::future::pending().await,
    }
}

fn take_project(change: Change<Project>, picture: &mut Picture, progress: &mut Progress) {
    match change {
        Change::Begin => {
            picture.is_complete = false;
            picture.projects.clear();
        }
        Change::Seen(project) => {
            let name = project.metadata.name.clone();
            picture.projects.insert(name, *project);
        }
        Change::Gone(project) => {
            let name = &project.metadata.name;
            picture.projects.remove(name);
            let text = match project.status.node_ref.as_str() {
                _ if project.status.phase.is_ending() => "was deleted".to_owned(),
                "" => "left; it has no node yet".to_owned(),
                node => format!("moved to {node}"),
            };
            progress.done(&format!("  project/{name}"), &text);
        }
        Change::Complete => picture.is_complete = true,
    }
}

fn take_node(change: Change<Node>, picture: &mut Picture, action: &str) -> Result<(), Failure> {
    match change {
        Change::Begin | Change::Complete => Ok(()),
        Change::Seen(node) => {
            picture.node = Some(*node);
            Ok(())
        }
        Change::Gone(_) => Err(Failure::other(format!(
            "{action}: the node was deleted meanwhile"
        ))),
    }
}

fn show(name: &str, picture: &Picture, progress: &mut Progress) {
    progress.line(&format!("node/{name}"), &plan::node_line(picture));
    let Some(drain) = picture.node.as_ref().and_then(|n| n.spec.drain.as_ref()) else {
        return;
    };
    for (project, state) in &picture.projects {
        let text = plan::standing(state, drain).text();
        progress.line(&format!("  project/{project}"), &text);
    }
}
