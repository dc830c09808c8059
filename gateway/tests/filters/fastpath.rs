//! Plain requests go a way of their own. Nobody may notice: what a service gets and what a client
//! gets is the same on both ways.

use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::{HeaderRules, Policy, Timeouts};
use cara_gateway::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use crate::support::{Edge, OK, Received, Service, eventually, exchange, forward, route, route_at};

/// A policy that does nothing, which only pingora's way does.
fn idle_rule() -> Policy {
    Policy {
        request_headers: HeaderRules {
            remove: vec!["x-nobody-sends".into()],
            ..HeaderRules::default()
        },
        no_index: true,
        ..Policy::default()
    }
}

/// Rules for the same service: plain under `/plain`, not so under `/other`.
pub async fn both_ways(service: &Service) -> Edge {
    both_ways_with(Config::default(), service).await
}

/// The same with settings.
pub async fn both_ways_with(config: Config, service: &Service) -> Edge {
    let plain = Policy {
        no_index: true,
        ..Policy::default()
    };
    let routes = vec![
        route_at("/plain", forward(service.address), plain),
        route_at("/other", forward(service.address), idle_rule()),
    ];
    Edge::configured(config, routes).await
}

/// Header lines in lower case and in order, without what differs from request to request; and
/// what follows them.
fn comparable(message: &str) -> (String, Vec<String>, String) {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let first = first.replace(" /plain", " /*").replace(" /other", " /*");
    let mut lines: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            format!("{}: {}", name.to_ascii_lowercase(), value.trim())
        })
        .map(|line| match line.strip_prefix("date: ") {
            Some(_) => "date: now".to_owned(),
            None => line,
        })
        .filter(|line| !line.starts_with("x-request-id") && line != "connection: keep-alive")
        .collect();
    lines.sort();
    (first, lines, body.to_owned())
}

/// Data of a body that may be in chunks.
pub fn data(body: &str, is_chunked: bool) -> String {
    if !is_chunked {
        return body.to_owned();
    }
    let (mut data, mut rest) = (String::new(), body);
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return data;
        }
        data += &after[..size];
        rest = after[size..].strip_prefix("\r\n").expect("a chunk's end");
    }
}

/// What a service received, comparable.
pub fn received(all: Vec<Received>) -> Vec<(String, Vec<String>, String)> {
    let whole = |r: Received| format!("{}{}", r.head, String::from_utf8_lossy(&r.body));
    all.into_iter().map(|r| comparable(&whole(r))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_and_clients_see_the_same_on_both_ways() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n";
    let answers = [
        OK,
        chunked,
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Robots-Tag: all\r\nX-Request-Id: 1\r\n\r\nnone",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    ];
    let requests = [
        "GET /* HTTP/1.1~Host: web.test~~",
        "GET /*/a%20b?c=d&e HTTP/1.1~Host: web.test:8080~Accept: */*~Cookie: a=1; b=2~Authorization: Bearer x~~",
        "GET /* HTTP/1.1~Host: web.test~X-Forwarded-For: 1.1.1.1~X-Real-IP: 1.1.1.1~Forwarded: for=x~X-Forwarded-Proto: https~~",
        "POST /* HTTP/1.1~Host: web.test~Content-Type: text/plain~Content-Length: 5~~hello",
        "PUT /* HTTP/1.1~Host: web.test~Content-Length: 0~~",
        "DELETE /* HTTP/1.1~Host: web.test~traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01~~",
        "OPTIONS /* HTTP/1.1~Host: web.test~Connection: close~~",
    ];
    // Side by side: each exchange waits for silence.
    let together = async {
        let mut all = JoinSet::new();
        for answer in answers {
            all.spawn_local(compare_ways(answer, requests));
        }
        while let Some(compared) = all.join_next().await {
            compared.expect("the same");
        }
    };
    LocalSet::new().run_until(together).await;
}

/// Sends the requests both ways to a service that answers so.
async fn compare_ways(answer: &'static str, requests: [&'static str; 7]) {
    let service = Service::start(answer).await;
    let edge = both_ways(&service).await;
    for request in requests {
        let mut seen = Vec::new();
        for (path, counted) in [("/plain", 1.0), ("/other", 0.0)] {
            let before = edge.plain();
            let bytes = request
                .replace('~', "\r\n")
                .replace(" /*", &format!(" {path}"));
            let answer = exchange(edge.http, bytes.as_bytes()).await;
            let (first, lines, body) = comparable(&answer);
            let is_chunked = lines.iter().any(|l| l == "transfer-encoding: chunked");
            let body = data(&body, is_chunked);
            assert_eq!(edge.plain() - before, counted, "the way, {request}");
            seen.push((received(service.take()), (first, lines, body)));
        }
        let [plain, other] = [&seen[0], &seen[1]];
        assert_eq!(plain.0, other.0, "what the service got, {request}");
        assert_eq!(plain.1, other.1, "what the client got, {request}, {answer}");
    }
}

#[tokio::test]
async fn what_only_the_gateway_may_say_is_taken_off_on_both_ways() {
    let service = Service::start(OK).await;
    let edge = both_ways(&service).await;
    for path in ["/plain", "/other"] {
        for name in [
            "Client-Cert",
            "client-cert-chain",
            "X-SSL-Client-Verify",
            "X-Forwarded-Client-Cert",
            "X-Auth-Request-User",
            "X-Cara-Bypass",
        ] {
            let asked = format!(
                "GET {path} HTTP/1.1\r\nHost: web.test\r\n{name}: evil\r\nConnection: close\r\n\r\n"
            );
            let answer = exchange(edge.http, asked.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let got = service.take();
            let said: Vec<_> = got.iter().map(|request| request.header(name)).collect();
            assert_eq!(said, [None], "{path} {name}");
        }
    }
}

#[tokio::test]
async fn a_connection_goes_on_when_its_requests_or_its_rule_stop_being_plain() {
    let service = Service::start(OK).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let mut stream = TcpStream::connect(edge.http).await.expect("connects");
    let mut ask = async |lines: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: web.test\r\n{lines}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            let read = stream.read_buf(&mut answer).await.expect("an answer");
            assert!(read > 0, "closed");
        }
    };
    ask("").await;
    ask("").await;
    assert_eq!(edge.plain(), 2.0);
    edge.publish(|state| {
        let hosts = std::mem::take(&mut state.hosts);
        state.hosts = hosts
            .into_iter()
            .map(|(name, host)| {
                let mut host = (*host).clone();
                host.routes = vec![route(forward(service.address), idle_rule()).into()];
                (name, Arc::new(host))
            })
            .collect();
    })
    .await;
    ask("").await;
    ask("X_Odd: 1\r\n").await;
    assert_eq!(edge.plain(), 2.0);
    assert_eq!(service.take().len(), 4);
}

