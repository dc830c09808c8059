//! A node that cannot be reached goes on with what it has, until it can.

use std::process::Command;

use cara_tests::process::program;
use cara_tests::{Agent, Docker, Machine, Server, eventually, unique};
use serde_json::{Value, json};

fn app(version: &str, host: &str) -> Value {
    json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "VERSION", "value": version}]}],
        "ingress": [{"name": "web", "host": host, "target": {"service": "web", "port": 8080}}]})
}

/// An agent on a machine of its own.
fn agent_on(machine: &Machine, server: &Server, node: &str) -> Agent {
    let agent = machine.command(program("cara-agent"));
    let mut args: Vec<String> = agent
        .get_args()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let (url, host) = (format!("http://{}", server.api), machine.docker_host());
    let rest = [
        ["--server", &url],
        ["--node-name", node],
        ["--advertise-ip", &machine.ip],
        ["--docker-host", &host],
        ["--heartbeat-interval", "500ms"],
    ];
    args.extend(rest.concat().into_iter().map(ToOwned::to_owned));
    Agent::launch(node, move |directory| {
        let mut command = Command::new("nsenter");
        command.args(&args).arg("--data-dir").arg(directory);
        command
    })
}

#[tokio::test]
async fn weakness_09_a_node_that_was_cut_off_removes_its_copy_and_gets_no_requests() {
    let machine = Machine::start(9).await;
    machine.copy_image("cara-test/app:1");
    let (near, far) = (unique("near"), unique("far"));
    let api = format!("{}:0", machine.host_ip);
    let flags = [
        ["--api-listen", &api],
        ["--node-timeout", "3s"],
        ["--reschedule-grace", "2s"],
        ["--heartbeat-interval", "500ms"],
    ];
    let server =
        Server::with_agent(&near, &[&["--insecure-api"], &flags.concat()[..]].concat()).await;
    let _agent = agent_on(&machine, &server, &far);
    server.node_ready(&far).await;
    let name = unique("split");
    let close = |verb: &str| format!("/api/v1/nodes/{near}/{verb}");
    assert_eq!(server.call("POST", &close("cordon"), "").await.0, 200);
    server.create(&name, &app("1", &name)).await;
    assert_eq!(server.running(&name).await.status.node_ref, far);
    assert_eq!(server.call("POST", &close("uncordon"), "").await.0, 200);
    let host = format!("{name}.dev.localhost");
    assert_eq!(server.page(&host, "/").await, (200, "version 1\n".into()));

    machine.cut();
    let moved = eventually("it runs elsewhere", async || {
        let project = server.project(&name).await?;
        (project.status.node_ref == near).then_some(project)
    })
    .await;
    server.replace(&name, &app("2", &name)).await;
    server.running(&name).await;
    let container = format!("{name}-web");
    let old = machine.docker().inspect(&container, "{{.State.Running}}");
    assert_eq!(old, "true", "nobody can tell the node");

    machine.mend();
    eventually("the old copy is gone", async || {
        let page = server.page(&host, "/").await;
        assert_eq!(page, (200, "version 2\n".into()), "never the old copy");
        machine.docker().of_project(&name).is_empty().then_some(())
    })
    .await;
    server.node_ready(&far).await;
    let after = server.running(&name).await.status;
    assert_eq!(
        (after.node_ref, after.binding_epoch),
        (near, moved.status.binding_epoch),
        "what the node said late moved nothing"
    );
    assert_eq!(Docker::default().of_project(&name).len(), 2);
    server.delete(&name).await;
}
