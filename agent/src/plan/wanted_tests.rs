use std::sync::Arc;

use cara_api::SecretName;
use cara_api::agent::{ExposedPort, SecretValues};
use cara_api::project::ProjectSpec;

use super::*;

pub(crate) fn assignment(spec: serde_json::Value, exposed: &[(&str, u16)]) -> Assignment {
    let spec: ProjectSpec = serde_json::from_value(spec).expect("a spec");
    let exposed = exposed.iter().map(|(service, port)| ExposedPort {
        service: (*service).into(),
        port: *port,
    });
    Assignment {
        name: ProjectName::trusted("shop"),
        uid: String::new(),
        generation: Generation(1),
        epoch: BindingEpoch(1),
        goal: Goal::Run,
        spec: Arc::new(spec),
        exposed: exposed.collect(),
        is_rollout: false,
        secrets: BTreeMap::new(),
    }
}

pub(crate) fn rules(publish_on: Option<&str>) -> NodeRules {
    NodeRules {
        publish_on: publish_on.map(|ip| ip.parse().expect("an address")),
        defaults: Defaults {
            memory_bytes: 1 << 30,
            pids: 2048,
        },
        timing: Timing::default(),
    }
}

pub(crate) fn wanted(spec: serde_json::Value, exposed: &[(&str, u16)]) -> Wanted {
    Wanted::new(&assignment(spec, exposed), &rules(None))
}

#[test]
fn engine_names_follow_the_documented_pattern() {
    let spec = serde_json::json!({
        "services": [{"name": "web", "image": "x", "volumeMounts": [
            {"name": "data", "mountPath": "/d"}, {"name": "host", "mountPath": "/h", "readOnly": true}]}],
        "volumes": [{"name": "data", "type": "Persistent"}, {"name": "host", "type": "HostPath", "path": "/srv"}]});
    let wanted = wanted(spec, &[]);
    let service = &wanted.services[0];
    assert_eq!(service.container, "shop-web");
    let from = |path: &str| service.definition.mounts.get(path).map(|m| m.from.clone());
    assert_eq!(from("/d"), Some(MountFrom::Volume("cara-shop-data".into())));
    assert_eq!(from("/h"), Some(MountFrom::HostPath("/srv".into())));
    assert_eq!(
        wanted.volumes,
        BTreeMap::from([("cara-shop-data".to_owned(), VolumeLife::Persistent)]),
        "a directory of the host is not the engine's to keep"
    );
}

#[test]
fn a_service_that_writes_to_a_volume_is_exclusive() {
    let exclusive = |mount: serde_json::Value| {
        let spec = serde_json::json!({
            "services": [{"name": "web", "image": "x", "volumeMounts": mount}],
            "volumes": [{"name": "data", "type": "Ephemeral"}]});
        wanted(spec, &[]).services[0].is_exclusive
    };
    assert!(!exclusive(serde_json::json!([])));
    assert!(exclusive(
        serde_json::json!([{"name": "data", "mountPath": "/d"}])
    ));
    assert!(!exclusive(
        serde_json::json!([{"name": "data", "mountPath": "/d", "readOnly": true}])
    ));
}

#[test]
fn a_fingerprint_changes_with_the_definition_only() {
    let fingerprint = |spec: serde_json::Value, exposed: &[(&str, u16)], publish: Option<&str>| {
        let wanted = Wanted::new(&assignment(spec, exposed), &rules(publish));
        wanted.services[0].fingerprint.clone()
    };
    let service = |more: serde_json::Value| {
        let mut service = serde_json::json!({"name": "web", "image": "x:1"});
        for (key, value) in more.as_object().expect("fields") {
            service[key] = value.clone();
        }
        serde_json::json!({"services": [service]})
    };
    let base = || service(serde_json::json!({}));
    let first = fingerprint(base(), &[], None);
    assert_eq!(
        first,
        fingerprint(base(), &[("other", 80)], Some("10.0.0.1")),
        "other services do not matter"
    );
    assert_eq!(
        first,
        fingerprint(base(), &[("web", 80)], None),
        "a new ingress needs no new container here"
    );
    assert_eq!(
        first,
        fingerprint(
            service(
                serde_json::json!({"restartPolicy": "Never", "dependsOn": [],
                "healthCheck": {"readiness": {"tcp": {"port": 1}}}})
            ),
            &[],
            None
        ),
        "what the agent does around a container needs no new one"
    );
    let published = fingerprint(base(), &[("web", 80)], Some("10.0.0.1"));
    assert_ne!(first, published, "a port to publish does");
    for change in [
        serde_json::json!({"image": "x:2"}),
        serde_json::json!({"env": [{"name": "A"}]}),
        serde_json::json!({"command": ["a"]}),
        serde_json::json!({"args": ["a"]}),
        serde_json::json!({"user": "1"}),
        serde_json::json!({"workingDir": "/x"}),
        serde_json::json!({"labels": {"a": "b"}}),
        serde_json::json!({"capAdd": ["NET_RAW"]}),
        serde_json::json!({"allowPrivilegeEscalation": true}),
        serde_json::json!({"resources": {"limits": {"memory": "1Mi"}}}),
        serde_json::json!({"configs": [{"path": "/a", "content": "1"}]}),
        serde_json::json!({"stopGracePeriod": "1s"}),
    ] {
        assert_ne!(
            first,
            fingerprint(service(change.clone()), &[], None),
            "{change}"
        );
    }
}

#[test]
fn secrets_reach_the_service_and_only_their_version_reaches_the_fingerprint() {
    let spec = serde_json::json!({"services": [{"name": "web", "image": "x",
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}}],
        "secrets": [{"secret": "db", "path": "/run/secrets"}, {"secret": "api", "key": "token", "path": "/t"}]}]});
    let secret = |version, value: &str, key: &str| SecretValues {
        version: cara_api::ResourceVersion(version),
        data: BTreeMap::from([(key.to_owned(), Hidden::new(value))]),
    };
    let wanted = |api: SecretValues| {
        let mut assignment = assignment(spec.clone(), &[]);
        assignment.secrets = BTreeMap::from([
            (SecretName::trusted("api"), api),
            (SecretName::trusted("db"), secret(1, "pw", "password")),
        ]);
        Wanted::new(&assignment, &rules(None)).services.remove(0)
    };
    let first = wanted(secret(7, "abc", "token"));
    assert_eq!(first.missing, [""; 0]);
    assert_eq!(first.secret_env["TOKEN"].reveal(), "abc");
    let files: Vec<_> = first
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.content.reveal()))
        .collect();
    assert_eq!(files, [("/run/secrets/password", "pw"), ("/t", "abc")]);
    assert!(!format!("{:?}", first.definition).contains("abc"));
    let same_version = wanted(secret(7, "other", "token"));
    assert_eq!(
        first.fingerprint, same_version.fingerprint,
        "no trace of the value"
    );
    assert_ne!(
        first.fingerprint,
        wanted(secret(8, "abc", "token")).fingerprint
    );
    let lacking = wanted(secret(7, "abc", "other"));
    assert_eq!(
        lacking.missing,
        [
            r#"secret "api" has no key "token""#,
            r#"secret "api" has no key "token""#
        ]
    );
    let none = Wanted::new(&assignment(spec.clone(), &[]), &rules(None));
    assert!(
        none.services[0]
            .missing
            .contains(&r#"secret "db" does not exist"#.to_owned())
    );
}
