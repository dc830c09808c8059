//! What is decided while waiting, in tables.

use super::*;
use cara_api::Condition;
use cara_api::Timestamp;
use cara_api::project::{Ingress, IngressTarget, ProjectStatus, Service};

fn condition(kind: &str, reason: &str, message: &str) -> Condition {
    Condition::new(kind, true, reason, message, Timestamp::UNIX_EPOCH)
}

fn seen(name: &str, state: ServiceState) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        state,
        ready: state == ServiceState::Running,
        ..ServiceStatus::default()
    }
}

/// A project whose newest generation is 5.
fn project(phase: ProjectPhase, observed: u64, stable: u64, rejected: u64) -> Project {
    let mut project = Project {
        status: ProjectStatus {
            phase,
            observed_generation: Generation(observed),
            stable_generation: Generation(stable),
            rejected_generation: Generation(rejected),
            ..ProjectStatus::default()
        },
        ..Project::default()
    };
    project.metadata.name = "shop".to_owned();
    project.metadata.generation = Generation(5);
    project.spec.services = vec![Service {
        name: "web".to_owned(),
        ..Service::default()
    }];
    project
}

#[test]
fn waiting_ends_with_the_generation_that_was_applied() {
    use ProjectPhase::{Failed, Pending, Running, Scheduled, Terminating};
    for (phase, observed, stable, rejected, expected) in [
        (Pending, 0, 0, 0, Verdict::Waiting),
        (Scheduled, 0, 0, 0, Verdict::Waiting),
        (Running, 5, 5, 0, Verdict::Done),
        // A rollout: the old generation runs on.
        (Running, 4, 4, 0, Verdict::Waiting),
        (Failed, 4, 4, 0, Verdict::Waiting),
        (Running, 5, 4, 0, Verdict::Done),
        // The new one was given up, whichever of both is reported.
        (Running, 4, 4, 5, Verdict::RolledBack),
        (Running, 5, 4, 5, Verdict::RolledBack),
        (Failed, 5, 4, 5, Verdict::RolledBack),
        // An older one was given up before.
        (Running, 3, 3, 4, Verdict::Waiting),
        (Running, 5, 5, 4, Verdict::Done),
        // Somebody applied a newer one meanwhile, which was given up.
        (Running, 4, 4, 6, Verdict::RolledBack),
        (Running, 5, 5, 6, Verdict::Done),
        (Failed, 5, 0, 0, Verdict::Failing),
        (Terminating, 5, 5, 0, Verdict::Waiting),
    ] {
        let project = project(phase, observed, stable, rejected);
        assert_eq!(
            verdict(&project, Generation(5), Standing::default()),
            expected,
            "{phase} observed {observed} stable {stable} rejected {rejected}"
        );
    }
}

#[test]
fn a_failure_is_final_when_it_cannot_heal_or_did_not() {
    let second = Duration::from_secs(1);
    for (reason, stable, time, expected) in [
        ("ContainerExited", 0, None, Verdict::Failing),
        ("ContainerExited", 0, Some(second), Verdict::Failing),
        ("ContainerExited", 0, Some(HEAL_GRACE), Verdict::Failed),
        ("ImagePullFailed", 0, None, Verdict::Failed),
        // The server still has to give the rollout up.
        ("ImagePullFailed", 4, None, Verdict::Failing),
        ("ImagePullFailed", 4, Some(HEAL_GRACE), Verdict::Failed),
    ] {
        let mut project = project(ProjectPhase::Failed, 5, stable, 0);
        project.status.conditions = vec![condition(PHASE, reason, "")];
        assert_eq!(
            verdict(
                &project,
                Generation(5),
                Standing {
                    failing: time,
                    working: None
                }
            ),
            expected,
            "{reason} {time:?}"
        );
    }
}

