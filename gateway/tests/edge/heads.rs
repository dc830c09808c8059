//! Heads as large as the documentation allows pass whole, in both directions and on both ways of
//! the gateway; those above are refused by their number, and no service sees them.

use std::sync::Arc;

use bytes::Bytes;
use cara_api::gateway::{HeaderRules, PathMatch, Policy, Route};
use cara_api::hostname::Hostname;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, Request};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::client::{Tls, in_time, whole};
use crate::service;
use crate::support::{Edge, Setup, host, state, with_certificate};

const HOST: &str = "a.test";
/// Requests for `/long` go the long way.
const PATHS: [&str; 2] = ["/plain", "/long"];
/// Counts what went the short way.
const PLAIN: &str = "cara_gateway_plain_requests_total";
/// As many headers as a request may have.
const MOST: usize = 100;
/// 60 KiB in that many: HTTP/2 counts 32 bytes more for each, and takes 64 KiB.
const LARGE: usize = 612;

/// Stands for the status when a connection ends with `ENHANCE_YOUR_CALM` in the place of an answer.
const CALM: u16 = 0;

/// Headers that are told apart by their names.
fn headers(count: usize, bytes: usize) -> Vec<(String, String)> {
    let name = |n| (format!("x-{n:02}"), "v".repeat(bytes));
    (0..count).map(name).collect()
}

/// A gateway in front of `service`, with a rule that only forwards, and one that does more.
async fn start() -> (Edge, Authority) {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let mut state = state(&[HOST], to);
    let mut both = host(to, Default::default());
    let first = both.routes.first().expect("a rule");
    let long = Policy {
        request_headers: HeaderRules {
            remove: vec!["x-nobody-sends".into()],
            ..HeaderRules::default()
        },
        ..Policy::default()
    };
    let long = Route {
        path: PathMatch::Prefix("/long".into()),
        policy: Arc::new(long),
        ..Route::clone(first)
    };
    both.routes.insert(0, Arc::new(long));
    let name = Hostname::parse(HOST).expect("a hostname");
    state.hosts.insert(name, Arc::new(both));
    let state = with_certificate(state, "a", &authority.leaf(&[HOST]));
    (Edge::start(Setup::default(), state).await, authority)
}

/// What came of a request.
struct Answer {
    status: u16,
    /// `name: value` in lower case.
    head: Vec<String>,
    body: String,
}

impl Answer {
    /// How many of the headers are among these lines.
    fn has(lines: &[String], wanted: &[(String, String)]) -> usize {
        let is_there = |(name, value): &&(String, String)| {
            let line = format!("{name}: {value}");
            lines.contains(&line)
        };
        wanted.iter().filter(is_there).count()
    }

    /// How many of the headers reached the service.
    fn told(&self, wanted: &[(String, String)]) -> usize {
        let lines: Vec<String> = self.body.lines().map(str::to_owned).collect();
        Self::has(&lines, wanted)
    }
}

/// How many headers there may be besides the host, which is none in HTTP/2.
fn besides_host(protocol: &str, count: usize) -> usize {
    count - usize::from(protocol.starts_with("h1"))
}

/// A client of one of the protocols.
enum Client {
    Http1,
    Tls1(Tls),
    Http2(SendRequest<Bytes>),
}

impl Client {
    async fn all(edge: &Edge, authority: &Authority) -> Vec<(&'static str, Self)> {
        let mut all = vec![
            ("h1", Self::Http1),
            (
                "h1 over TLS",
                Self::Tls1(Tls::new(authority, &["http/1.1"])),
            ),
        ];
        let plain = TcpStream::connect(edge.http).await.expect("a connection");
        all.push(("h2", Self::http2(plain).await));
        let tls = Tls::new(authority, &["h2"]);
        let secure = tls.connect(edge.https, HOST).await.expect("TLS");
        all.push(("h2 over TLS", Self::http2(secure).await));
        all
    }

    async fn http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self::Http2(send)
    }

    async fn ask(&self, edge: &Edge, path: &str, headers: &[(String, String)]) -> Answer {
        match self {
            Self::Http1 => {
                let stream = TcpStream::connect(edge.http).await.expect("a connection");
                over_http1(stream, path, headers).await
            }
            Self::Tls1(tls) => {
                let stream = tls.connect(edge.https, HOST).await.expect("TLS");
                over_http1(stream, path, headers).await
            }
            Self::Http2(send) => over_http2(send, path, headers).await,
        }
    }
}

