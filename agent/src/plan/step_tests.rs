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
fn a_service_that_writes_to_a_volume_is_stopped_before_the_new_one_starts() {
    let wanted = wanted();
    let mut observed = with_old(&wanted, "db", None);
    assert_eq!(step(&wanted, &observed), "remove container shop-db");
    observed.images.insert("pg".into(), false);
    assert_eq!(
        step(&wanted, &observed),
        "pull pg",
        "the old container runs while the image comes"
    );
}

#[test]
fn another_service_is_started_beside_the_old_one_which_goes_when_nobody_needs_it() {
    let wanted = wanted();
    assert_eq!(
        step(&wanted, &with_old(&wanted, "web", None)),
        "run web beside the old one"
    );
    let observed = with_old(&wanted, "web", Some(running()));
    let web = wanted.service("web").expect("a service");
    let (mut memory, now) = (Memory::default(), Instant::now());
    let at = |memory: &Memory, now| next(&wanted, &observed, memory, now);
    assert_eq!(
        at(&memory, now),
        Step::default(),
        "the new one must be ready"
    );
    let new = &observed.containers[&web.successor];
    memory.open.insert((new.start(), 80));
    View::of(web, &observed).note(&mut memory, now);
    let late = now + Duration::from_secs(60);
    assert_eq!(
        at(&memory, late).to_string(),
        "",
        "the control plane must know of the new one"
    );
    memory.note_delivered(true, late);
    let drained = late + wanted.timing.drain;
    let waiting = at(&memory, late);
    assert_eq!(waiting.retry_at, Some(drained), "requests under way end");
    assert_eq!(
        at(&memory, drained).to_string(),
        "remove container shop-web"
    );
    let mut alone = observed.clone();
    alone.containers.remove("shop-web");
    assert_eq!(step(&wanted, &alone), "rename web");
}

#[test]
fn the_old_one_stays_while_the_new_one_fails() {
    let wanted = wanted();
    let failed = ContainerState::Exited {
        code: 1,
        is_oom: false,
        ran_for: Duration::ZERO,
    };
    let observed = with_old(&wanted, "web", Some(failed));
    assert_eq!(step(&wanted, &observed), "start web", "and is tried again");
}

#[test]
fn a_rollout_that_is_taken_back_removes_what_it_made_and_keeps_what_serves() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    let failed = ContainerState::Exited {
        code: 1,
        is_oom: false,
        ran_for: Duration::ZERO,
    };
    let mut bad = container("web", "bad", failed);
    bad.id = "bad".into();
    observed
        .containers
        .insert("shop-web.bad".into(), bad.clone());
    assert_eq!(step(&wanted, &observed), "remove container shop-web.bad");
    // A third version comes while the second one fails: the first one goes on serving.
    let mut third = with_old(&wanted, "web", None);
    third.containers.insert("shop-web.bad".into(), bad.clone());
    assert_eq!(step(&wanted, &third), "remove container shop-web.bad");
    // And while the first one, replaced by the second a moment ago, still has requests.
    bad.state = running();
    third.containers.insert("shop-web.bad".into(), bad);
    assert_eq!(step(&wanted, &third), "run web beside the old one");
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
    assert_eq!(step(&wanted, &observed), "remove container shop-old");
    observed.containers.remove("shop-old");
    let (mut memory, now) = (Memory::default(), Instant::now());
    let web = observed.containers["shop-web"].start();
    memory.open.insert((web, 80));
    assert_eq!(next(&wanted, &observed, &memory, now).to_string(), "");
    memory.note_delivered(true, now);
    assert_eq!(
        next(&wanted, &observed, &memory, now).to_string(),
        "remove volume cara-shop-old",
        "volumes go last, when all runs and the control plane knows"
    );
}

fn exited(service: &WantedService, code: i64) -> Container {
    let state = ContainerState::Exited {
        code,
        is_oom: false,
        ran_for: Duration::ZERO,
    };
    container(&service.name, &service.fingerprint, state)
}

#[test]
fn stopped_containers_are_started_again_with_growing_pauses() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    let exited = exited(&wanted.services[1], 1);
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
fn the_restart_policy_decides_what_follows_an_exit() {
    for (policy, code, expected) in [
        ("Always", 0, "start job"),
        ("Always", 1, "start job"),
        ("OnFailure", 0, ""),
        ("OnFailure", 1, "start job"),
        ("Never", 0, ""),
        ("Never", 1, ""),
    ] {
        let spec = serde_json::json!({
            "services": [{"name": "job", "image": "x", "restartPolicy": policy}]});
        let wanted = tests::wanted(spec, &[]);
        let mut observed = complete(&wanted);
        observed.volumes.clear();
        let job = &wanted.services[0];
        observed
            .containers
            .insert("shop-job".into(), exited(job, code));
        assert_eq!(step(&wanted, &observed), expected, "{policy} {code}");
    }
}

