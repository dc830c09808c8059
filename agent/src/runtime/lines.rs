//! Logs line by line, with the engine's times.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use cara_api::Timestamp;
use cara_api::stream::LogStream;
use futures_util::{Stream, StreamExt, stream};

use super::engine::Engine;
use super::error::Error;

/// Longest line that is put together from the engine's pieces, in bytes; a longer one comes in
/// several, which say so.
const LINE_MAX: usize = 256 * 1024;

/// What to read of a log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Read {
    pub(crate) follow: bool,
    /// Nothing before the second of this time.
    pub(crate) since: Option<Timestamp>,
    pub(crate) tail: Option<u32>,
}

/// A line as a container wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawLine {
    pub(crate) stream: LogStream,
    pub(crate) time: Timestamp,
    pub(crate) line: String,
    pub(crate) is_partial: bool,
}

impl Engine {
    /// Lines of a container, in the order in which the engine got them.
    pub(crate) fn lines(
        &self,
        id: &str,
        read: Read,
    ) -> impl Stream<Item = Result<RawLine, Error>> + Send + use<> {
        let since = read
            .since
            .and_then(|time| i32::try_from(time.as_second()).ok());
        let tail = read
            .tail
            .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let query = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(read.follow)
            .since(since.unwrap_or(0))
            .tail(&tail)
            .build();
        let attempt = format!("read the log of container {id}");
        let pieces = self.docker.logs(id, Some(query));
        let state = (
            Box::pin(pieces),
            Assembler::default(),
            Vec::new().into_iter(),
        );
        stream::unfold(Some(state), move |state| {
            let attempt = attempt.clone();
            async move {
                let (mut pieces, mut assembler, mut ready) = state?;
                loop {
                    if let Some(line) = ready.next() {
                        return Some((Ok(line), Some((pieces, assembler, ready))));
                    }
                    match pieces.next().await {
                        Some(Ok(piece)) => ready = assembler.take(&piece).into_iter(),
                        Some(Err(error)) => {
                            let error = Error::new(attempt, "EngineUnavailable", error);
                            return Some((Err(error), None));
                        }
                        None => {
                            let rest = assembler.rest();
                            let first = rest?;
                            ready = vec![first].into_iter();
                        }
                    }
                }
            }
        })
    }
}

/// Puts lines together: the engine cuts long ones, and stamps every piece.
#[derive(Debug, Default)]
struct Assembler {
    stdout: Option<(Timestamp, Vec<u8>)>,
    stderr: Option<(Timestamp, Vec<u8>)>,
}

impl Assembler {
    fn open(&mut self, stream: LogStream) -> &mut Option<(Timestamp, Vec<u8>)> {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    fn take(&mut self, piece: &LogOutput) -> Vec<RawLine> {
        let (stream, bytes) = match piece {
            LogOutput::StdErr { message } => (LogStream::Stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (LogStream::Stdout, message)
            }
            LogOutput::StdIn { .. } => return Vec::new(),
        };
        let parts = bytes.split_inclusive(|byte| *byte == b'\n');
        parts.filter_map(|part| self.part(stream, part)).collect()
    }

    fn part(&mut self, stream: LogStream, part: &[u8]) -> Option<RawLine> {
        let (stamp, text) = stamped(part);
        let open = self.open(stream);
        let (time, mut line) = match (open.take(), stamp) {
            (Some(open), _) => open,
            (None, Some(time)) => (time, Vec::new()),
            // Nothing to go by: the engine always stamps the first piece of a line.
            (None, None) => return None,
        };
        line.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        let is_whole = text.ends_with(b"\n");
        if !is_whole && line.len() < LINE_MAX {
            *open = Some((time, line));
            return None;
        }
        if is_whole && line.ends_with(b"\r") {
            line.pop();
        }
        Some(raw(stream, time, &line, !is_whole))
    }

    /// What is left of a line that was never ended.
    fn rest(&mut self) -> Option<RawLine> {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if let Some((time, line)) = self.open(stream).take() {
                return Some(raw(stream, time, &line, true));
            }
        }
        None
    }
}

fn raw(stream: LogStream, time: Timestamp, line: &[u8], is_partial: bool) -> RawLine {
    RawLine {
        stream,
        time,
        line: String::from_utf8_lossy(line).into_owned(),
        is_partial,
    }
}

/// The time at the beginning, and what follows it.
fn stamped(part: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(end) = part.iter().position(|byte| *byte == b' ') else {
        return (None, part);
    };
    let (stamp, rest) = part.split_at(end);
    let stamp = std::str::from_utf8(stamp)
        .ok()
        .and_then(|text| text.parse().ok());
    match stamp {
        Some(time) => (Some(time), rest.get(1..).unwrap_or_default()),
        None => (None, part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-01-01T00:00:01.000000002Z";

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut {
            message: text.to_owned().into(),
        }
    }

    fn err(text: &str) -> LogOutput {
        LogOutput::StdErr {
            message: text.to_owned().into(),
        }
    }

    fn check(pieces: &[LogOutput], expected: &[(LogStream, &str, bool)]) {
        let mut assembler = Assembler::default();
        let mut lines: Vec<RawLine> = pieces.iter().flat_map(|p| assembler.take(p)).collect();
        while let Some(rest) = assembler.rest() {
            lines.push(rest);
        }
        let found: Vec<_> = lines
            .iter()
            .map(|l| (l.stream, l.line.as_str(), l.is_partial))
            .collect();
        assert_eq!(found, expected);
        assert!(lines.iter().all(|l| l.time.to_string() == AT));
    }

    #[test]
    fn lines_lose_their_stamp_and_end() {
        use LogStream::{Stderr, Stdout};
        check(
            &[
                out(&format!("{AT} one\n")),
                err(&format!("{AT} two\r\n")),
                out(&format!("{AT} \n")),
            ],
            &[
                (Stdout, "one", false),
                (Stderr, "two", false),
                (Stdout, "", false),
            ],
        );
    }

    #[test]
    fn a_line_that_the_engine_cut_is_one_again() {
        use LogStream::{Stderr, Stdout};
        check(
            &[
                out(&format!("{AT} a b")),
                err(&format!("{AT} else\n")),
                out(&format!("{AT}  c\n")),
            ],
            &[(Stderr, "else", false), (Stdout, "a b c", false)],
        );
        check(
            &[out(&format!("{AT} never ended"))],
            &[(Stdout, "never ended", true)],
        );
    }

    #[test]
    fn lines_of_a_terminal_come_in_one_piece() {
        let message = format!("{AT} one\r\n{AT} two\r\n").into();
        check(
            &[LogOutput::Console { message }],
            &[
                (LogStream::Stdout, "one", false),
                (LogStream::Stdout, "two", false),
            ],
        );
    }
}
