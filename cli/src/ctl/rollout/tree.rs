//! A project on its way up as a tree: the project, its services, its URLs. Pure.

use cara_api::Project;
use cara_api::condition::{self, PLACED, PROGRESS};
use cara_api::project::{ProjectPhase, ServiceState, ServiceStatus};
use unicode_width::UnicodeWidthStr;

use super::super::progress::{Item, Mark};
use super::plan::service_line;

/// How far a URL is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Its services are not up.
    Waiting,
    /// The gateway is asked whether it sends requests there.
    Routing,
    /// It is asked.
    Asking,
    /// Its name does not resolve here.
    NotAsked,
    /// It answered with this status.
    Answered(u16),
    /// The generation before goes on answering.
    Before,
}

/// The lines of the tree; `reach` tells how far a URL is.
pub fn tree(project: &Project, urls: &[&str], reach: impl Fn(&str) -> Reach) -> Vec<Item> {
    let mut items = vec![head(project)];
    let names = project.spec.services.iter().map(|s| s.name.width());
    let width = names.max().unwrap_or(0);
    for wanted in &project.spec.services {
        let seen = project.status.services.iter();
        let seen = seen.into_iter().find(|s| s.name == wanted.name).cloned();
        let status = seen.unwrap_or_else(|| ServiceStatus {
            name: wanted.name.clone(),
            state: ServiceState::Waiting,
            ..ServiceStatus::default()
        });
        items.push(service(project, &status, width));
    }
    let reach = |url: &str| match is_rejected(project) {
        true => Reach::Before,
        false => reach(url),
    };
    items.extend(urls.iter().map(|url| route(url, reach(url))));
    let last = items.len() - 1;
    for (at, item) in items.iter_mut().enumerate().skip(1) {
        item.branch = if at == last { "└─ " } else { "├─ " }.to_owned();
    }
    items
}

/// Whether the newest generation was given up, and the one before goes on.
fn is_rejected(project: &Project) -> bool {
    let rejected = project.status.rejected_generation;
    !rejected.is_zero() && rejected == project.metadata.generation
}

/// The project itself; what its images are doing stands with its services, as does what they say.
fn head(project: &Project) -> Item {
    let status = &project.status;
    let is_said = |part: &&str| status.services.iter().any(|s| s.message.contains(*part));
    let message =
        |kind| condition::find(&status.conditions, kind).map_or("", |c| c.message.as_str());
    let progress = message(PROGRESS).split("; ");
    let progress = progress.filter(|part| !part.starts_with("pulling ") && !part.is_empty());
    let progress = progress.filter(|part| !is_said(part));
    let phase = status.phase;
    let mut words = vec![match status.node_ref.as_str() {
        "" => phase.to_string(),
        node => format!("{phase} on {node}"),
    }];
    let is_behind = status.observed_generation < project.metadata.generation;
    if is_rejected(project) {
        let generation = project.metadata.generation.0;
        words.push(format!("generation {generation} was rolled back"));
    } else if is_behind && status.phase == ProjectPhase::Running {
        words.push(format!(
            "generation {} is on its way",
            project.metadata.generation.0
        ));
    }
    words.extend(progress.map(str::to_owned));
    words.extend((!message(PLACED).is_empty()).then(|| message(PLACED).to_owned()));
    Item {
        key: format!("project/{}", project.metadata.name),
        branch: String::new(),
        label: format!("project/{}", project.metadata.name),
        mark: match status.phase {
            ProjectPhase::Running if is_rejected(project) => Mark::Bad,
            // Those of an older generation are there until the newer one is.
            ProjectPhase::Running if is_behind => Mark::Busy,
            ProjectPhase::Running => Mark::Good,
            ProjectPhase::Failed => Mark::Bad,
            ProjectPhase::Pending
            | ProjectPhase::Scheduled
            | ProjectPhase::Terminating
            | ProjectPhase::Terminated => Mark::Busy,
        },
        text: words.join(", "),
        detail: String::new(),
    }
}

fn service(project: &Project, service: &ServiceStatus, width: usize) -> Item {
    let mark = match service.state {
        _ if service.ready => Mark::Good,
        ServiceState::Completed => Mark::Good,
        ServiceState::Exited => Mark::Bad,
        ServiceState::Unknown
        | ServiceState::Waiting
        | ServiceState::Pulling
        | ServiceState::Starting
        | ServiceState::Running
        | ServiceState::Stopping => Mark::Busy,
    };
    let far = match service.state {
        ServiceState::Pulling => pulled(project, service),
        ServiceState::Unknown
        | ServiceState::Waiting
        | ServiceState::Starting
        | ServiceState::Running
        | ServiceState::Exited
        | ServiceState::Completed
        | ServiceState::Stopping => None,
    };
    Item {
        key: format!("  {}", service.name),
        branch: String::new(),
        label: format!("{:<width$}", service.name),
        mark,
        text: service_line(service),
        detail: far.unwrap_or_default().to_owned(),
    }
}