#[tokio::test]
async fn requests_that_come_at_once_or_in_pieces_are_all_answered_in_order() {
    let service = Service::start(OK).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let one = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: web.test\r\n\r\n");
    let all: String = (0..5).map(one).collect();
    let answers = exchange(edge.http, all.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 5, "{answers}");
    let post = "POST /5 HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\n\r\nbody";
    let mut stream = TcpStream::connect(edge.http).await.expect("connects");
    for piece in post.as_bytes().chunks(7) {
        stream.write_all(piece).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0);
    }
    let lines: Vec<String> = service.take().iter().map(|r| r.line().to_owned()).collect();
    let expected: Vec<String> = (0..5).map(|n| format!("GET /{n} HTTP/1.1")).collect();
    assert_eq!(lines[..5], expected);
    assert_eq!(lines[5], "POST /5 HTTP/1.1");
}

#[tokio::test]
async fn an_answer_without_a_length_gets_an_end_unless_it_breaks_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    for breaks in [false, true] {
        let asked = b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n";
        let mut client = TcpStream::connect(edge.http).await.expect("connects");
        client.write_all(asked).await.expect("sent");
        let (mut service, _) = listener.accept().await.expect("accepts");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            service.read_buf(&mut asked).await.expect("a request");
        }
        let answer = b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nto the end";
        service.write_all(answer).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"to the end\r\n") {
            assert!(client.read_buf(&mut answer).await.expect("an answer") > 0);
        }
        if breaks {
            service.set_zero_linger().expect("a socket");
        }
        drop(service);
        let mut rest = Vec::new();
        while !rest.ends_with(b"0\r\n\r\n") {
            // Broken off, the connection ends, in whatever way.
            if !matches!(client.read_buf(&mut rest).await, Ok(count) if count > 0) {
                break;
            }
        }
        assert_eq!(rest.is_empty(), breaks, "{rest:?}");
    }
    assert_eq!(edge.plain(), 2.0);
}

#[tokio::test]
async fn a_client_that_sends_and_never_reads_is_not_read_for_ever() {
    let service = Service::start(OK).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let requests = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n".repeat(2 << 20);
    let mut stream = TcpStream::connect(edge.http).await.expect("connects");
    let all = tokio::time::timeout(
        Duration::from_secs(2),
        stream.write_all(requests.as_bytes()),
    );
    assert!(all.await.is_err(), "{} bytes were taken", requests.len());
    assert_eq!(edge.get("/").await.status, 200, "others are served");
}

#[tokio::test]
async fn a_service_that_breaks_the_protocol_or_is_silent_is_told_of_by_a_page() {
    let timeouts = Timeouts {
        response: Some(Duration::from_millis(300)),
        ..Timeouts::default()
    };
    let policy = || Policy {
        timeouts,
        ..Policy::default()
    };
    for (answer, status) in [
        ("NONSENSE\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            502,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            502,
        ),
        ("HTTP/1.1 200 OK\r\n", 504),
    ] {
        let service = Service::start(answer).await;
        let edge = Edge::start(vec![route(forward(service.address), policy())]).await;
        let got = edge.get("/").await;
        assert_eq!(got.status, status, "{answer}: {}", got.head);
        assert_eq!(got.header("connection").as_deref(), Some("close"));
        assert_eq!(edge.plain(), 1.0, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    let mut client = TcpStream::connect(edge.http).await.expect("connects");
    let asked = b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n";
    client.write_all(asked).await.expect("sent");
    let (mut stream, _) = listener.accept().await.expect("accepts");
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut asked).await.expect("a request");
    }
    drop(client);
    let mut piece = [0; 16];
    eventually("the connection to the service ends", async || {
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut piece));
        matches!(read.await, Ok(Ok(0) | Err(_))).then_some(())
    })
    .await;
}
