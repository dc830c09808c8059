//! Files in services, as tar streams.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};

use super::transfer::moving;
use super::{ByteStream, CALL_TIMEOUT, Client, Error};
use crate::stream::files::{KIND, SIZE, TAR};

/// What a path in a service leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// `file`, `directory` or `link`.
    pub kind: String,
    /// Of a file, in bytes.
    pub size_bytes: u64,
}

impl Look {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            kind: text(KIND).unwrap_or_default().to_owned(),
            size_bytes: text(SIZE).and_then(|size| size.parse().ok()).unwrap_or(0),
        }
    }
}

impl Client {
    /// What a path leads to; none when it leads nowhere.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Look>, Error> {
        match self.send(self.call(Method::HEAD, path).query(query)).await {
            Ok(answer) => Ok(Some(Look::of(answer.headers()))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a tar stream.
    ///
    /// # Errors
    /// See [`Error`]; the stream ends after an error, also when it stands still for
    /// [`super::STANDSTILL`].
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(Look, ByteStream), Error> {
        let url = format!("{}{path}", self.base());
        let shown = url.clone();
        let request = self.pools().streams.get(self.url(path)).query(query);
        let sent = self.send(request);
        let response = in_time(&url, sent).await?;
        let look = Look::of(response.headers());
        let cut = move |source: reqwest::Error| Error::Unreachable {
            url: url.clone(),
            source: Arc::new(source.without_url()),
        };
        let pieces = response.bytes_stream().map(move |item| item.map_err(&cut));
        Ok((look, moving(pieces.boxed(), shown)))
    }

    /// Sends a tar stream, however long it takes.
    ///
    /// # Errors
    /// See [`Error`]; also when it stands still for [`super::STANDSTILL`], or is not written within
    /// [`super::WRITE_LIMIT`] after all of it was sent.
    pub async fn upload(
        &self,
        path: &str,
        query: &[(&str, &str)],
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), Error> {
        let request = self.pools().streams.put(self.url(path)).query(query);
        let request = request.header(CONTENT_TYPE, TAR);
        let url = format!("{}{path}", self.base());
        self.send_large(request, &url, tar).await.map(drop)
    }
}

async fn in_time(
    url: &str,
    sent: impl Future<Output = Result<Response, Error>>,
) -> Result<Response, Error> {
    let sent = tokio::time::timeout(CALL_TIMEOUT, sent).await;
    sent.map_err(|_| Error::TimedOut {
        url: url.to_owned(),
    })?
}