/// How far the image of a service is pulled, as its node says for the whole project.
fn pulled<'a>(project: &'a Project, service: &ServiceStatus) -> Option<&'a str> {
    let wanted = project.spec.services.iter();
    let image = &wanted.into_iter().find(|s| s.name == service.name)?.image;
    let said = condition::find(&project.status.conditions, PROGRESS)?;
    let parts = said.message.split("; ");
    let mut far = parts.filter_map(|part| part.strip_prefix("pulling ")?.strip_prefix(image));
    far.find_map(|rest| rest.strip_prefix(": "))
}

fn route(url: &str, reach: Reach) -> Item {
    let (mark, text) = match reach {
        Reach::Waiting => (Mark::Busy, "waits for its service".to_owned()),
        Reach::Routing => (Mark::Busy, "waits for the gateway".to_owned()),
        Reach::Asking => (Mark::Busy, "is asked".to_owned()),
        Reach::NotAsked => (Mark::Busy, "the name does not resolve here".to_owned()),
        Reach::Answered(status) => (Mark::Good, format!("answered {status}")),
        Reach::Before => (Mark::Busy, "goes where it went before".to_owned()),
    };
    Item {
        key: format!("  {url}"),
        branch: String::new(),
        label: url.to_owned(),
        mark,
        text,
        detail: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::Condition;
    use cara_api::Timestamp;

    #[test]
    fn a_newer_generation_is_told_apart_from_the_one_that_runs() {
        let project: Project = serde_json::from_str(
            r#"{"metadata": {"name": "shop", "generation": 2},
                "status": {"phase": "Running", "nodeRef": "a", "observedGeneration": 1}}"#,
        )
        .expect("a project");
        let text = head(&project).text;
        assert_eq!(text, "Running on a, generation 2 is on its way");
        let mut pulls = project.clone();
        let now = Timestamp::from_second(0).expect("in range");
        let said = "pull image \"x\": no such host; db is slow";
        pulls.status.conditions = vec![Condition::new(PROGRESS, true, "InProgress", said, now)];
        pulls.status.services = vec![ServiceStatus {
            message: "pull image \"x\": no such host".to_owned(),
            ..ServiceStatus::default()
        }];
        let text = head(&pulls).text;
        assert_eq!(text, "Running on a, generation 2 is on its way, db is slow");
        let mut rejected = project;
        rejected.status.rejected_generation = rejected.metadata.generation;
        let head = head(&rejected);
        assert_eq!(head.text, "Running on a, generation 2 was rolled back");
        assert_eq!(head.mark, Mark::Bad);
    }

    #[test]
    fn a_tree_shows_the_project_its_services_and_its_urls() {
        let mut project: Project = serde_json::from_str(
            r#"{"metadata": {"name": "shop"},
                "spec": {"services": [{"name": "web", "image": "shop:1"}, {"name": "database", "image": "pg:16"},
                                      {"name": "job", "image": "shop:1"}]},
                "status": {"phase": "Scheduled", "nodeRef": "a",
                    "services": [{"name": "web", "state": "Pulling"}, {"name": "database", "state": "Running", "ready": true},
                                 {"name": "job", "state": "Exited", "message": "exited: job(exit=3)"}],
                    "ingress": [{"name": "p", "hostname": "shop.test", "url": "http://shop.test/"},
                                {"name": "q", "hostname": "q.test", "url": "http://q.test/"}]}}"#,
        )
        .expect("a project");
        let now = Timestamp::from_second(0).expect("in range");
        let pulls = "pulling pg:16: 3 % of 2.0 MB; pulling shop:1: 42 % of 9.1 MB; web is slow";
        project.status.conditions = vec![Condition::new(PROGRESS, true, "InProgress", pulls, now)];
        let items = tree(&project, &["http://shop.test/"], |_| Reach::Waiting);
        let shown: Vec<String> = items
            .iter()
            .map(|i| {
                format!(
                    "{}{:?} {}  {}|{}",
                    i.branch, i.mark, i.label, i.text, i.detail
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "Busy project/shop  Scheduled on a, web is slow|",
                "├─ Busy web       Pulling|42 % of 9.1 MB",
                "├─ Good database  Running, ready|",
                "├─ Bad job       Exited: exit=3|",
                "└─ Busy http://shop.test/  waits for its service|",
            ]
        );
    }
}