async fn over_http1(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    headers: &[(String, String)],
) -> Answer {
    let mut text = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    // The gateway may answer before it has read everything.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
    let (status, head, body) = in_time(whole(&mut stream)).await.expect("an answer");
    Answer {
        status,
        head: head.lines().skip(1).map(str::to_owned).collect(),
        body,
    }
}

async fn over_http2(send: &SendRequest<Bytes>, path: &str, headers: &[(String, String)]) -> Answer {
    let mut request = Request::get(format!("http://{HOST}{path}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(()).expect("a request");
    let mut ready = in_time(send.clone().ready()).await.expect("ready");
    let (answer, _) = ready.send_request(request, true).expect("sent");
    let (head, mut body) = match in_time(answer).await {
        Ok(answer) => answer.into_parts(),
        Err(error) => {
            assert_eq!(
                error.reason(),
                Some(h2::Reason::ENHANCE_YOUR_CALM),
                "{error}"
            );
            return Answer {
                status: CALM,
                head: Vec::new(),
                body: String::new(),
            };
        }
    };
    let mut text = Vec::new();
    while let Some(data) = in_time(body.data()).await {
        let data = data.expect("data");
        let given = body.flow_control().release_capacity(data.len());
        given.expect("it was taken");
        text.extend(data);
    }
    Answer {
        status: head.status.as_u16(),
        head: lines(&head.headers),
        body: String::from_utf8_lossy(&text).into_owned(),
    }
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

async fn plain(edge: &Edge) -> f64 {
    edge.metric(PLAIN).await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_within_the_limits_reach_the_service_whole() {
    let (edge, authority) = start().await;
    for (protocol, client) in Client::all(&edge, &authority).await {
        for path in PATHS {
            // The short way takes 16 KiB with the body.
            for (bytes, is_short) in [(100, true), (LARGE, false)] {
                let before = plain(&edge).await;
                let sent = headers(besides_host(protocol, MOST), bytes);
                let answer = client.ask(&edge, path, &sent).await;
                let case = format!("{protocol} {path} {bytes}: {}", answer.status);
                assert_eq!(
                    (answer.status, answer.told(&sent)),
                    (200, sent.len()),
                    "{case}"
                );
                let is_plain = is_short && path == "/plain";
                let counted = before + if is_plain { 1.0 } else { 0.0 };
                edge.counts(PLAIN, "", counted).await;
                assert_eq!(plain(&edge).await, counted, "the way, {case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_of_answers_reach_the_client_whole_or_not_at_all() {
    let (edge, authority) = start().await;
    // With the length, an answer may have 256.
    for (count, bytes, status) in [(MOST, LARGE, 200), (255, LARGE, 200), (256, 1, 502)] {
        let wanted = headers(count, bytes);
        for (protocol, client) in Client::all(&edge, &authority).await {
            for path in PATHS {
                let before = plain(&edge).await;
                let asked = format!("{path}/heads/{count}/{bytes}");
                let answer = client.ask(&edge, &asked, &[]).await;
                let case = format!("{count} of {bytes}, {protocol} {path}");
                assert_eq!(answer.status, status, "{case}");
                let arrived = Answer::has(&answer.head, &wanted);
                assert_eq!(arrived, if status == 200 { count } else { 0 }, "{case}");
                // It may be counted a moment after the answer.
                let counted = before + if path == "/plain" { 1.0 } else { 0.0 };
                edge.counts(PLAIN, "", counted).await;
                assert_eq!(plain(&edge).await, counted, "the way, {case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_above_the_limits_are_refused_by_their_number() {
    let (edge, authority) = start().await;
    for (name, count, bytes, http1, http2) in [
        ("one header too many", MOST + 1, 1, 431, 431),
        ("64 KiB", MOST, 700, 431, 431),
        ("as many as pingora reads", 256, 1, 431, 431),
        ("more than that", 257, 1, 400, 431),
        ("1 MiB", MOST, 12 * 1024, 400, CALM),
    ] {
        for path in PATHS {
            for (protocol, client) in Client::all(&edge, &authority).await {
                let case = format!("{name}, {protocol} {path}");
                let is_http1 = protocol.starts_with("h1");
                let expected = if is_http1 { http1 } else { http2 };
                let sent = headers(besides_host(protocol, count), bytes);
                let answer = client.ask(&edge, path, &sent).await;
                assert_eq!(answer.status, expected, "{case}");
                // The service tells what it was asked.
                assert!(!answer.body.contains("x-forwarded-for"), "{case}");
                if answer.status != CALM {
                    let after = client.ask(&edge, path, &[]).await;
                    assert_eq!(after.status, 200, "after {case}");
                }
            }
        }
    }
}
