//! Waiting for a project: progress while it lasts, the URL that answered at the end.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use cara_api::client::{Backoff, Lines, probe};
use cara_api::condition::{self, PHASE, PLACED, PROGRESS};
use cara_api::project::{ProjectPhase, ServiceState};
use cara_api::{Project, WatchEvent, WatchKind, paths};
use futures_util::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Context;
use super::failure::Failure;

/// A project that failed may still heal by itself; after this long it counts as failed.
const HEAL_GRACE: Duration = Duration::from_secs(10);
/// Reasons that do not heal while one waits.
const HOPELESS: [&str; 3] = ["ImagePullFailed", "NameCollision", "CreateFailed"];
/// Lines of the log that are shown of a service that failed.
const LOG_LINES: &str = "20";

/// Waits until a project runs in the generation that was applied, and its URLs answer.
pub async fn until_running(
    context: &Context,
    applied: &Project,
    timeout: Duration,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut view = View::new();
    let mut last: Option<Project> = None;
    let waited =
        tokio::time::timeout(timeout, follow(context, applied, &mut view, &mut last)).await;
    view.finish();
    let project = match waited {
        Ok(result) => result?,
        Err(_) => return Err(timed_out(applied, last.as_ref(), timeout)),
    };
    for ingress in &project.status.ingress {
        let left = timeout.saturating_sub(started.elapsed());
        let status = tokio::time::timeout(left, until_answer(&ingress.url)).await;
        let seconds = started.elapsed().as_secs_f64();
        match status {
            Ok(status) => eprintln!("{} answered {status} after {seconds:.1} s", ingress.url),
            Err(_) => {
                return Err(Failure::timed_out(format!(
                    "{} does not answer",
                    ingress.url
                )));
            }
        }
    }
    if project.status.ingress.is_empty() {
        eprintln!(
            "project/{} runs after {:.1} s",
            project.metadata.name,
            started.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn timed_out(applied: &Project, last: Option<&Project>, timeout: Duration) -> Failure {
    let name = &applied.metadata.name;
    let placed = last.and_then(|p| condition::find(&p.status.conditions, PLACED));
    if let Some(condition) = placed {
        return Failure::no_capacity(format!("project/{name}: {}", condition.message));
    }
    let phase = last.map_or(ProjectPhase::Pending, |p| p.status.phase);
    Failure::timed_out(format!(
        "project/{name} is still {phase} after {} s",
        timeout.as_secs()
    ))
    .with(format!("caractrl describe project {name}"))
}

async fn follow(
    context: &Context,
    applied: &Project,
    view: &mut View,
    last: &mut Option<Project>,
) -> Result<Project, Failure> {
    let name = &applied.metadata.name;
    let path = paths::fill(paths::PROJECT, &[name]);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut failed_since: Option<Instant> = None;
    loop {
        let Ok(mut lines) = context.client.follow(&path, &[("watch", "true")]).await else {
            tokio::time::sleep(backoff.pause()).await;
            continue;
        };
        while let Some(project) = next(&mut lines, failed_since).await? {
            if let Step::Project(project) = project {
                view.show(&project);
                let is_current = project.status.observed_generation >= applied.metadata.generation;
                if project.status.phase == ProjectPhase::Running && is_current {
                    return Ok(*project);
                }
                if project.status.phase != ProjectPhase::Failed || !is_current {
                    failed_since = None;
                } else {
                    failed_since.get_or_insert_with(Instant::now);
                }
                *last = Some(*project);
            }
            let Some(project) = last.as_ref() else {
                continue;
            };
            let reason = condition::find(&project.status.conditions, PHASE)
                .map_or("", |c| c.reason.as_str());
            let is_over = failed_since
                .is_some_and(|at| at.elapsed() >= HEAL_GRACE || HOPELESS.contains(&reason));
            if is_over {
                return Err(explain(context, project).await);
            }
        }
    }
}

enum Step {
    Project(Box<Project>),
    /// Time passed.
    Tick,
}

/// The next state; none when the stream ended and must be opened again.
async fn next(lines: &mut Lines, failed_since: Option<Instant>) -> Result<Option<Step>, Failure> {
    let tick = async {
        match failed_since {
            Some(at) => tokio::time::sleep(HEAL_GRACE.saturating_sub(at.elapsed())).await,
            None => std::future::pending().await,
        }
    };
    let event = tokio::select! {
        event = lines.next::<WatchEvent<serde_json::Value>>() => event,
        () = tick => return Ok(Some(Step::Tick)),
    };
    match event {
        Ok(Some(WatchEvent {
            kind: WatchKind::Added | WatchKind::Modified,
            object,
        })) => {
            let project = serde_json::from_value(object);
            project
                .map(|p| Some(Step::Project(Box::new(p))))
                .map_err(|e| Failure::other(e.to_string()))
        }
        Ok(Some(WatchEvent {
            kind: WatchKind::Deleted,
            ..
        })) => Err(Failure::other("the project was deleted meanwhile")),
        Ok(Some(WatchEvent {
            kind: WatchKind::Bookmark,
            ..
        })) => Ok(Some(Step::Tick)),
        Ok(
            Some(WatchEvent {
                kind: WatchKind::Error,
                ..
            })
            | None,
        )
        | Err(_) => Ok(None),
    }
}

/// Why a project failed, with the last lines of the services that are to blame.
async fn explain(context: &Context, project: &Project) -> Failure {
    let name = &project.metadata.name;
    let phase = condition::find(&project.status.conditions, PHASE);
    let (reason, message) =
        phase.map_or(("Failed", ""), |c| (c.reason.as_str(), c.message.as_str()));
    let mut failure = Failure::unhealthy(format!("project/{name} failed: {reason}: {message}"));
    for service in project
        .status
        .services
        .iter()
        .filter(|s| s.state == ServiceState::Exited)
    {
        let path = paths::fill(paths::PROJECT_LOGS, &[name, &service.name]);
        if let Ok(mut stream) = context.client.stream(&path, &[("tail", LOG_LINES)]).await {
            let mut text = Vec::new();
            while let Some(Ok(bytes)) = stream.next().await {
                text.extend_from_slice(&bytes);
            }
            failure = failure.with(format!("last lines of {}:", service.name));
            for line in String::from_utf8_lossy(&text).lines() {
                failure = failure.with(format!("  {line}"));
            }
        }
        failure = failure.with(format!("more: caractrl logs {name}/{}", service.name));
    }
    failure.with(format!("more: caractrl describe project {name}"))
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

/// One line for the project and one for each service: redrawn on a terminal, else printed when
/// they change.
struct View {
    bars: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
    printed: BTreeMap<String, String>,
}

impl View {
    fn new() -> Self {
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| (MultiProgress::new(), BTreeMap::new()));
        Self {
            bars,
            printed: BTreeMap::new(),
        }
    }

    fn show(&mut self, project: &Project) {
        let progress = condition::find(&project.status.conditions, PROGRESS)
            .map_or("", |c| c.message.as_str());
        let placed =
            condition::find(&project.status.conditions, PLACED).map_or("", |c| c.message.as_str());
        let node = match project.status.node_ref.as_str() {
            "" => String::new(),
            node => format!(" on {node}"),
        };
        let head = format!("{}{node} {progress}{placed}", project.status.phase);
        self.line(
            format!("project/{}", project.metadata.name),
            head.trim_end().to_owned(),
        );
        for service in &project.status.services {
            let ready = if service.ready { ", ready" } else { "" };
            let text = format!("{}{ready} {}", service.state, service.message);
            self.line(format!("  {}", service.name), text.trim_end().to_owned());
        }
    }

    fn line(&mut self, key: String, text: String) {
        if self.printed.get(&key) == Some(&text) {
            return;
        }
        match &mut self.bars {
            Some((all, bars)) => {
                let bar = bars.entry(key.clone()).or_insert_with(|| {
                    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}");
                    let bar = all.add(ProgressBar::new_spinner());
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar.set_prefix(key.clone());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(text.clone());
            }
            None => eprintln!("{key}  {text}"),
        }
        self.printed.insert(key, text);
    }

    fn finish(&mut self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars.values()) {
            bar.finish();
        }
    }
}
