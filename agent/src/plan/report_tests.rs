use std::collections::BTreeMap;
use std::time::Duration;

use super::super::wanted::tests::{self, assignment, rules};
use super::super::{Probes, Progress};
use super::*;

fn wanted(publish_on: Option<&str>) -> Wanted {
    let spec = serde_json::json!({"services": [{"name": "db", "image": "pg"}, {"name": "web", "image": "nginx"}]});
    Wanted::new(&assignment(spec, &[("web", 80)]), &rules(publish_on))
}

fn observed(wanted: &Wanted, state: &ContainerState) -> Observed {
    let container = |service: &WantedService| Container {
        id: service.name.clone(),
        service: service.name.clone(),
        fingerprint: service.fingerprint.clone(),
        state: state.clone(),
        ip: "172.18.0.2".parse().ok(),
        published: BTreeMap::from([(80, "0.0.0.0:49153".parse().expect("an address"))]),
        ..Container::example()
    };
    let containers = wanted
        .services
        .iter()
        .map(|s| (s.container.clone(), container(s)))
        .collect();
    Observed {
        network: Presence::Ours,
        containers,
        ..Observed::default()
    }
}

fn up() -> ContainerState {
    ContainerState::Running {
        since: Duration::from_secs(1),
    }
}

fn exited(code: i64) -> ContainerState {
    ContainerState::Exited {
        code,
        is_oom: false,
        ran_for: Duration::ZERO,
    }
}

fn accepting() -> Probes {
    let start = super::super::Start {
        container: "web".into(),
        at: "t".into(),
    };
    Probes::from([(start, 80)])
}

/// The report while these ports are open.
fn report_with(
    wanted: &Wanted,
    observed: &Observed,
    memory: &Memory,
    probes: &Probes,
) -> Option<Report> {
    let mut memory = memory.clone();
    memory.open.clone_from(probes);
    report(wanted, observed, &memory, Instant::now())
}

