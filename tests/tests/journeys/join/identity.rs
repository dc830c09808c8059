//! What a certificate is good for, and how long.

use cara_api::project::ProjectPhase;
use cara_tests::{Docker, Server, eventually, unique};
use serde_json::json;

use super::{GUARDED, Thief, identity, joined, token};

#[tokio::test]
async fn a_stolen_certificate_touches_no_other_node() {
    let server = Server::start(&GUARDED).await;
    let [a, b] = [unique("a"), unique("b")];
    let agent = joined(&server, &a).await;
    let _other = joined(&server, &b).await;
    let thief = Thief::of(&server, agent.directory());
    let on = |node: &str, what: &str| format!("/api/v1/nodes/{node}/{what}");
    assert_eq!(thief.ask("POST", &on(&a, "heartbeat")).await.0, 204);
    for (method, what) in [
        ("POST", "heartbeat"),
        ("POST", "reports"),
        ("GET", "assignments"),
        ("POST", "certificate"),
    ] {
        let (status, detail) = thief.ask(method, &on(&b, what)).await;
        let expected = format!("this is the certificate of node {a}: it may not act for node {b}");
        assert_eq!((status, detail), (403, expected), "{what}");
    }
    for (method, path) in [
        ("GET", "/api/v1/secrets".to_owned()),
        ("GET", "/api/v1/projects".to_owned()),
        ("GET", "/api/v1/nodes".to_owned()),
        ("GET", "/metrics".to_owned()),
        ("POST", "/api/v1/projects".to_owned()),
        ("POST", "/api/v1/nodes".to_owned()),
        ("POST", "/api/v1/join-tokens".to_owned()),
        ("PATCH", "/api/v1/projects/x/status".to_owned()),
        ("DELETE", format!("/api/v1/nodes/{b}")),
        ("POST", on(&b, "drain")),
        ("POST", on(&a, "uncordon")),
    ] {
        assert_eq!(thief.ask(method, &path).await.0, 403, "{method} {path}");
    }
    // Who shows nothing is no node at all.
    for (method, what) in [
        ("POST", "heartbeat"),
        ("POST", "reports"),
        ("GET", "assignments"),
    ] {
        let anybody = server
            .api_http_builder()
            .tls_danger_accept_invalid_certs(true);
        let method = method.parse().expect("a method");
        let client = anybody.build().expect("a client");
        let request = client.request(method, server.url(&on(&a, what)));
        let answer = request.json(&json!({})).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 401, "{what}");
    }
}

