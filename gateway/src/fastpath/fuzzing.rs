//! Doors for the fuzz targets. Exists in their builds only.

use super::answer::{self, Ours};
use super::body::Framing;
use super::request::{self, Hop, Traces};

/// Reads a request's head; what a service gets of it can be read in one way only.
///
/// # Panics
/// What is sent is not plain itself, says something else, or holds more than one head.
pub(crate) fn request(bytes: &[u8]) {
    let read = |from| {
        let mut out = Vec::new();
        request::read(from, Traces::Pass, |_| false, &mut out).map(|request| (request, out))
    };
    let Ok((asked, mut out)) = read(bytes) else {
        return;
    };
    let hop = Hop {
        client: [192, 0, 2, 1].into(),
        scheme: "http",
        id: b"1",
        traceparent: None,
        tracestate: None,
    };
    request::finish(&asked, &hop, &mut out);
    if lines(&out) > 95 {
        // With what the gateway adds there may be more headers than are read.
        return;
    }
    let (sent, _) = read(&out).expect("what is sent is plain");
    assert_eq!(sent.head_bytes, out.len(), "one head and nothing else");
    let said = |r: &request::Request<'_>| (r.method.to_owned(), r.target.to_owned(), r.body_bytes);
    assert_eq!(said(&sent), said(&asked));
    assert_eq!(sent.host, asked.host);
}

fn lines(head: &[u8]) -> usize {
    head.iter().filter(|byte| **byte == b'\n').count()
}

/// Reads an answer's head; the client finds the same end of its body.
///
/// # Panics
/// It finds another, or more than one head.
pub(crate) fn answer(bytes: &[u8]) {
    let ours = Ours {
        id: b"1",
        no_index: true,
        hsts: None,
        closes: false,
        compresses: Some(Some("gzip")),
        date: || "now".to_owned(),
    };
    for is_head in [false, true] {
        let read = |from| {
            let mut out = Vec::new();
            answer::read(from, is_head, &ours, &mut out).map(|answer| (answer, out))
        };
        let Ok((given, out)) = read(bytes) else {
            continue;
        };
        if lines(&out) > 240 {
            continue;
        }
        let (sent, _) = read(&out).expect("what is sent is an answer");
        assert_eq!(sent.bytes, out.len(), "one head and nothing else");
        let framing = match (given.coding, given.framing) {
            (Some(_), _) | (None, Framing::UntilClose) => Framing::chunked(),
            (None, framing) => framing,
        };
        assert_eq!((sent.status, sent.framing), (given.status, framing));
    }
}

/// Reads a chunked body; where it ends does not depend on how it arrives.
///
/// # Panics
/// It does, or bytes are claimed that are not there.
pub(crate) fn chunks(bytes: &[u8]) {
    let mut whole = Framing::chunked();
    let Ok(fed) = whole.feed(bytes) else { return };
    assert!(fed.payload <= fed.taken && fed.taken <= bytes.len());
    let mut pieces = Framing::chunked();
    let mut taken = 0;
    for byte in bytes {
        taken += pieces.feed(&[*byte]).expect("as sound as before").taken;
    }
    assert_eq!((taken, pieces), (fed.taken, whole));
}
