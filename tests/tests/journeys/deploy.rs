//! From a document to running containers, and back.

use std::time::Duration;

use cara_api::project::ProjectPhase;
use cara_tests::{Docker, Server, eventually, unique, within};
use serde_json::json;

fn web(version: &str, host: &str) -> serde_json::Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]}],
        "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]})
}

/// The example of the documentation, as it is written there.
#[tokio::test]
async fn the_documented_nginx_example_works_as_written() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let body = r#"{
"apiVersion": "caravanserai/v1",
"kind": "Project",
"metadata": {
"name": "nginx-demo"
},
"spec": {
"services": [
{
"name": "web",
"image": "nginx:alpine"
}
]
}
}"#;
    let (status, created) = server.call("POST", "/api/v1/projects", body).await;
    assert_eq!(
        (status, &created["status"]["phase"]),
        (201, &json!("Pending"))
    );
    assert_eq!(
        created["status"],
        json!({"phase": "Pending"}),
        "nothing else is known yet"
    );
    let (status, again) = server.call("POST", "/api/v1/projects", body).await;
    assert_eq!(status, 409);
    assert_eq!(
        again["detail"],
        "project already exists: nginx-demo: resource already exists"
    );
    let project = server.running("nginx-demo").await;
    assert_eq!(
        project.status.conditions.last().map(|c| c.reason.as_str()),
        Some("ContainersRunning")
    );
    let docker = Docker::default();
    assert_eq!(
        docker.of_project("nginx-demo"),
        ["container nginx-demo-web", "network cara-nginx-demo"],
        "names are those of the documentation"
    );
    assert_eq!(
        docker.inspect(
            "nginx-demo-web",
            "{{index .Config.Labels \"cara.service\"}}"
        ),
        "web"
    );
    server.delete("nginx-demo").await;
    assert_eq!(docker.of_project("nginx-demo"), [""; 0]);
}

#[tokio::test]
async fn a_service_reads_from_the_database_service_by_name_and_the_volume_is_shared() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("shop");
    let database = "chown postgres /data; cd /data; \
        su postgres -c 'initdb -D /data/pg -A trust >/dev/null && \
        echo \"host all all all trust\" >> /data/pg/pg_hba.conf && \
        exec postgres -D /data/pg -c listen_addresses=\"*\" -c unix_socket_directories=/tmp'";
    let app = "mkdir -p /www/cgi-bin; \
        printf '#!/bin/sh\\nprintf \"Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n\"\\npsql -h db -U postgres -tAc \"select 6*7\" 2>&1\\ncat /data/note\\n' > /www/cgi-bin/answer; \
        chmod +x /www/cgi-bin/answer; chmod 777 /data; echo shared > /data/note; exec httpd -f -p 80 -h /www";
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    server
        .create(
            &name,
            &json!({
                "services": [
                    {"name": "db", "image": "cara-test/postgres:15", "env": [{"name": "RUN", "value": database}], "volumeMounts": mount},
                    {"name": "app", "image": "cara-test/postgres:15", "env": [{"name": "RUN", "value": app}], "volumeMounts": mount}],
                "volumes": [{"name": "data", "type": "Ephemeral"}],
                "ingress": [{"name": "web", "host": name, "target": {"service": "app", "port": 80}}]}),
        )
        .await;
    server.running(&name).await;
    let host = format!("{name}.dev.localhost");
    eventually("the app reads from its database", async || {
        (server.page(&host, "/cgi-bin/answer").await == (200, "42\nshared\n".to_owned()))
            .then_some(())
    })
    .await;
    let docker = Docker::default();
    assert!(
        docker
            .of_project(&name)
            .contains(&format!("volume cara-{name}-data"))
    );
    server.delete(&name).await;
    assert_eq!(docker.of_project(&name), [""; 0], "nothing is left behind");
}

#[tokio::test]
async fn an_update_replaces_only_the_service_that_changed() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("two");
    let spec = |version: &str| {
        json!({
            "services": [
                {"name": "stays", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": "1"}]},
                {"name": "changes", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]}],
            "ingress": [
                {"name": "stays", "host": format!("stays-{name}"), "target": {"service": "stays", "port": 8080}},
                {"name": "changes", "host": format!("changes-{name}"), "target": {"service": "changes", "port": 8080}}]})
    };
    server.create(&name, &spec("1")).await;
    server.running(&name).await;
    let docker = Docker::default();
    let before = docker.inspect(&format!("{name}-stays"), "{{.Id}} {{.State.StartedAt}}");
    let host = format!("stays-{name}.dev.localhost");
    let url = format!("http://{}/", server.http);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut load = tokio::task::JoinSet::new();
    load.spawn(async move {
        let client = cara_tests::http();
        let mut count = 0_u32;
        while !*stopped.borrow() {
            let answer = client
                .get(&url)
                .header("host", &host)
                .send()
                .await
                .expect("an answer");
            assert_eq!(
                answer.status(),
                200,
                "a request to the service that stays failed"
            );
            count += 1;
        }
        count
    });
    server.replace(&name, &spec("2")).await;
    eventually("the new version answers", async || {
        let (status, text) = server
            .page(&format!("changes-{name}.dev.localhost"), "/")
            .await;
        (status == 200 && text == "version 2\n").then_some(())
    })
    .await;
    server.running(&name).await;
    stop.send(true).expect("the load runs");
    let count = load
        .join_next()
        .await
        .expect("the load runs")
        .expect("every request to the other service is answered");
    assert!(count > 20, "only {count} requests were made");
    let after = docker.inspect(&format!("{name}-stays"), "{{.Id}} {{.State.StartedAt}}");
    assert_eq!(
        before, after,
        "the service that did not change was not touched"
    );
    server.delete(&name).await;
}

