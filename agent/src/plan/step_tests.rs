use std::collections::BTreeMap;
use std::time::Duration;

use super::super::wanted::tests::assignment;
use super::*;

fn wanted() -> Wanted {
    let spec = serde_json::json!({
        "services": [
            {"name": "db", "image": "pg", "volumeMounts": [{"name": "data", "mountPath": "/d"}]},
            {"name": "web", "image": "nginx"}],
        "volumes": [{"name": "data", "type": "Ephemeral"}]});
    Wanted::new(&assignment(spec, &[("web", 80)]), None)
}

fn container(service: &str, fingerprint: &str, state: ContainerState) -> Container {
    Container {
        id: format!("id-{service}"),
        is_ours: true,
        service: service.into(),
        fingerprint: fingerprint.into(),
        state,
        ip: None,
        published: BTreeMap::new(),
        started_at: "t".into(),
    }
}

fn running() -> ContainerState {
    ContainerState::Running {
        since: Duration::ZERO,
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
        images: BTreeMap::new(),
    }
}

fn step(wanted: &Wanted, observed: &Observed) -> String {
    next(wanted, observed, &Memory::default(), Instant::now()).to_string()
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
fn only_the_service_whose_definition_changed_is_replaced() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    observed
        .containers
        .insert("shop-web".into(), container("web", "old", running()));
    assert_eq!(step(&wanted, &observed), "remove web");
    observed.images.insert("nginx".into(), false);
    assert_eq!(
        step(&wanted, &observed),
        "pull nginx",
        "the old container runs while the image comes"
    );
}

#[test]
fn what_the_spec_no_longer_names_is_removed() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    observed
        .containers
        .insert("shop-old".into(), container("old", "x", running()));
    observed
        .volumes
        .insert("cara-shop-old".into(), Presence::Ours);
    assert_eq!(step(&wanted, &observed), "remove container id-old");
    observed.containers.remove("shop-old");
    assert_eq!(
        step(&wanted, &observed),
        "remove volume cara-shop-old",
        "volumes go after their containers"
    );
}

#[test]
fn stopped_containers_are_started_again_with_growing_pauses() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    let state = ContainerState::Exited {
        code: 1,
        is_oom: false,
        ran_for: Duration::ZERO,
    };
    let exited = container("web", &wanted.services[1].fingerprint, state);
    observed
        .containers
        .insert("shop-web".into(), exited.clone());
    assert_eq!(step(&wanted, &observed), "start web");
    let (mut memory, now) = (Memory::default(), Instant::now());
    memory.note_exit("web", &exited, now);
    let waiting = next(&wanted, &observed, &memory, now);
    assert_eq!(
        (waiting.actions.len(), waiting.retry_at),
        (0, Some(now + Duration::from_secs(1)))
    );
    let later = next(&wanted, &observed, &memory, now + Duration::from_secs(1));
    assert_eq!(later.to_string(), "start web");
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
fn what_belongs_to_somebody_else_is_left_alone() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    let mut foreign = container("b-c", "x", running());
    foreign.is_ours = false;
    observed
        .containers
        .insert("shop-web".into(), foreign.clone());
    assert_eq!(
        step(&wanted, &observed),
        "",
        "a container of another project is not replaced"
    );
    let removal = Wanted::nothing(wanted.project.clone());
    observed.containers = BTreeMap::from([("shop-web".into(), foreign)]);
    observed.network = Presence::Foreign;
    observed
        .volumes
        .insert("cara-shop-data".into(), Presence::Foreign);
    assert_eq!(step(&removal, &observed), "", "nor removed with this one");
}

#[test]
fn removal_takes_containers_first_and_then_the_rest() {
    let mut observed = complete(&wanted());
    let removal = Wanted::nothing(wanted().project);
    assert_eq!(
        step(&removal, &observed),
        "remove container id-db, remove container id-web"
    );
    observed.containers.clear();
    assert_eq!(
        step(&removal, &observed),
        "remove volume cara-shop-data, remove network"
    );
    assert_eq!(step(&removal, &Observed::default()), "");
}

#[test]
fn orphans_are_what_is_found_but_not_assigned() {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(orphans(set(&["a", "b"]), &set(&["b", "c"])), ["a"]);
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
