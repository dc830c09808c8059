//! What goes, and what is not ours.

use super::*;

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
