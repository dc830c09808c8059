//! Who may come in: what a project's document says, through control plane and gateway. Its
//! services do not run: "not ready" is what those get who come in.

use std::time::Duration;

use cara_tests::{Server, eventually};
use serde_json::{Value, json};

const OPEN: u16 = 503;

fn spec(access: &Value) -> Value {
    json!({
        "services": [{"name": "web", "image": "none:1"}],
        "ingress": [{"name": "web", "target": {"service": "web", "port": 80}, "access": access}],
    })
}

async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = cara_tests::http_builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    let mut request = client.get(format!("http://{}{path}", server.http));
    request = request.header("host", "shop.dev.localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

async fn status(server: &Server, path: &str, headers: &[(&str, &str)]) -> u16 {
    ask(server, path, headers).await.status().as_u16()
}

async fn until(server: &Server, headers: &[(&str, &str)], wanted: u16, says: &str) {
    eventually(
        &format!("the gateway answers {wanted} {says:?}"),
        async || {
            let answer = ask(server, "/", headers).await;
            let is_status = answer.status() == wanted;
            let text = answer.text().await.expect("a body");
            (is_status && text.contains(says)).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_password_opens_once_its_secret_exists_and_follows_its_changes() {
    let server = Server::start(&[]).await;
    server
        .create("shop", &spec(&json!({"basicAuth": {"secret": "team"}})))
        .await;
    // "YW5uOm9uZQ==" is ann:one.
    let ann = [("authorization", "Basic YW5uOm9uZQ==")];
    until(&server, &ann, 503, "access settings").await;
    let secret = |password: &str| {
        json!({"metadata": {"name": "team"}, "data": {"ann": password}}).to_string()
    };
    let created = server.call("POST", "/api/v1/secrets", &secret("one")).await;
    assert_eq!(created.0, 201, "{}", created.1);
    until(&server, &ann, OPEN, "Pending").await;
    let asked = ask(&server, "/", &[]).await;
    assert_eq!(asked.status(), 401);
    let challenge = asked.headers()["www-authenticate"].to_str().expect("text");
    assert_eq!(
        challenge,
        "Basic realm=\"shop.dev.localhost\", charset=\"UTF-8\""
    );
    let replaced = server
        .call("PUT", "/api/v1/secrets/team", &secret("two"))
        .await;
    assert_eq!(replaced.0, 200, "{}", replaced.1);
    until(&server, &ann, 401, "").await;
}

#[tokio::test]
async fn a_link_opens_a_project_also_after_a_restart_until_its_epoch_changes() {
    let mut server = Server::start(&[]).await;
    server.create("shop", &spec(&json!({}))).await;
    let (code, _, err) = server.ctl(&["share", "shop"]).await;
    assert_ne!(code, 0);
    assert!(err.contains("shareLinks"), "{err}");
    let limited = spec(&json!({"shareLinks": {"maxAge": "2h"}}));
    server.replace("shop", &limited).await;
    for (args, says) in [
        (&["share", "shop", "--for", "3h"][..], "at most 2h"),
        (&["share", "shop", "--for", "soon"], "duration"),
        (
            &["share", "shop", "--ingress", "api"],
            "the project has web",
        ),
        (&["share", "nobody"], "nobody"),
    ] {
        let (code, out, err) = server.ctl(args).await;
        assert_ne!(code, 0, "{args:?}: {out}");
        assert!(err.contains(says), "{args:?}: {err}");
    }
    let (code, out, err) = server.ctl(&["share", "shop", "--for", "1h"]).await;
    assert_eq!(code, 0, "{err}");
    let start = format!("http://shop.dev.localhost:{}/?", server.http.port());
    let query = out
        .trim()
        .strip_prefix(&start)
        .unwrap_or_else(|| panic!("{out}"));
    let path = format!("/?{query}");
    until(&server, &[], 403, "by a link").await;
    let opened = ask(&server, &path, &[]).await;
    assert_eq!(opened.status(), 302);
    let cookie = opened.headers()["set-cookie"].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let guest = [("cookie", cookie.as_str())];
    assert_eq!(status(&server, "/", &guest).await, OPEN);
    // The key is kept: neither sessions nor links end with the process.
    server.kill();
    server.start_again().await;
    until(&server, &guest, OPEN, "Pending").await;
    let path = format!("/?{query}");
    assert_eq!(status(&server, &path, &[]).await, 302);
    let next = spec(&json!({"shareLinks": {"epoch": "2"}}));
    server.replace("shop", &next).await;
    until(&server, &guest, 403, "by a link").await;
    assert_eq!(status(&server, &path, &[]).await, 403);
}

#[tokio::test]
async fn the_key_of_signatures_shows_nowhere() {
    let server = Server::start(&[]).await;
    server
        .create("shop", &spec(&json!({"shareLinks": {}})))
        .await;
    for path in [
        "/api/v1/secrets",
        "/api/v1/secrets/signing",
        "/api/v1/projects",
    ] {
        let (_, answer) = server.call("GET", path, "").await;
        assert!(!answer.to_string().contains("signing\""), "{answer}");
    }
    let (status, link) = server.call("POST", "/api/v1/projects/shop/share", "").await;
    assert_eq!(status, 200, "{link}");
    assert!(link["expiresAt"].is_string(), "{link}");
}