#[test]
fn services_that_did_their_work_count_as_done() {
    let mut project = project(ProjectPhase::Scheduled, 5, 0, 0);
    for (state, expected) in [
        (ServiceState::Starting, Verdict::Waiting),
        (ServiceState::Running, Verdict::Waiting),
        (ServiceState::Exited, Verdict::Waiting),
        (ServiceState::Completed, Verdict::Done),
    ] {
        project.status.services = vec![seen("web", state)];
        assert_eq!(
            verdict(&project, Generation(5), Standing::default()),
            expected,
            "{state}"
        );
    }
    project.status.services.clear();
    assert_eq!(
        verdict(&project, Generation(5), Standing::default()),
        Verdict::Waiting
    );
}

#[test]
fn a_url_of_a_service_that_is_done_need_not_answer() {
    let mut project = project(ProjectPhase::Running, 5, 5, 0);
    for (name, service) in [("page", "web"), ("once", "job")] {
        project.spec.ingress.push(Ingress {
            name: name.to_owned(),
            target: IngressTarget {
                service: service.to_owned(),
                port: 80,
                ..IngressTarget::default()
            },
            ..Ingress::default()
        });
        project.status.ingress.push(IngressStatus {
            name: name.to_owned(),
            url: format!("http://{name}/"),
            ..IngressStatus::default()
        });
    }
    project.status.services = vec![
        seen("web", ServiceState::Running),
        seen("job", ServiceState::Completed),
    ];
    assert_eq!(urls(&project), ["http://page/"]);
}

#[test]
fn a_rollout_that_was_rolled_back_tells_why_and_what_runs() {
    let mut project = project(ProjectPhase::Running, 4, 4, 5);
    project.status.services = vec![seen("web", ServiceState::Exited)];
    let message = "web(exit=3)\nlast lines of web:\n  no database";
    project.status.conditions = vec![condition(ROLLED_BACK, "ContainerExited", message)];
    assert_eq!(
        rolled_back(&project),
        Account {
            headline: "project/shop: generation 5 was rolled back: ContainerExited: web(exit=3)"
                .to_owned(),
            reason: "ContainerExited".to_owned(),
            lines: vec![
                "last lines of web:".to_owned(),
                "  no database".to_owned(),
                "generation 4 keeps running".to_owned(),
            ],
            silent: vec![],
            told: vec![],
        }
    );
}

#[test]
fn a_failure_shows_lines_once_and_names_services_without() {
    let mut broken = project(ProjectPhase::Failed, 5, 0, 0);
    let with_lines = ServiceStatus {
        message: "exit code 3\nno database".to_owned(),
        ..seen("web", ServiceState::Exited)
    };
    broken.status.services = vec![with_lines, seen("job", ServiceState::Exited)];
    broken.status.conditions = vec![condition(PHASE, "ContainerExited", "web(exit=3)")];
    assert_eq!(
        failed(&broken),
        Account {
            headline: "project/shop failed: ContainerExited: web(exit=3)".to_owned(),
            reason: "ContainerExited".to_owned(),
            lines: vec!["last lines of web:".to_owned(), "  no database".to_owned()],
            silent: vec!["job".to_owned()],
            told: vec!["web".to_owned()],
        }
    );
    let whole = "web(exit=3)\nno database";
    broken.status.conditions = vec![condition(PHASE, "ContainerExited", whole)];
    assert_eq!(failed(&broken).lines, ["no database"]);
    let whole = "web(exit=3)\nlast lines of web:\nno database\nlast lines of job:\n  no file";
    broken.status.conditions = vec![condition(PHASE, "ContainerExited", whole)];
    assert_eq!(
        failed(&broken).lines,
        [
            "last lines of web:",
            "  no database",
            "last lines of job:",
            "  no file"
        ]
    );
    broken.status.conditions.clear();
    assert_eq!(failed(&broken).headline, "project/shop failed: Failed");
}

