//! The API's own promises: what is refused and how, versions, documents.

use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};

fn minimal(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"services": [{"name": "web", "image": "x"}]}})
}

#[tokio::test]
async fn weakness_15_every_fault_of_a_document_is_reported_at_once() {
    let server = Server::start(&[]).await;
    let body = json!({"apiVersion": "bogus/v9", "kind": "Banana", "metadata": {"name": "Bad_Name"}, "spec": {
        "services": [{"name": "web", "image": "No Image", "env": [{"name": "A", "value": 5}, {"name": "1"}],
                      "volumeMounts": [{"name": "ghost", "mountPath": "rel"}]}, {"name": "web", "imag": "x"}],
        "volumes": [{"name": "v", "type": "Floppy"}],
        "ingress": [{"name": "i", "host": "UP per_!", "target": {"service": "web", "port": 70000}}],
        "expireAt": "tomorrow"}});
    let (status, problem) = server
        .call("POST", "/api/v1/projects", &body.to_string())
        .await;
    assert_eq!(
        (status, &problem["title"], &problem["status"]),
        (400, &json!("Validation Problem"), &json!(400))
    );
    let errors: Vec<&str> = problem["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let paths: Vec<&str> = errors
        .iter()
        .filter_map(|e| e.split_once(": ").map(|(path, _)| path))
        .collect();
    assert_eq!(
        paths,
        [
            "spec.services[0].env[0].value",
            "spec.expireAt",
            "apiVersion",
            "kind",
            "metadata.name",
            "spec.services[0].image",
            "spec.services[0].env[1].name",
            "spec.services[0].volumeMounts[0].name",
            "spec.services[0].volumeMounts[0].mountPath",
            "spec.services[1].image",
            "spec.services[1].name",
            "spec.volumes[0].type",
            "spec.ingress[0].target.port",
            "spec.ingress[0].host",
        ]
    );
    assert_eq!(
        problem["warnings"],
        json!(["unknown field \"spec.services[1].imag\", did you mean \"image\"?"])
    );
    assert_eq!(
        server.call("GET", "/api/v1/projects", "").await.1["items"],
        json!([]),
        "nothing was stored"
    );
}

#[tokio::test]
async fn single_faults_keep_the_words_of_the_older_system() {
    let server = Server::start(&[]).await;
    let post = async |body: &str| {
        let (status, problem) = server.call("POST", "/api/v1/projects", body).await;
        (
            status,
            problem["detail"].as_str().unwrap_or_default().to_owned(),
        )
    };
    for (body, detail) in [
        ("", "invalid request body: EOF"),
        ("{\"metadata\":", "invalid request body: unexpected EOF"),
        (
            r#"{"metadata":{"name":"p"}}"#,
            "spec.services must contain at least one service",
        ),
        (
            r#"{"metadata":{"name":"p"},"spec":{"services":[{"image":"x"}]}}"#,
            "each service must have a non-empty name",
        ),
        (
            r#"{"metadata":{"name":"p"},"spec":{"services":[{"name":"web"}]}}"#,
            "service web: image is required",
        ),
        (
            r#"{"spec":{"services":[{"name":"web","image":"x"}]}}"#,
            "metadata.name is required",
        ),
    ] {
        assert_eq!(post(body).await, (400, detail.to_owned()), "{body}");
    }
    let large = format!(
        "{{\"metadata\":{{\"name\":\"{}\"}}}}",
        "x".repeat(1024 * 1024)
    );
    assert_eq!(
        post(&large).await,
        (413, "request body is larger than 1048576 bytes".to_owned())
    );
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/nodes/", 404),
        ("PATCH", "/api/v1/nodes", 405),
        ("POST", "/api/v1/projects/foo", 405),
        ("GET", "/", 404),
        ("GET", "/api/v1/projects/a%2Fb", 404),
    ] {
        assert_eq!(
            server.call(method, path, "{}").await.0,
            status,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn weakness_15_what_is_unknown_warns_and_what_is_set_by_the_server_is_ignored() {
    let server = Server::start(&[]).await;
    let name = unique("p");
    let mut body = minimal(&name);
    body["spec"]["servces"] = json!([]);
    body["status"] = json!({"phase": "Running", "nodeRef": "n"});
    let answer = cara_tests::http()
        .post(server.url("/api/v1/projects"))
        .body(body.to_string())
        .send()
        .await;
    let answer = answer.expect("an answer");
    let warning = answer.headers()["warning"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(
        warning,
        r#"299 - "unknown field \"spec.servces\", did you mean \"services\"?""#
    );
    let created: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!(created["status"], json!({"phase": "Pending"}));
    for field in [
        "uid",
        "resourceVersion",
        "generation",
        "createdAt",
        "updatedAt",
    ] {
        assert!(
            !created["metadata"][field].is_null(),
            "metadata.{field} is missing: {created}"
        );
    }
    let keys: Vec<&String> = created.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["apiVersion", "kind", "metadata", "spec", "status"]);
}

#[tokio::test]
async fn weakness_13_a_host_belongs_to_one_project_however_it_is_written() {
    let server = Server::start(&[]).await;
    let (first, second) = (unique("first"), unique("second"));
    let with_host = |name: &str, host: &str| {
        let mut body = minimal(name);
        body["spec"]["ingress"] =
            json!([{"name": "i", "host": host, "target": {"service": "web", "port": 80}}]);
        body.to_string()
    };
    assert_eq!(
        server
            .call("POST", "/api/v1/projects", &with_host(&first, "web"))
            .await
            .0,
        201
    );
    // The same hostname, written in another way.
    let (status, problem) = server
        .call(
            "POST",
            "/api/v1/projects",
            &with_host(&second, "WEB.dev.localhost."),
        )
        .await;
    assert_eq!(status, 409);
    let expected = format!("host web.dev.localhost is already used by project \"{first}\"");
    assert_eq!(problem["detail"], expected);
    assert!(
        server.project(&second).await.is_none(),
        "the project is not half created"
    );
    assert_eq!(
        server
            .call("POST", "/api/v1/projects", &with_host(&second, "other"))
            .await
            .0,
        201
    );
    let path = format!("/api/v1/projects/{second}");
    assert_eq!(
        server
            .call("PUT", &path, &with_host(&second, "web"))
            .await
            .1["detail"],
        expected
    );
    // All of them are named.
    let mut both: Value = serde_json::from_str(&with_host("both", "web")).expect("JSON");
    both["spec"]["ingress"][0]["hosts"] = json!(["other", "free"]);
    let both = both.to_string();
    let (status, problem) = server.call("POST", "/api/v1/projects", &both).await;
    let others = format!("host other.dev.localhost is already used by project \"{second}\"");
    let taken = problem["detail"].as_str().unwrap_or_default();
    let mut taken: Vec<&str> = taken.split("; ").collect();
    taken.sort_unstable();
    assert_eq!(
        (status, taken),
        (409, vec![others.as_str(), expected.as_str()])
    );
    // Two requests race for a host that is free: one wins, whichever.
    server.delete(&first).await;
    let race = futures_util::future::join_all((0..8).map(|n| {
        let body = with_host(&format!("{first}-{n}"), "web");
        let server = &server;
        async move { server.call("POST", "/api/v1/projects", &body).await.0 }
    }))
    .await;
    assert_eq!(
        race.iter().filter(|status| **status == 201).count(),
        1,
        "{race:?}"
    );
    assert_eq!(
        race.iter().filter(|status| **status == 409).count(),
        7,
        "{race:?}"
    );
}

#[tokio::test]
async fn writes_can_be_conditional_on_a_version() {
    let server = Server::start(&[]).await;
    let name = unique("v");
    let (_, created) = server
        .call("POST", "/api/v1/projects", &minimal(&name).to_string())
        .await;
    let version = created["metadata"]["resourceVersion"]
        .as_str()
        .expect("text")
        .to_owned();
    let path = format!("/api/v1/projects/{name}");
    eventually("the scheduler has written its reason", async || {
        let (_, now) = server.call("GET", &path, "").await;
        (now["metadata"]["resourceVersion"] != json!(version)).then_some(())
    })
    .await;
    let mut body = minimal(&name);
    body["metadata"]["resourceVersion"] = json!(version);
    body["spec"]["services"][0]["image"] = json!("y");
    assert_eq!(server.call("PUT", &path, &body.to_string()).await.0, 409);
    let client = cara_tests::http();
    let stale = client
        .delete(server.url(&path))
        .header("if-match", format!("\"{version}\""))
        .send()
        .await;
    assert_eq!(stale.expect("an answer").status(), 409);
    let (_, now) = server.call("GET", &path, "").await;
    body["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
    let (status, changed) = server.call("PUT", &path, &body.to_string()).await;
    assert_eq!(
        (status, &changed["metadata"]["generation"]),
        (200, &json!(2))
    );
    body["metadata"]["resourceVersion"] = json!("");
    let (_, same) = server.call("PUT", &path, &body.to_string()).await;
    assert_eq!(
        same["metadata"]["generation"], 2,
        "the same spec again is no edit"
    );
    assert_eq!(
        server.call("DELETE", &path, "").await.0,
        204,
        "nothing runs, so it goes at once"
    );
    assert_eq!(server.call("DELETE", &path, "").await.0, 404);
}

#[tokio::test]
async fn health_version_and_api_description_are_served() {
    let server = Server::start(&[]).await;
    assert_eq!(
        server.call("GET", "/api/healthz", "").await,
        (200, json!("OK"))
    );
    assert_eq!(server.call("GET", "/api/readyz", "").await.0, 200);
    let (_, version) = server.call("GET", "/api/version", "").await;
    assert_eq!(version["apiVersion"], "caravanserai/v1");
    let (_, document) = server.call("GET", "/api/openapi.json", "").await;
    let rows = cara_api::access::routes::API.iter();
    for row in rows.filter(|row| row.path.starts_with("/api/v1/")) {
        let operation = &document["paths"][row.path][row.method.to_lowercase()];
        assert!(
            operation.is_object(),
            "{} {} is described",
            row.method,
            row.path
        );
    }
    assert!(document["components"]["schemas"]["Project"]["properties"]["spec"].is_object());
}

#[tokio::test]
async fn nobody_returns_to_a_host_that_is_the_gateways_by_now() {
    let mut server = Server::start(&[]).await;
    let project = |host: &str| {
        let mut project = minimal("shop");
        project["spec"]["ingress"] = json!([{"name": "web", "hosts": [host],
            "target": {"service": "web", "port": 80}}]);
        project.to_string()
    };
    let path = "/api/v1/projects/shop";
    let first = project("login.example.com");
    let (status, made) = server.call("POST", "/api/v1/projects", &first).await;
    assert_eq!(status, 201, "{made}");
    let told = ["--auth-host", "login.example.com"];
    server.restart_with(&told).await;
    let (_, shown) = server.call("GET", path, "").await;
    assert_eq!(
        shown["status"]["ingress"][0]["message"],
        "login.example.com is where login services send browsers back to (--auth-host)"
    );
    let second = project("shop.example.com");
    let (status, changed) = server.call("PUT", path, &second).await;
    assert_eq!(status, 200, "{changed}");
    let rollback = format!("{path}/rollback");
    let first = r#"{"generation": 1}"#;
    let (status, problem) = server.call("POST", &rollback, first).await;
    assert_eq!(status, 400, "{problem}");
    let error = problem["errors"][0].as_str().expect("an error");
    assert!(error.contains("(--auth-host)"), "{error}");
}
