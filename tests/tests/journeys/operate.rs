//! What operators do: close, drain and delete nodes, and return to earlier generations. The
//! agents are played by the test, so that each step can be looked at.

use cara_tests::{Server, eventually};
use serde_json::{Value, json};

/// A server whose nodes stay ready although nobody beats for them.
async fn server(nodes: &[&str]) -> Server {
    let server = Server::start(&["--node-timeout", "1h", "--plain-node-timeout", "1h"]).await;
    for node in nodes {
        let body = json!({"metadata": {"name": node}}).to_string();
        assert_eq!(server.call("POST", "/api/v1/nodes", &body).await.0, 201);
        let beat = format!("/api/v1/nodes/{node}/heartbeat");
        assert_eq!(server.call("POST", &beat, "").await.0, 204);
        server.node_ready(node).await;
    }
    server
}

fn spec(image: &str, volume: &str) -> Value {
    let volumes = (!volume.is_empty()).then(|| json!([{"name": "data", "type": volume}]));
    json!({"services": [{"name": "web", "image": image}], "volumes": volumes.unwrap_or(json!([]))})
}

async fn status(server: &Server, name: &str) -> Value {
    let path = format!("/api/v1/projects/{name}");
    server.call("GET", &path, "").await.1["status"].clone()
}

async fn bound(server: &Server, name: &str, other_than: &str) -> Value {
    eventually(&format!("{name} is bound"), async || {
        let status = status(server, name).await;
        let node = status["nodeRef"].as_str()?.to_owned();
        (node != other_than).then_some(status)
    })
    .await
}

async fn moving(server: &Server, name: &str) -> Value {
    eventually(&format!("{name} moves"), async || {
        let status = status(server, name).await;
        status["moving"].is_object().then_some(status)
    })
    .await
}

