//! JSON values, one a line, as they arrive.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::Error;

/// Longest line that is accepted, in bytes; a longer one ends the stream with an error.
const LINE_MAX: usize = 64 * 1024 * 1024;

/// A stream of JSON lines.
pub struct Lines {
    url: String,
    body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    buffer: BytesMut,
}

impl Lines {
    pub(super) fn new(response: Response, url: String) -> Self {
        Self {
            url,
            body: response.bytes_stream().boxed(),
            buffer: BytesMut::new(),
        }
    }

    /// The next value; none when the server ended the stream.
    ///
    /// Cancel-safe: what has arrived of a line is kept.
    ///
    /// # Errors
    /// The connection broke, was silent for too long, or a line is not what was expected.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|e| self.unreadable(e.to_string()));
            }
            if self.buffer.len() > LINE_MAX {
                return Err(self.unreadable("a line is too long".to_owned()));
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(source)) => {
                    let source = std::sync::Arc::new(source.without_url());
                    return Err(Error::Unreachable {
                        url: self.url.clone(),
                        source,
                    });
                }
                None => return Ok(None),
            }
        }
    }

    fn unreadable(&self, reason: String) -> Error {
        Error::Unreadable {
            url: self.url.clone(),
            reason,
        }
    }
}
