//! Answers that are much longer than what is read at once.

use std::fmt::Write;

use cara_api::gateway::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fastpath::data;
use crate::support::{Edge, PATIENCE, Service, eventually, forward, hosts, route};

const PIPED: &str = "cara_gateway_piped_bytes_total";

/// Text that differs everywhere.
fn text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 8);
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        write!(text, "{number:x} ").expect("memory");
    }
    text.truncate(bytes);
    text
}

fn with_length(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_pass_whole_in_all_framings() {
    let body = text(3 << 20);
    let mut chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for part in body.as_bytes().chunks(50_000) {
        let part = String::from_utf8_lossy(part);
        write!(chunked, "{:x}\r\n{part}\r\n", part.len()).expect("memory");
    }
    chunked += "0\r\n\r\n";
    for (answer, may_be_piped) in [(with_length(&body), true), (chunked, false)] {
        let service = Service::start(answer).await;
        let edge = Edge::start(vec![route(forward(service.address), Policy::default())]).await;
        let got = edge.get("/").await;
        assert_eq!(got.status, 200);
        let is_chunked = got.header("transfer-encoding").is_some();
        assert!(
            data(&got.body, is_chunked) == body,
            "{} bytes",
            got.body.len()
        );
        assert_eq!(edge.plain(), 1.0);
        // All but what was read with the head.
        let piped = edge.metric(PIPED);
        assert_eq!(
            piped > (body.len() - 64 * 1024) as f64,
            may_be_piped,
            "{piped}"
        );
    }
}

/// The answer to a request comes with the connection of the service that gave it.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut service, _) = listener.accept().await.expect("accepts");
    read_request(&mut service).await;
    service
}

async fn read_request(service: &mut TcpStream) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert!(service.read_buf(&mut asked).await.expect("a request") > 0);
    }
}

async fn begin() -> (TcpListener, Edge, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let edge = Edge::start(vec![route(forward(address), Policy::default())]).await;
    let client = TcpStream::connect(edge.http).await.expect("connects");
    (listener, edge, client)
}

const ASKED: &[u8] = b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n";

/// Reads a head, and so many bytes after it.
async fn read_answer(client: &mut TcpStream, bytes: usize) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    let mut body = vec![0; bytes];
    client.read_exact(&mut body).await.expect("a body");
    String::from_utf8(body).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_connections_go_on_after_a_long_answer_that_came_in_pieces() {
    let (listener, edge, mut client) = begin().await;
    let body = text(1_000_003);
    // The second request comes while the answer to the first one is under way.
    client.write_all(ASKED).await.expect("sent");
    let mut service = accept(&listener).await;
    client.write_all(ASKED).await.expect("sent");
    let answer = with_length(&body);
    let serving = async {
        for part in answer.as_bytes().chunks(130_000) {
            service.write_all(part).await.expect("sent");
            tokio::task::yield_now().await;
        }
        read_request(&mut service).await;
        service.write_all(answer.as_bytes()).await.expect("sent");
    };
    let reading = async {
        for _ in 0..2 {
            assert!(read_answer(&mut client, body.len()).await == body);
        }
    };
    tokio::join!(serving, reading);
    assert_eq!(edge.plain(), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_that_breaks_off_ends_its_connection_and_no_other() {
    let (listener, edge, mut client) = begin().await;
    let body = text(1_000_000);
    client.write_all(ASKED).await.expect("sent");
    let mut service = accept(&listener).await;
    let answer = with_length(&body);
    let half = answer.len() - 500_000;
    service
        .write_all(&answer.as_bytes()[..half])
        .await
        .expect("sent");
    drop(service);
    let mut got = Vec::new();
    // Ended or reset: the client cannot take it for whole.
    let _ = client.read_to_end(&mut got).await;
    assert!(got.ends_with(&answer.as_bytes()[half - 1_000..half]));
    let mut next = TcpStream::connect(edge.http).await.expect("connects");
    next.write_all(ASKED).await.expect("sent");
    let mut service = accept(&listener).await;
    let answering = async { service.write_all(answer.as_bytes()).await.expect("sent") };
    let (got, ()) = tokio::join!(read_answer(&mut next, body.len()), answering);
    assert!(got == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_long_answer_takes_the_connection_to_the_service_with_it() {
    let (listener, edge, mut client) = begin().await;
    client.write_all(ASKED).await.expect("sent");
    let mut service = accept(&listener).await;
    let answer = with_length(&text(64 << 20));
    let (begun, rest) = answer.as_bytes().split_at(2 << 20);
    let reading = read_answer(&mut client, 1 << 20);
    let (_, sent) = tokio::join!(reading, service.write_all(begun));
    sent.expect("sent");
    drop(client);
    assert!(in_time(service.write_all(rest)).await.is_err());
    eventually("nothing is under way", async || {
        (edge.metric("cara_gateway_requests_in_flight") == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_breaks_off_when_the_time_of_its_endpoint_is_over() {
    // Whether the service is waited for, or the client.
    for (sent, is_read) in [(1 << 20, true), (64 << 20, false)] {
        let (listener, edge, mut client) = begin().await;
        client.write_all(ASKED).await.expect("sent");
        let mut service = accept(&listener).await;
        let answer = with_length(&text(64 << 20));
        let serving = async {
            let sent = service.write_all(&answer.as_bytes()[..sent]).await;
            let mut nothing = [0];
            let told = matches!(service.read(&mut nothing).await, Ok(0) | Err(_));
            assert!(told, "the service is told");
            sent.is_ok()
        };
        let ending = async {
            let begun = if is_read { 1_000_000 } else { 1_000 };
            read_answer(&mut client, begun).await;
            edge.publish(|state| state.hosts = hosts(Vec::new())).await;
        };
        let (was_all_taken, ()) = in_time(async { tokio::join!(serving, ending) }).await;
        assert_eq!(was_all_taken, is_read);
        let mut rest = Vec::new();
        // Ended or reset.
        let _ = in_time(client.read_to_end(&mut rest)).await;
        assert!(rest.len() < 32 << 20, "{} bytes", rest.len());
        assert!(edge.metric(PIPED) > 0.0);
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}
