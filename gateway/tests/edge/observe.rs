//! What is told about requests: access log, those who look on, metrics, traces.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cara_api::gateway::{GatewayState, HeaderRules, Host, Policy};
use cara_api::tail::{Feed, Filter, Item};
use cara_gateway::{AccessLog, LogRules, Ratio, TraceConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::get;
use crate::service;
use crate::support::{Edge, PATIENCE, Setup, eventually, state};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What was written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn lines(&self) -> Vec<Value> {
        let written = self.0.lock().expect("a lock");
        let lines = written.split_inclusive(|b| *b == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// Sends a request with further headers, and gives the answer.
async fn ask(edge: &Edge, target: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(edge.http).await.expect("open");
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: a.x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn a_line_names_the_way_of_a_request_and_no_secrets() {
    let sink = Sink::default();
    let mut setup = Setup {
        access_log: AccessLog::to(sink.clone()).expect("a thread"),
        ..Setup::default()
    };
    setup.config.log.user_agent = true;
    let service = service::start().await;
    let edge = Edge::start(setup, state(&["a.x"], service)).await;
    let headers = format!(
        "User-Agent: t/1\r\nAuthorization: Bearer hush\r\nCookie: a=hush\r\ntraceparent: {SAMPLED}\r\n"
    );
    ask(&edge, "/cart?a=1&token=hush", &headers).await;
    let line = eventually("a line", async || sink.lines().pop()).await;
    for (key, expected) in [
        ("path", json!("/cart?a=1&token=***")),
        ("status", json!(200)),
        ("listener", json!("http")),
        ("protocol", json!("h1")),
        ("project", json!("shop")),
        ("ingress", json!("web")),
        ("service", json!("web")),
        ("endpoint", json!(service.to_string())),
        ("bytes_in", json!(0)),
        ("user_agent", json!("t/1")),
        ("trace", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert!(line["upstream_us"].as_u64() <= line["duration_us"].as_u64());
    assert!(line.get("retries").is_none() && line.get("tls").is_none());
    assert!(!line.to_string().contains("hush"), "{line}");
    edge.stop();
    edge.stopped().await;
}

#[tokio::test]
async fn a_sample_of_none_still_shows_failures() {
    let sink = Sink::default();
    let mut setup = Setup {
        access_log: AccessLog::to(sink.clone()).expect("a thread"),
        ..Setup::default()
    };
    setup.config.log = LogRules {
        sample: Ratio::NONE,
        slow: Duration::from_secs(60),
        ..LogRules::default()
    };
    let service = service::start().await;
    let edge = Edge::start(setup, state(&["a.x"], service)).await;
    ask(&edge, "/1", "").await;
    edge.publish(state(&["a.x"], ([127, 0, 0, 1], 1).into()))
        .await;
    ask(&edge, "/2", "").await;
    let line = eventually("a line", async || sink.lines().pop()).await;
    assert_eq!(
        (&line["path"], &line["status"]),
        (&json!("/2"), &json!(502))
    );
    assert_eq!(sink.lines().len(), 1);
    edge.counts("cara_gateway_pages_total", "bad_gateway", 1.0)
        .await;
    edge.counts("cara_gateway_requests_total", "forward", 1.0)
        .await;
    edge.counts("cara_gateway_requests_total", "page", 1.0)
        .await;
    edge.stop();
    edge.stopped().await;
}

/// Asks so often for a page of a host, on some connections.
async fn ask_often(edge: &Edge, host: &'static str, count: usize) {
    const CONNECTIONS: usize = 8;
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(edge.http).await.expect("open");
        clients.spawn(async move {
            for _ in 0..count / CONNECTIONS {
                let (status, _) = get(&mut stream, host).await.expect("an answer");
                assert_eq!(status, 200);
            }
        });
    }
    clients.join_all().await;
}

/// Of n requests, a share p is n * p, give or take the root of n * p * (1 - p): ten times as much
/// does not happen by chance.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_its_share_of_the_requests_on_both_ways() {
    const REQUESTS: usize = 2_400;
    let sink = Sink::default();
    let mut setup = Setup {
        access_log: AccessLog::to(sink.clone()).expect("a thread"),
        ..Setup::default()
    };
    setup.config.log = LogRules {
        sample: "0.25".parse().expect("a share"),
        slow: Duration::from_secs(60),
        ..LogRules::default()
    };
    let service = service::start().await;
    let both = |to: SocketAddr| {
        let mut both = state(&["plain.x"], to);
        let long = by_the_long_way(state(&["long.x"], to));
        both.hosts.extend(long.hosts);
        both
    };
    let edge = Edge::start(setup, both(service)).await;
    ask_often(&edge, "plain.x", REQUESTS).await;
    ask_often(&edge, "long.x", REQUESTS).await;
    let plain = edge.metric("cara_gateway_plain_requests_total").await;
    assert_eq!(plain, REQUESTS as f64);
    // A failure is always told, and after all that was before it.
    edge.publish(both(([127, 0, 0, 1], 1).into())).await;
    let mut stream = TcpStream::connect(edge.http).await.expect("open");
    let (status, _) = get(&mut stream, "plain.x").await.expect("an answer");
    assert_eq!(status, 502);
    let lines = eventually("the last line", async || {
        let lines = sink.lines();
        lines
            .iter()
            .any(|line| line["status"] == 502)
            .then_some(lines)
    })
    .await;
    for host in ["plain.x", "long.x"] {
        let of_host = |line: &&Value| line["host"] == host && line["status"] == 200;
        let count = lines.iter().filter(of_host).count();
        // 600, give or take ten times 21.2.
        assert!((388..=812).contains(&count), "{host}: {count}");
    }
    edge.stop();
    edge.stopped().await;
}

#[tokio::test]
async fn those_who_look_on_see_requests() {
    let feed = Arc::new(Feed::default());
    let setup = Setup {
        tail: Arc::clone(&feed),
        ..Setup::default()
    };
    let service = service::start().await;
    let edge = Edge::start(setup, state(&["a.x"], service)).await;
    ask(&edge, "/unseen", "").await;
    let filter = Filter {
        host: Some("a.x".into()),
        ..Filter::default()
    };
    let mut lines = feed.listen(filter).expect("room");
    ask(&edge, "/seen?code=hush", "").await;
    let item = tokio::time::timeout(PATIENCE, lines.next()).await;
    let Ok(Item::Line(line)) = item else {
        panic!("a line, not {item:?}");
    };
    let line: Value = serde_json::from_slice(&line).expect("JSON");
    assert_eq!(line["path"], "/seen?code=***");
    edge.stop();
    edge.stopped().await;
}

/// A collector that hands over the bodies that it gets, and answers the first one with 503.
async fn collector() -> (SocketAddr, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (bodies, received) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((mut stream, _)) = listener.accept().await {
            while let Some((head, body)) = message(&mut stream).await {
                assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
                assert!(head.contains("content-type: application/json"), "{head}");
                let status = if is_first { "503 Busy" } else { "200 OK" };
                if !std::mem::replace(&mut is_first, false) {
                    let body = serde_json::from_slice(&body).expect("JSON");
                    bodies.send(body).await.expect("somebody looks");
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
        }
    });
    (address, received)
}

async fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length?];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// The same state, by rules that only pingora's way knows.
fn by_the_long_way(mut state: GatewayState) -> GatewayState {
    let policy = Arc::new(Policy {
        request_headers: HeaderRules {
            remove: vec!["x-nobody-sends".into()],
            ..HeaderRules::default()
        },
        ..Policy::default()
    });
    let hosts = state.hosts.iter().map(|(name, host)| {
        let mut host = Host::clone(host);
        for route in &mut host.routes {
            Arc::make_mut(route).policy = Arc::clone(&policy);
        }
        (name.clone(), Arc::new(host))
    });
    state.hosts = hosts.collect();
    state
}

/// Sends a request over HTTP/2, and gives the answer's body.
async fn ask_http2(edge: &Edge, target: &str, headers: &[(&str, &str)]) -> String {
    let stream = TcpStream::connect(edge.http).await.expect("open");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    let mut request = http::Request::get(format!("http://a.x{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut ready = send.ready().await.expect("ready");
    let request = request.body(()).expect("a request");
    let (answer, _) = ready.send_request(request, true).expect("sent");
    let mut body = answer.await.expect("an answer").into_body();
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        text.extend_from_slice(&part.expect("data"));
    }
    String::from_utf8(text).expect("text")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Short,
    Long,
}

#[tokio::test]
async fn a_trace_goes_to_the_service_and_to_the_collector() {
    for way in [Way::Short, Way::Long] {
        for is_http2 in [false, true] {
            trace_goes_on(way, is_http2).await;
        }
    }
}

async fn trace_goes_on(way: Way, is_http2: bool) {
    let (address, mut bodies) = collector().await;
    let mut setup = Setup::default();
    setup.config.traces = Some(TraceConfig {
        endpoint: format!("http://{address}/"),
        sample: Ratio::ALL,
        follows_parent: false,
    });
    let service = service::start().await;
    let routes = match way {
        Way::Short => state(&["a.x"], service),
        Way::Long => by_the_long_way(state(&["a.x"], service)),
    };
    let edge = Edge::start(setup, routes).await;
    let target = "/cart?token=hush";
    // The service answers with the head that it got.
    let seen = if is_http2 {
        let headers = [("traceparent", SAMPLED), ("tracestate", "v=1")];
        ask_http2(&edge, target, &headers).await
    } else {
        let headers = format!("traceparent: {SAMPLED}\r\ntracestate: v=1\r\n");
        ask(&edge, target, &headers).await
    };
    let plain = edge.metric("cara_gateway_plain_requests_total").await;
    assert_eq!(plain, f64::from(u8::from(way == Way::Short)), "{way:?}");
    assert!(
        seen.contains("tracestate: v=1"),
        "{way:?} {is_http2}: {seen}"
    );
    let told = seen
        .lines()
        .find_map(|line| line.strip_prefix("traceparent: "))
        .expect("a parent");
    let body = tokio::time::timeout(PATIENCE, bodies.recv()).await;
    let body = body.expect("in time").expect("a body");
    let sent = &body["resourceSpans"][0];
    let service_name = &sent["resource"]["attributes"][0];
    assert_eq!(service_name["key"], "service.name");
    let spans = &sent["scopeSpans"][0]["spans"];
    let (request, upstream) = (&spans[0], &spans[1]);
    assert_eq!(request["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(request["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(request["traceState"], "v=1");
    assert_eq!(request["name"], "GET /");
    assert_eq!(upstream["parentSpanId"], request["spanId"]);
    let span = upstream["spanId"].as_str().expect("text");
    assert_eq!(
        told,
        format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01")
    );
    assert!(!body.to_string().contains("hush"), "{body}");
    edge.counts("cara_gateway_spans_total", "exported", 2.0)
        .await;
    edge.stop();
    edge.stopped().await;
}

#[tokio::test]
async fn a_trace_that_came_passes_when_none_are_made() {
    let service = service::start().await;
    let edge = Edge::start(Setup::default(), state(&["a.x"], service)).await;
    let seen = ask(&edge, "/", &format!("traceparent: {SAMPLED}\r\n")).await;
    assert!(seen.contains(&format!("traceparent: {SAMPLED}")), "{seen}");
    let seen = ask(&edge, "/", "").await;
    assert!(!seen.contains("traceparent"), "{seen}");
    edge.stop();
    edge.stopped().await;
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() {
    let mut setup = Setup::default();
    setup.config.traces = Some(TraceConfig {
        endpoint: "http://127.0.0.1:1".to_owned(),
        sample: Ratio::ALL,
        follows_parent: false,
    });
    let service = service::start().await;
    let edge = Edge::start(setup, state(&["a.x"], service)).await;
    assert!(ask(&edge, "/", "").await.starts_with("HTTP/1.1 200"));
    edge.counts("cara_gateway_spans_total", "failed", 2.0).await;
    edge.stop();
    edge.stopped().await;
}
