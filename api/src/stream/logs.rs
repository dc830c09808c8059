//! Lines of logs, and where a reader is in them.
//!
//! Each stream of a container has its own position: a time and how many lines of that very time
//! were read. Whoever reads again says its positions, gets what follows them, and so loses and
//! doubles nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::is_true;
use crate::Timestamp;

/// Positions that a reader keeps; of more, those of the containers that spoke last.
const POSITIONS_MAX: usize = 128;

/// Where a container wrote a line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Its first output.
    Stdout,
    /// Its second output.
    Stderr,
}

impl LogStream {
    /// The stream as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl FromStr for LogStream {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err(()),
        }
    }
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Where it was written.
    pub stream: LogStream,
    /// When the engine got it.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// Who wrote it.
    pub service: String,
    /// The line without its end; what is no UTF-8 is replaced.
    pub line: String,
    /// The engine's short id of the container.
    pub container: String,
    /// The line is so long that it goes on in the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// What a reader of logs is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogMessage {
    /// A line.
    Line(LogLine),
    /// All that was written before came; all that is written from this time of a node on will come.
    Begin {
        /// The node's time.
        begin: Timestamp,
    },
    /// Nothing happens.
    Keepalive {
        /// The server's time.
        keepalive: Timestamp,
    },
    /// Something went wrong on the way; lines of other containers go on.
    Note {
        /// In words.
        note: String,
    },
    /// This was all. What ends without it was cut off.
    End {
        /// The time of whoever says it.
        end: Timestamp,
    },
}

/// How far a stream of a container was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Time of the last line.
    pub time: Timestamp,
    /// Lines of that very time that were read.
    pub count: u32,
}

/// How far all streams were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<(String, LogStream), Position>);

impl Positions {
    /// Notes that a line was read.
    pub fn note(&mut self, line: &LogLine) {
        let key = (line.container.clone(), line.stream);
        let next = match self.0.get(&key) {
            Some(old) if old.time == line.time => old.count.saturating_add(1),
            Some(_) | None => 1,
        };
        let position = Position {
            time: line.time,
            count: next,
        };
        self.0.insert(key, position);
        if self.0.len() > POSITIONS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, position)| position.time);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&key);
            }
        }
    }

    /// How far a stream was read.
    pub fn get(&self, container: &str, stream: LogStream) -> Option<Position> {
        self.0.get(&(container.to_owned(), stream)).copied()
    }

    /// The time of the newest line that was read.
    pub fn newest(&self) -> Option<Timestamp> {
        self.0.values().map(|position| position.time).max()
    }

    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        let all = self.0.iter();
        all.map(|((container, stream), at)| {
            format!("{container},{},{},{}", stream.as_str(), at.time, at.count)
        })
    }

    fn take(&mut self, text: &str) -> Option<()> {
        let mut parts = text.split(',');
        let container = parts.next().filter(|id| !id.is_empty())?.to_owned();
        let stream = parts.next()?.parse().ok()?;
        let time = parts.next()?.parse().ok()?;
        let count = parts.next()?.parse().ok()?;
        self.0.insert((container, stream), Position { time, count });
        (self.0.len() <= POSITIONS_MAX).then_some(())
    }
}

/// Decides which lines of a stream are new to a reader, when the stream is read again from some
/// time before the reader's position.
#[derive(Debug, Clone)]
pub struct Replay {
    at: Option<Position>,
    /// Lines of the position's time that came by.
    passed: u32,
    is_over: bool,
}

impl Replay {
    /// Begins to read again.
    pub fn from(at: Option<Position>) -> Self {
        Self {
            at,
            passed: 0,
            is_over: at.is_none(),
        }
    }