#[test]
fn progress_is_told_in_a_line() {
    for (restarts, expected) in [
        (0, "Running, ready"),
        (1, "Running, ready, restarted once"),
        (4, "Running, ready, restarted 4 times"),
    ] {
        let service = ServiceStatus {
            restarts,
            ..seen("web", ServiceState::Running)
        };
        assert_eq!(service_line(&service), expected);
    }
    assert_eq!(
        service_line(&seen("job", ServiceState::Completed)),
        "Completed"
    );
}

#[test]
fn what_is_not_served_as_it_says_is_told_with_the_reason() {
    let mut project = project(ProjectPhase::Running, 5, 5, 0);
    project.spec.ingress = serde_json::from_str(
        r#"[{"name": "page", "target": {"service": "web", "port": 80}},
            {"name": "testers", "target": {"service": "web", "port": 80}, "matchHeaders": [{"name": "x"}]},
            {"name": "locked", "target": {"service": "web", "port": 80}},
            {"name": "closed", "target": {"service": "web", "port": 80}, "maintenance": {}},
            {"name": "held", "target": {"service": "web", "port": 80}, "pause": {}}]"#,
    )
    .expect("rules");
    let status = |name: &str, url: &str, message: &str| IngressStatus {
        name: name.to_owned(),
        url: url.to_owned(),
        message: message.to_owned(),
        ..IngressStatus::default()
    };
    project.status.ingress = vec![
        status("page", "http://page/", ""),
        status("testers", "http://page/", ""),
        status("locked", "http://locked/", "secret \"team\" does not exist"),
        status("closed", "http://closed/", ""),
        status("held", "http://held/", ""),
    ];
    assert_eq!(urls(&project), ["http://page/"]);
    let told: Vec<String> = closed(&project)
        .into_iter()
        .map(|(url, why)| format!("{url} {why}"))
        .collect();
    assert_eq!(
        told,
        [
            "http://locked/ secret \"team\" does not exist",
            "http://closed/ it is in maintenance",
            "http://held/ it is paused",
        ]
    );
}

#[test]
fn what_is_late_says_which_services_it_waits_for() {
    let mut project = project(ProjectPhase::Running, 4, 4, 0);
    assert_eq!(
        late(&project, Generation(5)),
        "project/shop is not up in generation 5 yet"
    );
    let waiting = ServiceStatus {
        message: "port 80 accepts no connections".to_owned(),
        ready: false,
        ..seen("web", ServiceState::Running)
    };
    project.status.services = vec![waiting, seen("db", ServiceState::Running)];
    assert_eq!(
        down(&project),
        ["web is Running: port 80 accepts no connections"]
    );
    project.status.phase = ProjectPhase::Scheduled;
    assert_eq!(
        late(&project, Generation(5)),
        "project/shop is still Scheduled"
    );
}

#[test]
fn work_that_shall_end_is_waited_for() {
    let mut project = project(ProjectPhase::Running, 5, 5, 0);
    let judged = |project: &Project, working: Option<u64>| {
        let standing = Standing {
            failing: None,
            working: working.map(Duration::from_secs),
        };
        verdict(project, Generation(5), standing)
    };
    project.status.services = vec![seen("web", ServiceState::Running)];
    assert_eq!(judged(&project, None), Verdict::Done, "it never ends");
    for policy in ["OnFailure", "Never"] {
        project.spec.services[0].restart_policy = policy.to_owned();
        assert_eq!(judged(&project, None), Verdict::Working);
        assert_eq!(judged(&project, Some(119)), Verdict::Working);
        assert_eq!(judged(&project, Some(120)), Verdict::Done);
    }
    project.status.services = vec![seen("web", ServiceState::Completed)];
    assert_eq!(judged(&project, None), Verdict::Done);
    project.status.services = vec![seen("web", ServiceState::Running)];
    let checked = cara_api::project::HealthCheck::default();
    project.spec.services[0].health_check = Some(checked);
    assert_eq!(
        judged(&project, None),
        Verdict::Done,
        "a check shows that it works"
    );
}
