//! What a service may ask for beyond its image: each field arrives, and does what it says.

use std::time::Duration;

use cara_api::Project;
use cara_api::project::{ProjectPhase, ServiceState, ServiceStatus};
use cara_tests::{Docker, Server, eventually, unique, within};
use serde_json::{Value, json};

fn shell(name: &str, run: &str, more: Value) -> Value {
    let mut service =
        json!({"name": name, "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": run}]});
    for (key, value) in more.as_object().expect("fields") {
        service[key] = value.clone();
    }
    service
}

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";

fn service<'a>(project: &'a Project, name: &str) -> &'a ServiceStatus {
    let services = &project.status.services;
    services.iter().find(|s| s.name == name).expect("a status")
}

fn reason(project: &Project) -> (String, String) {
    let found = cara_api::condition::find(&project.status.conditions, "Phase");
    let found = found.expect("a reason");
    (found.reason.clone(), found.message.clone())
}

#[tokio::test]
async fn every_field_of_a_service_arrives_and_containers_are_hardened() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("fields");
    let spec = json!({"services": [
        {"name": "plain", "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": FOREVER}]},
        {"name": "full", "image": "cara-test/shell:1", "command": ["sh", "-c"],
         "args": [format!("id -u; pwd; cat /etc/app/a.conf; {FOREVER}")], "workingDir": "/tmp", "user": "65534",
         "labels": {"team": "edge"}, "capAdd": ["NET_RAW"], "allowPrivilegeEscalation": true, "stopGracePeriod": "3s",
         "configs": [{"path": "/etc/app/a.conf", "content": "key=value\n"}],
         "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "64Mi", "pids": "50"}}}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let docker = Docker::default();
    let of = |service: &str, field: &str| {
        docker.inspect(
            &format!("{name}-{service}"),
            &format!("{{{{json {field}}}}}"),
        )
    };
    let host = |service: &str| {
        let text = of(service, ".HostConfig");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let plain = host("plain");
    assert_eq!(plain["CapDrop"], json!(["ALL"]));
    assert_eq!(plain["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(plain["PidsLimit"], 2048);
    assert_eq!(plain["Memory"], 1_u64 << 30);
    assert_eq!(plain["Privileged"], false);
    assert_eq!(plain["PidMode"], "");
    let added = |host: &Value| host["CapAdd"].to_string();
    assert!(!added(&plain).contains("NET_RAW"));
    let full = host("full");
    assert_eq!(
        (&full["NanoCpus"], &full["CpuShares"]),
        (&json!(500_000_000), &json!(102))
    );
    assert_eq!(
        (&full["Memory"], &full["PidsLimit"]),
        (&json!(64 << 20), &json!(50))
    );
    assert_eq!(full["SecurityOpt"], json!([]));
    assert!(added(&full).contains("NET_RAW"));
    assert_eq!(of("full", ".Config.Labels.team"), "\"edge\"");
    assert_eq!(of("full", ".Config.StopTimeout"), "3");
    assert_eq!(
        docker.run(&["logs", &format!("{name}-full")]),
        "65534\n/tmp\nkey=value"
    );
    assert!(
        !of("full", ".").contains("key=value"),
        "content is not in the engine's records"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn restart_policies_decide_and_a_finished_job_counts_as_completed() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let (done, lost) = (unique("done"), unique("lost"));
    let job = |run: &str, policy: &str| json!({"services": [shell("job", run, json!({"restartPolicy": policy})), shell("stays", FOREVER, json!({}))]});
    server
        .create(&done, &job("echo finished", "OnFailure"))
        .await;
    server
        .create(&lost, &job("echo no disk in drive A; exit 3", "Never"))
        .await;
    let project = server.running(&done).await;
    let status = service(&project, "job");
    assert_eq!(
        (status.state, status.exit_code),
        (ServiceState::Completed, Some(0)),
        "a project runs when its services proved themselves, not when they were started"
    );
    let project = server.phase(&lost, ProjectPhase::Failed).await;
    let (word, sentence) = reason(&project);
    assert_eq!(word, "ContainerExited");
    assert!(sentence.contains("job(exit=3)"), "{sentence}");
    assert!(
        sentence.ends_with("last lines of job:\nno disk in drive A"),
        "{sentence}"
    );
    assert_eq!(service(&project, "job").restarts, 0, "Never means never");
    // Failed is not a grave: a corrected document heals it.
    server.replace(&lost, &job("echo fine now", "Never")).await;
    server.running(&lost).await;
    for name in [done, lost] {
        server.delete(&name).await;
    }
}

#[tokio::test]
async fn crashes_are_counted_and_a_container_out_of_memory_is_named_so() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("oom");
    let limits = json!({"resources": {"limits": {"memory": "16Mi"}}});
    let spec = json!({"services": [shell("eats", "exec sort /dev/zero", limits)]});
    server.create(&name, &spec).await;
    // The engine may say only after the next death that the kernel ended the one before.
    let project = eventually("it is started again, and named so", async || {
        let project = server.project(&name).await?;
        let status = project.status.services.first()?;
        let is_named =
            project.status.phase == ProjectPhase::Failed && reason(&project).0 == "OutOfMemory";
        (status.restarts >= 1 && is_named).then_some(project)
    })
    .await;
    let (_, sentence) = reason(&project);
    assert!(sentence.contains("killed for want of memory"), "{sentence}");
    server.delete(&name).await;
}

#[tokio::test]
async fn services_start_in_the_order_of_their_dependencies() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("order");
    let check = json!({"healthCheck": {"readiness": {"exec": {"command": ["test", "-f", "/tmp/up"]}, "interval": "200ms"}}});
    let spec = json!({"services": [
        shell("web", FOREVER, json!({"dependsOn": [{"service": "db"}, {"service": "migrate", "condition": "Completed"}]})),
        shell("migrate", "sleep 1", json!({"restartPolicy": "OnFailure", "dependsOn": [{"service": "db", "condition": "Started"}]})),
        shell("db", &format!("sleep 1; touch /tmp/up; {FOREVER}"), check)]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let docker = Docker::default();
    let time = |service: &str, field: &str| -> cara_api::Timestamp {
        let text = docker.inspect(
            &format!("{name}-{service}"),
            &format!("{{{{.State.{field}}}}}"),
        );
        text.parse().expect("a time")
    };
    assert!(time("db", "StartedAt") < time("migrate", "StartedAt"));
    assert!(time("migrate", "FinishedAt") < time("web", "StartedAt"));
    let db_up = time("db", "StartedAt") + Duration::from_secs(1);
    assert!(
        db_up < time("web", "StartedAt"),
        "web waited for db to be ready"
    );
    server.delete(&name).await;
}

fn checked(host: &str, check: Value) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}], "healthCheck": check}],
        "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]})
}