#[test]
fn a_service_waits_for_those_that_it_depends_on() {
    for (condition, steps) in [
        ("Started", ["run db", "run web"]),
        ("Ready", ["run db", "run web"]),
        ("Completed", ["run db", ""]),
    ] {
        let spec = serde_json::json!({
            "services": [
                {"name": "web", "image": "x", "dependsOn": [{"service": "db", "condition": condition}]},
                {"name": "db", "image": "x", "restartPolicy": "OnFailure"}]});
        let wanted = tests::wanted(spec, &[]);
        let mut observed = complete(&wanted);
        observed.volumes.clear();
        let db = observed.containers.remove("shop-db").expect("there");
        observed.containers.clear();
        assert_eq!(step(&wanted, &observed), steps[0], "{condition}");
        observed.containers.insert("shop-db".into(), db);
        assert_eq!(step(&wanted, &observed), steps[1], "{condition}");
        let done = exited(&wanted.services[1], 0);
        observed.containers.insert("shop-db".into(), done);
        assert_eq!(
            step(&wanted, &observed),
            "run web",
            "a completed one is enough"
        );
    }
}

#[test]
fn a_container_that_fails_its_liveness_check_is_stopped_to_start_again() {
    let probe = serde_json::json!({"tcp": {"port": 1}, "failureThreshold": 2});
    let spec = serde_json::json!({
        "services": [{"name": "web", "image": "x", "healthCheck": {"liveness": probe}}]});
    let wanted = tests::wanted(spec, &[]);
    let observed = complete(&wanted);
    let start = observed.containers["shop-web"].start();
    let mut memory = Memory::default();
    let check = wanted.services[0].checks.liveness.clone().expect("a check");
    for _ in 0..2 {
        let result = Err("refused".to_owned());
        memory
            .health
            .note(&start, CheckKind::Liveness, &check, result);
    }
    let step = next(&wanted, &observed, &memory, Instant::now());
    assert_eq!(step.to_string(), "stop web");
}

