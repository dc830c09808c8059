//! What makes the API pleasant to write clients for: selectors, pages, tags, compression, dry runs,
//! keys for asking again, and the reference.

use cara_tests::{Server, http};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

fn labelled(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"services": [{"name": "web", "image": "x"}]}})
}

async fn create(server: &Server, name: &str, labels: Value) {
    let body = labelled(name, labels).to_string();
    let (status, answer) = server.call("POST", "/api/v1/projects", &body).await;
    assert_eq!(status, 201, "{answer}");
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list").iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap_or_default())
        .collect()
}

async fn list(server: &Server, query: &str) -> (u16, Value) {
    let path = format!("/api/v1/projects?{query}");
    server.call("GET", &path, "").await
}

/// Sends a request with headers; status, headers and text.
async fn send(
    server: &Server,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, HeaderMap, String) {
    let method = method.parse().expect("a method");
    let url = format!("http://{}{path}", server.api);
    let request = http().request(method, url).body(body.to_owned());
    let request = headers.iter().fold(request, |r, (k, v)| r.header(*k, *v));
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    (status, headers, response.text().await.unwrap_or_default())
}

#[tokio::test]
async fn lists_and_watches_go_by_selectors() {
    let server = Server::start(&[]).await;
    create(&server, "a", json!({"tier": "web", "team": "red"})).await;
    create(&server, "b", json!({"tier": "db"})).await;
    create(&server, "c", json!({})).await;
    for (query, expected) in [
        ("labelSelector=tier", &["a", "b"][..]),
        ("labelSelector=tier%3Dweb", &["a"]),
        ("labelSelector=tier+in+(web,db),!team", &["b"]),
        ("labelSelector=tier!%3Dweb", &["b", "c"]),
        ("fieldSelector=metadata.name%3Dc", &["c"]),
        (
            "fieldSelector=status.phase%3DPending&labelSelector=team",
            &["a"],
        ),
        ("fieldSelector=status.phase!%3DPending", &[]),
    ] {
        let (status, found) = list(&server, query).await;
        assert_eq!((status, names(&found)), (200, expected.to_vec()), "{query}");
    }
    for (query, detail) in [
        (
            "labelSelector=a+b",
            "labelSelector: position 3: expected =, !=, in, notin or a comma, found 'b'",
        ),
        (
            "fieldSelector=spec.x%3D1",
            "fieldSelector: position 1: field \"spec.x\" cannot be selected by: there are metadata.name, status.phase, status.nodeRef",
        ),
        (
            "limit=some",
            "limit=some is not a number of objects, such as 100",
        ),
    ] {
        let (status, problem) = list(&server, query).await;
        assert_eq!(
            (status, problem["detail"].as_str()),
            (400, Some(detail)),
            "{query}"
        );
    }
    // One that gets a label comes into the watch, one that loses it leaves.
    let mut watch = http()
        .get(format!(
            "http://{}/api/v1/projects?watch=true&labelSelector=team",
            server.api
        ))
        .send()
        .await
        .expect("a watch");
    let mut text = String::new();
    let put = async |name: &str, labels: Value| {
        let path = format!("/api/v1/projects/{name}");
        let body = labelled(name, labels).to_string();
        assert_eq!(server.call("PUT", &path, &body).await.0, 200);
    };
    put("c", json!({"team": "blue"})).await;
    put("a", json!({})).await;
    put("b", json!({"tier": "none"})).await;
    let wanted = ["ADDED a", "ADDED c", "DELETED a"];
    let seen = async {
        loop {
            let chunk = watch.chunk().await.expect("lines").expect("no end");
            text.push_str(&String::from_utf8_lossy(&chunk));
            let events = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let events = events.filter(|e: &Value| e["type"] != "BOOKMARK");
            let events: Vec<String> = events
                .map(|e| {
                    let name = e["object"]["metadata"]["name"].as_str();
                    format!(
                        "{} {}",
                        e["type"].as_str().unwrap_or_default(),
                        name.unwrap_or_default()
                    )
                })
                .collect();
            if wanted.iter().all(|line| events.iter().any(|e| e == line)) {
                return events;
            }
        }
    };
    let seen = tokio::time::timeout(std::time::Duration::from_secs(20), seen).await;
    let seen = seen.expect("all events");
    assert!(!seen.iter().any(|event| event.ends_with(" b")), "{seen:?}");
}