fn outcome(wanted: &Wanted, observed: &Observed, memory: &Memory, probes: &Probes) -> String {
    let report = report_with(wanted, observed, memory, probes).expect("asked for");
    match report.outcome {
        Outcome::Failed { reason, message } => format!("Failed {reason}: {message}"),
        Outcome::Removing { message } => format!("Removing {message}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn running_means_every_container_is_up_and_every_exposed_port_answers() {
    let wanted = wanted(None);
    let memory = Memory::default();
    assert_eq!(
        outcome(&wanted, &Observed::default(), &memory, &Probes::new()),
        "Starting"
    );
    assert_eq!(
        outcome(&wanted, &observed(&wanted, &up()), &memory, &Probes::new()),
        "Starting"
    );
    assert_eq!(
        outcome(&wanted, &observed(&wanted, &up()), &memory, &accepting()),
        "Running"
    );
    let mut one_down = observed(&wanted, &up());
    one_down.containers.remove("shop-db");
    assert_eq!(
        outcome(&wanted, &one_down, &memory, &accepting()),
        "Starting"
    );
    let mut drifted = observed(&wanted, &up());
    drifted
        .containers
        .get_mut("shop-db")
        .expect("there")
        .fingerprint = "old".into();
    assert_eq!(
        outcome(&wanted, &drifted, &memory, &accepting()),
        "Starting",
        "the old version does not count"
    );
}

#[test]
fn endpoints_are_what_the_gateway_can_reach() {
    for (publish_on, expected) in [
        (None, "172.18.0.2:80"),
        (Some("100.64.0.5"), "100.64.0.5:49153"),
    ] {
        let wanted = wanted(publish_on);
        let report = report_with(
            &wanted,
            &observed(&wanted, &up()),
            &Memory::default(),
            &accepting(),
        )
        .expect("asked for");
        let web = &report.services[1];
        assert_eq!(
            web.endpoints
                .iter()
                .map(|e| e.address.to_string())
                .collect::<Vec<_>>(),
            [expected]
        );
        assert!(web.ready && web.endpoints[0].ready);
        assert_eq!(
            report.services[0].endpoints,
            [],
            "a service without ingress has no endpoint"
        );
    }
}

#[test]
fn failures_are_named() {
    let wanted = wanted(None);
    let (mut memory, now) = (Memory::default(), Instant::now());
    let down = observed(&wanted, &exited(7));
    for service in ["db", "web"] {
        memory.note_exit(service, &down.containers[&format!("shop-{service}")], now);
    }
    assert_eq!(
        outcome(&wanted, &down, &memory, &Probes::new()),
        "Failed ContainerExited: Containers exited with errors: db(exit=7), web(exit=7)"
    );
    let restarted = observed(&wanted, &up());
    assert_eq!(
        outcome(&wanted, &restarted, &memory, &Probes::new()),
        "Failed ContainerExited: Containers exited with errors: db(exit=7), web(exit=7)",
        "a container that exited must prove itself"
    );
    assert_eq!(
        outcome(&wanted, &restarted, &memory, &accepting()),
        "Failed ContainerExited: Containers exited with errors: db(exit=7)",
        "an open port proves it, for the first time"
    );
    let settled = observed(
        &wanted,
        &ContainerState::Running {
            since: Duration::from_secs(5),
        },
    );
    assert_eq!(outcome(&wanted, &settled, &memory, &accepting()), "Running");
    memory.failed(
        Subject::Service("web".into()),
        "ImagePullFailed",
        "pull image \"x\": not found".into(),
        now,
    );
    assert_eq!(
        outcome(&wanted, &down, &memory, &Probes::new()),
        "Failed ImagePullFailed: pull image \"x\": not found"
    );
}

#[test]
fn a_collision_is_told_and_nothing_is_shared() {
    let wanted = wanted(None);
    let mut taken = observed(&wanted, &up());
    taken.containers.get_mut("shop-web").expect("there").is_ours = false;
    assert_eq!(
        outcome(&wanted, &taken, &Memory::default(), &accepting()),
        "Failed NameCollision: service web: a container named shop-web exists and belongs to another project, service or node"
    );
    let report = report_with(&wanted, &taken, &Memory::default(), &accepting()).expect("asked for");
    assert_eq!(
        report.services[1].endpoints,
        [],
        "the other's container gets no traffic of this project"
    );
}

#[test]
fn a_pull_shows_how_far_it_is() {
    let wanted = wanted(None);
    let mut memory = Memory::default();
    memory.set_pulling("nginx", "40 % of 12.0 MB".into());
    let report =
        report_with(&wanted, &Observed::default(), &memory, &Probes::new()).expect("asked for");
    assert_eq!(report.progress, "pulling nginx: 40 % of 12.0 MB");
    assert_eq!(report.services[1].state, ServiceState::Pulling);
}

#[test]
fn removal_is_reported_when_nothing_is_left() {
    let running = wanted(None);
    let removal = Wanted {
        goal: Goal::Remove,
        ..running.clone()
    };
    let left = observed(&running, &up());
    let mut memory = Memory::default();
    assert_eq!(
        outcome(&removal, &left, &memory, &Probes::new()),
        "Removing "
    );
    memory.failed(
        Subject::Network,
        "RemoveFailed",
        "network in use".into(),
        Instant::now(),
    );
    assert_eq!(
        outcome(&removal, &left, &memory, &Probes::new()),
        "Removing network in use"
    );
    assert_eq!(
        outcome(&removal, &Observed::default(), &memory, &Probes::new()),
        "Removed"
    );
    assert_eq!(
        report_with(
            &Wanted::nothing(running.project),
            &left,
            &memory,
            &Probes::new()
        ),
        None
    );
}

#[test]
fn a_service_that_is_being_replaced_gets_no_more_requests() {
    let wanted = wanted(None);
    let mut memory = Memory::default();
    memory.set_busy(&Subject::Extra("shop-web".into()), true);
    let leaving = observed(&wanted, &up()).without_leaving(&memory);
    let report = report_with(&wanted, &leaving, &memory, &accepting()).expect("asked for");
    assert!(report.services[1].endpoints.iter().all(|e| !e.ready));
}

/// The fixture with an older container of `web` in front of the wanted one.
fn rollout(state: &ContainerState) -> (Wanted, Observed) {
    let mut wanted = wanted(None);
    wanted.is_rollout = true;
    let mut observed = observed(&wanted, &up());
    let web = wanted.service("web").expect("a service");
    let mut old = observed.containers.remove("shop-web").expect("there");
    let mut new = old.clone();
    old.id = "old".into();
    old.fingerprint = "old".into();
    old.ip = "172.18.0.9".parse().ok();
    new.state = state.clone();
    observed.containers.insert(web.container.clone(), old);
    observed.containers.insert(web.successor.clone(), new);
    (wanted, observed)
}

#[test]
fn during_a_rollout_requests_go_to_the_old_one_until_the_new_one_is_ready() {
    let (wanted, observed) = rollout(&up());
    let mut open = Probes::from([(observed.containers["shop-web"].start(), 80)]);
    let served = |open: &Probes| {
        let report = report_with(&wanted, &observed, &Memory::default(), open).expect("asked for");
        let web = &report.services[1];
        let endpoints = web.endpoints.iter().filter(|e| e.ready);
        let addresses: Vec<String> = endpoints.map(|e| e.address.to_string()).collect();
        (addresses, web.ready, report.outcome)
    };
    let old = vec!["172.18.0.9:80".to_owned()];
    assert_eq!(served(&open), (old, false, Outcome::Starting));
    open.extend(accepting());
    let new = vec!["172.18.0.2:80".to_owned()];
    assert_eq!(served(&open), (new, true, Outcome::Running));
}

#[test]
fn a_rollout_fails_after_three_tries_with_the_last_lines_that_were_logged() {
    let (wanted, observed) = rollout(&exited(3));
    let web = &wanted.service("web").expect("a service").successor;
    let mut memory = Memory::default();
    let mut seen = Vec::new();
    for attempt in 1..=3 {
        let mut container = observed.containers[web].clone();
        container.started_at = attempt.to_string();
        memory.note_exit("web", &container, Instant::now());
        memory.set_log("web", &container.start(), "cannot find the database".into());
        seen.push(outcome(&wanted, &observed, &memory, &Probes::new()));
    }
    let failed = "Failed ContainerExited: Containers exited with errors: web(exit=3)\n\
                  last lines of web:\ncannot find the database";
    assert_eq!(seen, ["Starting", "Starting", failed]);
}

#[test]
fn a_service_that_ended_as_it_should_counts_as_completed() {
    let spec =
        serde_json::json!({"services": [{"name": "job", "image": "x", "restartPolicy": "Never"}]});
    let wanted = tests::wanted(spec, &[]);
    for (code, expected, state) in [
        (0, "Running", ServiceState::Completed),
        (
            2,
            "Failed ContainerExited: Containers exited with errors: job(exit=2)",
            ServiceState::Exited,
        ),
    ] {
        let ended = observed(&wanted, &exited(code));
        let mut memory = Memory::default();
        memory.note_exit("job", &ended.containers["shop-job"], Instant::now());
        assert_eq!(outcome(&wanted, &ended, &memory, &Probes::new()), expected);
        let report = report_with(&wanted, &ended, &memory, &Probes::new()).expect("asked for");
        assert_eq!(report.services[0].state, state);
        assert_eq!(report.services[0].exit_code, Some(code));
    }
}

#[test]
fn a_service_that_is_not_ready_in_time_is_named_with_what_its_check_says() {
    let wanted = wanted(None);
    let (mut memory, now) = (Memory::default(), Instant::now());
    let observed = observed(&wanted, &up());
    memory.note_service("web", Progress::NotReady, None, now);
    let outcome_at = |now| {
        let report = report(&wanted, &observed, &memory, now).expect("asked for");
        report.outcome
    };
    assert_eq!(outcome_at(now), Outcome::Starting);
    assert_eq!(
        outcome_at(now + wanted.timing.progress),
        Outcome::Failed {
            reason: "NotReady".into(),
            message: "web is not ready after 120 s: port 80 accepts no connections".into()
        }
    );
}