#[test]
fn one_that_was_stopped_for_its_checks_is_no_completed_job_whatever_it_answers() {
    for (policy, expected) in [("OnFailure", "start job"), ("Never", "")] {
        let spec = serde_json::json!({
            "services": [{"name": "job", "image": "x", "restartPolicy": policy}]});
        let wanted = tests::wanted(spec, &[]);
        let job = &wanted.services[0];
        let mut observed = complete(&wanted);
        observed.volumes.clear();
        observed
            .containers
            .insert("shop-job".into(), exited(job, 0));
        let mut memory = Memory::default();
        let check = cara_api::project::Probe {
            failure_threshold: Some(1),
            ..Default::default()
        };
        let start = observed.containers["shop-job"].start();
        let failed = Err("refused".to_owned());
        memory
            .health
            .note(&start, CheckKind::Liveness, &check, failed);
        let step = next(&wanted, &observed, &memory, Instant::now());
        assert_eq!(step.to_string(), expected, "{policy}");
        assert!(!View::of(job, &observed).is_completed(&memory), "{policy}");
    }
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
fn one_that_writes_to_a_volume_is_not_started_again_beside_an_older_one() {
    let wanted = wanted();
    let db = wanted.service("db").expect("a service");
    for state in [running(), ContainerState::Dead] {
        let mut observed = with_old(&wanted, "db", Some(ContainerState::Created));
        if let Some(old) = observed.containers.get_mut(&db.container) {
            old.state = state;
        }
        assert_eq!(step(&wanted, &observed), "remove container shop-db");
    }
}

#[test]
fn persistent_volumes_go_with_the_deletion_of_their_project_only() {
    let spec = serde_json::json!({
        "services": [{"name": "db", "image": "x"}], "volumes": [{"name": "data", "type": "Persistent"}]});
    let mut wanted = tests::wanted(spec, &[]);
    let observed = Observed {
        volumes: BTreeMap::from([("cara-shop-data".into(), Presence::Ours)]),
        persistent: BTreeSet::from(["cara-shop-data".into()]),
        ..Observed::default()
    };
    let moved_away = Wanted::nothing(wanted.project.clone());
    assert_eq!(step(&moved_away, &observed), "");
    wanted.goal = Goal::Remove;
    assert_eq!(step(&wanted, &observed), "remove volume cara-shop-data");
    let mut without = complete(&wanted);
    without.volumes = observed.volumes.clone();
    without.persistent = observed.persistent.clone();
    wanted.goal = Goal::Run;
    wanted.volumes.clear();
    assert_eq!(step(&wanted, &without), "", "nor with a change of the spec");
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
        "remove container shop-db, remove container shop-web"
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

#[test]
fn a_rollout_keeps_what_it_would_need_to_return_to_until_it_runs() {
    let mut wanted = wanted();
    wanted.is_rollout = true;
    let mut observed = complete(&wanted);
    let old = container("renamed", "x", running());
    observed.containers.insert("shop-renamed".into(), old);
    let (mut memory, now) = (Memory::default(), Instant::now());
    assert_eq!(next(&wanted, &observed, &memory, now).to_string(), "");
    let web = observed.containers["shop-web"].start();
    memory.open.insert((web, 80));
    assert_eq!(next(&wanted, &observed, &memory, now).to_string(), "");
    memory.note_delivered(true, now);
    assert_eq!(
        next(&wanted, &observed, &memory, now).to_string(),
        "remove container shop-renamed"
    );
}

#[test]
fn what_an_earlier_project_of_the_name_left_goes_before_anything_is_made() {
    let wanted = wanted();
    let mut observed = complete(&wanted);
    for container in observed.containers.values_mut() {
        (container.is_ours, container.is_earlier) = (false, true);
    }
    observed.network = Presence::Earlier;
    observed
        .volumes
        .insert("cara-shop-data".into(), Presence::Earlier);
    assert_eq!(
        step(&wanted, &observed),
        "remove container shop-db, remove container shop-web"
    );
    observed.containers.clear();
    assert_eq!(
        step(&wanted, &observed),
        "remove volume cara-shop-data, remove network"
    );
}

#[test]
fn of_several_older_ones_only_the_one_that_serves_stays_while_the_new_one_is_not_ready() {
    let wanted = wanted();
    let mut observed = with_old(&wanted, "web", Some(running()));
    let mut older = container("web", "older", running());
    older.id = "older-web".into();
    older.started_at = "s".into();
    observed.containers.insert("shop-web.older".into(), older);
    let (mut memory, now) = (Memory::default(), Instant::now());
    let drained = now + wanted.timing.drain;
    let step_with = |memory: &Memory| next(&wanted, &observed, memory, drained).to_string();
    memory.note_delivered(true, now);
    assert_eq!(step_with(&memory), "", "none of them serves");
    let serves = observed.containers["shop-web"].start();
    memory.open.insert((serves, 80));
    let web = wanted.service("web").expect("a service");
    View::of(web, &observed).note(&mut memory, now);
    assert_eq!(step_with(&memory), "remove container shop-web.older");
    memory.note_delivered(false, now);
    assert_eq!(step_with(&memory), "", "the control plane must know");
}

#[test]
fn what_served_last_goes_on_serving_whichever_was_started_later() {
    let first = wanted();
    let mut second = first.clone();
    let web = second.services.iter_mut().find(|s| s.name == "web");
    web.expect("a service").fingerprint = "second".into();
    let mut observed = complete(&first);
    let mut newer = container("web", "second", running());
    (newer.id, newer.started_at) = ("newer".into(), "u".into());
    let older = observed.containers["shop-web"].clone();
    observed
        .containers
        .insert("shop-web.second".into(), newer.clone());
    let (mut memory, now) = (Memory::default(), Instant::now());
    memory
        .open
        .extend([(older.start(), 80), (newer.start(), 80)]);
    let serving = |wanted: &Wanted, memory: &mut Memory| {
        let view = View::of(wanted.service("web").expect("a service"), &observed);
        view.note(memory, now);
        view.serving(memory).map(|c| c.id.clone())
    };
    // A rollout, and the way back while the first container is still there.
    assert_eq!(serving(&second, &mut memory).as_deref(), Some("newer"));
    assert_eq!(serving(&first, &mut memory).as_deref(), Some("id-web"));
    // Another rollout begins before the second container is gone.
    let mut third = first.clone();
    let web = third.services.iter_mut().find(|s| s.name == "web");
    web.expect("a service").fingerprint = "third".into();
    assert_eq!(serving(&third, &mut memory).as_deref(), Some("id-web"));
    let mut all = observed.clone();
    let mut starting = container("web", "third", running());
    starting.id = "starting".into();
    all.containers.insert("shop-web.third".into(), starting);
    memory.note_delivered(true, now);
    let drained = now + third.timing.drain;
    let waiting = next(&third, &all, &memory, now);
    assert_eq!(
        (waiting.to_string().as_str(), waiting.retry_at),
        ("", Some(drained)),
        "requests under way end"
    );
    assert_eq!(
        next(&third, &all, &memory, drained).to_string(),
        "remove container shop-web.second",
        "nobody is sent there any more"
    );
}