#[tokio::test]
async fn pages_show_one_moment() {
    let server = Server::start(&[]).await;
    for name in ["a", "b", "c", "d", "e"] {
        create(&server, name, json!({"v": "1"})).await;
    }
    let (_, first) = list(&server, "limit=2").await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().expect("a token");
    // What happens between the pages does not show on them.
    assert_eq!(
        server
            .call("DELETE", "/api/v1/projects/c?force=true", "")
            .await
            .0,
        204
    );
    create(&server, "cc", json!({})).await;
    let body = labelled("d", json!({"v": "2"})).to_string();
    assert_eq!(server.call("PUT", "/api/v1/projects/d", &body).await.0, 200);
    let (_, second) = list(&server, &format!("limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["items"][1]["metadata"]["labels"]["v"], "1");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().expect("a token");
    let (_, last) = list(&server, &format!("limit=2&continue={token}")).await;
    assert_eq!(names(&last), ["e"]);
    assert_eq!(last["metadata"].get("continue"), None);
    let (status, problem) = list(&server, &format!("labelSelector=v&continue={token}")).await;
    assert_eq!(status, 400, "{problem}");
    let (_, now) = list(&server, "").await;
    assert_eq!(names(&now), ["a", "b", "cc", "d", "e"]);
}

#[tokio::test]
async fn who_has_an_answer_does_not_get_it_again() {
    let server = Server::start(&[]).await;
    let labels: serde_json::Map<String, Value> = (0..200)
        .map(|n| (format!("label-{n}"), json!("value")))
        .collect();
    create(&server, "a", Value::Object(labels)).await;
    let path = "/api/v1/secrets/s";
    let secret = json!({"metadata": {"name": "s"}, "data": {"k": "v"}}).to_string();
    assert_eq!(server.call("POST", "/api/v1/secrets", &secret).await.0, 201);
    let (status, headers, _) = send(&server, ("GET", path), &[], "").await;
    assert_eq!(status, 200);
    let tag = headers["etag"].to_str().expect("text").to_owned();
    let same = [("if-none-match", tag.as_str())];
    let (status, headers, body) = send(&server, ("GET", path), &same, "").await;
    assert_eq!((status, body.as_str()), (304, ""));
    assert_eq!(headers["etag"], tag.as_str());
    let matching = [("if-match", tag.as_str())];
    let changed = json!({"metadata": {"name": "s"}, "data": {"k": "w"}}).to_string();
    assert_eq!(
        send(&server, ("PUT", path), &matching, &changed).await.0,
        200
    );
    assert_eq!(send(&server, ("GET", path), &same, "").await.0, 200);
    assert_eq!(
        send(&server, ("PUT", path), &matching, &secret).await.0,
        409
    );
    // Compressed for those who ask, whole answers only.
    let zipped = [("accept-encoding", "gzip")];
    let (_, headers, _) = send(&server, ("GET", "/api/v1/projects"), &zipped, "").await;
    assert_eq!(headers["content-encoding"], "gzip");
    let (_, headers, _) = send(&server, ("GET", "/api/v1/projects"), &[], "").await;
    assert_eq!(headers.get("content-encoding"), None);
    let watch = http()
        .get(format!("http://{}/api/v1/projects?watch=true", server.api))
        .header("accept-encoding", "gzip")
        .send()
        .await
        .expect("a watch");
    assert_eq!(watch.headers().get("content-encoding"), None);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("audit.jsonl");
    let audit = format!("--audit-log={}", log.display());
    let server = Server::start(&[&audit]).await;
    let host = json!({"metadata": {"name": "first"}, "spec": {"services": [{"name": "web", "image": "x"}],
        "ingress": [{"name": "i", "host": "one", "target": {"service": "web", "port": 80}}]}});
    assert_eq!(
        server
            .call("POST", "/api/v1/projects", &host.to_string())
            .await
            .0,
        201
    );
    let dry = "/api/v1/projects?dryRun=All";
    let body = labelled("second", json!({})).to_string();
    let (status, answer) = server.call("POST", dry, &body).await;
    assert_eq!(status, 201);
    assert_eq!(answer["status"]["phase"], "Pending");
    assert_eq!(answer["metadata"].get("resourceVersion"), None);
    let mut taken = host.clone();
    taken["metadata"]["name"] = json!("second");
    let (status, problem) = server.call("POST", dry, &taken.to_string()).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(server.call("POST", dry, &host.to_string()).await.0, 409);
    assert_eq!(server.call("POST", dry, "{}").await.0, 400);
    let settled = cara_tests::eventually("the project to be looked at", async || {
        let (_, list) = server.call("GET", "/api/v1/projects", "").await;
        let is_settled = list["items"][0]["status"]["conditions"].is_array();
        is_settled.then_some(list)
    });
    let before = settled.await;
    let mut other = host.clone();
    other["spec"]["services"][0]["image"] = json!("y");
    let one = "/api/v1/projects/first?dryRun=All";
    let (status, answer) = server.call("PUT", one, &other.to_string()).await;
    assert_eq!(
        (status, &answer["metadata"]["generation"]),
        (200, &json!(2))
    );
    assert_eq!(answer["spec"]["services"][0]["image"], "y");
    assert_eq!(server.call("DELETE", one, "").await.0, 204);
    let secret = json!({"metadata": {"name": "s"}, "data": {"k": "v"}}).to_string();
    assert_eq!(
        server
            .call("POST", "/api/v1/secrets?dryRun=All", &secret)
            .await
            .0,
        201
    );
    let (_, after) = server.call("GET", "/api/v1/projects", "").await;
    assert_eq!(before["items"], after["items"], "nothing was written");
    assert_eq!(
        names(&server.call("GET", "/api/v1/secrets", "").await.1),
        Vec::<&str>::new()
    );
    let (status, problem) = server
        .call("POST", "/api/v1/projects?dryRun=yes", &body)
        .await;
    assert_eq!(status, 400, "{problem}");
    let share = "/api/v1/projects/first/share?dryRun=All";
    let (status, problem) = server.call("POST", share, "{}").await;
    assert_eq!(
        (status, &problem["detail"]),
        (400, &json!("there is no dry run of this"))
    );
    // The log is written in order: what came after the dry runs shows that they are not there.
    assert_eq!(
        server
            .call("DELETE", "/api/v1/projects/first?force=true", "")
            .await
            .0,
        204
    );
    let lines = cara_tests::eventually("the record of the deletion", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("delete").then_some(text)
    });
    assert_eq!(lines.await.lines().count(), 2);
}

#[tokio::test]
async fn a_key_makes_a_request_good_for_once() {
    let mut server = Server::start(&[]).await;
    let post = ("POST", "/api/v1/projects");
    let key = [("idempotency-key", "the-first")];
    let body = labelled("a", json!({})).to_string();
    let (status, first, text) = send(&server, post, &key, &body).await;
    assert_eq!(status, 201);
    assert_eq!(first.get("idempotency-replayed"), None);
    for _ in 0..2 {
        let (status, again, same) = send(&server, post, &key, &body).await;
        assert_eq!((status, &same), (201, &text));
        assert_eq!(again["idempotency-replayed"], "true");
        assert_eq!(again["etag"], first["etag"]);
        // Also of another server over the same store.
        server.restart_with(&[]).await;
    }
    let other = labelled("b", json!({})).to_string();
    let (status, _, text) = send(&server, post, &key, &other).await;
    assert_eq!(status, 422, "{text}");
    // Without a key the same is a conflict, and a conflict is not kept.
    let fresh = [("idempotency-key", "the-second")];
    assert_eq!(send(&server, post, &[], &body).await.0, 409);
    assert_eq!(send(&server, post, &fresh, &body).await.0, 409);
    assert_eq!(server.call("DELETE", "/api/v1/projects/a", "").await.0, 204);
    assert_eq!(send(&server, post, &fresh, &body).await.0, 201);
    // Of many at once, one creates.
    let burst = [("idempotency-key", "burst")];
    let body = labelled("c", json!({})).to_string();
    let sent = (0..8).map(|_| send(&server, post, &burst, &body));
    let answers = futures_util::future::join_all(sent).await;
    for (status, _, text) in &answers {
        assert!(
            *status == 201 || text.contains("is not answered yet"),
            "{status} {text}"
        );
    }
    let (_, _, last) = send(&server, post, &burst, &body).await;
    assert!(last.contains("\"c\""), "{last}");
    for bad in ["", &"k".repeat(256)] {
        let key = [("idempotency-key", bad)];
        assert_eq!(send(&server, post, &key, &body).await.0, 400);
    }
}

#[tokio::test]
async fn the_reference_needs_nothing_from_elsewhere() {
    let server = Server::start(&[]).await;
    let (status, headers, page) = send(&server, ("GET", "/api/docs"), &[], "").await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.contains("/api/v1/projects/{name}") && page.contains("labelSelector"));
    let (_, document) = server.call("GET", "/api/openapi.json", "").await;
    let post = &document["paths"]["/api/v1/projects"]["post"];
    let example = &post["requestBody"]["content"]["application/json"]["example"];
    let path = "/api/v1/projects?dryRun=All";
    let (status, answer) = server.call("POST", path, &example.to_string()).await;
    assert_eq!(status, 201, "{answer}");
}