#[tokio::test]
async fn a_service_that_fails_its_readiness_check_gets_no_requests_until_it_passes() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let (name, host) = (unique("ready"), unique("ready"));
    let probe = json!({"http": {"path": "/health", "port": 8080}, "interval": "100ms", "failureThreshold": 2});
    server
        .create(&name, &checked(&host, json!({"readiness": probe})))
        .await;
    server.running(&name).await;
    let host = format!("{host}.dev.localhost");
    let ask = async |path: &str| server.page(&host, path).await.0;
    assert_eq!(ask("/sick").await, 200);
    within(
        Duration::from_secs(10),
        "the route is withdrawn",
        async || (ask("/").await == 503).then_some(()),
    )
    .await;
    let project = eventually("the status says why", async || {
        let project = server.project(&name).await?;
        (service(&project, "web").reason == "Unhealthy").then_some(project)
    })
    .await;
    assert_eq!(
        service(&project, "web").message,
        "readiness check failed: GET /health answered 500"
    );
    assert_eq!(
        service(&project, "web").restarts,
        0,
        "readiness restarts nothing"
    );
    // The gateway leads there no more, so heal it from the inside of its network.
    let ip = Docker::default().inspect(
        &format!("{name}-web"),
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
    );
    let healed = cara_tests::http()
        .get(format!("http://{ip}:8080/well"))
        .send()
        .await;
    assert!(healed.is_ok());
    within(Duration::from_secs(10), "the route is back", async || {
        (ask("/").await == 200).then_some(())
    })
    .await;
    server.delete(&name).await;
}

