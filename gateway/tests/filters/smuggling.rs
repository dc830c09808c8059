//! Requests that could be read in two ways. Whatever a client sends, a service gets at most the
//! requests that the client made, and none that was hidden in another.

use std::sync::Arc;

use cara_api::gateway::Policy;
use cara_api::hostname::Hostname;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Edge, OK, Received, Service, exchange, forward, route};

/// What must come of a case.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// The service gets this many, and the client that many good answers.
    Served(usize),
    /// The client is refused, and the service gets nothing.
    Refused,
    /// The same, with this status.
    Answered(u16),
    /// The head may have gone on before the body turned out to be broken, but nothing else.
    Cut,
}
use Expected::{Answered, Cut, Refused, Served};

/// A plain request, of the sort that does not pass through pingora.
const BEFORE: &str = "GET /before HTTP/1.1\r\nHost: web.test\r\n\r\n";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: web.test\r\n\r\n";

/// A request with these header lines and what follows the head. `~` stands for CR LF.
fn post(lines: &str, rest: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1~Host: web.test~{lines}~~{rest}")
        .replace('~', "\r\n")
        .into_bytes()
}

fn raw(text: &str) -> Vec<u8> {
    text.replace('~', "\r\n").into_bytes()
}

fn lengths() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let chunked = format!("0~~{HIDDEN}");
    let te = |value: &str| post(&format!("Transfer-Encoding: {value}"), &chunked);
    let cl = |value: &str| post(&format!("Content-Length: {value}"), "hello");
    vec![
        ("length", cl("5"), Served(1)),
        (
            "length twice, equal",
            post("Content-Length: 5~Content-Length: 5", "hello"),
            Refused,
        ),
        (
            "length twice, different",
            post("Content-Length: 5~Content-Length: 0", HIDDEN),
            Refused,
        ),
        ("length as a list", cl("5, 5"), Refused),
        (
            "an upgrade with a body, which is refused with 200",
            post(
                &format!(
                    "Connection: Upgrade~Upgrade: websocket~Sec-WebSocket-Version: 13~Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==~Content-Length: {}",
                    HIDDEN.len()
                ),
                HIDDEN,
            ),
            Served(1),
        ),
        (
            "an upgrade without a body, and what follows it",
            post(
                "Connection: Upgrade~Upgrade: websocket~Sec-WebSocket-Version: 13~Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                HIDDEN,
            ),
            Served(1),
        ),
        (
            "100-continue without a body",
            post("Expect: 100-continue", ""),
            Served(1),
        ),
        (
            "100-continue with an empty body",
            post("Expect: 100-continue~Content-Length: 0", ""),
            Served(1),
        ),
        ("negative length", cl("-1"), Refused),
        ("signed length", cl("+5"), Refused),
        ("hexadecimal length", cl("0x5"), Refused),
        ("length with a space", cl("5 5"), Refused),
        ("empty length", cl(""), Refused),
        ("exponent", cl("1e1"), Refused),
        ("huge length", cl("99999999999999999999"), Refused),
        (
            "length and chunks",
            post("Content-Length: 5~Transfer-Encoding: chunked", &chunked),
            Refused,
        ),
        (
            "chunks and length",
            post("Transfer-Encoding: chunked~Content-Length: 5", &chunked),
            Refused,
        ),
        (
            "chunks and odd length",
            post("Transfer-Encoding: chunked~cOnTent-lEngth:5", &chunked),
            Refused,
        ),
        ("chunked, identity", te("chunked, identity"), Refused),
        ("identity, chunked", te("identity, chunked"), Refused),
        ("xchunked", te("xchunked"), Refused),
        ("identity", te("identity"), Refused),
        ("gzip, chunked", te("gzip, chunked"), Refused),
        ("chunked twice", te("chunked, chunked"), Refused),
        (
            "two codings",
            post(
                "Transfer-Encoding: chunked~Transfer-Encoding: identity",
                &chunked,
            ),
            Refused,
        ),
        (
            "two lines of chunked",
            post(
                "Transfer-Encoding: chunked~Transfer-Encoding: chunked",
                &chunked,
            ),
            Refused,
        ),
        ("vertical tab", te("\x0bchunked"), Refused),
        ("quoted", te("\"chunked\""), Refused),
        ("empty coding", te(""), Refused),
        (
            "folded",
            post("Transfer-Encoding:~ chunked", &chunked),
            Refused,
        ),
        (
            "space before colon",
            post("Transfer-Encoding : chunked", &chunked),
            Refused,
        ),
        (
            "space before length",
            post("Content-Length : 5", "hello"),
            Refused,
        ),
        (
            "HTTP/1.0 with chunks",
            raw("POST / HTTP/1.0~Host: web.test~Transfer-Encoding: chunked~~0~~"),
            Refused,
        ),
    ]
}

