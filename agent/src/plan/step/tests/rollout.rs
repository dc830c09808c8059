//! A newer container beside an older one.

use super::*;

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
