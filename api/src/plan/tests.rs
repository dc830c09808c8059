//! Plans, whole.

use super::*;
use serde_json::json;

fn spec(value: Value) -> ProjectSpec {
    serde_json::from_value(value).expect("a spec")
}

fn shop() -> Value {
    json!({
        "services": [
            {"name": "web", "image": "shop:1.4", "env": [{"name": "LEVEL", "value": "secret"}, {"name": "HOST", "value": "h"}],
             "volumeMounts": [{"name": "media", "mountPath": "/media"}]},
            {"name": "db", "image": "postgres:16", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        ],
        "volumes": [{"name": "data", "type": "Persistent"}, {"name": "cache", "type": "Ephemeral"},
                    {"name": "media", "type": "HostPath", "path": "/srv/media"}],
        "ingress": [{"name": "page", "target": {"service": "web", "port": 80}}],
    })
}

/// The steps that are not kept, after a change of the shop.
fn check(change: impl Fn(&mut Value)) -> (Vec<String>, Weight) {
    let mut after = shop();
    change(&mut after);
    let plan = Plan::between(Some(&spec(shop())), &spec(after));
    let steps = plan.steps.iter().filter(|step| step.fate != Fate::Keep);
    (steps.map(ToString::to_string).collect(), plan.weight())
}

#[test]
fn a_new_project_creates_everything() {
    let plan = Plan::between(None, &spec(shop()));
    assert!(plan.steps.iter().all(|step| step.fate == Fate::Create));
    assert_eq!(plan.steps.len(), 6);
    assert_eq!(plan.weight(), Weight::Harmless);
    assert!(!plan.is_empty());
}

#[test]
fn each_change_has_its_fate() {
    let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let same: fn(&mut Value) = |_| {};
    type Case = (fn(&mut Value), &'static [&'static str], Weight);
    let cases: [Case; 10] = [
        (same, &[], Weight::Harmless),
        (
            |s| s["services"][0]["image"] = json!("shop:1.5"),
            &["replace service web: image shop:1.4 -> shop:1.5"],
            Weight::Replaces,
        ),
        (
            |s| s["services"][0]["env"][0]["value"] = json!("other"),
            &["replace service web: env LEVEL"],
            Weight::Replaces,
        ),
        (
            |s| s["services"][0]["restartPolicy"] = json!("OnFailure"),
            &["update  service web: restartPolicy"],
            Weight::Harmless,
        ),
        (
            |s| s["volumes"][2]["path"] = json!("/srv/other"),
            &[
                "replace service web: a volume that it mounts",
                "update  volume  media: path /srv/media -> /srv/other",
            ],
            Weight::Replaces,
        ),
        (
            |s| s["ingress"][0]["target"]["port"] = json!(81),
            &[
                "replace service web: the ports that rules lead to",
                "update  ingress page: target",
            ],
            Weight::Replaces,
        ),
        (
            |s| s["ingress"][0]["host"] = json!("shop.example.com"),
            &["update  ingress page: host the project's name -> shop.example.com"],
            Weight::Replaces,
        ),
        (
            |s| {
                s["services"].as_array_mut().expect("a list").remove(1);
            },
            &["delete  service db"],
            Weight::Destroys,
        ),
        (
            |s| s["volumes"] = json!([s["volumes"][2]]),
            &["delete  volume  cache: Ephemeral: its data is lost"],
            Weight::Destroys,
        ),
        (
            |s| s["services"][1]["name"] = json!("database"),
            &["create  service database", "delete  service db"],
            Weight::Destroys,
        ),
    ];
    for (change, expected, weight) in cases {
        assert_eq!(check(change), (owned(expected), weight));
    }
}

#[test]
fn values_are_never_shown() {
    let (steps, _) = check(|s| s["services"][0]["env"][0]["value"] = json!("swordfish"));
    assert!(!steps.concat().contains("swordfish"));
    assert!(!steps.concat().contains("secret"));
}

#[test]
fn a_deletion_takes_persistent_data_along() {
    let plan = Plan::deletion(&spec(shop()));
    let text: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "delete  service web",
            "delete  service db",
            "delete  volume  data: Persistent: its data is lost",
            "delete  volume  cache: Ephemeral: its data is lost",
            "keep    volume  media: HostPath: the directory is not touched",
            "delete  ingress page",
        ]
    );
    assert!(plan.loses_data());
    assert!(!Plan::between(Some(&spec(shop())), &spec(json!({"services": []}))).loses_data());
}
