//! Volumes: how long they live, and who may have them.

use cara_api::project::ProjectPhase;
use cara_tests::{Agent, Docker, Server, unique};
use serde_json::{Value, json};

/// Counts its starts in a file on the volume.
const COUNT: &str =
    "echo x >> /data/starts; wc -l < /data/starts; trap 'exit 0' TERM; while :; do sleep 1; done";

fn counter(volume: Value, version: &str) -> Value {
    json!({
        "services": [{"name": "count", "image": "cara-test/shell:1",
            "env": [{"name": "RUN", "value": COUNT}, {"name": "VERSION", "value": version}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [volume]})
}

fn starts(name: &str) -> String {
    Docker::default().run(&["logs", &format!("{name}-count")])
}

#[tokio::test]
async fn a_persistent_volume_survives_updates_and_restarts_and_goes_with_its_project() {
    let server = Server::start(&[]).await;
    let node = unique("node");
    let mut agent = Agent::start(&server, &node);
    let name = unique("keep");
    let volume = json!({"name": "data", "type": "Persistent"});
    server.create(&name, &counter(volume.clone(), "1")).await;
    server.running(&name).await;
    assert_eq!(starts(&name), "1");
    server.replace(&name, &counter(volume.clone(), "2")).await;
    server.running(&name).await;
    assert_eq!(starts(&name), "2", "an update keeps the data");
    let docker = Docker::default();
    docker.run(&["rm", "-f", &format!("{name}-count")]);
    agent.crash_and_start_again();
    cara_tests::eventually("the container is made again", async || {
        let (ok, log) = docker.attempt(&["logs", &format!("{name}-count")]);
        (ok && log == "3").then_some(())
    })
    .await;
    server.delete(&name).await;
    assert_eq!(docker.of_project(&name), [""; 0]);
}

#[tokio::test]
async fn persistent_data_is_never_swept_up_only_deleted() {
    let mut server = Server::start(&[]).await;
    let node = unique("node");
    let mut agent = Agent::start(&server, &node);
    let name = unique("swept");
    let volume = json!({"name": "data", "type": "Persistent"});
    server.create(&name, &counter(volume, "1")).await;
    server.running(&name).await;
    let docker = Docker::default();
    // The record goes, as if an operator had forced it: containers are swept up, data is not.
    let path = format!("/api/v1/projects/{name}?force=true");
    assert_eq!(server.call("DELETE", &path, "").await.0, 204);
    cara_tests::eventually("only the data is left", async || {
        (docker.of_project(&name) == [format!("volume cara-{name}-data")]).then_some(())
    })
    .await;
    agent.crash_and_start_again();
    server.node_ready(&node).await;
    server.terminate(std::time::Duration::from_secs(5)).await;
    assert_eq!(
        docker.of_project(&name),
        [format!("volume cara-{name}-data")]
    );
    docker.run(&["volume", "rm", &format!("cara-{name}-data")]);
}

#[tokio::test]
async fn a_directory_of_the_host_is_mounted_only_where_the_operator_allows_it() {
    let allowed = tempfile::tempdir().expect("a directory");
    let data = allowed.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let root = allowed.path().to_str().expect("a path");
    let server = Server::with_agent(&unique("node"), &["--allow-host-path", root]).await;
    let (good, bad, socket) = (unique("good"), unique("bad"), unique("socket"));
    let host_path = |path: &str| json!({"name": "data", "type": "HostPath", "path": path});
    server
        .create(
            &good,
            &counter(host_path(data.to_str().expect("a path")), "1"),
        )
        .await;
    server.create(&bad, &counter(host_path("/etc"), "1")).await;
    server
        .create(&socket, &counter(host_path("/var/run/docker.sock"), "1"))
        .await;
    server.running(&good).await;
    assert_eq!(
        std::fs::read_to_string(data.join("starts")).expect("written"),
        "x\n"
    );
    for name in [&bad, &socket] {
        let failed = server.phase(name, ProjectPhase::Failed).await;
        let reason =
            cara_api::condition::find(&failed.status.conditions, "Phase").expect("a reason");
        assert_eq!(reason.reason, "HostPathDenied", "{}", reason.message);
    }
    for name in [&good, &bad, &socket] {
        server.delete(name).await;
    }
    assert!(
        data.join("starts").exists(),
        "the directory is not ours to delete"
    );
}
