//! One line of JSON for each request, written by a thread of its own.
//!
//! Requests never wait for the disk: when the queue is full, lines are dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Lines that may wait to be written.
const QUEUE: usize = 8_192;
/// Bytes that are collected before they are written.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where access lines go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: Option<SyncSender<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Writes nothing.
    pub fn off() -> Self {
        Self {
            lines: None,
            dropped: Arc::default(),
        }
    }

    /// Writes to `out` until the last clone is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&queue, out))?;
        Ok(Self {
            lines: Some(lines),
            dropped: Arc::default(),
        })
    }

    /// True when lines are wanted at all.
    pub(crate) fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Hands over a line, newline included.
    pub(crate) fn put(&self, line: Vec<u8>) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(line).is_err()
            && self
                .dropped
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(10_000)
        {
            tracing::warn!(
                dropped = self.dropped.load(Ordering::Relaxed),
                "access lines are dropped: cannot write fast enough"
            );
        }
    }
}

fn write(queue: &Receiver<Vec<u8>>, mut out: impl Write) {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while let Ok(first) = queue.recv() {
        chunk.clear();
        chunk.extend_from_slice(&first);
        while chunk.len() < CHUNK_BYTES {
            let Ok(next) = queue.try_recv() else { break };
            chunk.extend_from_slice(&next);
        }
        if let Err(error) = out.write_all(&chunk).and_then(|()| out.flush()) {
            tracing::error!(error = %error, "cannot write the access log");
            return;
        }
    }
}

/// What a line says.
pub(crate) struct Line<'a> {
    pub(crate) time: jiff::Timestamp,
    pub(crate) id: &'a str,
    pub(crate) client: Option<std::net::IpAddr>,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) duration_us: u128,
    pub(crate) project: &'a str,
    pub(crate) service: &'a str,
}

impl Line<'_> {
    /// The line as JSON with its newline.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let text = |out: &mut Vec<u8>, key: &str, value: &str| {
            out.extend_from_slice(key.as_bytes());
            // Writing to a vector does not fail.
            let _ = serde_json::to_writer(out, value);
        };
        // The same holds for numbers.
        let _ = write!(out, "{{\"time\":\"{:.3}\"", self.time);
        text(&mut out, ",\"id\":", self.id);
        if let Some(client) = self.client {
            let _ = write!(out, ",\"client\":\"{client}\"");
        }
        text(&mut out, ",\"method\":", self.method);
        text(&mut out, ",\"host\":", self.host);
        text(&mut out, ",\"path\":", self.path);
        let _ = write!(
            out,
            ",\"status\":{},\"bytes\":{},\"duration_us\":{}",
            self.status, self.bytes, self.duration_us
        );
        if !self.project.is_empty() {
            text(&mut out, ",\"project\":", self.project);
            text(&mut out, ",\"service\":", self.service);
        }
        out.extend_from_slice(b"}\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_client_sent() {
        let line = Line {
            time: jiff::Timestamp::UNIX_EPOCH,
            id: "1",
            client: "192.0.2.1".parse().ok(),
            method: "GET",
            host: "a\"b\n",
            path: "/x?y=\u{1}",
            status: 200,
            bytes: 12,
            duration_us: 345,
            project: "shop",
            service: "web",
        };
        let rendered = line.render();
        let json: serde_json::Value = serde_json::from_slice(&rendered).expect("JSON");
        assert_eq!(json["host"], "a\"b\n");
        assert_eq!(json["duration_us"], 345);
        assert_eq!(rendered.iter().filter(|b| **b == b'\n').count(), 1);
    }
}
