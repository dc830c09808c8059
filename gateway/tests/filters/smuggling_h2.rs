//! Requests of HTTP/2 that would be others over HTTP/1.1. A service gets none that was hidden.

use std::time::Duration;

use cara_api::gateway::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Edge, OK, Service, forward, route};

/// Frames of HTTP/2 by hand: the libraries refuse to send what matters here.
pub mod frames {
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("small");
        let mut out = length.to_be_bytes()[1..].to_vec();
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
        out
    }

    /// Literals without an index (RFC 7541 section 6.2.2).
    pub fn headers(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in pairs {
            out.push(0);
            for text in [name, value] {
                let length = u8::try_from(text.len()).expect("short");
                assert!(length < 127, "one byte holds the length");
                out.push(length);
                out.extend(text.as_bytes());
            }
        }
        out
    }
}

/// Its name, headers and body, and whether it is served.
type H2Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [u8], bool);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_injected_by_http2() {
    let service = Service::start(OK).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let injected = "a\r\nx-injected: 1\r\n\r\nGET /hidden HTTP/1.1\r\nHost: web.test";
    let base = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "web.test"),
        (":path", "/"),
    ];
    let with = |extra: &[(&'static str, &'static str)]| [&base[..], extra].concat();
    let put = |name: &str, value: &'static str| {
        base.map(|(n, v)| if n == name { (n, value) } else { (n, v) })
            .to_vec()
    };
    let cases: Vec<H2Case<'_>> = vec![
        ("plain", base.to_vec(), b"", true),
        (
            "host beside authority",
            with(&[("host", "web.test")]),
            b"",
            true,
        ),
        ("lines in a value", with(&[("x-a", injected)]), b"", false),
        (
            "a line feed in a value",
            with(&[("x-a", "a\nx-injected: 1")]),
            b"",
            false,
        ),
        ("NUL in a value", with(&[("x-a", "a\0b")]), b"", false),
        (
            "lines in a name",
            with(&[("x-a\r\nx-injected", "1")]),
            b"",
            false,
        ),
        (
            "colon in a name",
            with(&[("x-a: 1\r\nx-injected", "1")]),
            b"",
            false,
        ),
        ("upper case in a name", with(&[("X-A", "1")]), b"", false),
        ("empty name", with(&[("", "1")]), b"", false),
        (
            "lines in the path",
            put(":path", "/ HTTP/1.1\r\nx-injected: 1\r\n\r\nGET /hidden"),
            b"",
            false,
        ),
        ("space in the path", put(":path", "/a HTTP/1.1"), b"", false),
        ("empty path", put(":path", ""), b"", false),
        ("path without a slash", put(":path", "hidden"), b"", false),
        (
            "lines in the method",
            put(
                ":method",
                "GET /hidden HTTP/1.1\r\nx-injected: 1\r\n\r\nGET",
            ),
            b"",
            false,
        ),
        (
            "space in the method",
            put(":method", "GET /hidden"),
            b"",
            false,
        ),
        (
            "lines in the authority",
            put(":authority", "web.test\r\nx-injected: 1"),
            b"",
            false,
        ),
        (
            "userinfo in the authority",
            put(":authority", "a@web.test"),
            b"",
            false,
        ),
        (
            "another host beside authority",
            with(&[("host", "other.test")]),
            b"",
            false,
        ),
        (
            "two hosts",
            with(&[("host", "web.test"), ("host", "other.test")]),
            b"",
            false,
        ),
        ("two paths", with(&[(":path", "/hidden")]), b"", false),
        (
            "chunked",
            with(&[("transfer-encoding", "chunked")]),
            b"0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n",
            false,
        ),
        (
            "connection",
            with(&[("connection", "x-a"), ("x-a", "1")]),
            b"",
            false,
        ),
        ("upgrade", with(&[("upgrade", "websocket")]), b"", false),
        ("keep-alive", with(&[("keep-alive", "1")]), b"", false),
        (
            "proxy-connection",
            with(&[("proxy-connection", "keep-alive")]),
            b"",
            false,
        ),
        ("te", with(&[("te", "gzip")]), b"", false),
        (
            "short length",
            with(&[("content-length", "3")]),
            b"hello",
            false,
        ),
        (
            "long length",
            with(&[("content-length", "9")]),
            b"hello",
            false,
        ),
        (
            "two lengths",
            with(&[("content-length", "5"), ("content-length", "6")]),
            b"hello",
            false,
        ),
        (
            "signed length",
            with(&[("content-length", "+5")]),
            b"hello",
            false,
        ),
        (
            "pseudo-header that is none",
            with(&[(":hidden", "1")]),
            b"",
            false,
        ),
    ];
    let mut faults = Vec::new();
    for (number, (name, mut headers, body, is_served)) in cases.into_iter().enumerate() {
        let mark = number.to_string();
        headers.push(("x-case", &mark));
        let answer = ask_h2(edge.http, &headers, body).await;
        let mut received = service.take();
        let hidden = received
            .iter()
            .any(|r| r.head.contains("/hidden") || r.head.contains("x-injected"));
        // A head whose body failed may arrive after its case.
        received.retain(|r| r.header("x-case").is_none_or(|case| case == mark));
        // A length that does not fit its body shows only after the head has gone on.
        let is_cut = name.ends_with(" length") && received.len() <= 1;
        let is_right = match is_served {
            true => received.len() == 1 && answer == Some(0x88),
            false => (received.is_empty() || is_cut) && answer != Some(0x88),
        };
        if hidden || !is_right {
            faults.push(format!("{name}: {answer:x?} and {received:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Sends one request and returns the first byte of the answer's headers: 0x88 is status 200.
async fn ask_h2(
    address: std::net::SocketAddr,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frames::frame(4, 0, 0, &[]));
    let end = u8::from(body.is_empty());
    bytes.extend(frames::frame(1, 4 | end, 1, &frames::headers(headers)));
    if !body.is_empty() {
        bytes.extend(frames::frame(0, 1, 1, body));
    }
    let _ = stream.write_all(&bytes).await;
    let read = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).ok()?];
            stream.read_exact(&mut payload).await.ok()?;
            match (head[3], payload.first()) {
                (1, Some(first)) => return Some(*first),
                // Reset, or the end of the connection.
                (3 | 7, _) => return None,
                _ => {}
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), read).await;
    answer.expect("an answer or an end")
}