    /// Whether a line of this time is new.
    pub fn is_new(&mut self, time: Timestamp) -> bool {
        let Some(at) = self.at.filter(|_| !self.is_over) else {
            return true;
        };
        if time < at.time {
            return false;
        }
        if time > at.time {
            self.is_over = true;
            return true;
        }
        self.passed = self.passed.saturating_add(1);
        // Lines come in the order in which they were written: what follows is new, whatever a clock
        // that was set back says.
        self.is_over = self.passed >= at.count;
        self.passed > at.count
    }
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Of these services; of all when empty.
    pub services: Vec<String>,
    /// Go on as lines are written.
    pub follow: bool,
    /// Only the last lines of each service.
    pub tail: Option<u32>,
    /// Only what was written at this time or later.
    pub since: Option<Timestamp>,
    /// What was written before each service was last started or replaced.
    pub previous: bool,
    /// Read all containers on from `after`; those that are not named in it from `since`.
    pub resume: bool,
    /// How far the reader came.
    pub after: Positions,
}

impl LogQuery {
    /// The query of a URL.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let services = self.services.iter().cloned();
        let mut pairs: Vec<_> = services.map(|name| ("service", name)).collect();
        let flags = [
            ("follow", self.follow),
            ("previous", self.previous),
            ("resume", self.resume),
        ];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        pairs.extend(set.map(|(key, _)| (key, "true".to_owned())));
        pairs.extend(self.tail.map(|lines| ("tail", lines.to_string())));
        pairs.extend(self.since.map(|time| ("since", time.to_string())));
        pairs.extend(self.after.texts().map(|text| ("after", text)));
        pairs
    }

    /// The query by which a reader goes on where it is, by `after` and what [`LogMessage::Begin`] told it. Before
    /// that came, lines come in the order of time: nothing older than the newest is missing.
    #[must_use]
    pub fn go_on(&self, begin: Option<Timestamp>) -> Self {
        let Some(since) = begin.or_else(|| self.after.newest()) else {
            return self.clone();
        };
        Self {
            since: Some(since),
            tail: None,
            resume: true,
            ..self.clone()
        }
    }

    /// Reads the query of a URL. `timestamps` is for the form in text, and taken for nothing here.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut query = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "service" => query.services.push(value.clone()),
                "follow" => query.follow = is_true(value),
                "previous" => query.previous = is_true(value),
                "resume" => query.resume = is_true(value),
                "timestamps" => {}
                "tail" if value.is_empty() || value == "all" => query.tail = None,
                "tail" => {
                    let lines = value.parse();
                    query.tail = Some(
                        lines.map_err(|_| format!("tail {value:?} is not a number of lines"))?,
                    );
                }
                "since" => {
                    let time = value.parse();
                    query.since = Some(
                        time.map_err(|_| format!("since {value:?} is not a time of RFC 3339"))?,
                    );
                }
                "after" => query.after.take(value).ok_or_else(|| {
                    format!("after {value:?} is not container,stream,time,count, or one too many")
                })?,
                other => {
                    return Err(format!(
                        "{other:?} is no parameter: give service, follow, tail, since, previous, resume or after"
                    ));
                }
            }
        }
        if query.previous && query.follow {
            return Err("what ran before says nothing more: leave follow out".to_owned());
        }
        Ok(query)
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T00:00:{text}Z").parse().expect("a time")
    }

    fn line(container: &str, time: &str) -> LogLine {
        LogLine {
            stream: LogStream::Stdout,
            time: at(time),
            service: "web".to_owned(),
            line: "text".to_owned(),
            container: container.to_owned(),
            partial: false,
        }
    }

    #[test]
    fn a_query_reads_as_it_was_written() {
        let mut after = Positions::default();
        for time in ["01.000000001", "01.000000001", "02"] {
            after.note(&line("a", time));
            after.note(&line("b", "01.5"));
        }
        let query = LogQuery {
            services: vec!["web".to_owned(), "db".to_owned()],
            follow: true,
            tail: Some(7),
            since: Some(at("00.25")),
            previous: false,
            resume: true,
            after,
        };
        let pairs = query.pairs();
        let pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        assert_eq!(LogQuery::parse(&pairs), Ok(query));
    }

    #[test]
    fn who_was_cut_off_goes_on_from_what_came() {
        let asked = LogQuery {
            follow: true,
            tail: Some(20),
            ..LogQuery::default()
        };
        // Nothing came: as it was asked first.
        assert_eq!(asked.go_on(None), asked);
        let mut read = asked.clone();
        read.after.note(&line("a", "03"));
        read.after.note(&line("b", "02"));
        // In what was written already: what is missing is newer than the newest.
        for (begin, since) in [(None, "03"), (Some(at("05")), "05")] {
            let next = read.go_on(begin);
            assert_eq!(
                (next.since, next.tail, next.resume),
                (Some(at(since)), None, true)
            );
            assert_eq!(next.after, read.after);
        }
        // Nothing was written before.
        assert_eq!(asked.go_on(Some(at("05"))).since, Some(at("05")));
    }

    #[test]
    fn what_is_odd_is_named() {
        for (key, value, part) in [
            ("tail", "x", "tail \"x\""),
            ("since", "yesterday", "since \"yesterday\""),
            ("after", "a,stdout", "after"),
            ("lines", "1", "\"lines\""),
        ] {
            let pairs = [(key.to_owned(), value.to_owned())];
            let error = LogQuery::parse(&pairs).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn reading_again_neither_loses_nor_doubles() {
        let times = ["01", "02", "02", "02", "03", "04"];
        for read in 0..=times.len() {
            let mut positions = Positions::default();
            for time in &times[..read] {
                positions.note(&line("a", time));
            }
            let mut replay = Replay::from(positions.get("a", LogStream::Stdout));
            let rest: Vec<_> = times.iter().filter(|t| replay.is_new(at(t))).collect();
            assert_eq!(rest, times[read..].iter().collect::<Vec<_>>(), "{read}");
        }
    }

    #[test]
    fn a_clock_that_went_back_after_the_last_line_loses_nothing() {
        let mut replay = Replay::from(Some(Position {
            time: at("05"),
            count: 2,
        }));
        let found: Vec<bool> = ["04", "05", "05", "03", "04", "05"]
            .iter()
            .map(|time| replay.is_new(at(time)))
            .collect();
        assert_eq!(found, [false, false, false, true, true, true]);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing_while_looking_on() {
        let mut replay = Replay::from(Some(Position {
            time: at("05"),
            count: 1,
        }));
        let found: Vec<bool> = ["05", "06", "03", "04"]
            .iter()
            .map(|time| replay.is_new(at(time)))
            .collect();
        assert_eq!(found, [false, true, true, true]);
    }

    #[test]
    fn positions_are_bounded_and_the_newest_stay() {
        let mut positions = Positions::default();
        for number in 0..POSITIONS_MAX + 10 {
            let time = format!("{:02}.{number:06}", number / 10);
            positions.note(&line(&format!("c{number}"), &time));
        }
        assert_eq!(positions.0.len(), POSITIONS_MAX);
        assert_eq!(positions.get("c0", LogStream::Stdout), None);
        let newest = format!("c{}", POSITIONS_MAX + 9);
        assert!(positions.get(&newest, LogStream::Stdout).is_some());
    }

    #[test]
    fn messages_are_told_apart_by_what_they_carry() {
        for (text, expected) in [
            (
                r#"{"begin":"2026-01-01T00:00:01Z"}"#,
                LogMessage::Begin { begin: at("01") },
            ),
            (
                r#"{"end":"2026-01-01T00:00:01Z"}"#,
                LogMessage::End { end: at("01") },
            ),
            (
                r#"{"keepalive":"2026-01-01T00:00:01Z"}"#,
                LogMessage::Keepalive {
                    keepalive: at("01"),
                },
            ),
            (
                r#"{"stream":"stdout","time":"2026-01-01T00:00:01Z","service":"web","line":"text","container":"a"}"#,
                LogMessage::Line(line("a", "01")),
            ),
        ] {
            let read: LogMessage = serde_json::from_str(text).expect("valid");
            assert_eq!(read, expected);
            assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        }
    }
}
