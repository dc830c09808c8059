//! Streams end when their reader may not read any more what they are of, and tell nothing of it.

use std::time::Duration;

use cara_tests::{Server, eventually};
use serde_json::{Value, json};

use crate::access_people::{ask, furnish, project, secret, secured, token};

/// A stream, and what came of it.
struct Stream {
    path: &'static str,
    response: reqwest::Response,
    seen: String,
}

impl Stream {
    async fn open(server: &Server, token: &str, path: &'static str) -> Self {
        let request = cara_tests::http().get(server.url(path)).bearer_auth(token);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        let seen = String::new();
        Self {
            path,
            response,
            seen,
        }
    }

    /// Whether it ends soon, which must not look as if all of it came; keeps what comes.
    async fn ends(&mut self, within: Duration) -> bool {
        let end = tokio::time::Instant::now() + within;
        loop {
            match tokio::time::timeout_at(end, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Ok(Ok(None)) => panic!("{} looks whole", self.path),
                Ok(Err(_)) => return true,
                Err(_) => return false,
            }
        }
    }
}

const STREAMS: [&str; 5] = [
    "/api/v1/projects/shop?watch=true",
    "/api/v1/secrets/shop-db?watch=true",
    "/api/v1/projects/shop/logs?follow=true",
    "/api/v1/tail?project=shop",
    "/api/v1/projects?watch=true",
];
/// Within which a stream ends that has to; most of it is for slow machines.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_stream_ends_when_its_object_leaves_the_reach_of_its_reader() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let grants = json!([{"role": "developer", "selector": {"team": "web"}}]);
    let web = token(&server, &admin, "web", &grants).await;
    let mut streams = Vec::new();
    for path in STREAMS {
        streams.push(Stream::open(&server, &web, path).await);
    }
    let hidden = json!({"team": "db", "word": "unseen-Kx7"});
    for (path, body) in [
        ("/api/v1/projects/shop", project("shop", &hidden)),
        ("/api/v1/secrets/shop-db", secret("shop-db", &hidden)),
    ] {
        let moved = ask(&server, Some(&admin), "PUT", path, &body).await;
        assert_eq!(moved.status, 200, "{}", moved.body);
    }
    for stream in &mut streams {
        // Of all projects, this one is gone; what else comes to be may be theirs.
        let is_list = stream.path == "/api/v1/projects?watch=true";
        let within = if is_list {
            Duration::from_secs(1)
        } else {
            SOON
        };
        assert_eq!(stream.ends(within).await, !is_list, "{}", stream.path);
        assert!(!stream.seen.contains("unseen-Kx7"), "{}", stream.seen);
        if is_list {
            assert!(stream.seen.contains("\"DELETED\""), "{}", stream.seen);
        }
    }
    let again = ask(&server, Some(&web), "GET", STREAMS[2], &Value::Null).await;
    assert_eq!(again.status, 403);
}

#[tokio::test]
async fn a_stream_ends_when_its_reader_loses_the_role() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let user = |grants: Value| json!({"metadata": {"name": "ann"}, "spec": {"grants": grants}});
    let some = user(json!([{"role": "developer", "projects": ["shop"]}]));
    let made = ask(&server, Some(&admin), "POST", "/api/v1/users", &some).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let hers = json!({"metadata": {"name": "ann-1"}, "spec": {"user": "ann"}});
    let hers = ask(&server, Some(&admin), "POST", "/api/v1/tokens", &hers).await;
    let hers = hers.body["value"].as_str().expect("a value").to_owned();
    let mut streams = Vec::new();
    for path in STREAMS {
        streams.push(Stream::open(&server, &hers, path).await);
    }
    // Its use is written down, which takes nothing from her.
    eventually("the use is written down", async || {
        let shown = ask(
            &server,
            Some(&admin),
            "GET",
            "/api/v1/tokens/ann-1",
            &Value::Null,
        )
        .await;
        shown.body["status"]["lastUsed"].is_string().then_some(())
    })
    .await;
    for stream in &mut streams {
        let has_ended = stream.ends(Duration::from_millis(300)).await;
        assert!(!has_ended, "{}", stream.path);
    }
    let fewer = user(json!([{"role": "viewer", "projects": ["blog"]}]));
    let changed = ask(&server, Some(&admin), "PUT", "/api/v1/users/ann", &fewer).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    for stream in &mut streams {
        assert!(stream.ends(SOON).await, "{}", stream.path);
    }
}

#[tokio::test]
async fn a_later_page_shows_nothing_that_left_the_reach_of_its_reader() {
    let (server, admin) = secured(&[]).await;
    furnish(&server, &admin).await;
    let cart = project("cart", &json!({"team": "web"}));
    let made = ask(&server, Some(&admin), "POST", "/api/v1/projects", &cart).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let grants = json!([{"role": "viewer", "selector": {"team": "web"}}]);
    let web = token(&server, &admin, "web", &grants).await;
    let first = "/api/v1/projects?limit=1";
    let first = ask(&server, Some(&web), "GET", first, &Value::Null).await;
    assert_eq!(first.body["items"][0]["metadata"]["name"], "cart");
    let next = first.body["metadata"]["continue"].as_str().expect("more");
    let next = format!("/api/v1/projects?limit=1&continue={next}");
    let names = async || {
        let page = ask(&server, Some(&web), "GET", &next, &Value::Null).await;
        let items = page.body["items"].as_array().cloned().expect("items");
        items
            .iter()
            .map(|item| item["metadata"]["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["shop"]);
    let moved = project("shop", &json!({"team": "db"}));
    let moved = ask(
        &server,
        Some(&admin),
        "PUT",
        "/api/v1/projects/shop",
        &moved,
    )
    .await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    assert!(names().await.is_empty());
}
