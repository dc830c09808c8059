//! Plain requests over HTTP/2 go the short way too, each stream by itself.

use std::time::Duration;

use bytes::Bytes;
use cara_api::gateway::{Policy, Timeouts};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::fastpath::{both_ways, received};
use crate::support::{Edge, OK, PATIENCE, Service, eventually, forward, route};

/// A client on one connection.
pub struct Client {
    send: SendRequest<Bytes>,
    _connection: JoinSet<()>,
}

/// An answer to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Client {
    pub async fn connect(edge: &Edge) -> Self {
        let stream = TcpStream::connect(edge.http).await.expect("connects");
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut task = JoinSet::new();
        task.spawn(async move {
            // It ends with the test.
            let _ = connection.await;
        });
        Self {
            send,
            _connection: task,
        }
    }

    async fn begin(&self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = self.send.clone().ready().await.expect("ready");
        ready.send_request(request, ends).expect("sent")
    }

    pub async fn ask(&self, request: Request<()>, body: &'static [u8]) -> Result<Whole, h2::Error> {
        let (answer, mut stream) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            let sent = stream.send_data(Bytes::from_static(body), true);
            sent.expect("sent");
        }
        let answer = tokio::time::timeout(PATIENCE, whole(answer.await?));
        answer.await.expect("in time")
    }
}

/// Reads an answer to its end.
async fn whole(answer: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (head, mut body) = answer.into_parts();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        all.extend_from_slice(&part);
        let given = body.flow_control().release_capacity(part.len());
        given.expect("it was taken");
    }
    Ok(Whole {
        status: head.status.as_u16(),
        headers: comparable(&head.headers),
        body: all.into(),
    })
}

/// Headers in order, without what differs from request to request.
fn comparable(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .filter(|(name, _)| name != "date" && name != "x-request-id")
        .collect();
    all.sort();
    all
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let uri = format!("http://web.test{path}");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

fn get() -> Request<()> {
    request("GET", "/", &[])
}

async fn head_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let count = stream.read_buf(&mut asked).await.expect("a request");
        assert!(count > 0, "no request: {}", String::from_utf8_lossy(&asked));
    }
    asked
}

/// Method, end of the path, headers and body.
type Asked = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [u8],
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_and_clients_see_the_same_on_both_ways() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n";
    let answers = [
        OK,
        chunked,
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Robots-Tag: all\r\nConnection: x-b\r\nX-B: 1\r\n\r\nnone",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    ];
    const LINK: &[(&str, &str)] = &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=x")];
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let requests: [Asked; 6] = [
        ("GET", "", &[], b""),
        (
            "GET",
            "/a%20b?c=d&e",
            &[("accept", "*/*"), ("x-a", "1"), ("x-a", "2")],
            b"",
        ),
        ("GET", "", LINK, b""),
        (
            "POST",
            "",
            &[("content-length", "5"), ("content-type", "text/plain")],
            b"hello",
        ),
        ("DELETE", "", &[("traceparent", TRACE)], b""),
        ("OPTIONS", "", &[("cookie", "a=1"), ("cookie", "b=2")], b""),
    ];
    for answer in answers {
        let service = Service::start(answer).await;
        let edge = both_ways(&service).await;
        let client = Client::connect(&edge).await;
        for (method, path, headers, body) in requests {
            let send = async |begin: &str| {
                let before = edge.plain();
                let asked = request(method, &format!("{begin}{path}"), headers);
                let answer = client.ask(asked, body).await.expect("an answer");
                (received(service.take()), answer, edge.plain() - before)
            };
            let plain = send("/plain").await;
            let other = send("/other").await;
            assert_eq!((plain.2, other.2), (1.0, 0.0), "the ways, {method} {path}");
            assert_eq!(plain.0, other.0, "what the service got, {method} {path}");
            assert_eq!(
                plain.1, other.1,
                "what the client got, {method} {path}, {answer}"
            );
        }
    }
}

#[tokio::test]
async fn answers_arrive_after_interim_ones() {
    let answer = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}"
    );
    let service = Service::start(answer).await;
    let edge = both_ways(&service).await;
    let client = Client::connect(&edge).await;
    for path in ["/plain", "/other"] {
        let expects = [("content-length", "5"), ("expect", "100-continue")];
        for (asked, body) in [
            (request("GET", path, &[]), &b""[..]),
            (request("POST", path, &expects), b"hello"),
        ] {
            let answer = client.ask(asked, body).await.expect("an answer");
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, &b"ok"[..]),
                "{path}"
            );
            assert!(answer.headers.iter().all(|(name, _)| name != "link"));
            assert_eq!(service.take().pop().expect("a request").body, body);
        }
    }
}

