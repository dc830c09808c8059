//! What operators see of requests: routes, explanations, live requests, metrics, access log.

use std::process::Stdio;

use cara_tests::{Server, eventually, unique};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A server with a project that answers by itself, and has a service that no node runs.
async fn server(args: &[&str]) -> (Server, String, String) {
    let server = Server::start(args).await;
    let name = unique("seen");
    let rule = |rule: &str, more: Value| {
        let mut entry = json!({"name": rule, "host": name});
        for (key, value) in more.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        entry
    };
    let target = json!({"service": "web", "port": 8080});
    let spec = json!({
        "services": [{"name": "web", "image": "cara-test/app:1"}],
        "ingress": [
            rule("web", json!({"target": target})),
            rule("ping", json!({"path": "/ping", "respond": {"body": "pong"}})),
            rule("beta", json!({"target": target, "matchHeaders": [{"name": "X-Beta", "value": "on"}]})),
            rule("old", json!({"path": "/old", "redirect": {"to": "https://new.example.com{path}"}}))]});
    server.create(&name, &spec).await;
    let host = format!("{name}.dev.localhost");
    eventually("the routes are known", async || {
        (server.page(&host, "/ping").await.0 == 200).then_some(())
    })
    .await;
    (server, name, host)
}

fn access_log(server: &Server) -> Vec<Value> {
    let path = server.directory().join("server.out");
    let text = std::fs::read_to_string(path).expect("a log");
    let lines = text.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

#[tokio::test]
async fn routes_are_listed_and_explained() {
    let (server, name, host) = server(&[]).await;
    let (code, table, _) = server.ctl(&["routes", "--project", &name]).await;
    assert_eq!(code, 0);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let header = ["HOST", "PATH", "HEADERS", "TO", "STATE", "ENDPOINTS"];
    assert_eq!(rows[0], header);
    assert_eq!(rows[1][..5], [&host, "/ping/*", "answer", "200", "Ready"]);
    let web = format!("{name}/web");
    assert_eq!(rows[4][..3], [&host, "/*", &web], "{table}");
    assert!(table.contains("https://new.example.com{path} ("), "{table}");
    let (code, names, _) = server.ctl(&["routes", "-o", "name"]).await;
    assert_eq!(code, 0);
    assert!(names.contains(&format!("{host}/ping/*\n")), "{names}");
    let (code, text, _) = server.ctl(&["routes", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &list["items"][0]["action"]), (0, &json!("Respond")));

    let url = format!("http://{host}/any");
    let beta = ["routes", "explain", &url, "-H", "X-Beta: on", "-o", "name"];
    for (args, expected) in [
        (&beta[..], format!("{name}/beta\n")),
        (
            &["routes", "explain", &url, "-o", "name"][..],
            format!("{name}/web\n"),
        ),
        (
            &["routes", "explain", "http://nobody.x/", "-o", "name"][..],
            "<none>\n".to_owned(),
        ),
    ] {
        let (code, said, error) = server.ctl(args).await;
        assert_eq!((code, said), (0, expected), "{args:?} {error}");
    }
    let (_, words, _) = server.ctl(&["routes", "explain", &url]).await;
    for part in [
        "ping (/ping and below): the path is not /ping or below it",
        "beta (all paths with x-beta: on): there is no header x-beta",
        "* web (all paths): takes it",
        "to service web, which is not ready (",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
    let (_, words, _) = server
        .ctl(&["routes", "explain", &url, "-X", "trace"])
        .await;
    assert!(words.contains("TRACE is not taken"), "{words}");
    let (code, _, error) = server.ctl(&["routes", "explain", "ftp://x"]).await;
    assert_eq!(code, 1);
    assert!(error.contains("not a URL"), "{error}");
}

#[tokio::test]
async fn requests_are_seen_as_they_end() {
    let (server, name, host) = server(&[]).await;
    let program = std::env::current_exe().expect("a path");
    let program = program.ancestors().nth(2).expect("target").join("caractrl");
    let tail = |args: &[&str]| {
        let mut command = tokio::process::Command::new(&program);
        command
            .arg("tail")
            .args(args)
            .env("CARA_SERVER", server.url(""))
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("caractrl runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        (child, lines)
    };
    let (_all, mut all) = tail(&[&host, "-o", "json"]);
    let (_failed, mut failed) = tail(&[&name, "--status", "5xx"]);
    // Listening begins some time after the program does.
    let first = eventually("a request is seen", async || {
        server.page(&host, "/ping?token=hush").await;
        let wait = std::time::Duration::from_millis(200);
        tokio::time::timeout(wait, all.next_line()).await.ok()
    })
    .await;
    let first: Value =
        serde_json::from_str(&first.expect("readable").expect("a line")).expect("JSON");
    assert_eq!(first["path"], "/ping?token=***");
    assert_eq!(
        (&first["status"], &first["project"]),
        (&json!(200), &json!(name))
    );
    let line = eventually("a failed request is seen", async || {
        server.page(&host, "/fails").await;
        let wait = std::time::Duration::from_millis(200);
        tokio::time::timeout(wait, failed.next_line()).await.ok()
    })
    .await;
    let line = line.expect("readable").expect("a line");
    assert!(
        line.contains(" 503 ") && line.contains(&format!("{host}/fails")),
        "{line}"
    );
    let (code, _, error) = server.ctl(&["tail", &name, "--status", "9xx"]).await;
    assert_eq!(code, 2);
    assert!(error.contains("404 or 5xx"), "{error}");
    let (status, problem) = server.call("GET", "/api/v1/tail?status=abc", "").await;
    assert_eq!(status, 400, "{problem}");
}

#[tokio::test]
async fn metrics_and_access_log_tell_of_requests() {
    let args = [
        "--access-log-headers",
        "user-agent,referer",
        "--access-log-redact",
        "sid",
    ];
    let (server, name, host) = server(&args).await;
    let client = cara_tests::http();
    let answer = client
        .get(format!("http://{}/ping?sid=hush&a=1", server.http))
        .header("host", &host)
        .header("user-agent", "journey/1")
        .header("referer", "https://a.x/?sid=hush")
        .header("authorization", "Bearer hush")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .send()
        .await
        .expect("an answer");
    let id = answer.headers()["x-request-id"].to_str().expect("text");
    let line = eventually("the request is logged", async || {
        access_log(&server)
            .into_iter()
            .find(|line| line["id"] == id)
    })
    .await;
    for (key, expected) in [
        ("path", "/ping?sid=***&a=1"),
        ("listener", "http"),
        ("protocol", "h1"),
        ("project", &name),
        ("ingress", "ping"),
        ("user_agent", "journey/1"),
        ("referer", "https://a.x/?sid=***"),
        ("trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        assert_eq!(line[key], expected, "{line}");
    }
    assert!(!line.to_string().contains("hush"), "{line}");

    server.page(&host, "/fails").await;
    server.page("nobody.dev.localhost", "/").await;
    let answer = server.call("GET", "/metrics", "").await.1;
    let metrics = answer.as_str().expect("text");
    let value = |sample: &str| -> f64 {
        let found = metrics.lines().find_map(|line| line.strip_prefix(sample));
        let found = found.unwrap_or_else(|| panic!("{sample} is missing in {metrics}"));
        found.trim().parse().expect("a number")
    };
    for sample in [
        "cara_gateway_requests_total{listener=\"http\",route=\"respond\",status=\"200\"}",
        "cara_gateway_requests_total{listener=\"http\",route=\"page\",status=\"503\"}",
        "cara_gateway_requests_total{listener=\"http\",route=\"page\",status=\"404\"}",
        "cara_gateway_pages_total{page=\"unknown_host\"}",
        "cara_gateway_pages_total{page=\"not_ready\"}",
        "cara_gateway_request_seconds_count{listener=\"http\"}",
    ] {
        assert!(value(sample) >= 1.0, "{sample}");
    }
    assert!(!metrics.contains(&name), "hosts and projects are no labels");
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    for (flag, value, says) in [
        ("--access-log-sample", "2", "a number from 0 to 1"),
        (
            "--access-log-headers",
            "cookie",
            "user-agent, referer or both",
        ),
        ("--otlp-endpoint", "collector:4318", "a URL such as"),
    ] {
        let output = tokio::process::Command::new(cara_tests::program("cara-server"))
            .args([flag, value])
            .output()
            .await
            .expect("the server runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{said}");
    }
}
