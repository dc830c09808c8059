//! HTTP/2 over TLS: requests, limits, and its goodbye.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::client::{Tls, in_time};
use crate::service;
use crate::support::{Edge, Setup, state, with_certificate};

type Connection = JoinHandle<Result<(), h2::Error>>;

async fn start() -> (Edge, Authority) {
    let authority = Authority::new("ca");
    let state = state(&["a.test", "b.test"], service::start().await);
    let state = with_certificate(state, "a", &authority.leaf(&["a.test"]));
    let state = with_certificate(state, "b", &authority.leaf(&["b.test"]));
    (Edge::start(Setup::default(), state).await, authority)
}

async fn connect(edge: &Edge, authority: &Authority) -> (SendRequest<Bytes>, Connection) {
    let client = Tls::new(authority, &["h2"]);
    let stream = client.connect(edge.https, "a.test").await.expect("TLS");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    (send, tokio::spawn(connection))
}

fn request(host: &str) -> Request<()> {
    let uri = format!("https://{host}/");
    Request::get(uri).body(()).expect("a request")
}

async fn status(send: &SendRequest<Bytes>, request: Request<()>) -> Result<StatusCode, h2::Error> {
    let mut send = send.clone().ready().await?;
    let (answer, _) = send.send_request(request, true)?;
    in_time(answer).await.map(|answer| answer.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pass_and_a_host_of_another_certificate_is_misdirected() {
    let (edge, authority) = start().await;
    let (send, _connection) = connect(&edge, &authority).await;
    let mut ready = send.clone().ready().await.expect("ready");
    let (answer, _) = ready.send_request(request("a.test"), true).expect("sent");
    let mut body = in_time(answer).await.expect("an answer").into_body();
    let mut text = Vec::new();
    while let Some(data) = in_time(body.data()).await {
        text.extend(data.expect("data"));
    }
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("x-forwarded-proto: https\r\n"), "{text}");
    assert!(text.contains("x-forwarded-for: 127.0.0.1\r\n"), "{text}");
    let misdirected = status(&send, request("b.test")).await.expect("an answer");
    assert_eq!(misdirected, 421);
    assert_eq!(
        status(&send, request("a.test")).await.expect("an answer"),
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_announced_and_requests_under_way_end() {
    let (edge, authority) = start().await;
    let (send, connection) = connect(&edge, &authority).await;
    let post = Request::post("https://a.test/").header("content-length", "2");
    let mut ready = send.clone().ready().await.expect("ready");
    let post = post.body(()).expect("a request");
    let (answer, mut body) = ready.send_request(post, false).expect("sent");
    edge.counts("cara_gateway_requests_in_flight", "", 1.0)
        .await;
    edge.stop();
    body.send_data(Bytes::from_static(b"ab"), true)
        .expect("sent");
    assert_eq!(in_time(answer).await.expect("an answer").status(), 200);
    drop((send, ready));
    // After GOAWAY the gateway may have closed before the client's own farewell was written.
    let ended = in_time(connection).await.expect("no panic");
    let is_in_order = |error: &h2::Error| error.is_io() && !error.is_reset();
    assert!(ended.as_ref().err().is_none_or(is_in_order), "{ended:?}");
    edge.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_and_resets_streams_is_cut() {
    let (edge, authority) = start().await;
    let (send, connection) = connect(&edge, &authority).await;
    let mut sent = 0_u32;
    // The connection ends long before this many.
    while sent < 200_000 {
        let Ok(mut ready) = in_time(send.clone().ready()).await else {
            break;
        };
        match ready.send_request(request("a.test"), true) {
            Ok((answer, mut stream)) => {
                stream.send_reset(h2::Reason::CANCEL);
                drop(answer);
            }
            Err(_) => break,
        }
        sent += 1;
        if sent.is_multiple_of(1_000) {
            tokio::task::yield_now().await;
        }
    }
    assert!(sent < 200_000, "{sent} resets went through");
    let error = in_time(connection)
        .await
        .expect("no panic")
        .expect_err("GOAWAY");
    // The client may find the connection gone before it reads why.
    let is_told = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    assert!(is_told || error.is_io(), "{error}");
    let (send, _connection) = connect(&edge, &authority).await;
    assert_eq!(
        status(&send, request("a.test")).await.expect("an answer"),
        200
    );
}
