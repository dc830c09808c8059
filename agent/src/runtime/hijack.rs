//! Calls of the engine that become a connection. The engine's client reads what they send as
//! frames even where the engine sends none (a terminal), so the connection is made here.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::engine::Engine;
use super::error::Error;

/// How long the engine may take to turn a request into a connection.
const LIMIT: Duration = Duration::from_secs(20);

/// A connection to a process of the engine.
pub(super) type Wire = TokioIo<Upgraded>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Engine {
    /// Posts a document to the engine and goes on with the connection.
    ///
    /// # Errors
    /// The engine does not answer, or refuses.
    pub(super) async fn hijack(&self, path: &str, body: &serde_json::Value) -> Result<Wire, Error> {
        let attempt = || format!("connect to {path}");
        let failed = |text: String| Error::said(attempt(), "EngineUnavailable", text);
        let call = async {
            let stream = self
                .connect_raw()
                .await
                .map_err(|e| failed(e.to_string()))?;
            let request = Request::post(path)
                .header(HOST, "docker")
                .header(CONTENT_TYPE, "application/json")
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "tcp")
                .body(Full::new(Bytes::from(body.to_string())))
                .map_err(|e| failed(e.to_string()))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|e| failed(e.to_string()))?;
            let mut connection = std::pin::pin!(connection.with_upgrades());
            let mut answer = std::pin::pin!(sender.send_request(request));
            let mut is_over = false;
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut answer => break answer,
                    ended = &mut connection, if !is_over => {
                        ended.map_err(|e| failed(e.to_string()))?;
                        is_over = true;
                    }
                }
            };
            let answer = answer.map_err(|e| failed(e.to_string()))?;
            if answer.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
                return Err(failed(format!("the engine answered {}", answer.status())));
            }
            let rest = async {
                if !is_over {
                    // Its failure shows in the other.
                    let _ = connection.await;
                }
            };
            let (upgraded, ()) = tokio::join!(hyper::upgrade::on(answer), rest);
            Ok(TokioIo::new(upgraded.map_err(|e| failed(e.to_string()))?))
        };
        let limited = tokio::time::timeout(LIMIT, call).await;
        limited.map_err(|_| failed(format!("no answer within {} s", LIMIT.as_secs())))?
    }

    async fn connect_raw(&self) -> std::io::Result<Box<dyn Io>> {
        if let Some(path) = self.host.strip_prefix("unix://") {
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
        let address = self
            .host
            .split_once("://")
            .map_or(&*self.host, |(_, rest)| rest);
        Ok(Box::new(
            TcpStream::connect(address.trim_end_matches('/')).await?,
        ))
    }
}
