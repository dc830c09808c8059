//! What HTTP can do, through the gateway.

use std::io::Read;
use std::time::Duration;

use cara_api::gateway::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Edge, OK, PATIENCE, Service, exchange_bytes, forward, request, route};

fn compressing() -> Policy {
    Policy {
        compression: true,
        ..Policy::default()
    }
}

/// A service for one connection, played by the test.
async fn played<F, Fut>(play: F) -> (std::net::SocketAddr, JoinSet<()>)
where
    F: FnOnce(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        play(stream).await;
    });
    (address, task)
}

/// Until the service has played its part, and seen what it expected.
async fn ended(mut service: JoinSet<()>) {
    let end = service.join_next().await.expect("one task");
    end.expect("the service saw what it expected");
}

async fn until(stream: &mut TcpStream, wanted: &str) -> Vec<u8> {
    let mut seen = Vec::new();
    let read = async {
        while !seen
            .windows(wanted.len())
            .any(|part| part == wanted.as_bytes())
        {
            let count = stream.read_buf(&mut seen).await.expect("reads");
            assert!(count > 0, "ended: {}", String::from_utf8_lossy(&seen));
        }
    };
    let ended = tokio::time::timeout(PATIENCE, read).await;
    assert!(
        ended.is_ok(),
        "no {wanted:?} in {}",
        String::from_utf8_lossy(&seen)
    );
    seen
}

#[tokio::test]
async fn interim_answers_pass_and_bodies_wait_for_them() {
    let (address, service) = played(|mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert!(!String::from_utf8_lossy(&head).contains("the body"));
        for interim in [
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            stream.write_all(interim.as_bytes()).await.expect("sends");
        }
        until(&mut stream, "the body").await;
        stream.write_all(OK.as_bytes()).await.expect("sends");
    })
    .await;
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    let mut client = TcpStream::connect(edge.http).await.expect("connects");
    let head =
        "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("sends");
    let seen = until(&mut client, "100 Continue\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&seen).contains("103 Early Hints"));
    client.write_all(b"the body").await.expect("sends");
    until(&mut client, "\r\n\r\nok").await;
    drop((client, edge));
    ended(service).await;
}

#[tokio::test]
async fn events_and_streams_arrive_when_they_are_sent() {
    for (kind, is_compressed) in [("text/event-stream", false), ("text/plain", true)] {
        let (go, went) = tokio::sync::oneshot::channel::<()>();
        let (address, service) = played(move |mut stream| async move {
            until(&mut stream, "\r\n\r\n").await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.expect("sends");
            stream
                .write_all(b"8\r\nfirst 1\n\r\n")
                .await
                .expect("sends");
            // Goes on only after the client has seen the first.
            went.await.expect("the client has seen it");
            stream
                .write_all(b"7\r\nsecond\n\r\n0\r\n\r\n")
                .await
                .expect("sends");
        })
        .await;
        let edge = Edge::start(vec![route(forward(address), compressing())]).await;
        let mut client = TcpStream::connect(edge.http).await.expect("connects");
        let asked = request("GET", "/", &[("Accept-Encoding", "gzip")]);
        client.write_all(asked.as_bytes()).await.expect("sends");
        let head = until(&mut client, "\r\n\r\n").await;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert_eq!(
            head.contains("content-encoding: gzip"),
            is_compressed,
            "{kind}: {head}"
        );
        if is_compressed {
            // The head may have brought the first chunk along; its bytes are decoded below.
            let mut seen = Vec::new();
            let first = tokio::time::timeout(PATIENCE, client.read_buf(&mut seen));
            assert!(head.len() > head.find("\r\n\r\n").unwrap_or(0) + 4 || first.await.is_ok());
        } else if !head.contains("first") {
            until(&mut client, "first 1\n").await;
        }
        go.send(()).expect("the service waits");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the end");
        assert!(rest.ends_with(b"0\r\n\r\n"));
        drop(edge);
        ended(service).await;
    }
}