fn chunks() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let chunked = |rest: &str| post("Transfer-Encoding: chunked", rest);
    let long = format!("5;{}~hello~0~~", "a".repeat(70_000));
    vec![
        ("chunks", chunked("5~hello~0~~"), Served(1)),
        ("chunk extension", chunked("5;a=b~hello~0~~"), Served(1)),
        ("long chunk extension", chunked(&long), Cut),
        (
            "chunk size that overflows",
            chunked("10000000000000005~hello~0~~"),
            Cut,
        ),
        ("negative chunk size", chunked("-5~hello~0~~"), Cut),
        ("prefixed chunk size", chunked("0x5~hello~0~~"), Cut),
        ("chunk size that is none", chunked("zz~hello~0~~"), Cut),
        (
            "extension with a bare line feed",
            chunked(&format!("5;a\nhello~0~~{HIDDEN}")),
            Cut,
        ),
        (
            "chunk without its end",
            chunked(&format!("5~helloX~0~~{HIDDEN}")),
            Cut,
        ),
        (
            "last chunk with a bare line feed",
            chunked(&format!("0\n\n{HIDDEN}")),
            Cut,
        ),
    ]
}

fn heads() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let get = |lines: &str| raw(&format!("GET / HTTP/1.1~Host: web.test~{lines}~~"));
    let many: String = (0..101).map(|n| format!("x-{n}: 1~")).collect();
    let large = format!("x-a: {}", "a".repeat(70_000));
    vec![
        ("plain", raw("GET / HTTP/1.1~Host: web.test~~"), Served(1)),
        (
            "line feeds alone",
            b"GET / HTTP/1.1\nHost: web.test\n\n".to_vec(),
            Served(1),
        ),
        ("carriage return in a value", get("x-a: b\rc: d"), Refused),
        ("NUL in a value", get("x-a: b\0c"), Refused),
        ("NUL in a name", get("x\0a: b"), Refused),
        ("no colon", get("nothing"), Refused),
        ("space in a name", get("x a: b"), Refused),
        ("folded value", get("x-a: b~ c"), Refused),
        (
            "space before the first header",
            raw("GET / HTTP/1.1~ Host: web.test~~"),
            Refused,
        ),
        (
            "many headers",
            get(many.trim_end_matches('~')),
            Answered(431),
        ),
        ("large header", get(&large), Answered(431)),
        ("HTTP/0.9", raw("GET /~~"), Refused),
        ("HTTP/1.2", raw("GET / HTTP/1.2~Host: web.test~~"), Refused),
        (
            "control character in the path",
            // It goes on as an escape.
            raw("GET /\x01 HTTP/1.1~Host: web.test~~"),
            Served(1),
        ),
        (
            "dot segments",
            raw("GET /a/../b HTTP/1.1~Host: web.test~~"),
            Refused,
        ),
        (
            "CONNECT",
            raw("CONNECT web.test:443 HTTP/1.1~Host: web.test:443~~"),
            Refused,
        ),
        ("TRACE", raw("TRACE / HTTP/1.1~Host: web.test~~"), Refused),
    ]
}

fn hosts() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let host = |lines: &str| raw(&format!("GET / HTTP/1.1~{lines}~~"));
    let absolute = |url: &str| raw(&format!("GET {url} HTTP/1.1~Host: web.test~~"));
    vec![
        ("no host", raw("GET / HTTP/1.1~x-a: b~~"), Refused),
        ("no host, HTTP/1.0", raw("GET / HTTP/1.0~~"), Refused),
        ("empty host", host("Host:"), Refused),
        (
            "two hosts",
            host("Host: web.test~Host: other.test"),
            Refused,
        ),
        (
            "the same host twice",
            host("Host: web.test~Host: web.test"),
            Refused,
        ),
        (
            "hosts as a list",
            host("Host: web.test, other.test"),
            Refused,
        ),
        ("userinfo", host("Host: a@web.test"), Refused),
        ("path in the host", host("Host: web.test/a"), Refused),
        (
            "space in the host",
            host("Host: web.test other.test"),
            Refused,
        ),
        ("port that is none", host("Host: web.test:80a"), Refused),
        (
            "A-labels in upper case, and a trailing dot",
            host("Host: XN--WB-BJA.test."),
            Served(1),
        ),
        (
            "A-labels in absolute form, and a port",
            raw("GET http://xn--wb-bja.test:80/ HTTP/1.1~Host: xn--wb-bja.test:80~~"),
            Served(1),
        ),
        // The same name as a browser shows it.
        ("U-labels", host("Host: wéb.test"), Answered(400)),
        (
            "U-labels as escapes",
            host("Host: w%C3%A9b.test"),
            Answered(400),
        ),
        (
            "A-labels that nobody has",
            host("Host: xn--wb-bjb.test"),
            Answered(404),
        ),
        ("unknown host", host("Host: other.test"), Refused),
        ("address", host("Host: 127.0.0.1"), Refused),
        ("empty label at the front", host("Host: .web.test"), Refused),
        ("empty label within", host("Host: web..test"), Refused),
        ("two trailing dots", host("Host: web.test.."), Refused),
        (
            "trailing dot, port and case",
            host("Host: WEB.test.:8080"),
            Served(1),
        ),
        ("absolute form", absolute("http://web.test/"), Served(1)),
        (
            "absolute form of another host",
            absolute("http://other.test/"),
            Refused,
        ),
        (
            "absolute form with userinfo",
            absolute("http://a@web.test/"),
            Refused,
        ),
    ]
}