#[tokio::test]
async fn a_head_alone_has_the_length_of_its_body() {
    let service = Service::start("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let client = Client::connect(&edge).await;
    let answer = client.ask(request("HEAD", "/", &[]), b"").await;
    let answer = answer.expect("an answer");
    assert_eq!(
        answer.headers,
        [("content-length".to_owned(), "7".to_owned())]
    );
    assert_eq!((answer.body.len(), edge.plain()), (0, 1.0));
}

#[tokio::test]
async fn large_answers_pass_whole_at_the_clients_pace() {
    let body = "0123456789abcdef".repeat(200 * 1024);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (head, sent) in [
        (format!("Content-Length: {}", body.len()), &body),
        ("Transfer-Encoding: chunked".to_owned(), &chunked),
    ] {
        let service = Service::start(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{sent}")).await;
        let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
        let client = Client::connect(&edge).await;
        for _ in 0..2 {
            let answer = client.ask(get(), b"").await.expect("an answer");
            assert_eq!(answer.body.len(), body.len(), "{head}");
            assert!(answer.body == body.as_bytes(), "{head}");
        }
        assert_eq!(edge.plain(), 2.0);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    let client = Client::connect(&edge).await;
    for head in ["Content-Length: 99", "Transfer-Encoding: chunked"] {
        let (answer, _) = client.begin(get(), true).await;
        let (mut service, _) = listener.accept().await.expect("accepts");
        head_of(&mut service).await;
        let begin = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nbegin\r\n");
        service.write_all(begin.as_bytes()).await.expect("sent");
        let answer = answer.await.expect("a head");
        drop(service);
        let end = tokio::time::timeout(PATIENCE, whole(answer)).await;
        let end = end.expect("in time").expect_err("it broke off");
        assert_eq!(end.reason(), Some(Reason::INTERNAL_ERROR), "{head}");
    }
    // The connection goes on: the next request gets there.
    let (_answer, _) = client.begin(get(), true).await;
    listener.accept().await.expect("accepts");
}

#[tokio::test]
async fn a_service_that_is_silent_or_breaks_the_protocol_is_told_of_by_a_page() {
    let timeouts = Timeouts {
        response: Some(Duration::from_millis(300)),
        ..Timeouts::default()
    };
    for (answer, status) in [("NONSENSE\r\n\r\n", 502), ("HTTP/1.1 200 OK\r\n", 504)] {
        let service = Service::start(answer).await;
        let policy = Policy {
            timeouts,
            ..Policy::default()
        };
        let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
        let client = Client::connect(&edge).await;
        for page in 1..3 {
            let got = client.ask(get(), b"").await.expect("an answer");
            assert_eq!(got.status, status, "{answer}");
            let text = String::from_utf8_lossy(&got.body);
            assert!(text.contains(&status.to_string()), "{text}");
            assert_eq!(edge.plain(), f64::from(page), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_taken_back_ends_at_its_service_and_no_other_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    let client = Client::connect(&edge).await;
    let (_, mut stream) = client.begin(get(), true).await;
    let (mut gone, _) = listener.accept().await.expect("accepts");
    head_of(&mut gone).await;
    let (answer, _) = client.begin(get(), true).await;
    let (mut stays, _) = listener.accept().await.expect("accepts");
    head_of(&mut stays).await;
    stream.send_reset(Reason::CANCEL);
    let mut piece = [0; 16];
    eventually("the connection to the service ends", async || {
        let read = tokio::time::timeout(Duration::from_millis(50), gone.read(&mut piece));
        matches!(read.await, Ok(Ok(0) | Err(_))).then_some(())
    })
    .await;
    stays.write_all(OK.as_bytes()).await.expect("sent");
    let answer = whole(answer.await.expect("a head")).await;
    assert_eq!(answer.expect("a body").body, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_connection_are_served_side_by_side_on_both_ways() {
    let service = Service::start(OK).await;
    let edge = both_ways(&service).await;
    let client = Client::connect(&edge).await;
    let mut answers = Vec::new();
    for number in 0..100 {
        let path = ["/plain", "/other"][number % 2];
        answers.push(client.begin(request("GET", path, &[]), true).await.0);
    }
    for answer in answers {
        let answer = whole(answer.await.expect("a head")).await;
        assert_eq!(answer.expect("a body").body, "ok");
    }
    assert_eq!(edge.plain(), 50.0);
}

#[tokio::test]
async fn an_announced_body_that_does_not_come_holds_up_nobody() {
    let service = Service::start(OK).await;
    let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
    let client = Client::connect(&edge).await;
    let post = request("POST", "/", &[("content-length", "2")]);
    let (answer, mut body) = client.begin(post, false).await;
    let other = client.ask(get(), b"").await.expect("an answer");
    assert_eq!(other.status, 200);
    assert_eq!(service.take().len(), 1, "only what is whole gets there");
    body.send_data(Bytes::from_static(b"ab"), true)
        .expect("sent");
    let answer = whole(answer.await.expect("a head")).await;
    assert_eq!(answer.expect("a body").status, 200);
    assert_eq!(service.take().pop().expect("a request").body, b"ab");
}

#[tokio::test]
async fn answers_are_compressed_for_who_takes_it() {
    let body = "well, well. ".repeat(400);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let service = Service::start(answer).await;
    let policy = Policy {
        compression: true,
        ..Policy::default()
    };
    let edge = Edge::start(vec![route(forward(service.address), policy)]).await;
    let client = Client::connect(&edge).await;
    let asked = request("GET", "/", &[("accept-encoding", "gzip")]);
    let got = client.ask(asked, b"").await.expect("an answer");
    let coding = ("content-encoding".to_owned(), "gzip".to_owned());
    assert!(got.headers.contains(&coding), "{:?}", got.headers);
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&got.body[..]);
    std::io::Read::read_to_string(&mut decoder, &mut text).expect("gzip");
    assert_eq!((text, edge.plain()), (body, 1.0));
}
