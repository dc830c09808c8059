//! What slows callers down: failures, logins and keys are counted, and nobody pays for what a neighbour does.

use std::net::Ipv4Addr;

use cara_api::access::value;
use cara_tests::issuer::Issuer;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::access_login::{Person, with_issuer};
use super::access_people::{ask, secured, token};

#[tokio::test]
async fn guessing_is_slowed_down_and_locks_nobody_out() {
    let (server, admin) = secured(&[]).await;
    let guess = value::generate().expect("random");
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = ask(
            &server,
            Some(guess.reveal()),
            "GET",
            "/api/v1/nodes",
            &Value::Null,
        )
        .await;
        statuses.push(answer.status);
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[11], 429);
    let admin = ask(&server, Some(&admin), "GET", "/api/v1/nodes", &Value::Null).await;
    assert_eq!(admin.status, 200, "who is known is not held up");
}

#[tokio::test]
async fn one_who_uses_up_idempotency_keys_leaves_some_for_others() {
    let (server, admin) = secured(&[]).await;
    let node = json!({"metadata": {"name": "n1"}});
    let made = ask(&server, Some(&admin), "POST", "/api/v1/nodes", &node).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let other = token(
        &server,
        &admin,
        "other",
        &json!([{"role": "admin", "allProjects": true}]),
    )
    .await;
    let client = cara_tests::http();
    let keyed = async |token: &str, key: usize| {
        let request = client
            .post(server.url("/api/v1/nodes/n1/cordon"))
            .bearer_auth(token)
            .header("idempotency-key", format!("key-{key}"));
        let answer = request.send().await.expect("an answer");
        let after = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), after)
    };
    let sent = futures_util::stream::iter((0..1_250).map(|key| keyed(&admin, key)));
    let refused = sent.buffer_unordered(16).filter(|(status, _)| {
        let is_refused = *status != 200;
        async move { is_refused }
    });
    // Writes of one node at once may be conflicts, which keep no key.
    let refused: Vec<_> = refused.collect().await;
    let mut key = 1_250;
    for _ in 0..refused.len() {
        assert_eq!(keyed(&admin, key).await.0, 200);
        key += 1;
    }
    assert_eq!(keyed(&admin, key).await, (429, true));
    // The command line goes on without a key.
    let url = server.url("");
    let env = [("CARA_SERVER", url.as_str()), ("CARA_TOKEN", &admin)];
    for command in ["uncordon", "cordon"] {
        let (code, text) = Person::new().run(&[command, "n1"], "", &env).await;
        assert_eq!(code, 0, "{text}");
    }
    assert_eq!(
        keyed(&admin, 0).await.0,
        200,
        "what was done is still known"
    );
    assert_eq!(keyed(&other, 0).await.0, 200, "there is room for others");
}

#[tokio::test]
async fn what_a_neighbour_does_wrong_holds_up_nobody_elses_login() {
    let folder = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let (server, admin) = with_issuer(&issuer, folder.path(), "groups=dev viewer:*").await;
    let post = async |path: &str, body: Value| ask(&server, None, "POST", path, &body).await;
    let (device, poll) = ("/api/v1/login/device", "/api/v1/login/device/token");
    let begun = post(device, json!({})).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let mut statuses = Vec::new();
    let forged = json!({"handle": "e30.AAAA"});
    for _ in 0..40 {
        statuses.push(post(poll, forged.clone()).await.status);
    }
    assert_eq!(
        (statuses[0], statuses.contains(&429)),
        (400, true),
        "guesses are slowed: {statuses:?}"
    );
    // Somebody else at the same address goes on, and asks the login service in its own time only.
    let handle = json!({"handle": begun.body["handle"]});
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let polled = post(poll, handle.clone()).await;
        assert_eq!(polled.status, 200, "{}", polled.body);
        pauses.push(polled.body["retryAfterS"].as_u64().expect("a pause"));
    }
    assert!(pauses.is_sorted() && pauses[4] > 15, "{pauses:?}");
    assert_eq!(issuer.polls(), 1, "the login service was asked once");
    let begun = post(device, json!({})).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    issuer.approve(begun.body["userCode"].as_str().expect("a code"));
    let handle = json!({"handle": begun.body["handle"]});
    let session = post(poll, handle.clone()).await;
    assert!(session.body["session"]["value"].is_string());
    let again = post(poll, handle).await.status;
    assert!(
        matches!(again, 400 | 429),
        "no handle is good twice: {again}"
    );
    assert_eq!(issuer.polls(), 2);
    let who = ask(&server, Some(&admin), "GET", "/api/v1/whoami", &Value::Null).await;
    assert_eq!(who.status, 200, "who is known is not held up");
    // Logins that nobody completes have a bound.
    let mut last = post(device, json!({})).await;
    for _ in 0..20 {
        last = post(device, json!({})).await;
    }
    assert_eq!(last.status, 429, "{}", last.body);
    assert!(last.headers.contains_key("retry-after"), "{}", last.body);
}