fn pipelines() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let get =
        |lines: &str, rest: &str| raw(&format!("GET / HTTP/1.1~Host: web.test~{lines}~~{rest}"));
    vec![
        (
            "body of GET",
            get(&format!("Content-Length: {}", HIDDEN.len()), HIDDEN),
            Served(1),
        ),
        (
            "an upgrade that nobody knows",
            get("Connection: upgrade~Upgrade: foo", HIDDEN),
            Cut,
        ),
        (
            "an upgrade that is refused",
            get(
                "Connection: upgrade~Upgrade: websocket~Sec-WebSocket-Version: 13~\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                HIDDEN,
            ),
            Cut,
        ),
        (
            "upgrade to h2c",
            get(
                "Connection: Upgrade, HTTP2-Settings~Upgrade: h2c~HTTP2-Settings: AAMAAABk",
                HIDDEN,
            ),
            Cut,
        ),
        ("hop-by-hop host", get("Connection: host", ""), Refused),
    ]
}

/// The same request with one more header line at the end of its head, by which it is known.
fn marked(bytes: &[u8], mark: &str) -> Vec<u8> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
    let line = bytes
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    match end {
        Some(end) if line.windows(7).any(|part| part == b"HTTP/1.") => {
            let (head, rest) = bytes.split_at(end);
            [head, format!("\r\nx-case: {mark}").as_bytes(), rest].concat()
        }
        _ => bytes.to_vec(),
    }
}

/// A gateway that serves `web.test`, and a host whose name has a letter beyond ASCII.
async fn start(service: &Service) -> Edge {
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    edge.publish(|state| {
        let web = Arc::clone(state.hosts.values().next().expect("a host"));
        let beyond = Hostname::parse("xn--wb-bja.test").expect("a hostname");
        state.hosts.insert(beyond, web);
    })
    .await;
    edge
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hides_in_another() {
    let service = Service::start(OK).await;
    let edge = start(&service).await;
    let faults = faults(&edge, &service, "").await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hides_behind_a_plain_one() {
    let service = Service::start(OK).await;
    let edge = start(&service).await;
    let faults = faults(&edge, &service, BEFORE).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sends every case on a connection of its own, behind the request `before`, and tells what went
/// wrong.
async fn faults(edge: &Edge, service: &Service, before: &str) -> Vec<String> {
    let all = [lengths(), chunks(), heads(), hosts(), pipelines()].concat();
    let mut faults = Vec::new();
    for (number, (name, bytes, expected)) in all.into_iter().enumerate() {
        let mark = number.to_string();
        let bytes = [before.as_bytes(), &marked(&bytes, &mark)].concat();
        let answer = exchange(edge.http, &bytes).await;
        let mut received = service.take();
        let hidden = received.iter().any(|r| r.head.contains("/hidden"));
        // A head whose body failed may arrive after its case.
        let is_of_case = |r: &Received| r.header("x-case").is_none_or(|case| case == mark);
        received.retain(|r| is_of_case(r) && !r.head.starts_with("GET /before "));
        let answer = match before {
            "" => Some(answer.as_str()),
            _ => answer.split_once("\r\n\r\nok").map(|(_, rest)| rest),
        };
        let Some(answer) = answer else {
            faults.push(format!("{name}: the request before it got no answer"));
            continue;
        };
        let good = answer.matches("HTTP/1.1 200").count();
        let is_right = match expected {
            Served(count) => received.len() == count && good == count,
            Refused => received.is_empty() && good == 0 && answer.starts_with("HTTP/1.1 4"),
            Answered(status) => {
                let begin = format!("HTTP/1.1 {status} ");
                received.is_empty() && good == 0 && answer.starts_with(&begin)
            }
            Cut => received.len() <= 1 && good <= 1,
        };
        if hidden || !is_right {
            let first = answer.lines().next().unwrap_or_default();
            faults.push(format!(
                "{name}: {expected:?}, but {first:?} and {received:?}"
            ));
        }
    }
    faults
}

#[tokio::test]
async fn connections_go_on_after_a_request_with_a_body_that_nobody_read() {
    let service = Service::start(OK).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let body = "x".repeat(3_000);
    let first =
        format!("POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: 3000\r\n\r\n{body}");
    let both =
        format!("{first}GET /second HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(edge.http).await.expect("connects");
    stream.write_all(first.as_bytes()).await.expect("sends");
    let mut piece = vec![0; 16 * 1024];
    let count = stream.read(&mut piece).await.expect("an answer");
    assert!(piece[..count].starts_with(b"HTTP/1.1 404"));
    let second = both.strip_prefix(&first).expect("the second");
    stream.write_all(second.as_bytes()).await.expect("sends");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("an answer");
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    let lines: Vec<String> = service.take().iter().map(|r| r.line().to_owned()).collect();
    assert_eq!(lines, ["GET /second HTTP/1.1"]);
}
