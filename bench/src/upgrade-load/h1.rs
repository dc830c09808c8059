//! Requests over HTTP/1.1.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connect::{Over, Stream, Target};
use crate::{Failure, PAGE_BYTES};

/// Connections that wait for their next request; the one that waits longest is taken first.
#[derive(Default)]
pub(crate) struct Pool(Mutex<VecDeque<Stream>>);

impl Pool {
    /// Asks on a kept connection, or on a new one when all are busy.
    pub(crate) async fn ask(&self, target: &Target, over: Over) -> Result<(), Failure> {
        let waiting = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let mut stream = match waiting {
            Some(stream) => stream,
            None => target.connect(over).await?,
        };
        if exchange(&mut stream, &target.host, "keep-alive").await? {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(stream);
        }
        Ok(())
    }
}

/// Asks on a connection of its own.
pub(crate) async fn ask_anew(target: &Target, over: Over) -> Result<(), Failure> {
    let mut stream = target.connect(over).await?;
    exchange(&mut stream, &target.host, "close").await?;
    Ok(())
}

/// One request and its answer; whether the connection may be kept.
async fn exchange(stream: &mut Stream, host: &str, ending: &str) -> Result<bool, Failure> {
    let request = format!("GET /1k HTTP/1.1\r\nHost: {host}\r\nConnection: {ending}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(2 * PAGE_BYTES);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(format!(
                "the connection ended after {} bytes of the answer",
                answer.len()
            )
            .into());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head_bytes) = head.parse(&answer)? else {
            continue;
        };
        let header = |name: &str| {
            let mut all = head.headers.iter();
            let found = all.find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        if head.code != Some(200) {
            return Err(format!("status {}", head.code.unwrap_or(0)).into());
        }
        let length: usize = header("content-length").unwrap_or("0").parse()?;
        if length != PAGE_BYTES {
            return Err(format!("a page of {length} bytes").into());
        }
        if answer.len() >= head_bytes + length {
            return Ok(
                !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
            );
        }
    }
}