#[tokio::test]
async fn who_is_shut_out_is_out_at_once_and_may_come_back() {
    let server = Server::start(&GUARDED).await;
    let node = unique("out");
    let mut agent = joined(&server, &node).await;
    let name = unique("stays");
    let spec = json!({"services": [{"name": "web", "image": "cara-test/app:1"}]});
    server.create(&name, &spec).await;
    server.phase(&name, ProjectPhase::Running).await;
    let thief = Thief::of(&server, agent.directory());
    let path = format!("/api/v1/nodes/{node}/assignments");
    let mut stream = thief
        .client
        .get(server.url(&path))
        .send()
        .await
        .expect("a stream");
    assert!(stream.chunk().await.expect("it goes on").is_some());

    let (code, out, err) = server.ctl(&["node", "revoke", &node]).await;
    assert_eq!((code, out), (0, format!("node/{node} revoked\n")), "{err}");
    // The stream that is open ends, and no other begins.
    while let Ok(Some(_)) = stream.chunk().await {}
    let (status, detail) = thief.ask("GET", &path).await;
    assert_eq!(status, 403, "{detail}");
    assert!(detail.contains("was shut out"), "{detail}");
    assert_eq!(
        thief
            .ask("POST", &format!("/api/v1/nodes/{node}/certificate"))
            .await
            .0,
        403
    );
    eventually("the agent says why", async || {
        agent.log().contains("was shut out").then_some(())
    })
    .await;
    let (code, _, _) = server.ctl(&["node", "revoke", &node]).await;
    assert_eq!(code, 0, "once more changes nothing");
    let running = Docker::default().inspect(&format!("{name}-web"), "{{.State.Running}}");
    assert_eq!(running, "true", "its containers go on");

    // A token that names the node lets it in again, with what it runs.
    let back = token(&server, &["--node", &node]).await;
    let id = Docker::default().inspect(&format!("{name}-web"), "{{.Id}}");
    agent.start_again_with(|command| {
        command.env("CARA_JOIN", &back);
    });
    eventually("it is back", async || {
        agent.log().contains("joined").then_some(())
    })
    .await;
    server.node_ready(&node).await;
    server.phase(&name, ProjectPhase::Running).await;
    assert_eq!(
        Docker::default().inspect(&format!("{name}-web"), "{{.Id}}"),
        id
    );
    assert_eq!(
        thief.ask("GET", &path).await.0,
        403,
        "the old certificate stays useless"
    );
    server.delete(&name).await;

    // Deleting the node does the same.
    let thief = Thief::of(&server, agent.directory());
    let mut stream = thief
        .client
        .get(server.url(&path))
        .send()
        .await
        .expect("a stream");
    let (code, _, err) = server.ctl(&["delete", "node", &node]).await;
    assert_eq!(code, 0, "{err}");
    while let Ok(Some(_)) = stream.chunk().await {}
    assert_eq!(thief.ask("GET", &path).await.0, 403);
    let audit = std::fs::read_to_string(server.data_dir().join("audit.jsonl")).expect("a log");
    let count = |verb: &str| audit.matches(&format!(r#""verb":"{verb}""#)).count();
    assert_eq!((count("join"), count("revoke")), (2, 1), "{audit}");
}

#[tokio::test]
async fn certificates_are_renewed_in_time_over_restarts_of_the_server() {
    let short = ["--node-certificate-life", "6s", "--node-timeout", "3s"];
    let mut server = Server::start(&[&GUARDED[..], &short].concat()).await;
    let node = unique("young");
    let agent = joined(&server, &node).await;
    let name = unique("steady");
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
    server.create(&name, &spec).await;
    server.running(&name).await;
    let id = Docker::default().inspect(&format!("{name}-web"), "{{.Id}}");
    let mut seen = vec![identity(agent.directory())["certificate"].clone()];
    for round in 0..3 {
        if round == 1 {
            server.terminate(cara_tests::PATIENCE).await;
            server.start_again().await;
        }
        if round == 2 {
            let mut before = server.take_over().await;
            before.kill();
        }
        let next = eventually("the certificate is renewed", async || {
            let next = identity(agent.directory())["certificate"].clone();
            (!seen.contains(&next)).then_some(next)
        })
        .await;
        seen.push(next);
        server.node_ready(&node).await;
    }
    let thief = Thief::of(&server, agent.directory());
    let path = format!("/api/v1/nodes/{node}/heartbeat");
    assert_eq!(thief.ask("POST", &path).await.0, 204);
    // What is not renewed ends by itself.
    eventually("the copy ends", async || {
        (thief.ask("POST", &path).await.0 != 204).then_some(())
    })
    .await;
    server.node_ready(&node).await;
    assert_eq!(
        Docker::default().inspect(&format!("{name}-web"), "{{.Id}}"),
        id
    );
    let (status, _) = server.page(&format!("{name}.dev.localhost"), "/").await;
    assert_eq!(status, 200);
    server.delete(&name).await;
    let audit = std::fs::read_to_string(server.data_dir().join("audit.jsonl")).expect("a log");
    assert!(audit.contains(r#""verb":"renew""#), "{audit}");
}

#[tokio::test]
async fn an_agent_that_was_away_too_long_says_how_to_come_back() {
    let short = ["--node-certificate-life", "2s"];
    let server = Server::start(&[&GUARDED[..], &short].concat()).await;
    let node = unique("away");
    let mut agent = joined(&server, &node).await;
    agent.kill();
    let end = identity(agent.directory())["notAfter"]
        .as_str()
        .expect("a time")
        .to_owned();
    let end: cara_api::Timestamp = end.parse().expect("a time");
    eventually("it ended", async || {
        (cara_api::Timestamp::now() > end).then_some(())
    })
    .await;
    agent.crash_and_start_again();
    eventually("the agent gives up", async || {
        agent.has_ended().then_some(())
    })
    .await;
    let log = agent.log();
    assert!(
        log.contains(&format!("caractrl node join-token --node {node}")),
        "{log}"
    );
    let back = token(&server, &["--node", &node]).await;
    agent.start_again_with(|command| {
        command.env("CARA_JOIN", &back);
    });
    server.node_ready(&node).await;
}
