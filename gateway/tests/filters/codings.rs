//! Every coding that the gateway speaks, decoded from what comes over a socket: whole, and framed
//! as what it has become.

use std::io::Read;

use cara_api::gateway::{HeaderRules, Policy};

use crate::fastpath_h2;
use crate::protocols::unchunked;
use crate::support::{Edge, Service, exchange_bytes, forward, request, route_at};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];
/// Names of headers that say how long an answer is, where it ends, or what may be asked of it.
const OF_THE_ORIGINAL: [&str; 2] = ["content-length", "accept-ranges"];

fn decode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(bytes, 4_096).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(bytes)
            .expect("a decoder")
            .read_to_end(&mut out),
        other => panic!("nobody asked for {other}"),
    };
    read.unwrap_or_else(|error| panic!("{coding}: {error}"));
    out
}

/// 300 KiB in which no line is like another.
fn text() -> String {
    (0..12_000_u32)
        .map(|n| format!("line {n}, {}\n", n.wrapping_mul(2_654_435_761)))
        .collect()
}

/// The text as a service may send it: with its length, and in chunks.
fn answers(text: &str) -> [String; 2] {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\nVary: Cookie\r\n";
    let chunks: String = text
        .as_bytes()
        .chunks(10_000)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)))
        .collect();
    [
        format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
    ]
}

/// Rules that compress: plain under `/plain`, not so under `/other`.
async fn both_ways(service: &Service) -> Edge {
    let plain = Policy {
        compression: true,
        ..Policy::default()
    };
    let other = Policy {
        request_headers: HeaderRules {
            remove: vec!["x-nobody-sends".into()],
            ..HeaderRules::default()
        },
        ..plain.clone()
    };
    let routes = vec![
        route_at("/plain", forward(service.address), plain),
        route_at("/other", forward(service.address), other),
    ];
    Edge::start(routes).await
}

/// Header lines as pairs in lower case.
fn pairs(head: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    head.lines().filter_map(pair).collect()
}

/// What the head of an answer must say once it was compressed, and what not.
fn check(case: &str, coding: Option<&str>, headers: &[(String, String)]) {
    let all = |name: &str| -> Vec<&str> {
        let same = headers.iter().filter(|(n, _)| n == name);
        same.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(
        all("content-encoding"),
        coding.into_iter().collect::<Vec<_>>(),
        "{case}: {headers:?}"
    );
    let vary = all("vary").join(", ").to_ascii_lowercase();
    let varies = |by: &str| vary.split(',').filter(|part| part.trim() == by).count();
    assert_eq!(
        (varies("accept-encoding"), varies("cookie")),
        (1, 1),
        "{case}: {vary}"
    );
    let etag = if coding.is_some() { "w/\"1\"" } else { "\"1\"" };
    assert_eq!(all("etag").join(" ").to_ascii_lowercase(), etag, "{case}");
    for name in OF_THE_ORIGINAL.iter().filter(|_| coding.is_some()) {
        assert_eq!(all(name), [""; 0], "{case}: {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coding_can_be_decoded_over_http_1_on_both_ways() {
    let text = text();
    for (answer, kind) in answers(&text).into_iter().zip(["length", "chunks"]) {
        let service = Service::start(answer).await;
        let edge = both_ways(&service).await;
        for (path, counted) in [("/plain", 1.0), ("/other", 0.0)] {
            for coding in CODINGS {
                let case = format!("{kind}, {path}, {coding}");
                let before = edge.plain();
                let asked = request("GET", path, &[("Accept-Encoding", coding)]);
                let bytes = exchange_bytes(edge.http, asked.as_bytes()).await;
                assert_eq!(edge.plain() - before, counted, "the way, {case}");
                let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
                let (head, body) = bytes.split_at(end.expect("a head") + 4);
                let head = pairs(&String::from_utf8_lossy(head).to_ascii_lowercase());
                check(&case, Some(coding), &head);
                let framing = ("transfer-encoding".to_owned(), "chunked".to_owned());
                assert!(head.contains(&framing), "{case}: {head:?}");
                assert!(body.ends_with(b"\r\n0\r\n\r\n"), "{case}: no end");
                let data = unchunked(body);
                assert!(data.len() < text.len() * 2 / 3, "{case}: {}", data.len());
                assert!(decode(coding, &data) == text.as_bytes(), "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coding_can_be_decoded_over_http_2_on_both_ways() {
    let text = text();
    for (answer, kind) in answers(&text).into_iter().zip(["length", "chunks"]) {
        let service = Service::start(answer).await;
        let edge = both_ways(&service).await;
        let client = fastpath_h2::Client::connect(&edge).await;
        for (path, counted) in [("/plain", 1.0), ("/other", 0.0)] {
            for coding in CODINGS {
                let case = format!("{kind}, {path}, {coding}");
                let before = edge.plain();
                let asked = fastpath_h2::request("GET", path, &[("accept-encoding", coding)]);
                let answer = client.ask(asked, b"").await.expect("an answer");
                assert_eq!(edge.plain() - before, counted, "the way, {case}");
                check(&case, Some(coding), &answer.headers);
                let framing = answer.headers.iter().any(|(n, _)| n == "transfer-encoding");
                assert!(!framing, "{case}: {:?}", answer.headers);
                assert!(answer.body.len() < text.len() * 2 / 3, "{case}");
                assert!(decode(coding, &answer.body) == text.as_bytes(), "{case}");
            }
            let asked = fastpath_h2::request("GET", path, &[]);
            let answer = client.ask(asked, b"").await.expect("an answer");
            check(&format!("{kind}, {path}, none"), None, &answer.headers);
            assert!(answer.body == text.as_bytes(), "{kind}, {path}, none");
        }
    }
}
