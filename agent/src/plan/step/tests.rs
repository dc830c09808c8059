//! One step after the other, from what is wanted and what is seen.

mod removal;
mod restart;
mod rollout;

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::wanted::tests;
use super::super::{CheckKind, WantedService};
use super::*;

fn wanted() -> Wanted {
    let spec = serde_json::json!({
        "services": [
            {"name": "db", "image": "pg", "volumeMounts": [{"name": "data", "mountPath": "/d"}]},
            {"name": "web", "image": "nginx"}],
        "volumes": [{"name": "data", "type": "Ephemeral"}]});
    tests::wanted(spec, &[("web", 80)])
}

fn container(service: &str, fingerprint: &str, state: ContainerState) -> Container {
    Container {
        id: format!("id-{service}"),
        service: service.into(),
        fingerprint: fingerprint.into(),
        state,
        ..Container::example()
    }
}

fn running() -> ContainerState {
    ContainerState::Running {
        since: Duration::from_secs(10),
    }
}

/// Everything as wanted.
fn complete(wanted: &Wanted) -> Observed {
    let containers = wanted.services.iter();
    Observed {
        network: Presence::Ours,
        volumes: BTreeMap::from([("cara-shop-data".into(), Presence::Ours)]),
        containers: containers
            .map(|s| {
                (
                    s.container.clone(),
                    container(&s.name, &s.fingerprint, running()),
                )
            })
            .collect(),
        ..Observed::default()
    }
}

fn step(wanted: &Wanted, observed: &Observed) -> String {
    next(wanted, observed, &Memory::default(), Instant::now()).to_string()
}

/// A service of the first fixture beside an older container of it.
fn with_old(wanted: &Wanted, name: &str, new: Option<ContainerState>) -> Observed {
    let mut observed = complete(wanted);
    let service = wanted.service(name).expect("a service");
    let mut old = container(name, "old", running());
    old.id = format!("old-{name}");
    observed.containers.insert(service.container.clone(), old);
    if let Some(state) = new {
        let new = container(name, &service.fingerprint, state);
        observed.containers.insert(service.successor.clone(), new);
    }
    observed
}

#[test]
fn a_new_project_gets_network_and_volumes_and_then_containers() {
    let wanted = wanted();
    let mut observed = Observed::default();
    assert_eq!(
        step(&wanted, &observed),
        "create network, create volume cara-shop-data, make web"
    );
    observed.images.insert("pg".into(), false);
    assert_eq!(
        step(&wanted, &observed),
        "create network, create volume cara-shop-data, pull pg, make web"
    );
    observed.network = Presence::Ours;
    observed
        .volumes
        .insert("cara-shop-data".into(), Presence::Ours);
    assert_eq!(step(&wanted, &observed), "pull pg, run web");
    observed.images.insert("pg".into(), true);
    assert_eq!(step(&wanted, &observed), "run db, run web");
    assert_eq!(step(&wanted, &complete(&wanted)), "");
}

#[test]
fn nothing_is_made_before_its_volumes_are_there_and_its_own() {
    let spec = serde_json::json!({
        "services": [{"name": "web", "image": "x", "volumeMounts": [
            {"name": "data", "mountPath": "/d", "readOnly": true}]}],
        "volumes": [{"name": "data", "type": "Ephemeral"}]});
    let wanted = tests::wanted(spec, &[]);
    let mut observed = with_old(&wanted, "web", None);
    assert_eq!(step(&wanted, &observed), "run web beside the old one");
    observed
        .volumes
        .insert("cara-shop-data".into(), Presence::Foreign);
    assert_eq!(step(&wanted, &observed), "", "the old one serves on");
    observed.volumes.clear();
    assert_eq!(step(&wanted, &observed), "create volume cara-shop-data");
}

#[test]
fn what_is_under_way_is_not_started_again() {
    let wanted = wanted();
    let mut memory = Memory::default();
    memory.set_busy(&Subject::Network, true);
    let step = next(&wanted, &Observed::default(), &memory, Instant::now());
    assert_eq!(
        step.to_string(),
        "create volume cara-shop-data",
        "nothing starts before its network is there"
    );
}

#[test]
fn a_failed_action_waits_and_does_not_hold_up_the_others() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    observed.containers.clear();
    let (mut memory, now) = (Memory::default(), Instant::now());
    memory.failed(
        Subject::Service("db".into()),
        "CreateFailed",
        "no".into(),
        now,
    );
    let step = next(&wanted, &observed, &memory, now);
    assert_eq!(step.to_string(), "run web");
    assert_eq!(step.retry_at, Some(now + Duration::from_secs(1)));
}

#[test]
fn a_pull_under_way_is_not_started_again_and_a_failure_that_mended_itself_is_forgotten() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    observed.containers.remove("shop-db");
    observed.images.insert("pg".into(), false);
    let (mut memory, now) = (Memory::default(), Instant::now());
    memory.set_pulling("pg", "40 %".into());
    memory.failed(
        Subject::Service("web".into()),
        "StartFailed",
        "timed out".into(),
        now,
    );
    let step = next(&wanted, &observed, &memory, now);
    assert_eq!(step.to_string(), "");
    memory.forget_failures_but(&step.subjects);
    assert_eq!(memory.failure(&Subject::Service("web".into())), None);
}

#[test]
fn a_second_network_of_the_name_goes_before_anything_is_attached() {
    let wanted = wanted();
    let mut observed = Observed {
        network: Presence::Ours,
        duplicate_networks: BTreeSet::from(["n2".into()]),
        ..Observed::default()
    };
    assert_eq!(step(&wanted, &observed), "remove duplicate network n2");
    observed.duplicate_networks.clear();
    assert_eq!(
        step(&wanted, &observed),
        "create volume cara-shop-data, run web"
    );
}
