//! The service behind the gateway in the journeys: echo, WebSocket, events, slow answers, and a
//! page that uses them.
//!
//! Listens on port 8080 after `DELAY_MS` milliseconds; `VERSION` is what it answers. `/health`
//! answers 200, or 500 from a request of `/sick` until one of `/well`.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

static IS_SICK: AtomicBool = AtomicBool::new(false);

type Body = BoxBody<Bytes, hyper::Error>;

fn env(name: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of the tests, without settings of its own"
    )]
    std::env::var(name).unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(env("DELAY_MS").parse().unwrap_or(0))).await;
    let listener = TcpListener::bind("0.0.0.0:8080").await?;
    println!("listening, version {}", env("VERSION"));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = TokioIo::new(accepted?.0);
                connections.spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(stream, service_fn(answer)).with_upgrades(),
                );
            }
            Some(_) = connections.join_next() => {}
            _ = terminate.recv() => return Ok(()),
        }
    }
}

fn text(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(
        Full::new(body.into())
            .map_err(|never| match never {})
            .boxed(),
    )
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    Ok(match request.uri().path() {
        "/headers" => {
            let pairs = request
                .headers()
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_str().unwrap_or("?").into()));
            text(serde_json::Value::Object(pairs.collect()).to_string())
        }
        "/echo" => Response::new(request.into_body().boxed()),
        "/events" => events(),
        "/live" => live(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            text("late")
        }
        path @ ("/sick" | "/well") => {
            IS_SICK.store(path == "/sick", Ordering::Relaxed);
            text("noted")
        }
        "/health" => {
            let mut response = text("health\n");
            if IS_SICK.load(Ordering::Relaxed) {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            response
        }
        "/cut" => return Err(std::io::Error::other("cut on request")),
        "/ws" => upgrade(request),
        _ => text(format!("version {}\n", env("VERSION"))),
    })
}

/// A page for browsers, whose script says in the page what it got.
fn live() -> Response<Body> {
    let mut response = text(include_str!("live.html"));
    response.headers_mut().insert(
        CONTENT_TYPE,
        "text/html; charset=utf-8".parse().expect("a value"),
    );
    response
}

/// Ten events, one every 100 ms.
fn events() -> Response<Body> {
    let stream = futures_util::stream::unfold(0, |n| async move {
        if n == 10 {
            return None;
        }
        if n > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from(format!("data: {n}\n\n")))),
            n + 1,
        ))
    });
    let mut response = Response::new(
        StreamBody::new(stream)
            .map_err(|never| match never {})
            .boxed(),
    );
    response
        .headers_mut()
        .insert(CONTENT_TYPE, "text/event-stream".parse().expect("a value"));
    response
}

/// Echoes every message.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        let mut response = text("not a WebSocket");
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let upgraded = hyper::upgrade::on(&mut request);
    #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
    tokio::spawn(async move {
        let Ok(stream) = upgraded.await else { return };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_close() && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = text("");
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, "websocket".parse().expect("a value"));
    headers.insert(CONNECTION, "upgrade".parse().expect("a value"));
    headers.insert(
        SEC_WEBSOCKET_ACCEPT,
        derive_accept_key(key.as_bytes()).parse().expect("a value"),
    );
    response
}
