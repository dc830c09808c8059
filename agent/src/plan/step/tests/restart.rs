//! Containers that ended, wait or fail their checks.

use super::*;

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
