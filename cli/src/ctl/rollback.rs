//! `rollback` and `revisions`: earlier generations of a project.

use cara_api::client::{Method, Terms, Written};
use cara_api::plan::Plan;
use cara_api::project::{ProjectRevision, ProjectSpec, Rollback as Wish};
use cara_api::{Generation, Project, Timestamp, paths};
use serde::{Deserialize, Serialize};

use super::args::{DryRun, Output, Revisions, Rollback};
use super::consent::{self, Intent};
use super::failure::Failure;
use super::table::{Layout, age, or};
use super::{Context, out, rollout};

/// Returns a project to an earlier generation, and waits until that runs.
pub async fn run(context: &Context, options: Rollback) -> Result<(), Failure> {
    let name = &context.project_or(options.project.clone())?;
    let action = format!("rollback project {name:?}");
    let agreed = agree(context, name, &options).await?;
    let dry_run = options.trial.dry_run;
    if dry_run == DryRun::Client {
        let line = format!("project/{name} rolled back{}\n", dry_run.mark());
        return out(&line);
    }
    let path = paths::fill(paths::PROJECT_ROLLBACK, &[name]);
    // The generation that was shown, whatever the server would choose by now.
    let wish = Wish {
        generation: agreed.or(options.to),
    };
    let terms = Terms::tried(dry_run.is_dry());
    let target = (Method::POST, path.as_str());
    let asked = context.client.write_on(target, terms, &wish).await;
    let written: Written<Project> = asked.map_err(|error| {
        Failure::of(&action, &error).with(format!(
            "caractrl revisions {name} lists its generations that are kept"
        ))
    })?;
    // What was written, and not what a look afterwards may still show.
    let project = written.object;
    let text = match context.output.document(&project)? {
        Some(text) => text,
        None if context.output == Output::Name => format!("project/{name}\n"),
        None => {
            let to = wish.generation.map(|to| format!(" to generation {to}"));
            format!(
                "project/{name} rolled back{}, as generation {}{}\n",
                to.unwrap_or_default(),
                project.metadata.generation.0,
                dry_run.mark()
            )
        }
    };
    out(&text)?;
    if options.no_wait || dry_run.is_dry() {
        return Ok(());
    }
    rollout::until_running(context, &project, options.timeout).await
}

/// Shows what the way back replaces and deletes, and asks. A generation that is not there, the
/// server tells about when it is asked to return to it.
async fn agree(context: &Context, name: &str, options: &Rollback) -> Result<Option<i64>, Failure> {
    let path = |pattern| paths::fill(pattern, &[name]);
    let client = &context.client;
    let failed = |error| Failure::of(&format!("rollback project {name:?}"), &error);
    let project: Project = client.get(&path(paths::PROJECT)).await.map_err(failed)?;
    let history: History = client
        .get(&path(paths::PROJECT_REVISIONS))
        .await
        .map_err(failed)?;
    let Some(target) = target(&project, &history, options.to) else {
        return Ok(None);
    };
    let plan = Plan::between(Some(&project.spec), &target.spec);
    let object = format!("project/{name}");
    let intent = Intent::of(&object, &plan, context.screen.colours);
    let question = format!("Return to generation {}?", target.generation.0);
    match options.trial.dry_run.is_dry() {
        true => consent::show(&[&intent]),
        false => consent::obtain(context, options.consent, &[intent], &question)?,
    }
    Ok(i64::try_from(target.generation.0).ok())
}

/// The generation that is returned to: without a wish the newest other one that ran.
fn target<'a>(
    project: &Project,
    history: &'a History,
    wanted: Option<i64>,
) -> Option<&'a ProjectRevision> {
    let current = project.metadata.generation;
    let mut kept = history.items.iter();
    match wanted {
        Some(wanted) => kept.find(|r| i64::try_from(r.generation.0) == Ok(wanted)),
        None => kept
            .filter(|r| r.generation < current && *r.spec != project.spec)
            .max_by_key(|r| (r.ran, r.generation)),
    }
}

/// Earlier generations, as the server lists them.
#[derive(Debug, Deserialize, Serialize)]
struct History {
    items: Vec<ProjectRevision>,
}

/// Lists the generations of a project that are kept, the newest last.
pub async fn revisions(context: &Context, options: Revisions) -> Result<(), Failure> {
    let name = &context.project_or(options.project)?;
    let failed = |error| Failure::of(&format!("revisions of project {name:?}"), &error);
    let path = |pattern| paths::fill(pattern, &[name]);
    let client = &context.client;
    let project: Project = client.get(&path(paths::PROJECT)).await.map_err(failed)?;
    let history: History = client
        .get(&path(paths::PROJECT_REVISIONS))
        .await
        .map_err(failed)?;
    let layout = Layout::new(HEADER.to_vec(), context.screen.columns);
    out(&shown(
        &project,
        &history,
        context.output,
        layout,
        Timestamp::now(),
    )?)
}

