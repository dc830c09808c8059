//! A connection to a port of a service as a WebSocket, as the older system's command line opens it: bytes
//! both ways, each in messages of their own, and no half-close.

use axum::extract::{Path, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use cara_api::stream::frame::PIECE;
use cara_api::stream::socket::{self, PING_PERIOD, Side};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::app::App;
use crate::dial::connect;
use crate::problem::{plain, problem};

/// Connects first, then answers.
pub(super) async fn forward(
    State(app): State<App>,
    Path((project, service, port)): Path<(String, String, String)>,
    mut request: Request,
) -> Result<Response, Response> {
    let number = port.parse().ok().filter(|port| *port != 0);
    let number = number.ok_or_else(|| problem(400, format!("invalid port: {port}")))?;
    let name = format!("container {project}-{service}");
    let found = app.engine.container_of(&project, &service).await;
    let found = found.map_err(|error| problem(502, error.message()))?;
    let found = found.ok_or_else(|| problem(404, format!("{name}: container not found")))?;
    if !found.is_running {
        return Err(problem(503, format!("{name}: container not running")));
    }
    let stream = connect(&found, number).await;
    let stream = stream.map_err(|detail| problem(502, detail))?;
    let not_asked = || plain(StatusCode::BAD_REQUEST, "Bad Request\n");
    let accept = accept(request.headers()).ok_or_else(not_asked)?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or_else(not_asked)?;
    let token = app.token.clone();
    app.tasks.spawn(async move {
        tokio::select! {
            () = carry(upgrade, stream) => {}
            () = token.cancelled() => {}
        }
    });
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    };
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let is_asked = is(UPGRADE, "websocket") && is(SEC_WEBSOCKET_VERSION, "13");
    let accept = HeaderValue::from_str(&socket::accept_key(key)).ok()?;
    is_asked.then_some(accept)
}

async fn carry(upgrade: OnUpgrade, mut stream: TcpStream) {
    let Ok(upgraded) = upgrade.await else { return };
    let (mut sender, mut receiver) = socket::open(TokioIo::new(upgraded), Side::Server).await;
    let (mut read, mut write) = stream.split();
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            tokio::select! {
                count = read.read_buf(&mut buffer) => match count {
                    Ok(0) | Err(_) => return sender,
                    Ok(_) => {}
                },
                () = tokio::time::sleep(PING_PERIOD) => {}
            }
            let sent = match buffer.is_empty() {
                true => sender.ping().await,
                false => sender.send_bytes(buffer.split().freeze()).await,
            };
            if sent.is_err() {
                return sender;
            }
        }
    };
    let inward = async {
        while let Ok(Some(bytes)) = receiver.next_bytes().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        sender = outward => sender.close().await,
        () = inward => {}
    }
}
