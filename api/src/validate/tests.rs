use super::*;

fn faults(spec: serde_json::Value) -> Vec<String> {
    let spec: ProjectSpec = serde_json::from_value(spec).expect("well-formed spec");
    let domain = Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    };
    project(&spec, "shop", &domain)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_sound_spec_has_no_faults() {
    let spec = serde_json::json!({
        "services": [
            {"name": "db", "image": "mysql:8", "env": [{"name": "A.b-c_D"}],
             "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}]},
            {"name": "app", "image": "wordpress"}],
        "volumes": [{"name": "data", "type": "Ephemeral"}],
        "ingress": [
            {"name": "web", "host": "blog.example.com", "target": {"service": "app", "port": 80},
             "access": {"scope": "Internal"}},
            {"name": "short", "host": "admin", "target": {"service": "app", "port": 65535}}]});
    assert_eq!(faults(spec), [""; 0]);
}

#[test]
fn all_faults_of_a_spec_are_found_at_once() {
    let spec = serde_json::json!({
        "services": [
            {"name": "a b", "image": "Bad Image", "env": [{"name": "1A"}, {"name": ""}],
             "volumeMounts": [{"name": "ghost", "mountPath": "rel/path"}, {"name": "v", "mountPath": "/"}]},
            {"name": "web", "image": ""},
            {"name": "web", "image": "x", "volumeMounts": [
                {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a/"}, {"name": "v", "mountPath": "/a/../b"}]},
            {"image": "x"}],
        "volumes": [{"name": "v", "type": "Floppy"}, {"name": "v", "type": "Ephemeral"}, {"type": "Ephemeral"}],
        "ingress": [
            {"name": "i", "host": "UP per_!", "target": {"service": "web", "port": 70000}},
            {"name": "i", "host": "w", "target": {"service": "nope", "port": 0}, "access": {"scope": "Public"}},
            {"host": "w.dev.localhost", "target": {"service": "web", "port": 1}}]});
    let expected = [
        "spec.services[0].name: service name \"a b\" is invalid: must consist of alphanumeric characters, hyphens (-), underscores (_) or dots (.), and must start with an alphanumeric character",
        "spec.services[0].image: service a b: image \"Bad Image\" is invalid: each part of the image name must consist of lowercase letters and digits, separated by '.', '_', '__' or '-'",
        "spec.services[0].env[0].name: service a b: environment variable name \"1A\" is invalid: must consist of letters, digits, '_', '.' or '-', and must not start with a digit",
        "spec.services[0].env[1].name: service a b: environment variable name \"\" is invalid: must consist of letters, digits, '_', '.' or '-', and must not start with a digit",
        "spec.services[0].volumeMounts[0].name: service a b: volume \"ghost\" is not defined in spec.volumes",
        "spec.services[0].volumeMounts[0].mountPath: service a b: mount path \"rel/path\" must be absolute",
        "spec.services[0].volumeMounts[1].mountPath: service a b: a volume cannot be mounted at '/'",
        "spec.services[1].image: service web: image is required",
        "spec.services[2].volumeMounts[1].mountPath: service web: two volumes at \"/a/\"",
        "spec.services[2].volumeMounts[2].mountPath: service web: mount path \"/a/../b\" must not contain '..'",
        "spec.services[2].name: duplicate service name: web",
        "spec.services[3].name: each service must have a non-empty name",
        "spec.volumes[0].type: volume v: type \"Floppy\" is not supported: must be \"Ephemeral\", \"Persistent\" or \"HostPath\"",
        "spec.volumes[1].name: duplicate volume name: v",
        "spec.volumes[2].name: each volume must have a non-empty name",
        "spec.ingress[0].target.port: ingress i: target port must be no more than 65535",
        "spec.ingress[0].host: ingress i: host \"UP per_!\" is invalid: each part between dots must consist of letters, digits and inner hyphens",
        "spec.ingress[1].name: duplicate ingress name: i",
        "spec.ingress[1].target.service: ingress i: target service nope does not exist in spec.services",
        "spec.ingress[1].target.port: ingress i: target port must be greater than 0",
        "spec.ingress[1].access.scope: ingress i: only \"Internal\" scope is supported",
        "spec.ingress[2].name: each ingress entry must have a non-empty name",
        "spec.ingress[2].host: ingress : host w.dev.localhost is used twice in this project",
    ];
    assert_eq!(faults(spec), expected);
    assert_eq!(
        faults(serde_json::json!({})),
        ["spec.services: spec.services must contain at least one service"]
    );
}

#[test]
fn kind_and_api_version_may_be_absent_but_not_wrong() {
    assert_eq!(identity::<Project>("", "", "a"), []);
    assert_eq!(identity::<Node>(API_VERSION, "Node", "a.b"), []);
    let faults = identity::<Project>("bogus/v9", "Banana", "a.b");
    let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["apiVersion", "kind", "metadata.name"]);
}

#[test]
fn faults_of_what_a_service_runs_with_name_their_field() {
    let spec = serde_json::json!({
        "services": [
            {"name": "web", "image": "x", "restartPolicy": "Sometimes", "stopGracePeriod": "10",
             "workingDir": "srv", "capAdd": ["NET_RAW", "SYS_ADMIN"], "labels": {"cara.project": "x"},
             "env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                     {"name": "B", "valueFrom": {}}],
             "resources": {"requests": {"cpu": "2", "disk": "1Gi"}, "limits": {"cpu": "1", "memory": "lots"}},
             "healthCheck": {"readiness": {"http": {"port": 0, "path": "x"}, "tcp": {"port": 80}},
                             "liveness": {"exec": {}, "interval": "x", "failureThreshold": 0}},
             "configs": [{"path": "/etc/a"}], "secrets": [{"path": "/etc/a/"}],
             "dependsOn": [{"service": "db", "condition": "Soon"}, {"service": "ghost"}]},
            {"name": "db", "image": "x", "dependsOn": [{"service": "web"}]}],
        "volumes": [{"name": "h", "type": "HostPath", "path": "data"}, {"name": "e", "type": "Ephemeral", "path": "/x"}],
        "tolerations": [{"effect": "Never"}], "spread": {}});
    let fields: Vec<String> = faults(spec)
        .iter()
        .filter_map(|f| f.split(": ").next().map(ToOwned::to_owned))
        .collect();
    let expected = [
        "spec.services[0].env[0].valueFrom",
        "spec.services[0].env[1].valueFrom",
        "spec.services[0].restartPolicy",
        "spec.services[0].stopGracePeriod",
        "spec.services[0].workingDir",
        "spec.services[0].capAdd[1]",
        "spec.services[0].labels[\"cara.project\"]",
        "spec.services[0].resources.requests.disk",
        "spec.services[0].resources.limits.memory",
        "spec.services[0].resources.requests.cpu",
        "spec.services[0].healthCheck.readiness",
        "spec.services[0].healthCheck.readiness.http.port",
        "spec.services[0].healthCheck.readiness.http.path",
        "spec.services[0].healthCheck.liveness.exec.command",
        "spec.services[0].healthCheck.liveness.interval",
        "spec.services[0].healthCheck.liveness.failureThreshold",
        "spec.services[0].secrets[0].secret",
        "spec.services[0].secrets[0].path",
        "spec.services[0].dependsOn[0].condition",
        "spec.services[0].dependsOn[1].service",
        "spec.services[0].dependsOn",
        "spec.volumes[0].path",
        "spec.volumes[1].path",
        "spec.tolerations[0].effect",
        "spec.spread.label",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn secrets_and_nodes_are_checked_as_a_whole() {
    let secret: Secret =
        serde_json::from_value(serde_json::json!({"data": {"a/b": "x", "ok": "y"}}))
            .expect("well-formed");
    let paths = |faults: Vec<FieldError>| faults.into_iter().map(|f| f.path).collect::<Vec<_>>();
    assert_eq!(paths(super::secret(&secret)), ["data[\"a/b\"]"]);
    assert_eq!(paths(super::secret(&Secret::default())), ["data"]);
    let tainted: Node =
        serde_json::from_value(serde_json::json!({"spec": {"taints": [{"effect": "Never"}]}}))
            .expect("well-formed");
    assert_eq!(
        paths(node(&tainted)),
        ["spec.taints[0].key", "spec.taints[0].effect"]
    );
}
