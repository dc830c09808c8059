//! Waiting for a project: progress while it lasts, the URLs that answered at the end.

mod plan;
mod tree;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cara_api::client::{Backoff, probe};
use cara_api::condition::{self, PLACED};
use cara_api::project::ProjectPhase;
use cara_api::route::RouteList;
use cara_api::{Generation, Project, paths};
use futures_util::StreamExt;

use super::Context;
use super::codes;
use super::failure::Failure;
use super::follow::{Change, Follow};
use super::progress::Progress;
use plan::{Account, HEAL_GRACE, Standing, Verdict, WORK_GRACE};
use tree::Reach;

/// Lines of the log that are shown of a service that failed.
const LOG_LINES: &str = "20";
/// How long looking up a name may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// Waits until a project runs in the generation that was applied, and its URLs answer.
pub async fn until_running(
    context: &Context,
    applied: &Project,
    timeout: Duration,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut progress = Progress::new(context.screen);
    let mut last: Option<Project> = None;
    let followed = follow(context, applied, &mut progress, &mut last);
    let waited = tokio::time::timeout(timeout, followed).await;
    let reached = match waited {
        Ok(Ok(project)) => reach(context, &project, started, timeout, &mut progress).await,
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(timed_out(applied, last.as_ref(), timeout)),
    };
    progress.finish();
    for line in reached? {
        super::tell(format_args!("{line}"));
    }
    Ok(())
}

/// Asks the URLs of a project that runs. What is to be said about them.
async fn reach(
    context: &Context,
    project: &Project,
    started: Instant,
    timeout: Duration,
    progress: &mut Progress,
) -> Result<Vec<String>, Failure> {
    let left = || timeout.saturating_sub(started.elapsed());
    let urls = plan::urls(project);
    let mut found: BTreeMap<&str, Reach> = urls.iter().map(|u| (*u, Reach::Routing)).collect();
    show(progress, project, &found);
    if !project.spec.ingress.is_empty() {
        let served = tokio::time::timeout(left(), until_served(context, project)).await;
        served.map_err(|_| not_served(project))??;
    }
    let mut said = Vec::new();
    for url in &urls {
        if !resolves(url).await {
            said.push(format!(
                "{url}: the project runs; the name does not resolve here, so nobody asked it"
            ));
            found.insert(*url, Reach::NotAsked);
            show(progress, project, &found);
            continue;
        }
        found.insert(*url, Reach::Asking);
        show(progress, project, &found);
        let status = tokio::time::timeout(left(), until_answer(url)).await;
        let seconds = started.elapsed().as_secs_f64();
        let Ok(status) = status else {
            return Err(Failure::timed_out(format!("{url} does not answer")));
        };
        said.push(format!("{url} answered {status} after {seconds:.1} s"));
        found.insert(*url, Reach::Answered(status));
        show(progress, project, &found);
    }
    let closed = plan::closed(project).into_iter();
    said.extend(closed.map(|(url, why)| format!("{url}: nobody asked it: {why}")));
    if urls.is_empty() {
        said.push(format!(
            "project/{} runs after {:.1} s",
            project.metadata.name,
            started.elapsed().as_secs_f64()
        ));
    }
    Ok(said)
}

fn timed_out(applied: &Project, last: Option<&Project>, timeout: Duration) -> Failure {
    let name = &applied.metadata.name;
    let placed = last.and_then(|p| condition::find(&p.status.conditions, PLACED));
    if let Some(condition) = placed {
        return Failure::no_capacity(format!("project/{name}: {}", condition.message));
    }
    let wanted = applied.metadata.generation;
    let what = last.map_or_else(
        || format!("project/{name} is still {}", ProjectPhase::Pending),
        |project| plan::late(project, wanted),
    );
    let seconds = timeout.as_secs_f64().round();
    let failure = Failure::timed_out(format!("{what} after {seconds} s"));
    let down = last.map(plan::down).unwrap_or_default();
    let failure = down.into_iter().fold(failure, Failure::with);
    failure.with(format!("more: caractrl describe project {name}"))
}

async fn follow(
    context: &Context,
    applied: &Project,
    progress: &mut Progress,
    last: &mut Option<Project>,
) -> Result<Project, Failure> {
    let name = &applied.metadata.name;
    let wanted = applied.metadata.generation;
    let path = paths::fill(paths::PROJECT, &[name]);
    let action = format!("wait for project/{name}");
    let mut watch = Follow::<Project>::new(&context.client, &action, path, Vec::new());
    let mut since = Since::default();
    let mut is_there = true;
    loop {
        let change = tokio::select! {
            change = watch.next() => Some(change?),
            () = overdue(since) => None,
        };
        match change {
            Some(Change::Begin) => is_there = false,
            Some(Change::Seen(project)) => {
                is_there = true;
                show(progress, &project, &BTreeMap::new());
                *last = Some(*project);
            }
            Some(Change::Complete) if is_there => {}
            Some(Change::Complete | Change::Gone(_)) => {
                return Err(Failure::other(format!(
                    "project/{name} was deleted meanwhile"
                )));
            }
            None => {}
        }
        let Some(project) = last.as_ref() else {
            continue;
        };
        match judge(project, wanted, &mut since) {
            Verdict::Waiting | Verdict::Failing | Verdict::Working => {}
            Verdict::Done => return Ok(project.clone()),
            Verdict::Failed => {
                let account = plan::failed(project);
                let code = codes::of_reason(&account.reason);
                return Err(explain(context, name, account).await.coded(code));
            }
            Verdict::RolledBack => {
                let failure = explain(context, name, plan::rolled_back(project)).await;
                return Err(failure.coded(&codes::ROLLED_BACK));
            }
        }
    }
}