const HEADER: [&str; 4] = ["GENERATION", "REPLACED", "SERVICES", "MARKS"];

fn shown(
    project: &Project,
    history: &History,
    output: Output,
    layout: Layout,
    now: Timestamp,
) -> Result<String, Failure> {
    Ok(match output.list(history, &history.items)? {
        Some(text) => text,
        None if output == Output::Name => names(project, &history.items),
        None => columns(project, &history.items, layout, now),
    })
}

fn names(project: &Project, earlier: &[ProjectRevision]) -> String {
    let earlier = earlier.iter().map(|revision| revision.generation);
    let all = earlier.chain(std::iter::once(project.metadata.generation));
    let name = &project.metadata.name;
    all.map(|generation| format!("project/{name}/{}\n", generation.0))
        .collect()
}

fn columns(
    project: &Project,
    earlier: &[ProjectRevision],
    mut layout: Layout,
    now: Timestamp,
) -> String {
    let current = project.metadata.generation;
    let mut earlier: Vec<&ProjectRevision> = earlier.iter().collect();
    earlier.sort_by_key(|revision| revision.generation);
    let mut rows: Vec<Vec<String>> = earlier
        .iter()
        .filter(|revision| revision.generation != current)
        .map(|revision| {
            let replaced = format!("{} ago", age(Some(revision.replaced_at), now));
            row(project, revision.generation, replaced, &revision.spec)
        })
        .collect();
    rows.push(row(project, current, "-".to_owned(), &project.spec));
    layout.head(&rows)
}

fn row(
    project: &Project,
    generation: Generation,
    replaced: String,
    spec: &ProjectSpec,
) -> Vec<String> {
    let services: Vec<String> = spec
        .services
        .iter()
        .map(|s| format!("{}={}", s.name, s.image))
        .collect();
    let marks: Vec<&str> = [
        (project.metadata.generation, "current"),
        (project.status.stable_generation, "stable"),
        (project.status.rejected_generation, "rejected"),
    ]
    .into_iter()
    .filter_map(|(marked, mark)| (marked == generation).then_some(mark))
    .collect();
    vec![
        generation.0.to_string(),
        replaced,
        services.join(","),
        or(&marks.join(","), "-").to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::project::{ProjectStatus, Service};
    use std::sync::Arc;

    fn spec(image: &str) -> ProjectSpec {
        let service = |name: &str, image: &str| Service {
            name: name.to_owned(),
            image: image.to_owned(),
            ..Service::default()
        };
        ProjectSpec {
            services: vec![service("web", image), service("db", "postgres:15")],
            ..ProjectSpec::default()
        }
    }

    #[test]
    fn generations_are_listed_with_images_and_marks() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let earlier = |generation, second| ProjectRevision {
            ran: false,
            project: "shop".to_owned(),
            generation: Generation(generation),
            spec: Arc::new(spec(&format!("shop:{generation}"))),
            replaced_at: at(second),
        };
        let mut project = Project {
            spec: spec("shop:10"),
            status: ProjectStatus {
                stable_generation: Generation(9),
                rejected_generation: Generation(10),
                ..ProjectStatus::default()
            },
            ..Project::default()
        };
        project.metadata.name = "shop".to_owned();
        project.metadata.generation = Generation(10);
        let history = [earlier(9, 7_000), earlier(8, 100)];
        assert_eq!(
            columns(
                &project,
                &history,
                Layout::new(HEADER.to_vec(), None),
                at(7_200)
            ),
            "GENERATION   REPLACED   SERVICES                     MARKS\n\
             8            1h ago     web=shop:8,db=postgres:15    -\n\
             9            3m ago     web=shop:9,db=postgres:15    stable\n\
             10           -          web=shop:10,db=postgres:15   current,rejected\n"
        );
        let to = |project: &Project, wanted| {
            let history = History {
                items: history.to_vec(),
            };
            target(project, &history, wanted).map(|r| r.generation.0)
        };
        assert_eq!(to(&project, None), Some(9));
        assert_eq!(to(&project, Some(8)), Some(8));
        assert_eq!(to(&project, Some(3)), None);
        project.status.stable_generation = Generation(10);
        project.status.rejected_generation = Generation(0);
        assert_eq!(
            columns(&project, &[], Layout::new(HEADER.to_vec(), None), at(7_200)),
            "GENERATION   REPLACED   SERVICES                     MARKS\n\
             10           -          web=shop:10,db=postgres:15   current,stable\n"
        );
    }
}
