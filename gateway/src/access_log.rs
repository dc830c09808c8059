//! One line of JSON for each request, written by a thread of its own.
//!
//! Requests append to a buffer in memory and never wait for the disk nor wake the writer, which
//! looks ten times a second. When the buffer is full, or what they are written to fails, lines are
//! dropped and counted.

mod line;
mod redact;

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntCounter;

use crate::ratio::Ratio;

pub(crate) use line::Line;
pub use redact::Redact;

use line::Clock;

/// Bytes that may wait to be written.
const BUFFER_MAX: usize = 8 * 1024 * 1024;
/// How often the writer looks.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// What is written.
#[derive(Debug, Clone)]
pub struct LogRules {
    /// The part of requests that is written.
    pub sample: Ratio,
    /// Requests that took as long are always written, as are those that failed.
    pub slow: Duration,
    /// What is left out of URLs.
    pub redact: Redact,
    /// Lines name the client's program.
    pub user_agent: bool,
    /// Lines name the page that a request came from.
    pub referer: bool,
}

impl Default for LogRules {
    fn default() -> Self {
        Self {
            sample: Ratio::ALL,
            slow: Duration::from_secs(1),
            redact: Redact::default(),
            user_agent: false,
            referer: false,
        }
    }
}

impl LogRules {
    /// Whether a request is written: one that got no answer or failed, one that was slow, or one
    /// that chance takes.
    fn take(&self, status: u16, duration: Duration, draw: impl FnOnce() -> u32) -> bool {
        !(1..500).contains(&status) || duration >= self.slow || self.sample.takes(draw)
    }
}

/// Where access lines go. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
    dropped: IntCounter,
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

impl AccessLog {
    /// Writes nothing.
    pub fn off() -> Self {
        Self {
            queue: None,
            dropped: dropped(),
        }
    }

    /// Writes to `out` until the last clone is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let dropped = dropped();
        let (theirs, lost) = (Arc::clone(&queue), dropped.clone());
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&theirs, out, &lost))?;
        Ok(Self {
            queue: Some(queue),
            dropped,
        })
    }

    /// True when there is to be a line about a request.
    pub(crate) fn wants(&self, rules: &LogRules, status: u16, duration: Duration) -> bool {
        self.queue.is_some() && rules.take(status, duration, || fastrand::u32(..))
    }

    /// Lines that did not fit into the buffer, or could not be written.
    pub(crate) fn dropped(&self) -> &IntCounter {
        &self.dropped
    }

    /// Hands over a line.
    pub(crate) fn put(&self, line: &Line<'_>, rules: &LogRules) {
        let Some(queue) = &self.queue else { return };
        let mut lines = queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.buffer.len() < BUFFER_MAX {
            let Lines { buffer, clock, .. } = &mut *lines;
            line.render(rules, clock, buffer);
        } else {
            lines.dropped += 1;
            self.dropped.inc();
        }
    }
}

/// A line by itself.
pub(crate) fn rendered(line: &Line<'_>, rules: &LogRules) -> Bytes {
    let mut text = Vec::with_capacity(512);
    line.render(rules, &mut Clock::default(), &mut text);
    text.into()
}

fn dropped() -> IntCounter {
    IntCounter::new(
        "cara_gateway_access_lines_dropped_total",
        "Lines of the access log that could not be written, or not fast enough",
    )
    .expect("a valid name")
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.closed.notify_one();
        }
    }
}

/// Writes until the last handle but its own is gone. What cannot be written is counted as `lost`,
/// and the next lines are tried again.
fn write(queue: &Arc<Queue>, mut out: impl Write, lost: &IntCounter) {
    let mut chunk = Vec::new();
    let mut is_failing = false;
    loop {
        // The writer's own handle is the last one when the program ends.
        let is_last = Arc::strong_count(queue) == 1;
        let dropped = {
            let mut lines = queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if (lines.buffer.is_empty() || is_failing) && !is_last {
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
        match out.write_all(&chunk).and_then(|()| out.flush()) {
            Ok(()) if is_failing && !chunk.is_empty() => {
                is_failing = false;
                tracing::info!("the access log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                let lines = chunk.iter().filter(|byte| **byte == b'\n').count();
                lost.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
                if !is_failing {
                    is_failing = true;
                    tracing::error!(error = %error, "cannot write the access log: lines are lost");
                }
            }
        }
        chunk.clear();
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Fails at first; says what it was given.
    struct Flaky {
        failures: u32,
        given: mpsc::Sender<(bool, Vec<u8>)>,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let fails = self.failures > 0;
            self.failures = self.failures.saturating_sub(1);
            let _ = self.given.send((fails, bytes.to_vec()));
            match fails {
                true => Err(std::io::ErrorKind::StorageFull.into()),
                false => Ok(bytes.len()),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_log_goes_on() {
        let (given, taken) = mpsc::channel();
        let log = AccessLog::to(Flaky { failures: 2, given }).expect("a thread");
        let put = |text: &[u8]| {
            let queue = log.queue.as_ref().expect("it is on");
            let mut lines = queue.lines.lock().expect("no panic");
            lines.buffer.extend_from_slice(text);
        };
        for (fails, text) in [
            (true, &b"a\nb\n"[..]),
            (true, b"c\n"),
            (false, b"d\n"),
            (false, b"e\n"),
        ] {
            put(text);
            let next = taken.recv_timeout(Duration::from_secs(20));
            assert_eq!(next, Ok((fails, text.to_vec())));
        }
        assert_eq!(log.dropped().get(), 3);
        drop(log);
        let end = taken.recv_timeout(Duration::from_secs(20));
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn failed_and_slow_requests_are_always_written() {
        let rules = LogRules {
            sample: "0.1".parse().expect("a share"),
            ..LogRules::default()
        };
        let (quick, slow) = (Duration::from_millis(5), Duration::from_secs(1));
        for (status, duration, draw, expected) in [
            (200, quick, u32::MAX, false),
            (200, quick, 0, true),
            (404, quick, u32::MAX, false),
            (200, slow, u32::MAX, true),
            (500, quick, u32::MAX, true),
            (0, quick, u32::MAX, true),
        ] {
            let taken = rules.take(status, duration, || draw);
            assert_eq!(taken, expected, "{status} {duration:?} {draw}");
        }
        assert!(LogRules::default().take(200, quick, || u32::MAX));
    }
}