#[tokio::test]
async fn services_and_volumes_that_leave_the_spec_are_removed() {
    let server = Server::with_agent(&unique("node"), &[]).await;
    let name = unique("shrink");
    let shell = |service: &str| {
        json!({"name": service, "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": "trap 'exit 0' TERM; sleep 1000 & wait"}],
               "volumeMounts": [{"name": service, "mountPath": "/data"}]})
    };
    let volume = |v: &str| json!({"name": v, "type": "Ephemeral"});
    server
        .create(
            &name,
            &json!({"services": [shell("a"), shell("b")], "volumes": [volume("a"), volume("b")]}),
        )
        .await;
    server.running(&name).await;
    server
        .replace(
            &name,
            &json!({"services": [shell("a")], "volumes": [volume("a")]}),
        )
        .await;
    let docker = Docker::default();
    let expected = [
        format!("container {name}-a"),
        format!("network cara-{name}"),
        format!("volume cara-{name}-a"),
    ];
    eventually("what left the spec is gone", async || {
        (docker.of_project(&name) == expected).then_some(())
    })
    .await;
    server.delete(&name).await;
}

#[tokio::test]
async fn a_project_expires_at_its_time_also_when_that_passed_while_the_server_was_down() {
    let mut server = Server::with_agent(&unique("node"), &[]).await;
    let (first, second) = (unique("soon"), unique("later"));
    let expiring = |name: &str, seconds: i64| {
        let at = cara_api::Timestamp::now().as_second() + seconds;
        let at = cara_api::Timestamp::from_second(at).expect("in range");
        let mut spec = web("1", name);
        spec["expireAt"] = json!(at.to_string());
        (spec, at)
    };
    let (spec, at) = expiring(&first, 3);
    server.create(&first, &spec).await;
    let gone = eventually("the project starts to go", async || {
        let ending = server
            .project(&first)
            .await
            .is_none_or(|p| p.status.phase.is_ending());
        ending.then(cara_api::Timestamp::now)
    })
    .await;
    let late = gone.duration_since(at).as_secs_f64();
    assert!(
        (0.0..2.0).contains(&late),
        "it began to go {late} s after its time"
    );
    eventually("the project is gone", async || {
        server.project(&first).await.is_none().then_some(())
    })
    .await;
    assert_eq!(Docker::default().of_project(&first), [""; 0]);
    let (spec, at) = expiring(&second, 8);
    server.create(&second, &spec).await;
    server.running(&second).await;
    server.kill();
    let past = async || (cara_api::Timestamp::now() > at).then_some(());
    eventually("the time passes", past).await;
    server.start_again().await;
    within(
        Duration::from_secs(30),
        "the project goes after the restart",
        async || server.project(&second).await.is_none().then_some(()),
    )
    .await;
    assert_eq!(Docker::default().of_project(&second), [""; 0]);
}

#[tokio::test]
async fn a_project_without_a_node_says_why_and_starts_when_one_comes() {
    let server = Server::start(&[]).await;
    let name = unique("wait");
    server.create(&name, &web("1", &name)).await;
    let waiting = eventually("the reason is told", async || {
        server
            .project(&name)
            .await
            .filter(|p| !p.status.conditions.is_empty())
    })
    .await;
    assert_eq!(waiting.status.phase, ProjectPhase::Pending);
    assert_eq!(
        waiting.status.conditions[0].message,
        "there are no nodes: start an agent that joins this server"
    );
    let (status, page) = server.page(&format!("{name}.dev.localhost"), "/").await;
    assert!(
        status == 503 && page.contains("Pending, Unschedulable"),
        "{status} {page}"
    );
    let node = unique("node");
    let _agent = cara_tests::Agent::start(&server, &node);
    let running = server.running(&name).await;
    assert_eq!(running.status.node_ref, node);
    assert!(
        running.status.conditions.iter().all(|c| c.kind != "Placed"),
        "the old reason is gone"
    );
    server.delete(&name).await;
}
