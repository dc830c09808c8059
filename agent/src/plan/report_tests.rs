use std::collections::BTreeMap;
use std::time::Instant;

use super::super::wanted::tests::assignment;
use super::*;

fn wanted(publish_on: Option<&str>) -> Wanted {
    let spec = serde_json::json!({"services": [{"name": "db", "image": "pg"}, {"name": "web", "image": "nginx"}]});
    Wanted::new(
        &assignment(spec, &[("web", 80)]),
        publish_on.map(|ip| ip.parse().expect("an address")),
    )
}

fn observed(wanted: &Wanted, state: &ContainerState) -> Observed {
    let container = |service: &WantedService| Container {
        id: service.name.clone(),
        is_ours: true,
        service: service.name.clone(),
        fingerprint: service.fingerprint.clone(),
        state: state.clone(),
        ip: "172.18.0.2".parse().ok(),
        published: BTreeMap::from([(80, "0.0.0.0:49153".parse().expect("an address"))]),
        started_at: "t".into(),
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
    Probes::from([("web".to_owned(), "t".to_owned(), 80)])
}

fn outcome(wanted: &Wanted, observed: &Observed, memory: &Memory, probes: &Probes) -> String {
    match report(wanted, observed, memory, probes)
        .expect("asked for")
        .outcome
    {
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
        let report = report(
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
        outcome(&wanted, &restarted, &memory, &accepting()),
        "Failed ContainerExited: Containers exited with errors: db(exit=7), web(exit=7)",
        "a container that exited must prove itself"
    );
    let settled = observed(&wanted, &ContainerState::Running { since: SETTLED });
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
        "Failed NameCollision: service web: a container named shop-web exists and belongs to another project or service"
    );
    let report = report(&wanted, &taken, &Memory::default(), &accepting()).expect("asked for");
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
    let report = report(&wanted, &Observed::default(), &memory, &Probes::new()).expect("asked for");
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
        report(
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
    memory.set_stopping(["web".to_owned()]);
    let report =
        report(&wanted, &observed(&wanted, &up()), &memory, &accepting()).expect("asked for");
    assert!(!report.services[1].endpoints[0].ready);
}