#[tokio::test]
async fn a_service_that_fails_its_liveness_check_is_started_again() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let (name, host) = (unique("alive"), unique("alive"));
    let probe = json!({"http": {"path": "/health", "port": 8080}, "interval": "100ms", "failureThreshold": 2});
    server
        .create(&name, &checked(&host, json!({"liveness": probe})))
        .await;
    server.running(&name).await;
    let host = format!("{host}.dev.localhost");
    assert_eq!(server.page(&host, "/sick").await.0, 200);
    let failed = server.phase(&name, ProjectPhase::Failed).await;
    let (word, sentence) = reason(&failed);
    assert_eq!(word, "LivenessFailed");
    assert!(
        sentence.contains("its liveness check failed: GET /health answered 500"),
        "{sentence}"
    );
    let project = server.running(&name).await;
    assert_eq!(service(&project, "web").restarts, 1);
    assert_eq!(
        server.page(&host, "/health").await.0,
        200,
        "a new process is well"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn a_slow_service_is_not_killed_before_its_startup_check_gives_up() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("slow");
    let check = json!({
        "startup": {"exec": {"command": ["test", "-f", "/tmp/up"]}, "interval": "200ms", "failureThreshold": 50},
        "liveness": {"exec": {"command": ["test", "-f", "/tmp/up"]}, "interval": "100ms", "failureThreshold": 1}});
    let run = format!("sleep 2; touch /tmp/up; {FOREVER}");
    let spec = json!({"services": [shell("slow", &run, json!({"healthCheck": check}))]});
    server.create(&name, &spec).await;
    let project = server.running(&name).await;
    assert_eq!(service(&project, "slow").restarts, 0);
    let mut hopeless = spec.clone();
    hopeless["services"][0]["env"][0]["value"] = json!(FOREVER);
    hopeless["services"][0]["healthCheck"]["startup"]["failureThreshold"] = json!(3);
    let other = unique("hopeless");
    server.create(&other, &hopeless).await;
    let failed = server.phase(&other, ProjectPhase::Failed).await;
    assert_eq!(reason(&failed).0, "StartupFailed");
    for name in [name, other] {
        server.delete(&name).await;
    }
}

#[tokio::test]
async fn weakness_12_and_split_ownership_agents_of_two_nodes_on_one_engine_do_not_share() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let other = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("same");
    let spec = json!({"services": [shell("web", FOREVER, json!({}))]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let docker = Docker::default();
    let id = docker.inspect(&format!("{name}-web"), "{{.Id}}");
    other.create(&name, &spec).await;
    let failed = other.phase(&name, ProjectPhase::Failed).await;
    assert_eq!(reason(&failed).0, "NameCollision");
    other.delete(&name).await;
    assert_eq!(
        docker.inspect(&format!("{name}-web"), "{{.Id}}"),
        id,
        "the other's deletion leaves it alone"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn weakness_18_containers_stop_side_by_side_and_within_their_grace() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("stop");
    let stubborn = |name: &str| {
        shell(
            name,
            "trap '' TERM; while :; do sleep 1; done",
            json!({"stopGracePeriod": "2s"}),
        )
    };
    let spec = json!({"services": [stubborn("a"), stubborn("b"), stubborn("c")]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let started = std::time::Instant::now();
    server.delete(&name).await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(2),
        "each had its grace: {took:?}"
    );
    assert!(
        took < Duration::from_secs(6),
        "one after the other takes six seconds: {took:?}"
    );
    assert_eq!(Docker::default().of_project(&name), [""; 0]);
}
