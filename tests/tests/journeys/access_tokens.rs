//! Tokens: how they end, that they are shown once, and what guessing costs.

use cara_tests::eventually;
use serde_json::{Value, json};

use crate::access_people::{ask, secured, token};

#[tokio::test]
async fn tokens_end_are_revoked_and_are_never_shown_again() {
    let (server, admin) = secured(&[]).await;
    let ask_as = |token: String| {
        let server = &server;
        async move { ask(server, Some(&token), "GET", "/api/v1/whoami", &Value::Null).await }
    };
    let user = json!({"metadata": {"name": "ann"}, "spec": {"grants": [{"role": "maintainer", "projects": ["shop"]}]}});
    let made = ask(&server, Some(&admin), "POST", "/api/v1/users", &user).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let document =
        json!({"metadata": {"name": "ann-1"}, "spec": {"user": "ann", "expiresIn": "3s"}});
    let short = ask(&server, Some(&admin), "POST", "/api/v1/tokens", &document).await;
    let short = short.body["value"].as_str().expect("a value").to_owned();
    // She makes one for herself, which cannot do more than she.
    let document = json!({"metadata": {"name": "ann-2"}, "spec": {"grants": [{"role": "admin", "allProjects": true}]}});
    let own = ask(&server, Some(&short), "POST", "/api/v1/tokens", &document).await;
    assert_eq!(own.status, 201, "{}", own.body);
    let own = own.body["value"].as_str().expect("a value").to_owned();
    let who = ask_as(own.clone()).await;
    assert_eq!(who.body["actor"], "ann");
    assert_eq!(who.body["token"], "ann-2");
    let nodes = ask(&server, Some(&own), "GET", "/api/v1/nodes", &Value::Null).await;
    assert_eq!(nodes.status, 403);
    for (user, status) in [("ann", 403), ("bob", 403)] {
        let more = json!({"metadata": {"name": "x"}, "spec": {"user": user}});
        let more = ask(&server, Some(&own), "POST", "/api/v1/tokens", &more).await;
        assert_eq!(
            more.status, status,
            "a narrowed token makes no others: {}",
            more.body
        );
    }
    let shown = ask(
        &server,
        Some(&admin),
        "GET",
        "/api/v1/tokens/ann-2",
        &Value::Null,
    )
    .await;
    assert!(!shown.body.to_string().contains(&own));
    assert_eq!(shown.body["status"]["hint"], own[..9]);
    assert!(shown.body["status"]["expiresAt"].is_string());
    eventually("the use is written down", async || {
        let shown = ask(
            &server,
            Some(&admin),
            "GET",
            "/api/v1/tokens/ann-2",
            &Value::Null,
        )
        .await;
        shown.body["status"]["lastUsed"].is_string().then_some(())
    })
    .await;
    eventually("the short one ends", async || {
        (ask_as(short.clone()).await.status == 401).then_some(())
    })
    .await;
    let refused = ask_as(short).await;
    assert!(
        refused.body["detail"]
            .as_str()
            .expect("why")
            .contains("expired"),
        "{}",
        refused.body
    );
    // Suspended, back, gone: and another user of the same name does not inherit her tokens.
    let mut suspended = user.clone();
    suspended["spec"]["suspended"] = json!(true);
    for (method, body, expected) in [
        ("PUT", suspended, 401),
        ("PUT", user.clone(), 200),
        ("DELETE", Value::Null, 401),
    ] {
        let changed = ask(&server, Some(&admin), method, "/api/v1/users/ann", &body).await;
        assert!(matches!(changed.status, 200 | 204), "{}", changed.body);
        assert_eq!(ask_as(own.clone()).await.status, expected, "{method}");
    }
    ask(&server, Some(&admin), "POST", "/api/v1/users", &user).await;
    assert_eq!(ask_as(own.clone()).await.status, 401);
    let long = json!({"metadata": {"name": "long"}, "spec": {"user": "ann", "expiresIn": "400d"}});
    let long = ask(&server, Some(&admin), "POST", "/api/v1/tokens", &long).await;
    assert_eq!(long.status, 400, "{}", long.body);
    let revoked = token(
        &server,
        &admin,
        "r",
        &json!([{"role": "viewer", "allProjects": true}]),
    )
    .await;
    assert_eq!(ask_as(revoked.clone()).await.status, 200);
    let gone = ask(
        &server,
        Some(&revoked),
        "DELETE",
        "/api/v1/tokens/r",
        &Value::Null,
    )
    .await;
    assert_eq!(gone.status, 204, "whoever has a token may revoke it");
    assert_eq!(ask_as(revoked.clone()).await.status, 401);
    // Nothing that is kept has any of them.
    let audit = server.directory().join("audit.jsonl");
    let audit = eventually("the audit log tells", async || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        text.contains("\"name\":\"r\"").then_some(text)
    })
    .await;
    assert!(audit.contains("\"actor\":\"token:bootstrap\"") && audit.contains("\"actor\":\"ann\""));
    assert!(
        audit.contains("\"role\":\"maintainer\""),
        "changes of roles are told"
    );
    let mut kept = audit + &server.log();
    for entry in std::fs::read_dir(server.directory()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|kind| kind == "db" || kind == "db-wal")
            || path.is_file()
        {
            kept.push_str(&String::from_utf8_lossy(
                &std::fs::read(&path).unwrap_or_default(),
            ));
        }
    }
    for token in [&own, &revoked] {
        assert!(!kept.contains(token.as_str()), "a token was kept");
    }
}
