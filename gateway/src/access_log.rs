//! One line of JSON for each request, written by a thread of its own.
//!
//! Requests append to a buffer in memory and never wait for the disk nor wake the writer, which
//! looks ten times a second. When the buffer is full, lines are dropped and counted.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that may wait to be written.
const BUFFER_MAX: usize = 8 * 1024 * 1024;
/// How often the writer looks.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// Where access lines go. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
}

#[derive(Default)]
struct Queue {
    // Held to append a line, or to take all of them.
    lines: Mutex<Lines>,
    closed: Condvar,
}

#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    dropped: u64,
    clock: Clock,
}

/// The current second as text, made once a second.
#[derive(Default)]
struct Clock {
    second: i64,
    text: String,
}

impl Clock {
    /// Appends a time in RFC 3339 form with milliseconds.
    fn render(&mut self, time: jiff::Timestamp, out: &mut Vec<u8>) {
        let second = time.as_second();
        if second != self.second || self.text.is_empty() {
            let whole = jiff::Timestamp::from_second(second).unwrap_or(time);
            self.text = format!("{whole:.0}");
            self.second = second;
        }
        let millis = time.subsec_millisecond().unsigned_abs();
        out.extend_from_slice(self.text.trim_end_matches('Z').as_bytes());
        // Writing to a vector does not fail.
        let _ = write!(out, ".{millis:03}Z");
    }
}

impl AccessLog {
    /// Writes nothing.
    pub fn off() -> Self {
        Self { queue: None }
    }

    /// Writes to `out` until the last clone is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&theirs, out))?;
        Ok(Self { queue: Some(queue) })
    }

    /// True when lines are wanted at all.
    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands over a line.
    pub(crate) fn put(&self, line: &Line<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut lines = queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.buffer.len() < BUFFER_MAX {
            let Lines { buffer, clock, .. } = &mut *lines;
            line.render(clock, buffer);
        } else {
            lines.dropped += 1;
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.closed.notify_one();
        }
    }
}

fn write(queue: &Arc<Queue>, mut out: impl Write) {
    let mut chunk = Vec::new();
    loop {
        // The writer's own handle is the last one when the program ends.
        let is_last = Arc::strong_count(queue) == 1;
        let dropped = {
            let mut lines = queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.buffer.is_empty() && !is_last {
                lines = queue
                    .closed
                    .wait_timeout(lines, WRITE_EVERY)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            std::mem::swap(&mut chunk, &mut lines.buffer);
            std::mem::take(&mut lines.dropped)
        };
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "access lines were dropped: cannot write fast enough"
            );
        }
        if let Err(error) = out.write_all(&chunk).and_then(|()| out.flush()) {
            tracing::error!(error = %error, "cannot write the access log");
            return;
        }
        chunk.clear();
        if is_last {
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
    /// Appends the line as JSON with its newline.
    fn render(&self, clock: &mut Clock, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, key: &str, value: &str| {
            out.extend_from_slice(key.as_bytes());
            // Writing to a vector does not fail.
            let _ = serde_json::to_writer(out, value);
        };
        out.extend_from_slice(b"{\"time\":\"".as_slice());
        clock.render(self.time, out);
        out.push(b'"');
        text(out, ",\"id\":", self.id);
        if let Some(client) = self.client {
            let _ = write!(out, ",\"client\":\"{client}\"");
        }
        text(out, ",\"method\":", self.method);
        text(out, ",\"host\":", self.host);
        text(out, ",\"path\":", self.path);
        let _ = write!(
            out,
            ",\"status\":{},\"bytes\":{},\"duration_us\":{}",
            self.status, self.bytes, self.duration_us
        );
        if !self.project.is_empty() {
            text(out, ",\"project\":", self.project);
            text(out, ",\"service\":", self.service);
        }
        out.extend_from_slice(b"}\n");
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
        let mut rendered = Vec::new();
        line.render(&mut Clock::default(), &mut rendered);
        let json: serde_json::Value = serde_json::from_slice(&rendered).expect("JSON");
        assert_eq!(json["host"], "a\"b\n");
        assert_eq!(json["duration_us"], 345);
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(rendered.iter().filter(|b| **b == b'\n').count(), 1);
    }
}
