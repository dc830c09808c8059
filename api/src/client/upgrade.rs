//! Connections that begin as a request and become something else.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Client, Error, failed};
use crate::stream::socket::{self, Receiver, Sender, Side};

/// How long the server may take to answer: it asks an agent first.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that was a request before.
pub type Connection = Box<dyn Duplex>;

impl Client {
    /// Opens a WebSocket.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn socket(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<(Sender<Connection>, Receiver<Connection>), Error> {
        let url = format!("{}{path}", self.base());
        let key = socket::new_key();
        let request = self
            .pools()
            .streams
            .get(self.url(path))
            .query(query)
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key);
        let answer = upgrade(&url, "websocket", request).await?;
        let accepted = answer.headers().get(SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|value| value.as_bytes() != socket::accept_key(&key).as_bytes()) {
            return Err(Error::Unreadable {
                url,
                reason: "the handshake of the WebSocket is not answered".to_owned(),
            });
        }
        let connection = finish(&url, answer).await?;
        Ok(socket::open(connection, Side::Client).await)
    }

    /// Opens a connection of another protocol, by its name in `Upgrade`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn upgrade(&self, path: &str, protocol: &'static str) -> Result<Connection, Error> {
        let url = format!("{}{path}", self.base());
        let request = self.pools().streams.get(self.url(path));
        let answer = upgrade(&url, protocol, request).await?;
        finish(&url, answer).await
    }
}

async fn upgrade(
    url: &str,
    protocol: &'static str,
    request: RequestBuilder,
) -> Result<Response, Error> {
    let request = request
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(UPGRADE, HeaderValue::from_static(protocol));
    let answer = tokio::time::timeout(ANSWER_LIMIT, request.send()).await;
    let answer = answer.map_err(|_| Error::TimedOut {
        url: url.to_owned(),
    })?;
    let answer = answer.map_err(|source| unreachable(url, source))?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
        _ => Err(failed(answer).await),
    }
}

async fn finish(url: &str, answer: Response) -> Result<Connection, Error> {
    let upgraded = answer.upgrade().await;
    Ok(Box::new(
        upgraded.map_err(|source| unreachable(url, source))?,
    ))
}

fn unreachable(url: &str, source: reqwest::Error) -> Error {
    Error::Unreachable {
        url: url.to_owned(),
        source: Arc::new(source.without_url()),
    }
}