/// Says as the agent of a node how a project is; the number of refusals.
async fn report(server: &Server, node: &Value, epoch: &Value, about: (&str, u64, Value)) -> usize {
    let (project, generation, outcome) = about;
    let body = json!({"reports": [{
        "project": project, "epoch": epoch, "generation": generation, "outcome": outcome}]});
    let path = format!(
        "/api/v1/nodes/{}/reports",
        node.as_str().expect("a node's name")
    );
    let (status, answer) = server.call("POST", &path, &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer["refused"].as_array().map_or(0, Vec::len)
}

fn running() -> Value {
    json!({"outcome": "Running"})
}

async fn drained(server: &Server, node: &str) -> String {
    let (_, node) = server
        .call("GET", &format!("/api/v1/nodes/{node}"), "")
        .await;
    let conditions = node["status"]["conditions"].as_array().cloned();
    let found = conditions
        .unwrap_or_default()
        .into_iter()
        .find(|c| c["type"] == "Drained");
    found.map_or("-".into(), |c| {
        c["message"].as_str().unwrap_or_default().to_owned()
    })
}

#[tokio::test]
async fn a_drained_node_gives_its_projects_away_copy_first() {
    let server = server(&["a"]).await;
    server.create("free", &spec("x", "")).await;
    server.create("kept", &spec("x", "Ephemeral")).await;
    for name in ["free", "kept"] {
        let at = bound(&server, name, "").await;
        let epoch = &at["bindingEpoch"];
        report(&server, &json!("a"), epoch, (name, 1, running())).await;
    }
    let node_b = json!({"metadata": {"name": "b"}}).to_string();
    server.call("POST", "/api/v1/nodes", &node_b).await;
    server.call("POST", "/api/v1/nodes/b/heartbeat", "").await;
    server.node_ready("b").await;
    for _ in 0..2 {
        let (code, node) = server.call("POST", "/api/v1/nodes/a/drain", "").await;
        assert_eq!(
            (code, &node["status"]["state"]),
            (200, &json!("Draining")),
            "{node}"
        );
    }
    let before = moving(&server, "free").await;
    assert_eq!(
        (&before["nodeRef"], &before["moving"]["nodeRef"]),
        (&json!("a"), &json!("b"))
    );
    let beat = r#"{"state":"Ready"}"#;
    server.call("POST", "/api/v1/nodes/a/heartbeat", beat).await;
    eventually("it says what it does", async || {
        (drained(&server, "a").await
            == "2 projects left: free (moving to node b); project kept has Ephemeral volume data: \
                drain with --delete-ephemeral-data to lose it")
            .then_some(())
    })
    .await;
    let target = &before["moving"]["bindingEpoch"];
    assert_eq!(
        report(&server, &json!("b"), target, ("free", 1, running())).await,
        0
    );
    let after = status(&server, "free").await;
    assert_eq!(
        (&after["nodeRef"], &after["phase"]),
        (&json!("b"), &json!("Running"))
    );
    assert_eq!(after["moving"], Value::Null);
    let late = &before["bindingEpoch"];
    assert_eq!(
        report(&server, &json!("a"), late, ("free", 1, running())).await,
        1,
        "the old binding is refused"
    );

    let lose = r#"{"deleteEphemeralData":true}"#;
    assert_eq!(
        server.call("POST", "/api/v1/nodes/a/drain", lose).await.0,
        200
    );
    let going = moving(&server, "kept").await;
    let removed = json!({"outcome": "Removed"});
    let epoch = &going["bindingEpoch"];
    report(&server, &json!("a"), epoch, ("kept", 1, removed)).await;
    assert_eq!(bound(&server, "kept", "a").await["nodeRef"], "b");
    eventually("nothing is left", async || {
        (drained(&server, "a").await == "no project is left").then_some(())
    })
    .await;
    let (code, node) = server.call("POST", "/api/v1/nodes/a/uncordon", "").await;
    assert_eq!((code, &node["status"]["state"]), (200, &json!("Ready")));
    assert_eq!(drained(&server, "a").await, "-");
}

#[tokio::test]
async fn a_cordoned_node_takes_nothing_new_and_one_that_leaves_hands_over() {
    let server = server(&["a"]).await;
    server.create("shop", &spec("x", "")).await;
    bound(&server, "shop", "").await;
    let (code, node) = server.call("POST", "/api/v1/nodes/a/cordon", "").await;
    assert_eq!((code, &node["spec"]["unschedulable"]), (200, &json!(true)));
    assert_eq!(
        server
            .call("POST", "/api/v1/nodes/ghost/cordon", "")
            .await
            .0,
        404
    );
    let beat = json!({"allocatable": {"memory": "1Gi"}, "conditions": [
        {"type": "DiskPressure", "status": "True", "reason": "Low"}]});
    let node = json!({"metadata": {"name": "b"}}).to_string();
    server.call("POST", "/api/v1/nodes", &node).await;
    server
        .call("POST", "/api/v1/nodes/b/heartbeat", &beat.to_string())
        .await;
    server.node_ready("b").await;
    assert_eq!(server.call("DELETE", "/api/v1/nodes/a", "").await.0, 409);
    assert_eq!(
        server
            .call("DELETE", "/api/v1/nodes/a?force=true", "")
            .await
            .0,
        204
    );
    let why = eventually("it waits and says why", async || {
        let status = status(&server, "shop").await;
        let conditions = status["conditions"].as_array()?.clone();
        let placed = conditions.into_iter().find(|c| c["type"] == "Placed")?;
        Some(placed["message"].as_str()?.to_owned())
    })
    .await;
    assert_eq!(why, "no node can take the project: node b runs out of disk");
    let well = beat.to_string().replace("True", "False");
    server
        .call("POST", "/api/v1/nodes/b/heartbeat", &well)
        .await;
    assert_eq!(bound(&server, "shop", "a").await["nodeRef"], "b");
}

#[tokio::test]
async fn a_failed_rollout_returns_to_what_ran_and_so_does_a_rollback() {
    let server = server(&["a"]).await;
    server.create("shop", &spec("one", "")).await;
    let node = json!("a");
    let epoch = bound(&server, "shop", "").await["bindingEpoch"].clone();
    let path = "/api/v1/projects/shop";
    let (code, problem) = server.call("POST", &format!("{path}/rollback"), "").await;
    assert_eq!(
        (code, &problem["detail"]),
        (
            409,
            &json!("project \"shop\" has no earlier generation to return to")
        )
    );
    report(&server, &node, &epoch, ("shop", 1, running())).await;
    server.replace("shop", &spec("two", "")).await;
    let failed =
        json!({"outcome": "Failed", "reason": "ImagePullFailed", "message": "no such image"});
    report(&server, &node, &epoch, ("shop", 2, failed)).await;
    let rejected = status(&server, "shop").await;
    assert_eq!(
        (&rejected["phase"], &rejected["rejectedGeneration"]),
        (&json!("Running"), &json!(2)),
        "{rejected}"
    );
    let last = rejected["conditions"].as_array().and_then(|c| c.last());
    assert_eq!(last.map(|c| &c["type"]), Some(&json!("RolledBack")));
    let again = json!({"spec": spec("two", "")}).to_string();
    let (_, retried) = server.call("PUT", path, &again).await;
    assert_eq!(retried["metadata"]["generation"], 3, "a wish to try again");
    report(&server, &node, &epoch, ("shop", 3, running())).await;
    assert_eq!(status(&server, "shop").await["stableGeneration"], 3);

    let (code, back) = server.call("POST", &format!("{path}/rollback"), "").await;
    assert_eq!((code, &back["metadata"]["generation"]), (200, &json!(4)));
    assert_eq!(back["spec"]["services"][0]["image"], "one");
    let missing = r#"{"generation":9}"#;
    let (code, problem) = server
        .call("POST", &format!("{path}/rollback"), missing)
        .await;
    assert_eq!(
        (code, &problem["detail"]),
        (
            409,
            &json!("project \"shop\" has no earlier generation 9: kept are 1, 2, 3")
        )
    );
    let (_, list) = server.call("GET", &format!("{path}/revisions"), "").await;
    let kept: Vec<_> = list["items"].as_array().into_iter().flatten().collect();
    assert_eq!(list["kind"], "ProjectRevisionList");
    assert_eq!(
        kept.iter().map(|r| &r["generation"]).collect::<Vec<_>>(),
        [&json!(1), &json!(2), &json!(3)]
    );
    server
        .call("DELETE", &format!("{path}?force=true"), "")
        .await;
    server.create("shop", &spec("one", "")).await;
    let (_, list) = server.call("GET", &format!("{path}/revisions"), "").await;
    assert_eq!(list["items"], json!([]), "they went with the project");
    let fresh = bound(&server, "shop", "").await;
    assert!(
        fresh["bindingEpoch"].as_u64() > epoch.as_u64(),
        "what an agent says of the deleted project does not fit"
    );
}