/// Since when a project has been judged the same, while that counts.
#[derive(Debug, Clone, Copy, Default)]
struct Since {
    failing: Option<Instant>,
    working: Option<Instant>,
}

/// Judges, and keeps the time since when the project has been judged so.
fn judge(project: &Project, wanted: Generation, since: &mut Since) -> Verdict {
    let elapsed = |at: Option<Instant>| at.map(|at| at.elapsed());
    let standing = Standing {
        failing: elapsed(since.failing),
        working: elapsed(since.working),
    };
    let verdict = plan::verdict(project, wanted, standing);
    let now = Instant::now();
    *since = match verdict {
        Verdict::Failing => Since {
            failing: since.failing.or(Some(now)),
            working: None,
        },
        Verdict::Working => Since {
            failing: None,
            working: since.working.or(Some(now)),
        },
        Verdict::Waiting | Verdict::Done | Verdict::Failed | Verdict::RolledBack => {
            Since::default()
        }
    };
    verdict
}

/// Ends when a project had its time to heal, or to end its work; never for others.
async fn overdue(since: Since) {
    let failing = since.failing.map(|at| (at, HEAL_GRACE));
    match failing.or(since.working.map(|at| (at, WORK_GRACE))) {
        Some((at, grace)) => tokio::time::sleep(grace.saturating_sub(at.elapsed())).await,
        None => std::future::pending().await,
    }
}

/// Shows the tree; where lines are not redrawn, URLs are told about at the end only.
fn show(progress: &mut Progress, project: &Project, found: &BTreeMap<&str, Reach>) {
    let urls = match progress.is_live() {
        true => plan::urls(project),
        false => Vec::new(),
    };
    let reach = |url: &str| found.get(url).cloned().unwrap_or(Reach::Waiting);
    for item in tree::tree(project, &urls, reach) {
        progress.item(&item);
    }
}

/// The failure, with the last lines of services of which none are known yet.
async fn explain(context: &Context, name: &str, account: Account) -> Failure {
    let mut failure = Failure::unhealthy(account.headline);
    for line in account.lines {
        failure = failure.with(line);
    }
    for service in account.silent {
        let lines = last_lines(context, name, &service).await;
        if !lines.is_empty() {
            failure = failure.with(format!("last lines of {service}:"));
        }
        for line in lines {
            failure = failure.with(format!("  {line}"));
        }
        failure = failure.with(format!("more: caractrl logs {name}/{service}"));
    }
    for service in account.told {
        failure = failure.with(format!("more: caractrl logs {name}/{service}"));
    }
    failure.with(format!("more: caractrl describe project {name}"))
}

/// The last lines of a service's log; none when it cannot be read.
async fn last_lines(context: &Context, project: &str, service: &str) -> Vec<String> {
    let path = paths::fill(paths::PROJECT_LOGS, &[project, service]);
    let Ok(mut stream) = context.client.stream(&path, &[("tail", LOG_LINES)]).await else {
        return Vec::new();
    };
    let mut text = Vec::new();
    while let Some(Ok(bytes)) = stream.next().await {
        text.extend_from_slice(&bytes);
    }
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::to_owned).collect()
}

/// Whether the name in a URL leads anywhere from here.
async fn resolves(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    if host.ends_with(".localhost") {
        return true;
    }
    let looked_up = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, 80)));
    looked_up.await.is_ok_and(|found| found.is_ok())
}

/// Waits until the gateway sends requests where the project is as it was seen last: a URL that
/// answers does not say which generation answered.
async fn until_served(context: &Context, project: &Project) -> Result<(), Failure> {
    let name = &project.metadata.name;
    let version = project.metadata.resource_version.to_string();
    let query = [("project", name.as_str()), ("servedSince", &version)];
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let answer = context
            .client
            .query::<RouteList>(paths::ROUTES, &query)
            .await;
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() => tokio::time::sleep(backoff.pause()).await,
            Err(error) => {
                return Err(Failure::of(
                    &format!("wait for the routes of project/{name}"),
                    &error,
                ));
            }
        }
    }
}

fn not_served(project: &Project) -> Failure {
    let name = &project.metadata.name;
    Failure::timed_out(format!(
        "project/{name} runs, and the gateway does not send requests to it yet"
    ))
    .with(format!("caractrl routes --project {name}"))
}

async fn until_answer(url: &str) -> u16 {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match probe(url).await {
            Ok(status) if !matches!(status, 502..=504) => return status,
            Ok(_) | Err(_) => tokio::time::sleep(backoff.pause()).await,
        }
    }
}
