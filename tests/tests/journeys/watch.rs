//! Change streams.

use std::collections::BTreeMap;
use std::time::Duration;

use cara_api::client::Lines;
use cara_api::{WatchEvent, WatchKind};
use cara_tests::{Server, unique};
use serde_json::{Value, json};

type Event = WatchEvent<Value>;

async fn next(lines: &mut Lines) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(20), lines.next::<Event>()).await;
    event.expect("in time").expect("readable").expect("open")
}

fn name(event: &Event) -> String {
    event.object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn version(event: &Event) -> u64 {
    event.object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .expect("a version")
}

async fn node(server: &Server, name: &str, method: &str) {
    let path = if method == "POST" {
        "/api/v1/nodes".to_owned()
    } else {
        format!("/api/v1/nodes/{name}")
    };
    let body = json!({"metadata": {"name": name}, "spec": {"hostname": method}}).to_string();
    let (status, answer) = server.call(method, &path, &body).await;
    assert!(status < 300, "{answer}");
}

#[tokio::test]
async fn a_watch_resumes_without_gap_or_duplicate_also_over_a_restart() {
    let mut server = Server::start(&[]).await;
    let watch = async |server: &Server, from: &str| {
        let query = [("watch", "true"), ("resourceVersion", from)];
        server.client().follow("/api/v1/nodes", &query).await
    };
    node(&server, "first", "POST").await;
    let mut lines = watch(&server, "").await.expect("open");
    let first = next(&mut lines).await;
    assert_eq!(
        (first.kind, name(&first).as_str()),
        (WatchKind::Added, "first")
    );
    let start = next(&mut lines).await;
    assert_eq!(
        start.kind,
        WatchKind::Bookmark,
        "the snapshot is followed by a bookmark"
    );
    let mut last = version(&start);
    let mut seen = Vec::new();
    for round in 0..3 {
        let mut lines = watch(&server, &last.to_string()).await.expect("open");
        for n in 0..5 {
            node(&server, &format!("n{round}-{n}"), "POST").await;
        }
        // Take only some of them, then come back.
        while seen.len() < (round + 1) * 4 {
            let event = next(&mut lines).await;
            if event.kind == WatchKind::Added {
                assert!(version(&event) > last, "versions grow");
                last = version(&event);
                seen.push(name(&event));
            }
        }
        if round == 1 {
            server.kill();
            server.start_again().await;
        }
    }
    let all: Vec<String> = (0..3)
        .flat_map(|r| (0..5).map(move |n| format!("n{r}-{n}")))
        .collect();
    assert_eq!(seen, all[..seen.len()], "every node once and in order");
}

#[tokio::test]
async fn an_idle_watch_carries_bookmarks_and_a_version_that_is_too_old_is_refused() {
    let server = Server::start(&[]).await;
    node(&server, "a", "POST").await;
    let mut lines = server
        .client()
        .follow("/api/v1/nodes/a", &[("watch", "true")])
        .await
        .expect("open");
    let kinds = [next(&mut lines).await.kind, next(&mut lines).await.kind];
    assert_eq!(kinds, [WatchKind::Added, WatchKind::Bookmark]);
    let idle = loop {
        let event = next(&mut lines).await;
        if event.kind == WatchKind::Bookmark {
            break event;
        }
    };
    assert!(version(&idle) >= 1);
    let future = server
        .client()
        .follow(
            "/api/v1/nodes",
            &[("watch", "true"), ("resourceVersion", "999999")],
        )
        .await;
    assert_eq!(
        future.err().and_then(|e| e.status()),
        Some(410),
        "a version that this store never gave"
    );
    let (status, problem) = server.call("GET", "/api/v1/nodes?watch=perhaps", "").await;
    assert_eq!(
        (status, &problem["detail"]),
        (400, &json!("watch=perhaps is neither true nor false"))
    );
}

#[tokio::test]
async fn a_filtered_watch_tells_when_an_object_comes_and_goes() {
    let server = Server::start(&[]).await;
    let query = [("watch", "true"), ("phase", "Pending")];
    let mut lines = server
        .client()
        .follow("/api/v1/projects", &query)
        .await
        .expect("open");
    assert_eq!(next(&mut lines).await.kind, WatchKind::Bookmark);
    let project = unique("f");
    server
        .create(
            &project,
            &json!({"services": [{"name": "web", "image": "x"}]}),
        )
        .await;
    assert_eq!(next(&mut lines).await.kind, WatchKind::Added);
    node(&server, "n", "POST").await;
    server.call("POST", "/api/v1/nodes/n/heartbeat", "").await;
    let mut kinds: BTreeMap<&'static str, u32> = BTreeMap::new();
    let last = loop {
        let event = next(&mut lines).await;
        match event.kind {
            WatchKind::Modified => *kinds.entry("modified").or_default() += 1,
            WatchKind::Deleted => break event,
            WatchKind::Bookmark => {}
            WatchKind::Added | WatchKind::Error => panic!("unexpected {event:?}"),
        }
    };
    assert_eq!(
        last.object["status"]["phase"], "Scheduled",
        "it left the selection, it was not deleted"
    );
}

#[tokio::test]
async fn a_watch_stays_alive_while_the_store_is_busy_with_other_things() {
    let server = Server::start(&[]).await;
    node(&server, "busy", "POST").await;
    let query = [("watch", "true")];
    let mut lines = server
        .client()
        .follow("/api/v1/projects", &query)
        .await
        .expect("open");
    assert_eq!(next(&mut lines).await.kind, WatchKind::Bookmark);
    let mut count = 0;
    // Every write wakes the watch, and none concerns it.
    let write = async |count: u32| {
        let body = json!({"spec": {"hostname": format!("h{count}")}}).to_string();
        server.call("PUT", "/api/v1/nodes/busy", &body).await;
    };
    let second = loop {
        tokio::select! {
            event = next(&mut lines) => break event,
            () = write(count) => count += 1,
        }
    };
    assert_eq!(second.kind, WatchKind::Bookmark);
    assert!(version(&second) > 1, "the bookmark moves with the store");
}
