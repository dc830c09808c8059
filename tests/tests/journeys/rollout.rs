//! Replacing what runs, under requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cara_api::condition::{self, PROGRESS};
use cara_tests::{Docker, Server, eventually, unique};
use serde_json::{Value, json};

fn web(version: &str, host: &str, more: Value) -> Value {
    let mut service = json!({"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]});
    for (key, value) in more.as_object().expect("fields") {
        service[key] = value.clone();
    }
    json!({"services": [service], "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]})
}

#[tokio::test]
async fn requests_see_no_gap_while_a_service_is_replaced_again_and_again() {
    let server = Arc::new(Server::with_agent(&unique("node"), &[]).await);
    let name = unique("roll");
    server.create(&name, &web("1", &name, json!({}))).await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU32::new(0));
    let asking = {
        let (server, host) = (Arc::clone(&server), host.clone());
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut faults = Vec::new();
            let client = cara_tests::http();
            while !stop.load(Ordering::Relaxed) {
                let request = client
                    .post(format!("http://{}/", server.http))
                    .header("host", &host);
                match request.body("x").send().await {
                    Ok(answer) if answer.status() == 200 => {}
                    Ok(answer) => faults.push(answer.status().to_string()),
                    Err(error) => faults.push(error.to_string()),
                }
                asked.fetch_add(1, Ordering::Relaxed);
            }
            faults
        })
    };
    for version in ["2", "3", "4"] {
        server.replace(&name, &web(version, &name, json!({}))).await;
        server.running(&name).await;
        assert_eq!(
            server.page(&host, "/").await,
            (200, format!("version {version}\n"))
        );
    }
    let docker = Docker::default();
    eventually(
        "one container is left, under the service's own name",
        async || {
            let expected = [
                format!("container {name}-web"),
                format!("network cara-{name}"),
            ];
            (docker.of_project(&name) == expected).then_some(())
        },
    )
    .await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(asking.await.expect("the task ends"), [""; 0]);
    assert!(
        asked.load(Ordering::Relaxed) > 100,
        "enough requests to see a gap"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn the_old_version_serves_while_the_new_one_does_not_come_up() {
    let server = Server::with_agent(&unique("node"), &["--progress-deadline", "60s"]).await;
    let name = unique("stuck");
    server.create(&name, &web("1", &name, json!({}))).await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    let crash = json!({"command": ["/bin/sh", "-c", "echo no database; exit 4"]});
    server.replace(&name, &web("2", &name, crash)).await;
    eventually("a try fails", async || {
        let project = server.project(&name).await?;
        let progress = condition::find(&project.status.conditions, PROGRESS)?;
        progress
            .message
            .contains("web(exit=4) (attempt 1 of 3)")
            .then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(
            server.page(&host, "/").await,
            (200, "version 1\n".to_owned())
        );
    }
    // A correction takes the place of the failed one.
    server.replace(&name, &web("3", &name, json!({}))).await;
    server.running(&name).await;
    assert_eq!(
        server.page(&host, "/").await,
        (200, "version 3\n".to_owned())
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn weakness_20_an_image_that_is_here_is_not_pulled_again() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("local");
    // No registry has it: a pull could only fail.
    server.create(&name, &web("1", &name, json!({}))).await;
    server.running(&name).await;
    let gone = web("2", &name, json!({"image": "registry.invalid/none:1"}));
    server.replace(&name, &gone).await;
    let project = eventually("the pull fails", async || {
        let project = server.project(&name).await?;
        let progress = condition::find(&project.status.conditions, PROGRESS)?;
        progress.message.contains("attempt").then_some(project)
    })
    .await;
    assert!(
        project
            .status
            .services
            .iter()
            .any(|s| s.reason == "ImagePullFailed")
    );
    let host = format!("{name}.dev.localhost");
    assert_eq!(server.page(&host, "/").await.0, 200);
    tokio::time::timeout(Duration::from_secs(60), server.delete(&name))
        .await
        .expect("deleted in time");
}