#[tokio::test]
async fn text_is_compressed_and_what_is_part_of_something_is_not() {
    let text = "a line of text that repeats\n".repeat(400);
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/11200\r\nContent-Length: 2\r\n\r\na ";
    let service = Service::start(whole).await;
    let edge = Edge::start(vec![route(forward(service.address), compressing())]).await;
    let ask = async |edge: &Edge, headers: &[(&str, &str)]| {
        let bytes = exchange_bytes(edge.http, request("GET", "/", headers).as_bytes()).await;
        let end = bytes
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        (head, bytes[end + 4..].to_vec())
    };
    let (head, body) = ask(&edge, &[("Accept-Encoding", "gzip")]).await;
    assert!(
        head.contains("content-encoding: gzip") && head.contains("etag: w/\"1\""),
        "{head}"
    );
    assert!(
        head.contains("vary: accept-encoding") && !head.contains("accept-ranges"),
        "{head}"
    );
    let mut decoded = String::new();
    flate2::read::GzDecoder::new(&*unchunked(&body))
        .read_to_string(&mut decoded)
        .expect("gzip");
    assert_eq!(decoded, text);
    let (head, body) = ask(&edge, &[]).await;
    assert!(
        !head.contains("content-encoding") && head.contains("etag: \"1\""),
        "{head}"
    );
    assert_eq!(body, text.as_bytes());
    let service = Service::start(part).await;
    let edge = Edge::start(vec![route(forward(service.address), compressing())]).await;
    let range = [("Accept-Encoding", "gzip"), ("Range", "bytes=0-1")];
    let (head, body) = ask(&edge, &range).await;
    assert!(
        head.starts_with("http/1.1 206") && !head.contains("content-encoding"),
        "{head}"
    );
    assert_eq!(body, b"a ");
    let received = service.take().remove(0);
    assert_eq!(received.header("range").as_deref(), Some("bytes=0-1"));
}

/// The data of a body in chunks.
pub fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let start = end + 2;
        out.extend_from_slice(&bytes[start..start + size]);
        bytes = &bytes[start + size + 2..];
        if size == 0 {
            break;
        }
    }
    out
}

#[tokio::test]
async fn trailers_pass_in_plain_answers_over_http_1() {
    let answer = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n";
    let service = Service::start(answer).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let answer = edge.get("/").await;
    assert_eq!(answer.header("trailer").as_deref(), Some("x-sum"));
    // What follows the first empty line: chunks, then the trailers.
    assert_eq!(answer.body, "4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n");
    assert_eq!(edge.plain(), 1.0);
}

#[tokio::test]
async fn large_bodies_pass_one_way_and_then_the_other() {
    pass_both_ways(32 * 1024 * 1024, false).await;
}

#[tokio::test]
async fn bodies_pass_both_ways_at_once() {
    pass_both_ways(8 * 1024 * 1024, true).await;
}

/// A service that sends back as much as it gets, at once or afterwards.
async fn pass_both_ways(size: usize, at_once: bool) {
    // The client sends the second half only after the service saw the first.
    let (saw_half, half) = tokio::sync::oneshot::channel::<()>();
    let (address, service) = played(move |mut stream| async move {
        let mut saw_half = Some(saw_half);
        let seen = until(&mut stream, "\r\n\r\n").await;
        let end = seen.windows(4).position(|part| part == b"\r\n\r\n");
        let mut left = size - (seen.len() - end.expect("a head") - 4);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        if at_once {
            stream.write_all(head.as_bytes()).await.expect("sends");
        }
        let mut owed = size - left;
        let mut piece = vec![0; 64 * 1024];
        while left > 0 {
            let count = stream.read(&mut piece).await.expect("reads");
            assert!(count > 0);
            left -= count;
            if left <= size / 2
                && let Some(told) = saw_half.take()
            {
                told.send(()).expect("the client waits");
            }
            if at_once {
                stream.write_all(&piece[..count]).await.expect("sends");
            } else {
                owed += count;
            }
        }
        if !at_once {
            stream.write_all(head.as_bytes()).await.expect("sends");
        }
        stream.write_all(&vec![0; owed]).await.expect("sends");
    })
    .await;
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    let mut client = TcpStream::connect(edge.http).await.expect("connects");
    let head = format!("POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: {size}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("sends");
    let (mut reads, mut writes) = client.split();
    let send = async {
        let piece = vec![7; 64 * 1024];
        let pieces = size / piece.len();
        for _ in 0..pieces / 2 {
            writes.write_all(&piece).await.expect("sends");
        }
        half.await.expect("the service saw it");
        for _ in pieces / 2..pieces {
            writes.write_all(&piece).await.expect("sends");
        }
    };
    let receive = async {
        let mut count = 0;
        let mut piece = vec![0; 64 * 1024];
        while count < size {
            let read = reads.read(&mut piece).await.expect("reads");
            assert!(read > 0, "ended after {count}");
            count += read;
        }
    };
    let both = async { tokio::join!(send, receive) };
    let both = tokio::time::timeout(Duration::from_secs(60), both);
    both.await.expect("in time");
    ended(service).await;
}
