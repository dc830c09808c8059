//! What people who log in have of their own: the tokens that they make, what these may do, and who is
//! who among those with one name.

use std::net::Ipv4Addr;

use cara_tests::issuer::Issuer;
use cara_tests::{Server, eventually};
use serde_json::{Value, json};

use super::access_login::{Person, with_issuer};
use super::access_people::ask;

/// Logs in by a device: the value of the token, or the answer that refused it.
async fn log_in(server: &Server, issuer: &Issuer) -> Result<String, super::access_people::Answer> {
    let post = async |path: &str, body: Value| ask(server, None, "POST", path, &body).await;
    let begun = post("/api/v1/login/device", json!({})).await;
    issuer.approve(begun.body["userCode"].as_str().expect("a code"));
    let handle = json!({"handle": begun.body["handle"]});
    let answer = post("/api/v1/login/device/token", handle).await;
    match answer.body["session"]["value"].as_str() {
        Some(value) => Ok(value.to_owned()),
        None => Err(answer),
    }
}

/// An administrator changes `laptop`, which somebody made for themselves, and the login before it.
async fn must_narrow_only_what_was_made(server: &Server, admin: &str, own: &str) {
    let ask_as = async |token: &str, method: &str, path: &str, body: Value| {
        ask(server, Some(token), method, path, &body).await
    };
    let put = async |name: &str, spec: Value| {
        let document = json!({"metadata": {"name": name}, "spec": spec});
        let path = format!("/api/v1/tokens/{name}");
        ask_as(admin, "PUT", &path, document).await
    };
    let viewer = json!([{"role": "viewer", "allProjects": true}]);
    let path = "/api/v1/projects/shop/share";
    for (grants, is_narrow) in [(viewer.clone(), true), (json!([]), false)] {
        let spec = json!({"description": "on the desk", "grants": grants});
        let changed = put("laptop", spec).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_eq!(changed.body["spec"]["description"], "on the desk");
        let shared = ask_as(own, "POST", path, json!({})).await;
        assert_eq!(shared.status == 403, is_narrow, "{}", shared.body);
    }
    let tokens = ask_as(admin, "GET", "/api/v1/tokens", Value::Null).await;
    let all = tokens.body["items"].as_array().expect("tokens").iter();
    let login = all
        .clone()
        .find(|token| token["status"]["origin"] == "login");
    let login = login.expect("a login");
    let name = login["metadata"]["name"].as_str().expect("a name");
    let grants = login["spec"]["grants"].clone();
    for (spec, expected) in [
        (json!({"grants": viewer}), 400),
        (json!({}), 400),
        (json!({"grants": grants, "description": "at work"}), 200),
    ] {
        let changed = put(name, spec.clone()).await;
        assert_eq!(changed.status, expected, "{spec} {}", changed.body);
        let text = changed.body.to_string();
        assert_eq!(text.contains("revoke it"), expected == 400, "{text}");
    }
}

#[tokio::test]
async fn who_is_logged_in_makes_tokens_that_never_do_more_than_they() {
    let folder = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let roles = "groups=dev developer:shop; groups=ops admin:*";
    let (server, admin) = with_issuer(&issuer, folder.path(), roles).await;
    issuer.move_to(&["dev"]);
    let session = log_in(&server, &issuer).await.ok().expect("logged in");
    let create = async |token: &str, name: &str, spec: Value| {
        let document = json!({"metadata": {"name": name}, "spec": spec});
        ask(&server, Some(token), "POST", "/api/v1/tokens", &document).await
    };
    for (spec, status, why) in [
        (json!({"user": "ben"}), 403, "leave spec.user out"),
        (json!({"expiresIn": "31d"}), 400, "at most 720h"),
    ] {
        let refused = create(&session, "refused", spec).await;
        assert_eq!(refused.status, status, "{}", refused.body);
        assert!(refused.body.to_string().contains(why), "{}", refused.body);
    }
    let own = create(&session, "laptop", json!({"expiresIn": "30d"})).await;
    assert_eq!(own.status, 201, "{}", own.body);
    assert_eq!(own.body["status"]["subject"], "ann@example.com");
    let own = own.body["value"].as_str().expect("a value").to_owned();
    // What it narrows itself to is a bound, and no gift.
    let wide = json!({"grants": [{"role": "admin", "allProjects": true}]});
    let wide = create(&session, "wide", wide).await;
    let wide = wide.body["value"].as_str().expect("a value").to_owned();
    let status = async |token: &str, path: &str| {
        ask(&server, Some(token), "GET", path, &Value::Null)
            .await
            .status
    };
    for token in [&own, &wide] {
        assert_eq!(status(token, "/api/v1/projects").await, 200);
        assert_eq!(status(token, "/api/v1/users").await, 403);
    }
    must_narrow_only_what_was_made(&server, &admin, &own).await;
    let further = create(&own, "further", json!({})).await;
    assert_eq!(further.status, 403, "{}", further.body);
    // They see and revoke their own, and nobody else's.
    let list = ask(
        &server,
        Some(&session),
        "GET",
        "/api/v1/tokens",
        &Value::Null,
    )
    .await;
    let text = list.body.to_string();
    assert!(
        text.contains("laptop") && !text.contains("bootstrap"),
        "{text}"
    );
    assert_eq!(
        ask(
            &server,
            Some(&session),
            "DELETE",
            "/api/v1/tokens/bootstrap",
            &Value::Null
        )
        .await
        .status,
        404
    );
    // Another login says who they are now, for what they made before too.
    issuer.move_to(&["ops"]);
    let later = log_in(&server, &issuer).await.ok().expect("logged in");
    assert_eq!(status(&own, "/api/v1/users").await, 200);
    issuer.move_to(&["others"]);
    let refused = log_in(&server, &issuer).await.expect_err("refused");
    assert_eq!(refused.status, 403, "{}", refused.body);
    for token in [&session, &own, &wide, &later] {
        assert_eq!(status(token, "/api/v1/projects").await, 401);
    }
    issuer.move_to(&["dev"]);
    let again = log_in(&server, &issuer).await.ok().expect("logged in");
    assert_eq!(status(&own, "/api/v1/projects").await, 200);
    assert_eq!(
        ask(
            &server,
            Some(&again),
            "DELETE",
            "/api/v1/tokens/laptop",
            &Value::Null
        )
        .await
        .status,
        204
    );
    assert_eq!(status(&own, "/api/v1/projects").await, 401);
    let audit = server.directory().join("audit.jsonl");
    eventually("the audit log tells who made and revoked it", async || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let has = |verb: &str| {
            let mut lines = text.lines().filter(|line| line.contains("\"laptop\""));
            lines.any(|line| {
                line.contains("\"actor\":\"ann@example.com\"")
                    && line.contains(&format!("\"verb\":\"{verb}\""))
            })
        };
        (has("create") && has("delete")).then_some(())
    })
    .await;
    // The command line asks for one as for that of a user.
    let person = Person::new();
    let env = [("CARA_SERVER", server.url("")), ("CARA_TOKEN", again)];
    let env = env.each_ref().map(|(key, value)| (*key, value.as_str()));
    let (code, text) = person.run(&["token", "create", "phone"], "", &env).await;
    assert_eq!(code, 0, "{text}");
    let (_, text) = person.run(&["token", "list"], "", &env).await;
    assert!(
        text.contains("phone") && text.contains("all that they may"),
        "{text}"
    );
    drop(admin);
}

