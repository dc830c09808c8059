//! Sends the requests of the cases and judges the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cara_api::paths;
use cara_tests::{Server, unique};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::cases::{Answer, Step, files, steps};
use crate::compare::{normal, without_more_conditions};

/// How long an answer may take to become what a step waits for.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// What came back.
struct Got {
    status: u16,
    content_type: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

async fn send(client: &reqwest::Client, to: SocketAddr, step: &Step) -> Got {
    let (method, path) = step.request.split_once(' ').expect("method and path");
    let method = method.parse().expect("a method");
    let mut request = client.request(method, format!("http://{to}{path}"));
    if step.chunked {
        let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(step.body.clone())]);
        request = request.body(reqwest::Body::wrap_stream(chunks));
    } else if !step.body.is_empty() {
        request = request
            .header("content-type", "application/json")
            .body(step.body.clone());
    }
    if !step.host.is_empty() {
        request = request.header("host", &step.host);
    }
    let answer = request
        .send()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", step.request));
    let text = |name: &str| {
        let value = answer.headers().get(name);
        value.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let content_type = text("content-type").unwrap_or_default();
    let headers = ["allow", "location"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), text(name)?)));
    let headers = headers.collect();
    let status = answer.status().as_u16();
    let body = answer.text().await.expect("a body");
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    Got {
        status,
        content_type,
        headers,
        body,
    }
}

/// What is not as written down.
fn faults(expected: &Answer, got: &Got) -> Vec<String> {
    let mut faults = Vec::new();
    if expected.status() != got.status.to_string() {
        faults.push(format!(
            "status {} instead of {}",
            got.status,
            expected.status()
        ));
    }
    if expected
        .content_type()
        .is_some_and(|wanted| wanted != got.content_type)
    {
        faults.push(format!("content type {:?}", got.content_type));
    }
    for (name, wanted) in expected.headers() {
        let found = got.headers.get(name).map_or("", String::as_str);
        if words(found) != words(wanted) {
            faults.push(format!("header {name}: {found}"));
        }
    }
    if let Some(wanted) = expected.body().map(normal) {
        let mut found = normal(got.body.clone());
        without_more_conditions(&wanted, &mut found);
        if found != wanted {
            faults.push(format!("body {found}\n     instead of {wanted}"));
        }
    }
    faults
}

/// The parts of a header that is a list; their order and spaces mean nothing.
fn words(header: &str) -> Vec<&str> {
    let mut words: Vec<&str> = header.split(',').map(str::trim).collect();
    words.sort_unstable();
    words
}

fn misses(step: &Step, got: &Got) -> Vec<String> {
    let mut faults = faults(step.expected(), got);
    for (pointer, wanted) in &step.until {
        let found = got.body.pointer(pointer).cloned().unwrap_or_default();
        if found != *wanted {
            faults.push(format!("{pointer} is {found} instead of {wanted}"));
        }
    }
    faults
}

/// One step; what is wrong with the answer.
async fn judge(client: &reqwest::Client, to: SocketAddr, step: &Step) -> Vec<String> {
    let started = Instant::now();
    let waits = step.waits || !step.until.is_empty();
    let (got, mut wrong) = loop {
        let got = send(client, to, step).await;
        let wrong = misses(step, &got);
        if wrong.is_empty() || !waits || started.elapsed() > SETTLES_WITHIN {
            break (got, wrong);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    if !step.differs.is_empty() && faults(&step.recorded, &got).is_empty() {
        wrong.push("is said to differ, but does not".to_owned());
    }
    wrong
}

/// Replays a file of cases; `project` stands where the file says `{project}`.
async fn replay(to: SocketAddr, file: &str, project: &str) -> Vec<String> {
    let client = cara_tests::http_builder()
        .redirect(Policy::none())
        .build()
        .expect("a client");
    let mut all = Vec::new();
    for step in steps(file, project) {
        for fault in judge(&client, to, &step).await {
            all.push(format!(
                "{}{} {}: {fault}",
                step.case, step.setup, step.request
            ));
        }
    }
    all
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[tokio::test]
async fn the_api_answers_as_recorded() {
    let server = Server::start(&[]).await;
    let mut faults = Vec::new();
    for file in files().iter().filter(|name| name.as_str() < "k") {
        faults.extend(replay(server.api, file, "").await);
    }
    report(&faults);
}

#[tokio::test]
async fn agents_and_the_command_line_of_the_older_system_are_answered_as_recorded() {
    let server = Server::start(&[]).await;
    let mut faults = replay(server.api, "m-agent.yaml", "").await;
    faults.extend(replay(server.api, "n-caractl.yaml", "").await);
    report(&faults);
}

/// Needs the images of `deploy/dev/images.sh test`.
#[tokio::test]
async fn nodes_answer_as_recorded() {
    let node = unique("node");
    let server = Server::with_agent(&node, &[]).await;
    let project = unique("demo");
    let service = |name: &str, run: &str| json!({"name": name, "image": "cara-test/shell:1", "env": [{"name": "RUN", "value": run}]});
    let web = "trap 'exit 0' TERM; echo 'hello from caravan' > /www/index.html; httpd -p 80 -h /www; httpd -f -p 8080 -h /www & wait";
    // The pauses keep the two streams in this order.
    let log = "trap 'exit 0' TERM; echo line 46; sleep 0.2; echo line 47; sleep 0.2; echo err 47 >&2; sleep 1000 & wait";
    let ingress = |name: &str, host: &str| json!({"name": name, "host": host, "target": {"service": "web", "port": 8080}});
    let spec = json!({"services": [service("web", web), service("log", log)],
        "ingress": [ingress("fqdn", "blog.example.com"), ingress("short", "admin")]});
    server.create(&project, &spec).await;
    server.running(&project).await;
    let (_, node) = server
        .call("GET", &paths::fill(paths::NODE, &[&node]), "")
        .await;
    let port = node["status"]["network"]["agentPort"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok());
    let agent = SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
    let mut faults = replay(server.http, "k-ingress.yaml", &project).await;
    faults.extend(replay(agent, "l-agent.yaml", &project).await);
    server.delete(&project).await;
    report(&faults);
}
