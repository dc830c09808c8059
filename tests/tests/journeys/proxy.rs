//! What the gateway answers itself.

use std::time::Duration;

use cara_tests::{Docker, Server, eventually, unique};
use serde_json::{Value, json};

async fn ask(server: &Server, host: &str, path: &str, accept: &str) -> reqwest::Response {
    let client = cara_tests::http_builder()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client");
    let request = client
        .get(format!("http://{}{path}", server.http))
        .header("host", host);
    request
        .header("accept", accept)
        .send()
        .await
        .expect("an answer")
}

/// Checks an answer of the gateway in both forms: a page for browsers, a problem for programs.
async fn check(server: &Server, host: &str, path: &str, status: u16, says: &str) {
    let page = ask(server, host, path, "text/html,*/*;q=0.8").await;
    assert_eq!(page.status(), status);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let id = page.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let html = page.text().await.expect("a body");
    assert!(html.contains(says) && html.contains(&id), "{html}");
    let problem = ask(server, host, path, "application/json").await;
    assert_eq!(problem.status(), status);
    assert_eq!(
        problem.headers()["content-type"],
        "application/problem+json"
    );
    let body: Value = serde_json::from_str(&problem.text().await.expect("a body")).expect("JSON");
    assert_eq!(body["status"], status);
    assert!(
        body["detail"].as_str().expect("text").contains(says),
        "{body}"
    );
    for text in [html, body.to_string()] {
        for secret in ["172.", "127.0.0.1", "8080", "Connection refused", "pingora"] {
            assert!(!text.contains(secret), "{secret} leaks: {text}");
        }
    }
}

#[tokio::test]
async fn an_unknown_host_is_404_and_no_host_is_400() {
    let server = Server::start(&[]).await;
    check(
        &server,
        "nobody.dev.localhost",
        "/",
        404,
        "No project serves nobody.dev.localhost.",
    )
    .await;
    check(&server, "a b", "/", 400, "does not name a valid host").await;
    let (mut reader, mut writer) = tokio::net::TcpStream::connect(server.http)
        .await
        .expect("open")
        .into_split();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    writer
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    let mut start = [0; 12];
    reader.read_exact(&mut start).await.expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 400");
}

#[tokio::test]
async fn a_service_that_is_not_ready_cuts_or_hangs_is_told_apart() {
    let server = Server::with_agent(&unique("node"), &["--upstream-timeout", "1s"]).await;
    let name = unique("slow");
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/app:1", "env": [{"name": "DELAY_MS", "value": "3000"}]}],
        "ingress": [{"name": "web", "host": name, "target": {"service": "web", "port": 8080}}]});
    server.create(&name, &spec).await;
    let host = format!("{name}.dev.localhost");
    eventually(
        "a page says that it starts and when to ask again",
        async || {
            let waiting = ask(&server, &host, "/", "text/html").await;
            let asks_soon = waiting.headers().get("retry-after")? == "1";
            let text = waiting.text().await.ok()?;
            (asks_soon && text.contains("The project is starting")).then_some(())
        },
    )
    .await;
    server.running(&name).await;
    check(&server, &host, "/slow", 504, "did not answer in time").await;
    check(
        &server,
        &host,
        "/cut",
        502,
        "refused the connection or cut it",
    )
    .await;
    let cut = ask(&server, &host, "/cut", "text/html").await;
    assert_eq!(
        cut.headers()["connection"],
        "close",
        "the client must not send its next request on a connection that ends"
    );
    let docker = Docker::default();
    docker.run(&["pause", &format!("{name}-web")]);
    eventually("the pause is noticed", async || {
        (server.page(&host, "/").await.0 == 503).then_some(())
    })
    .await;
    check(&server, &host, "/", 503, "The service is not ready").await;
    docker.run(&["unpause", &format!("{name}-web")]);
    eventually("the service is back", async || {
        (server.page(&host, "/").await.0 == 200).then_some(())
    })
    .await;
    server.delete(&name).await;
    check(&server, &host, "/", 404, "No project serves").await;
}

#[tokio::test]
async fn an_environment_has_error_pages_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    std::fs::create_dir(directory.path().join("pr-42")).expect("a directory");
    write("404.html", "nothing at {host}");
    write("pr-42/4xx.html", "{status} in a preview");
    let path = directory.path().display().to_string();
    let server = Server::start(&[
        "--error-pages",
        &path,
        "--environment",
        "pr-42",
        "--base-domain",
        "Example.com",
    ])
    .await;
    let page = async |host: &str| {
        let answer = ask(&server, host, "/", "text/html").await;
        answer.text().await.expect("a body")
    };
    let until = async |host: &str, text: &str| {
        eventually(text, async || (page(host).await == text).then_some(())).await;
    };
    until("no.pr-42.example.com", "404 in a preview").await;
    until("no.other.example.com", "nothing at no.other.example.com").await;
    until("example.org", "nothing at example.org").await;
    write("pr-42/404.html", "a newer page");
    until("no.pr-42.example.com", "a newer page").await;
    std::fs::remove_dir_all(directory.path().join("pr-42")).expect("removed");
    until("no.pr-42.example.com", "nothing at no.pr-42.example.com").await;
}

#[tokio::test]
async fn requests_are_logged_and_counted() {
    let server = Server::start(&[]).await;
    let spec = json!({"services": [{"name": "web", "image": "x"}]});
    server.create(&unique("counted"), &spec).await;
    eventually("the scheduler looked at it", async || {
        let (_, metrics) = server.call("GET", "/metrics", "").await;
        metrics
            .as_str()?
            .contains("cara_reconciles_total")
            .then_some(())
    })
    .await;
    server.page("logged.dev.localhost", "/some?path=1").await;
    let log = server.directory().join("server.out");
    let line = eventually("the access log has the request", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines()
            .find(|line| line.contains("logged.dev.localhost"))
            .map(str::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(
        (&line["status"], &line["path"], &line["method"]),
        (&json!(404), &json!("/some?path=1"), &json!("GET"))
    );
    let (_, metrics) = server.call("GET", "/metrics", "").await;
    let metrics = metrics.as_str().expect("text").to_owned();
    for name in [
        "cara_gateway_requests_total{listener=\"http\",route=\"page\",status=\"404\"} 1",
        "cara_gateway_request_seconds_count{listener=\"http\"} 1",
        "cara_gateway_requests_in_flight 0",
        "cara_gateway_routes 0",
        "cara_store_commit_seconds",
        "cara_store_revision",
        "cara_reconcile_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    assert!(!metrics.contains("logged.dev"), "hosts are not labels");
}