/// An address is display: what somebody may do, and which tokens are theirs, goes by `sub`.
#[tokio::test]
async fn two_who_are_named_alike_share_nothing_and_a_new_name_loses_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let roles = "groups=dev developer:shop; groups=ops admin:*";
    let (server, admin) = with_issuer(&issuer, folder.path(), roles).await;
    let be = |sub: &str, email: &str, group: &str| {
        issuer.become_whom(json!({"sub": sub, "email": email, "groups": [group]}));
    };
    let create = async |token: &str, name: &str| {
        let document = json!({"metadata": {"name": name}, "spec": {}});
        let made = ask(&server, Some(token), "POST", "/api/v1/tokens", &document).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body["value"].as_str().expect("a value").to_owned()
    };
    let status = async |token: &str, method: &str, path: &str| {
        ask(&server, Some(token), method, path, &Value::Null)
            .await
            .status
    };
    // Mallory gave herself Ann's address, at the same issuer.
    be("u-2", "ann@example.com", "dev");
    let mallory = log_in(&server, &issuer).await.ok().expect("logged in");
    let hers = create(&mallory, "mallory-1").await;
    be("u-1", "ann@example.com", "ops");
    let ann = log_in(&server, &issuer).await.ok().expect("logged in");
    let own = ask(&server, Some(&ann), "GET", "/api/v1/whoami", &Value::Null).await;
    assert_eq!(own.body["actor"], "ann@example.com");
    let laptop = create(&ann, "ann-1").await;
    assert_eq!(status(&laptop, "GET", "/api/v1/users").await, 200);
    for token in [&mallory, &hers] {
        assert_eq!(status(token, "GET", "/api/v1/projects").await, 200);
        assert_eq!(status(token, "GET", "/api/v1/users").await, 403);
        for method in ["GET", "DELETE"] {
            let path = "/api/v1/tokens/ann-1";
            assert_eq!(status(token, method, path).await, 404, "{method}");
        }
        let listed = ask(&server, Some(token), "GET", "/api/v1/tokens", &Value::Null).await;
        let text = listed.body.to_string();
        assert!(
            text.contains("mallory-1") && !text.contains("ann-1"),
            "{text}"
        );
    }
    // Ann is who she was by another address, and her roles end all that she has.
    be("u-1", "ann.b@example.com", "dev");
    let later = log_in(&server, &issuer).await.ok().expect("logged in");
    assert_eq!(status(&laptop, "GET", "/api/v1/users").await, 403);
    // Each login writes who she is, and none is in the way of another.
    let at_once = (0..4).map(|_| log_in(&server, &issuer));
    for session in futures_util::future::join_all(at_once).await {
        let session = session.ok().expect("logged in");
        assert_eq!(status(&session, "GET", "/api/v1/projects").await, 200);
    }
    be("u-1", "ann.c@example.com", "none");
    let refused = log_in(&server, &issuer).await.expect_err("refused");
    assert_eq!(refused.status, 403, "{}", refused.body);
    for token in [&ann, &laptop, &later] {
        assert_eq!(status(token, "GET", "/api/v1/projects").await, 401);
    }
    // Whoever gets her address gets no token of hers.
    be("u-3", "ann@example.com", "ops");
    log_in(&server, &issuer).await.ok().expect("logged in");
    assert_eq!(status(&laptop, "GET", "/api/v1/projects").await, 401);
    issuer.become_whom(json!({"email": "ann@example.com", "groups": ["ops"]}));
    let refused = log_in(&server, &issuer).await.expect_err("refused");
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.to_string().contains("who you are"));
    drop(admin);
}
