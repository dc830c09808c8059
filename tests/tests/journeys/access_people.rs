//! Servers that ask who somebody is, people with tokens, and what they are asked about.

use std::time::Duration;

use cara_api::access::value;
use cara_tests::Server;
use serde_json::{Value, json};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// A request with a token, if any.
pub(crate) async fn ask(
    server: &Server,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let method = method.parse().expect("a method");
    let client = cara_tests::http_builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .build();
    let mut request = client.expect("a client").request(method, server.url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    // Streams do not end.
    let is_stream = !headers.contains_key("content-length");
    let text = match is_stream {
        true => String::new(),
        false => answer.text().await.expect("a body"),
    };
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

/// A server that asks who somebody is, and its first token.
pub(crate) async fn secured(args: &[&str]) -> (Server, String) {
    let server = Server::start(&[&["--auth=true"], args].concat()).await;
    let file = server.directory().join("bootstrap-token");
    let admin = std::fs::read_to_string(&file).expect("the first token");
    let admin = admin.trim().to_owned();
    assert!(value::is_whole(&admin));
    assert!(!server.log().contains(&admin), "no log has a token");
    assert!(
        server.log().contains("bootstrap-token"),
        "it says where it is"
    );
    (server, admin)
}

/// A token without a user, made by an administrator.
pub(crate) async fn token(server: &Server, admin: &str, name: &str, grants: &Value) -> String {
    let document = json!({"metadata": {"name": name}, "spec": {"grants": grants}});
    let made = ask(server, Some(admin), "POST", "/api/v1/tokens", &document).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.headers["cache-control"], "no-store");
    made.body["value"].as_str().expect("a value").to_owned()
}

/// A project of one service that runs nowhere.
pub(crate) fn project(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"services": [{"name": "web", "image": "x"}]}})
}

/// A secret with one key.
pub(crate) fn secret(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "data": {"k": "hush-Zq9"}})
}

/// Projects and secrets of two teams.
pub(crate) async fn furnish(server: &Server, admin: &str) {
    for (kind, document) in [
        ("projects", project("shop", &json!({"team": "web"}))),
        ("projects", project("blog", &json!({"team": "db"}))),
        (
            "secrets",
            secret("shop-db", &json!({"project": "shop", "team": "web"})),
        ),
        (
            "secrets",
            secret("blog-db", &json!({"project": "blog", "team": "db"})),
        ),
    ] {
        let path = format!("/api/v1/{kind}");
        let made = ask(server, Some(admin), "POST", &path, &document).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let node = json!({"metadata": {"name": "n1"}});
    let made = ask(server, Some(admin), "POST", "/api/v1/nodes", &node).await;
    assert_eq!(made.status, 201, "{}", made.body);
}
